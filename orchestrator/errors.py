"""Everything that can go wrong and is expected to, as one tree.

::

    FailoverError                 what the command line shows as one clear message, never as a traceback
    ├── InputError                the user's files or arguments; carries every problem with its place (exit 1)
    ├── RefusedError              a plan or a run that must not start, nothing was touched (exit 1)
    │   └── PlanRefusedError      a plan that refuses itself, with every reason
    ├── MissingToolError          a program of this machine is not there; names what installs it (exit 1)
    ├── JournalError              the journal cannot be read or written, so nothing may act
    └── OutsideError              trouble at a system outside, translated at the adapter's edge
        ├── UnreachableError      no connection, or no answer in time: nothing is known about the effect
        ├── RejectedError         the system answered, and said no
        └── UnfitError            the system answers, but is not set up in the way that we need

    Stop                          control flow inside a step: the engine asks an action to stop at a safe point
    ├── TimedOut                  the step's own timeout is over
    └── Fenced                    another orchestrator has taken this run over; touch nothing any more

Anything else that leaves an action or an adapter is a bug of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class FailoverError(Exception):
    """An expected failure: ``cannot X: why``, and in ``remedy`` what to do about it."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} — {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file, at its place. Lines and columns count from 1; 0 means the whole file.

    ``hidden`` is the column in which a secret begins: nothing of the line may be shown from there on. 0: it has none.
    """

    message: str
    remedy: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    hidden: int = 0

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place += f":{self.line}:{self.column}"
        text = f"{self.message} — {self.remedy}" if self.remedy else self.message
        return f"{place}: {text}" if place else text


class InputError(FailoverError):
    """What the user wrote cannot be used; ``problems`` names every mistake at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class RefusedError(FailoverError):
    """A plan or run that must not start. Nothing was touched."""


class BrokenRule(Protocol):
    """A rule that a plan breaks: ``model.plan.Refusal``. ``str`` of it says where, by how much, and what to do."""

    @property
    def rule(self) -> str:
        """Its name, as ``--override`` takes it."""

    @property
    def step(self) -> str:
        """The step that breaks it; empty for the plan as a whole."""

    @property
    def reason(self) -> str:
        """By how much."""

    @property
    def remedy(self) -> str:
        """What to do about it."""


class PlanRefusedError(RefusedError):
    """A plan that must not be run. Rules can be set aside with a reason; ``problems`` cannot."""

    def __init__(self, problems: Sequence[str], refusals: Sequence[BrokenRule] = ()) -> None:
        lines = [*problems, *(f"{refusal} [{refusal.rule}]" for refusal in refusals)]
        rules = dict.fromkeys(refusal.rule for refusal in refusals)
        if rules:
            overrides = " ".join(f'--override {rule}="why it is right"' for rule in rules)
            lines.append(f"to set a rule aside: {overrides}")
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)
        """What no override can set aside: systems that cannot be read, steps that cannot be done."""
        self.refusals = tuple(refusals)
        """The rules that it breaks, and that are not overridden."""


class MissingToolError(FailoverError):
    """A program that this machine needs is not installed."""


class JournalError(FailoverError):
    """The journal cannot be read or written: without it nothing may act."""


class OutsideError(FailoverError):
    """Trouble at a system outside, translated at the adapter's edge with the cause chained."""


class UnreachableError(OutsideError):
    """No connection or no answer in time. Whether a request had an effect is not known: observe again."""


class RejectedError(OutsideError):
    """The system answered and said no."""


class UnfitError(OutsideError):
    """The system answers but is not set up in the way that a safe run needs."""


class Stop(Exception):  # noqa: N818 - control flow, like StopIteration
    """Raised by ``Watch`` inside an action: leave at this safe point, change nothing more."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TimedOut(Stop):
    """The step has not ended within its timeout."""


class Fenced(Stop):
    """Another orchestrator holds the run now."""
