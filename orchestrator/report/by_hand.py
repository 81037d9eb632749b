"""What a person does when a run cannot finish: the steps that remain, as commands to copy into a shell.

Other than every report it is no rich page: a command must never be cut or wrapped, however narrow the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import JsonValue

from orchestrator.engine.remaining import ManualWork
from orchestrator.report.sheet import one_line


def by_hand_text(works: Sequence[ManualWork], run: str, owner: str | None = None) -> str:
    """The remaining steps in the order in which they are to be done.

    ``run`` is the run as it is typed in a command; ``owner`` is who works on it now.
    """
    if not works:
        return "by hand\n  nothing: the run has left nothing to take back"
    return "\n".join(_lines(works, run, owner))


def by_hand_record(works: Sequence[ManualWork]) -> list[JsonValue]:
    """The same for machines; see ``orchestrator.report.records``."""
    return [
        {"step": work.step, "why": work.why, "first": list(work.first), "commands": list(work.commands)}
        for work in works
    ]


def _lines(works: Sequence[ManualWork], run: str, owner: str | None) -> Iterator[str]:
    yield "by hand, in this order, to go back to how it was before the run"
    if owner:
        yield f"  not while {one_line(owner)} works on it"
    for number, work in enumerate(works, start=1):
        yield f"  {number}. {one_line(work.step)}: {one_line(work.why)}"
        yield from (f"     first {one_line(line)}" for line in work.first)
        yield from (f"       {_printable(command)}" for command in work.commands)
    yield f"  then, to look that all is as it was and to end the run: failover undo {_printable(run)}"


def _printable(command: str) -> str:
    """As it is, but for characters that would work on the terminal instead of being shown there."""
    return "".join(char if char.isprintable() else "?" for char in command)
