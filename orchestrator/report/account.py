"""What a run's journal tells of each step beyond its status: waypoints, verdicts, numbers and times.

An ``Account`` is made from a plan and grows by one entry at a time; every report reads it, none writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from orchestrator.model.check import Judgement, Verdict
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.units import format_duration, format_fraction
from orchestrator.status import RunState, RunStatus, StepState, StepStatus, fold

GUARD: Final = "guard"
ACTIVE: Final = frozenset({StepStatus.GATING, StepStatus.CONVERGING, StepStatus.VERIFYING, StepStatus.UNDOING})
"""A step in one of these is being worked on."""
BROKEN: Final = frozenset({StepStatus.REFUSED, StepStatus.FAILED, StepStatus.STUCK})
LIVE: Final = frozenset({RunStatus.PLANNED, RunStatus.RUNNING, RunStatus.HELD, RunStatus.UNDOING})
"""In these a run's time goes on; in all others it stands still since the last entry."""
_SETTLED: Final = frozenset({StepStatus.DONE, StepStatus.NOTHING})


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, with the place where it was asked for."""

    at: float
    step: str
    attempt: int
    gate: str
    waypoint: str
    verdict: Verdict


@dataclass(slots=True)
class Waymark:
    """A waypoint that was set out for: its label, which way it led, and how it ended (empty: under way)."""

    label: str
    direction: str
    result: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong: what (``shift failed``, ``guard serving failed``), and why."""

    what: str
    reason: str
    step: str = ""
    """Empty where no step is to blame."""

    @property
    def is_stuck(self) -> bool:
        """Whether a person must look before anything goes on."""
        return self.what.endswith(StepStatus.STUCK)

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


@dataclass(slots=True)
class StepAccount:
    """One step's part of the journal."""

    findings: list[Finding] = field(default_factory=list)
    recent: list[Finding] = field(default_factory=list)
    """The findings since the last waypoint was set out for."""
    waymarks: list[Waymark] = field(default_factory=list)
    made: str = ""
    """The last progress of the action itself; a gate's progress comes over it in the step's state."""
    numbers: dict[str, float] = field(default_factory=dict)
    """Those of the last progress entry before any undo."""
    works_since: float | None = None
    """Unix time at which this try began, or its undo; of a try that people had to approve, when they had."""
    undo_since: float | None = None
    """Unix time at which its undo began; None where it has not since the step last began."""


