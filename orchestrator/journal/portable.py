"""A run as a file that leaves one journal and enters another: JSON Lines, whole or not at all.

The first line is the header: which run, where the copy comes from, and the plan as the text that its digest covers
(``jq -r 'select(.plan) | .plan | fromjson'``). Each further line is one entry with its digest.

A digest covers the ``seq`` of its entry, and a journal counts the entries of all its runs together. So the lines keep
the numbers and digests of the journal that they come from: with them the whole chain is checked when it is read, line
by line. The journal that takes the run in gives the entries its own next numbers and chains them anew from the same
beginning. What two journals have of a run is therefore compared by what the entries say, never by ``seq`` or digest.

The header's digest covers its other fields. As in a journal, this finds damage and careless edits, and is no
protection against somebody who recomputes it. Reading a copy runs nothing, and follows no path or reference in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from pydantic import Field, JsonValue, ValidationError

from orchestrator import __version__
from orchestrator.errors import InputError, JournalError, Problem, RefusedError
from orchestrator.journal.chain import StoredEntry, canonical, flaw, genesis, stored
from orchestrator.model.journal import Entry
from orchestrator.model.value import Value
from orchestrator.ports import RunRow
from orchestrator.status import RunState, RunStatus, fold

FORMAT: Final = 1
"""The format's number; a copy of a greater one is not read."""

BEGINNING: Final = b'{"failover_journal":'
"""What every copy begins with."""

LONGEST_LINE: Final = 64 * 1024 * 1024
"""Bytes; a plan of thousands of steps has some megabytes. What is longer is no copy."""

_AGAIN: Final = "export it again: a damaged copy cannot be mended"
_WRITTEN_BY: Final = "name a file that 'failover journal export' wrote"

# Words are shown on terminals, so without control characters. SQLite and jq keep such numbers exactly.
_Words = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Time = Annotated[float, Field(ge=0, lt=253_402_300_800)]  # before the year 10000, which ends Python's calendar


class Origin(Value):
    """Where a copy comes from."""

    at: _Time = Field(description="Unix time at which it was made.")
    by: _Words = Field(description="Who made it: user@host.")
    host: _Words
    owner: _Words | None = Field(description="Who worked on the run then; None when nobody did.")


class Header(Value):
    """The first line of a copy."""

    failover_journal: _Count = FORMAT
    version: _Words = Field(default=__version__, description="The failover that wrote it.")
    run: _Words
    runbook: _Words
    created: _Time
    status: _Words = Field(description="Where the run stood, for readers; it follows from the entries.")
    exported: Origin
    epoch: _Count = Field(description="The newest that any owner has taken.")
    entries: _Count = Field(description="How many lines follow.")
    genesis: str
    head: str = Field(description="The digest that the chain ends with.")
    plan: str
    digest: str = Field(default="", description="Of the header without this field.")

    def true_digest(self) -> str:
        """What ``digest`` is, unless somebody has changed the header."""
        content = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(canonical(content).encode()).hexdigest()


class _Line(Value):
    """One entry in a copy; its run is the header's."""

    seq: _Count
    at: _Time
    epoch: _Count
    kind: str
    step: str
    attempt: Annotated[int, Field(gt=-(2**53), lt=2**53)]
    data: dict[str, JsonValue] | str
    """As text where it has numbers that JSON lacks: NaN and infinity."""
    digest: str

    def stored(self, run: str) -> StoredEntry:
        """The entry as the journal kept it that it comes from."""
        data = json.loads(self.data) if isinstance(self.data, str) else self.data
        if not isinstance(data, dict):
            raise ValueError("its data is no object")
        fields = (self.seq, run, self.at, self.epoch, self.kind, self.step, self.attempt)
        return StoredEntry(*fields, canonical(data), self.digest)


@dataclass(frozen=True, slots=True)
class Copy:
    """A run out of another journal, found whole."""

    header: Header
    entries: tuple[StoredEntry, ...]
    """Under the numbers and digests of the journal that they come from."""
    state: RunState

    @property
    def status(self) -> RunStatus:
        """Where the run stood."""
        return self.state.status

    def beyond(self, begin: str, here: Sequence[StoredEntry]) -> Sequence[StoredEntry]:
        """What it has more than ``here``, the entries that a journal has of the run that begins with ``begin``.

        Raises:
            RefusedError: the two do not belong together, or ``here`` has more.
        """
        run = self.header.run
        if begin != self.header.genesis:
            raise RefusedError(
                f"cannot import run {run}: this journal has another run of that name",
                remedy="import it into a journal of its own with --journal FILE",
            )
        for number, (ours, theirs) in enumerate(zip(here, self.entries, strict=False), 1):
            if _said(ours) != _said(theirs):
                raise RefusedError(
                    f"cannot import run {run}: it went on here and there in different ways, from entry {number} of "
                    f"{len(self.entries)} on (line {number + 1} of the file)",
                    remedy="look which of the two the world follows, and undo or resume that one only; "
                    "to read the other, import it into a journal of its own with --journal FILE",
                )
        if len(here) > len(self.entries):
            raise RefusedError(
                f"cannot import run {run}: this journal has {len(here) - len(self.entries)} more of its entries than "
                "the file, which is older",
                remedy="go on here, or export it here and import it there, with 'failover journal export'",
            )
        return self.entries[len(here) :]


class LineReader(Protocol):
    """An open file of bytes."""

    def readline(self, size: int, /) -> bytes:
        """The next line with its end, or ``size`` bytes of it; nothing at the end."""


def export_lines(row: RunRow, entries: Sequence[Entry], epoch: int, exported: Origin) -> Iterator[str]:
    """The lines of a copy of the run, each with its end. ``epoch`` is not older than the newest entry."""
    head = begin = genesis(row.run, row.created, row.runbook, row.plan)
    lines = []
    for entry in entries:
        one = stored(entry, entry.seq, head)
        head = one.digest
        lines.append(_entry_line(one))
    header = Header(
        run=row.run,
        runbook=row.runbook,
        created=row.created,
        status=fold(entries).status,
        exported=exported,
        epoch=epoch,
        entries=len(entries),
        genesis=begin,
        head=head,
        plan=row.plan,
    )
    content = {**header.model_dump(mode="json"), "digest": header.true_digest()}
    yield json.dumps(content, separators=(",", ":")) + "\n"
    yield from lines


def read_export(stream: LineReader, file: str) -> Copy:
    """The run in an exported copy, whose whole chain has been checked; ``file`` is what it is called in errors.

    Raises:
        InputError: it is no copy, it was cut or changed, or another version wrote what this one does not know.
    """
    header = _header(_next_line(stream, file, 1), file)
    before, found, state = header.genesis, [], RunState()
    for number in range(2, header.entries + 2):
        text = _next_line(stream, file, number)
        if not text:
            why = f"its last entries are missing: {number - 2} of {header.entries} are there"
            raise _unusable(file, number, why, _AGAIN, header.run)
        entry, state = _entry(text, header, before, state, f"{file}:{number}")
        before = entry.digest
        found.append(entry)
    if trouble := flaw(before, [], header.head):
        raise _unusable(file, 1, trouble, _AGAIN, header.run)
    if _next_line(stream, file, header.entries + 2):
        raise _unusable(file, header.entries + 2, "it has more lines than entries", _AGAIN, header.run)
    return Copy(header, tuple(found), state)


def _entry_line(entry: StoredEntry) -> str:
    fields = {name: value for name, value in entry._asdict().items() if name != "run"}
    data = json.loads(entry.data)
    try:
        return json.dumps({**fields, "data": data}, separators=(",", ":"), allow_nan=False) + "\n"
    except ValueError:
        return json.dumps(fields, separators=(",", ":")) + "\n"


def _next_line(stream: LineReader, file: str, number: int) -> bytes:
    line = stream.readline(LONGEST_LINE + 1)
    if len(line) > LONGEST_LINE:
        raise _unusable(file, number, f"the line has more than {LONGEST_LINE // 2**20} MiB", _WRITTEN_BY)
    return line


def _header(line: bytes, file: str) -> Header:
    """The header, true to its digest.

    Raises:
        InputError: it is none, it was changed, or a newer version wrote it.
    """
    try:
        content = _object(line)
    except (ValueError, RecursionError) as error:
        if line.startswith(BEGINNING):
            raise _unusable(file, 1, "the line was cut or changed", _AGAIN) from error
        raise _unusable(file, 1, "it is no exported run" if line else "it is empty", _WRITTEN_BY) from error
    number = content.get("failover_journal")
    if not isinstance(number, int) or isinstance(number, bool):
        raise _unusable(file, 1, "it is no exported run", _WRITTEN_BY)
    if number > FORMAT:
        remedy = "use the failover that wrote it, or a newer one"
        raise _unusable(file, 1, f"its format is {number}, newer than {FORMAT}", remedy)
    try:
        header = Header.model_validate(content)
    except ValidationError as error:
        raise _unusable(file, 1, "the line was changed", _AGAIN) from error
    begin = genesis(header.run, header.created + 0.0, header.runbook, header.plan)  # as SQLite keeps -0.0
    if header.digest != header.true_digest() or header.genesis != begin:
        raise _unusable(file, 1, "the line was changed", _AGAIN, header.run)
    return header


def _entry(line: bytes, header: Header, before: str, state: RunState, place: str) -> tuple[StoredEntry, RunState]:
    """An entry that is chained to the digest ``before`` it, and the run's state after it, which was ``state``.

    Raises:
        InputError: it is not, or no run can go on so.
    """
    cannot = f"cannot import run {header.run}"
    try:
        entry = _Line.model_validate(_object(line)).stored(header.run)
    except (ValueError, RecursionError) as error:
        raise InputError([Problem(f"{cannot}: the line was cut or changed", _AGAIN, place)]) from error
    trouble = flaw(before, [entry], entry.digest)
    if trouble is None and entry.epoch > header.epoch:
        trouble = f"entry {entry.seq} is of an epoch that nobody has taken"
    if trouble:
        raise InputError([Problem(f"{cannot}: {trouble}", _AGAIN, place)])
    try:
        return entry, fold([entry.entry()], state)
    except (JournalError, ValueError, KeyError, TypeError) as error:
        why = f"this version of failover does not know what entry {entry.seq} says"
        remedy = f"use failover {header.version}, which wrote it, or a newer one"
        raise InputError([Problem(f"{cannot}: {why}", remedy, place)]) from error


def _object(line: bytes) -> Mapping[str, JsonValue]:
    content: JsonValue = json.loads(line.decode("utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it is no object")
    return content


def _said(entry: StoredEntry) -> tuple[object, ...]:
    """What an entry says, wherever it stands."""
    return (entry.at, entry.epoch, entry.kind, entry.step, entry.attempt, entry.data)


def _unusable(file: str, line: int, why: str, remedy: str, run: str = "") -> InputError:
    what = f"run {run}" if run else "this"
    # The place is the file's name to whoever shows it: nobody is helped by a piece of a long line of JSON under it.
    return InputError([Problem(f"cannot import {what}: {why}", remedy, f"{file}:{line}")])