class Account:
    """A run as its plan and its journal so far tell it."""

    def __init__(self, plan: Plan, entries: Iterable[Entry] = (), typed: str = "") -> None:
        self.plan = plan
        self.run = ""
        self.typed = typed
        """The run as a person types it in a command, with its journal; where nothing is said, by its name."""
        self.state = RunState()
        self.guards: list[Finding] = []
        self.left = False
        """Nobody works on the run, as far as who reports knows: the times of its steps stand still."""
        self.troubles: list[Trouble] = []
        """What is wrong now, or was when the run turned back."""
        self.earlier: list[Trouble] = []
        """What had failed before a person let it go on, or wanted it back."""
        self.breaches: dict[str, Finding] = {}
        """The guards that are broken, since the run last went forward."""
        self.asked_back = False
        """A person asked for the undo, or aborted the run; else the run's own failure did."""
        self.aborted = False
        """A person's abort turned it back, or stopped it before it had touched anything."""
        self._steps: dict[str, StepAccount] = {step.id: StepAccount() for step in plan.steps}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Take the next entry in."""
        self.run = self.run or entry.run
        self.typed = self.typed or entry.run
        before, self.state = self.state, fold([entry], self.state)
        match entry.kind:
            case "verdict":
                self._add_finding(entry)
            case "intent":
                self._add_waymark(entry)
            case "outcome":
                self._end_waymark(entry)
            case "progress":
                self._add_progress(entry)
            case "step":
                self._add_status(entry, before)
            case "approval" if self.state.step(entry.step).status is StepStatus.GATING:
                self.step(entry.step).works_since = entry.at
            case "run":
                self._add_run(entry, before)
            case _:
                pass

    def step(self, name: str) -> StepAccount:
        """What is told of the step; nothing yet where the journal has nothing."""
        return self._steps.setdefault(name, StepAccount())

    @property
    def steps(self) -> list[PlannedStep]:
        """The steps to tell of, in the plan's order: of a plan B only those that the run has come to."""
        return [
            step
            for step in self.plan.steps
            if step.instead_of is None or self.state.step(step.id).status is not StepStatus.PENDING
        ]

    def end(self, now: float) -> float:
        """The moment up to which times count: ``now`` while the run lives, else the last entry's."""
        return max(now, self.state.at) if self.state.status in LIVE else self.state.at

    @property
    def is_left(self) -> bool:
        """Whether nobody works on it: who did has gone, or was told by a failure or an abort to hold it."""
        return self.left or is_parked(self.state)

    def took(self, name: str, now: float) -> float | None:
        """Seconds from the step's first gate until it was settled, or until now; once it goes back those of its undo.

        None before it began.
        """
        back = self.undo_took(name, now)
        return self.lasted(name, now) if back is None else back

    def lasted(self, name: str, now: float) -> float | None:
        """Seconds from the step's first gate until it was settled, its undo too, or until now; None before it began."""
        step = self.state.step(name)
        if step.entered is None or step.status is StepStatus.NOTHING:
            return None
        return max(0.0, self._last(step, now) - step.entered)

    def undo_took(self, name: str, now: float) -> float | None:
        """Seconds from the begin of the step's undo until that was settled, or until now; None where it has none."""
        since = self.step(name).undo_since
        return None if since is None else max(0.0, self._last(self.state.step(name), now) - since)

    def _last(self, step: StepState, now: float) -> float:
        """Until when the step's time counts."""
        if step.status not in ACTIVE and step.since is not None:
            return step.since
        return self.state.at if self.is_left else self.end(now)

    def works(self, name: str, now: float) -> float | None:
        """Seconds since this try of the step began to work, or its undo; None where nobody works on it."""
        since = self.step(name).works_since
        if since is None or self.state.step(name).status not in ACTIVE:
            return None
        return max(0.0, self._last(self.state.step(name), now) - since)

    def elapsed(self, now: float) -> float:
        """Seconds since the run began."""
        return 0.0 if self.state.began is None else max(0.0, self.end(now) - self.state.began)

    def detail(self, planned: PlannedStep) -> str:
        """What matters about the step now: its progress, else what was found; for its failure see its reason."""
        step, told = self.state.step(planned.id), self.step(planned.id)
        if step.status is StepStatus.PENDING:
            return ""
        if approved := _approval(planned, step):
            return approved
        if step.status in ACTIVE:
            label = told.waymarks[-1].label if told.waymarks else ""
            return step.progress or step.reason or label
        if step.status in BROKEN:
            return told.made or ("stopped on the way" if step.changed else "nothing was touched")
        if step.status in {StepStatus.NOTHING, StepStatus.UNDONE}:
            return step.reason or told.made
        found = told.findings[-1].verdict.reason if told.findings else ""
        return told.made or step.reason or found

    def left_changed(self) -> list[str]:
        """The steps that changed the world and have been neither undone nor returned, in the plan's order.

        Those of a plan B are none: they stand for an undo.
        """
        returned = {
            part.returns for part in self.plan.forward if part.returns and self.state.step(part.id).status in _SETTLED
        }
        kept = {StepStatus.UNDONE, StepStatus.PENDING, StepStatus.NOTHING}
        return [
            step.id
            for step in self.plan.forward
            if step.step.do not in {"verify", "hold"}
            and step.returns is None
            and step.id not in returned
            and self.state.step(step.id).changed
            and self.state.step(step.id).status not in kept
        ]

    def _add_finding(self, entry: Entry) -> None:
        data = dict(entry.data)
        gate = str(data.pop("gate", ""))
        known = {key: value for key, value in data.items() if key in Verdict.model_fields}
        step = self.step(entry.step)
        waypoint = step.waymarks[-1].label if step.waymarks else ""
        finding = Finding(entry.at, entry.step, entry.attempt, gate, waypoint, Verdict.model_validate(known))
        if gate == GUARD:
            self._add_guard(finding)
            return
        step.findings.append(finding)
        same = [old for old in step.recent if (old.gate, old.verdict.check) != (gate, finding.verdict.check)]
        step.recent = [*same, finding]

    def _add_waymark(self, entry: Entry) -> None:
        step = self.step(entry.step)
        mark = Waymark(str(entry.data.get("waypoint", "")), str(entry.data.get("direction", "")))
        if step.waymarks and step.waymarks[-1].direction != mark.direction:
            step.waymarks = []
        step.waymarks.append(mark)
        step.recent = []

    def _end_waymark(self, entry: Entry) -> None:
        marks = self.step(entry.step).waymarks
        if marks:
            marks[-1].result = str(entry.data.get("result", ""))

    def _add_guard(self, finding: Finding) -> None:
        self.guards.append(finding)
        name, verdict = finding.verdict.check, finding.verdict
        if verdict.passed:
            self.breaches.pop(name, None)
            return
        self.breaches[name] = finding
        if verdict.judgement is Judgement.FAIL:
            self.troubles.append(Trouble(f"guard {name} failed", verdict.reason))

    def _add_progress(self, entry: Entry) -> None:
        step, status = self.step(entry.step), self.state.step(entry.step).status
        numbers = _numbers(entry.data)
        if status in {StepStatus.CONVERGING, StepStatus.UNDOING}:
            step.made = str(entry.data.get("text", ""))
        if numbers and status is not StepStatus.UNDOING:
            step.numbers = numbers

    def _add_status(self, entry: Entry, before: RunState) -> None:
        status = str(entry.data["status"])
        step = self.step(entry.step)
        if status in {StepStatus.GATING, StepStatus.UNDOING}:
            step.recent = []
        if status == StepStatus.GATING:
            step.works_since, step.undo_since = entry.at, None
            self._let_pass(entry.step)
        if StepStatus.UNDOING == status != before.step(entry.step).status:
            step.works_since = step.undo_since = entry.at
            self.troubles = [one for one in self.troubles if one.step != entry.step or not one.is_stuck]
            step.waymarks = []  # those of the way out; they are no part of the way back
        if status in BROKEN:
            self.troubles.append(Trouble(f"{entry.step} {status}", str(entry.data.get("reason", "")), entry.step))

    def _let_pass(self, *steps: str) -> None:
        """The troubles of these steps are over; "" are those that no step is to blame for."""
        over = [trouble for trouble in self.troubles if trouble.step in steps]
        self.troubles = [trouble for trouble in self.troubles if trouble.step not in steps]
        self.earlier += [trouble for trouble in over if not trouble.is_stuck]

    def _add_run(self, entry: Entry, before: RunState) -> None:
        status, reason = RunStatus(str(entry.data["status"])), str(entry.data.get("reason", ""))
        if status is RunStatus.RUNNING:
            self.breaches = {}
        if status is RunStatus.RUNNING and entry.epoch > before.epoch:
            self._let_pass("")
        if status in {RunStatus.UNDOING, RunStatus.REFUSED} and not before.undoing:
            self._turn_back(before.abort == "undo", status is RunStatus.UNDOING and entry.epoch > before.epoch)
        failed = status is RunStatus.UNDOING and not self.asked_back
        refused = status is RunStatus.REFUSED and not self.aborted
        if not self.troubles and (failed or refused or status is RunStatus.STUCK):
            self.troubles.append(Trouble(f"run {'failed' if failed else status}", reason))

    def _turn_back(self, aborted: bool, came: bool) -> None:
        """``came``: an owner of its own, that has come only to undo, was sent by a person."""
        self.aborted, self.asked_back = aborted, aborted or came
        if self.asked_back:
            self._let_pass("", *self._steps)


def is_parked(state: RunState) -> bool:
    """Whether it is held because of a failure or an abort: nobody works on it until a person resumes or undoes it."""
    return state.status is RunStatus.HELD and state.answered


def abort_text(state: RunState) -> str:
    """What happens because a person has aborted the run, until it does; empty where nobody has."""
    if not state.abort:
        return ""
    stops = "finishes its waypoint" if state.aborts == 1 else "stops at its next safe point"
    return f"by {state.aborted_by}: {stops}, then {'holds' if state.abort == 'hold' else 'goes back'}"


def verb(plan: Plan, planned: PlannedStep) -> str:
    """What the step does: its verb; for a part of a return, the verb of the step that it takes back."""
    return plan.runbook.step(planned.returns).do if planned.returns is not None else planned.step.do


def groups(steps: Iterable[PlannedStep]) -> Iterator[tuple[str, list[PlannedStep]]]:
    """The planned steps in order; the parts of a return come together under its id."""
    seen: dict[str, list[PlannedStep]] = {}
    for step in steps:
        seen.setdefault(step.step.id, []).append(step)
    yield from seen.items()


def group_status(states: Iterable[StepState]) -> StepStatus:
    """The status of a return, from those of its parts."""
    statuses = [state.status for state in states]
    for telling in (StepStatus.STUCK, StepStatus.REFUSED, StepStatus.FAILED, *sorted(ACTIVE)):
        if telling in statuses:
            return telling
    if len(set(statuses)) == 1:
        return statuses[0]
    if StepStatus.UNDONE in statuses:
        return StepStatus.UNDOING
    return StepStatus.CONVERGING if StepStatus.PENDING in statuses else StepStatus.DONE


def parameters_text(plan: Plan) -> str:
    """The parameters as a person would type them: ``site=ord to=iad lead_time=10m``."""
    return " ".join(f"{name}={parameter_text(plan, name)}" for name in plan.parameters)


def parameter_text(plan: Plan, name: str) -> str:
    """The parameter's value as a person would type it."""
    parameter, value = plan.runbook.parameters.get(name), plan.parameters[name]
    if parameter is None or isinstance(value, str):
        return str(value)
    if parameter.type == "duration":
        return format_duration(value)
    return format_fraction(value) if parameter.type == "percent" else f"{value:g}"


def _approval(planned: PlannedStep, step: StepState) -> str:
    """Who has approved it, for a step that has nothing else to tell: a hold or a person's work on the way out."""
    back = step.status in {StepStatus.UNDOING, StepStatus.UNDONE}
    if step.approved_by is None or step.status in BROKEN or planned.step.do not in {"hold", "manual"}:
        return ""
    if planned.step.do == "manual" and back:
        return ""
    wanted = planned.step.approval.people if planned.step.approval is not None else 1
    count = "" if back or len(step.approvers) >= wanted else f" ({len(step.approvers)} of {wanted})"
    return f"approved by {step.approved_by}{count}" + (f": {step.approved_note}" if step.approved_note else "")


def _numbers(data: Mapping[str, JsonValue]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in data.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
