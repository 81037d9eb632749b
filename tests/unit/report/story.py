"""Runs to report on, told entry by entry as the engine journals them, on a clock that moves only when told to."""

from __future__ import annotations

from typing import Self

from pydantic import JsonValue

from orchestrator.model.inventory import Inventory
from orchestrator.model.journal import Entry, EntryKind
from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.runbook import Runbook
from orchestrator.ports import RunRow

BEGIN = 1_781_100_000.0
"""2026-06-10 14:00:00 UTC."""
RUN = "0610-k3f"

RUNBOOK = Runbook.model_validate(
    {
        "runbook": "provider-maintenance",
        "summary": "Take a site out of service before its provider reboots it, hold, and bring it back.",
        "parameters": {"site": {"type": "site"}, "to": {"type": "site"}, "deadline": {"type": "duration"}},
        "checks": {
            "escape-path": {
                "probe": "smtp",
                "at": {"pool": "smtp", "site": "iad"},
                "with": {"starttls": True, "message_size": "64KiB"},
                "detect": {"failure_rate": "2%"},
            },
            "mail-flows": {
                "probe": "smtp",
                "at": {"pool": "smtp"},
                "over": "30s",
                "expect": {"success_rate": ">= 99.9%", "p99": "<= 500ms"},
            },
            "site-silent": {
                "probe": "sessions",
                "at": {"pool": "smtp", "site": "ord"},
                "for": "10s",
                "expect": {"sessions": "== 0"},
            },
        },
        "guards": [
            {"check": "mail-flows"},
            {"headroom": {"pool": "smtp", "at_least": 1.3}},
            {"serving": {"pool": "smtp", "at_least": 1}},
        ],
        "steps": [
            {"id": "escape", "do": "verify", "checks": ["escape-path"]},
            {
                "id": "shift",
                "do": "traffic.shift",
                "with": {"pool": "smtp", "from": "ord", "to": "iad", "by": ["5%", "25%", "100%"], "pause": "10s"},
                "after": ["mail-flows"],
            },
            {
                "id": "drain",
                "do": "smtp.drain",
                "with": {"pool": "smtp", "site": "ord", "deadline": "10m"},
                "after": ["site-silent"],
                "timeout": "15m",
            },
            {"id": "window", "do": "hold", "with": {"until": "approval"}},
            {"id": "back", "do": "return", "steps": ["drain", "shift"], "after": ["mail-flows"]},
        ],
    }
)

INVENTORY = Inventory.model_validate(
    {
        "sites": {"ord": {"provider": "rackspace"}, "iad": {"provider": "rackspace"}},
        "pools": {
            "smtp": {
                "protocol": "smtp",
                "address": "192.0.2.1:25",
                "switch": {"driver": "haproxy", "socket": "/run/haproxy/admin.sock", "backend": "smtp"},
                "test_mail": {"sender": "probe@example.net", "recipient": "probe@example.org"},
                "sites": {
                    "ord": {"members": ["mx1", "mx2"], "capacity": "400/s", "address": "192.0.2.11:25"},
                    "iad": {"members": ["mx3", "mx4"], "capacity": "400/s", "address": "192.0.2.12:25"},
                },
            }
        },
    }
)


def plan() -> Plan:
    """The runbook above as planning binds it: the return in two parts."""
    escape, shift, drain, window, back = RUNBOOK.steps
    return Plan(
        runbook=RUNBOOK,
        inventory=INVENTORY,
        parameters={"site": "ord", "to": "iad", "deadline": 600.0},
        steps=(
            PlannedStep(id="escape", step=escape, needs=(), diff=("check escape-path",)),
            PlannedStep(
                id="shift",
                step=shift,
                needs=("escape",),
                diff=("ord: 50% → 0% of new sessions", "iad: 50% → 100% of new sessions"),
                observed={"weights": {"ord": 100, "iad": 100}},
            ),
            PlannedStep(
                id="drain",
                step=drain,
                needs=("shift",),
                diff=("mx1, mx2: gate open → closed", "sessions at ord: 50 → 0"),
                observed={"closed": False},
            ),
            PlannedStep(id="window", step=window, needs=("drain",), diff=("wait for an approval",)),
            PlannedStep(
                id="back.drain",
                step=back,
                needs=("window",),
                returns="drain",
                diff=("undo drain: back to what is recorded before it",),
            ),
            PlannedStep(
                id="back.shift",
                step=back,
                needs=("back.drain",),
                returns="shift",
                diff=("undo shift: back to what is recorded before it",),
            ),
        ),
    )


def row(status: str) -> RunRow:
    """The run in the journal's list."""
    return RunRow(
        run=RUN,
        created=BEGIN,
        runbook="provider-maintenance",
        status=status,
        plan=plan().model_dump_json(by_alias=True),
    )


class HandClock:
    """A clock that stands still until somebody moves it."""

    def __init__(self, now: float = BEGIN) -> None:
        self._now = now

    def now(self) -> float:
        """Unix time."""
        return self._now

    def monotonic(self) -> float:
        """The same, from zero."""
        return self._now - BEGIN

    async def sleep(self, seconds: float) -> None:
        """Move on."""
        self._now += seconds

    def set(self, now: float) -> None:
        """Move to a moment."""
        self._now = now


class Story:
    """Writes the entries of one run in the engine's order; ``wait`` lets time pass between them."""

    def __init__(self) -> None:
        self.at = BEGIN
        self.epoch = 1
        self.entries: list[Entry] = []

    def wait(self, seconds: float) -> Self:
        """Let time pass."""
        self.at += seconds
        return self

    def taken_over(self) -> Self:
        """From here on another owner writes."""
        self.epoch += 1
        return self

    def run(self, status: str, reason: str = "", *, answered: bool = False) -> Self:
        """The run's new status; ``answered``: it is held because of a failure or an abort."""
        more: dict[str, JsonValue] = {"answered": True} if answered else {}
        return self._write("run", "", status=status, reason=reason, **more)

    def step(self, name: str, status: str, reason: str = "") -> Self:
        """The step's new status."""
        return self._write("step", name, status=status, reason=reason)

    def towards(self, name: str, waypoint: str, direction: str = "out") -> Self:
        """An intent, and the status that it leads to."""
        self._write("intent", name, start={}, to={}, waypoint=waypoint, direction=direction)
        return self if direction == "undo" else self.step(name, "converging", waypoint)

    def outcome(self, name: str, result: str = "reached", reason: str = "") -> Self:
        """The outcome of the last intent."""
        return self._write("outcome", name, result=result, reason=reason)

    def verdict(self, name: str, gate: str, check: str, judgement: str, reason: str, samples: int = 0) -> Self:
        """What a check found, after it has said how far it is."""
        if name:
            self.progress(name, f"{check}: {samples} probes")
        return self._write(
            "verdict", name, gate=gate, check=check, judgement=judgement, reason=reason, samples=samples, metrics={}
        )

    def progress(self, name: str, text: str, **numbers: float) -> Self:
        """How far a step is."""
        return self._write("progress", name, text=text, **numbers)

    def approve(self, name: str, by: str, note: str = "") -> Self:
        """A person's approval."""
        return self._write("approval", name, by=by, note=note, ahead=False)

    def abort(self, by: str, then: str = "undo") -> Self:
        """A person's wish to stop it."""
        return self._write("abort", "", by=by, note="", then=then)

    def waypoint(self, name: str, label: str, progress: str, direction: str = "out") -> Self:
        """A waypoint that is reached; its gates are asked next."""
        self.towards(name, label, direction).wait(1).progress(name, progress)
        return self.outcome(name).step(name, "verifying", label).wait(30)

    def _write(self, kind: EntryKind, step: str, **data: JsonValue) -> Self:
        seq = len(self.entries) + 1
        epoch = 0 if kind in {"approval", "abort"} else self.epoch
        attempt = 1 if step else 0
        self.entries.append(
            Entry(seq=seq, run=RUN, at=self.at, epoch=epoch, kind=kind, step=step, attempt=attempt, data=data)
        )
        return self


FLOWS = "99.98% of 3012 delivered, p99 112ms"
LOSSY = "success_rate 97.1%, must be >= 99.9% (87 of 3012: connect: timed out)"
DRAINED = "0 sessions left: 4 closed idle, 46 told 421, 0 cut"


def escaped() -> Story:
    """The escape path is good; nothing has been touched."""
    found = "0 of 426 failed, 2% would have shown"
    return (
        Story()
        .run("running")
        .step("escape", "gating")
        .wait(4.2)
        .verdict("escape", "checks", "escape-path", "pass", found, 426)
        .step("escape", "done")
    )


def shifting() -> Story:
    """At the second waypoint, before its gate."""
    story = escaped().step("shift", "gating").waypoint("shift", "5%", "weight ord 95, iad 105")
    story.verdict("shift", "after", "mail-flows", "pass", FLOWS, 3012)
    return story.waypoint("shift", "25%", "weight ord 75, iad 125")


def shifted() -> Story:
    """All new traffic goes to iad."""
    story = shifting().verdict("shift", "after", "mail-flows", "pass", FLOWS, 3012)
    story.waypoint("shift", "100%", "weight ord 0, iad 200")
    return story.verdict("shift", "after", "mail-flows", "pass", FLOWS, 3012).step("shift", "done")


def draining(seconds: int = 7) -> Story:
    """The drain has begun, and has said so each second."""
    story = shifted().step("drain", "gating").towards("drain", "")
    for second in range(seconds):
        left, told = 50 - 7 * second, 7 * second
        story.wait(1).progress(
            "drain",
            f"{left} sessions left: 4 with an open transaction, 2 idle",
            sessions=left, open=4, idle=2, told=told, closed=0, cut=0, queue=12, seconds=second + 1,
        )  # fmt: skip
    return story


def drained() -> Story:
    """The site is silent."""
    story = draining().wait(1)
    story.progress("drain", DRAINED, sessions=0, open=0, idle=0, told=46, closed=4, cut=0, queue=0, seconds=8)
    story.outcome("drain").step("drain", "verifying").wait(10)
    return story.verdict("drain", "after", "site-silent", "pass", "0 sessions for 10s", 20).step("drain", "done")


def held() -> Story:
    """Out of service; the run waits for a person."""
    story = drained().step("window", "gating").towards("window", "")
    return story.run("held", "window waits for an approval").wait(600)


def done() -> Story:
    """There and back."""
    story = held().approve("window", "alice", "provider says rebooted").progress("window", "approved by alice")
    story.outcome("window").step("window", "verifying").step("window", "done").run("running")
    story.step("back.drain", "gating").verdict("back.drain", "health", "smtp@ord", "pass", "all members are up", 2)
    story.waypoint("back.drain", "", "in service: mx1 ready, mx2 ready", "back")
    story.verdict("back.drain", "after", "mail-flows", "pass", FLOWS, 3012).step("back.drain", "done")
    story.step("back.shift", "gating").waypoint("back.shift", "100%", "weight ord 100, iad 100", "back")
    story.verdict("back.shift", "after", "mail-flows", "pass", FLOWS, 3012).step("back.shift", "done")
    return story.run("done")


def refused() -> Story:
    """The escape path loses mail."""
    found = "6 of 168 failed: 2% or more of connections are lost (connect: timed out)"
    story = Story().run("running").step("escape", "gating").wait(2.5)
    story.verdict("escape", "checks", "escape-path", "fail", found, 168)
    story.step("escape", "refused", f"escape-path failed: {found}")
    return story.run("refused", f"escape: escape-path failed: {found}")


def broken() -> Story:
    """The second waypoint does not hold."""
    story = shifting().verdict("shift", "after", "mail-flows", "fail", LOSSY, 3012)
    return story.step("shift", "failed", f"mail-flows failed: {LOSSY}")


def taking_back(story: Story) -> Story:
    """The shift is on its way back."""
    return story.step("shift", "undoing").towards("shift", "as before", "undo").wait(1)


def undone() -> Story:
    """The second waypoint does not hold, and all goes back."""
    why = f"shift: mail-flows failed: {LOSSY}"
    story = taking_back(broken().run("undoing", why)).progress("shift", "weight ord 100, iad 100")
    return story.outcome("shift").step("shift", "undone", "is as it was before").run("undone", why)


def breached() -> Story:
    """A guard breaks while the site is drained, and all goes back."""
    why = "guard serving: smtp is served by no healthy site"
    story = draining(3).verdict("", "guard", "serving", "fail", "smtp is served by no healthy site")
    story.outcome("drain", "stopped", why).run("undoing", why)
    story.step("drain", "undoing").step("drain", "undone", "is as it was before")
    return taking_back(story).outcome("shift").step("shift", "undone", "is as it was before").run("undone", why)


def stuck() -> Story:
    """The way back fails too."""
    why = "cannot set the weights of smtp: no answer from /run/haproxy/admin.sock in 5s — start HAProxy"
    because = f"shift: mail-flows failed: {LOSSY}"
    story = taking_back(broken().run("undoing", because)).wait(4).outcome("shift", "failed", why)
    story.step("shift", "undoing", "try 2 of 2").towards("shift", "as before", "undo").wait(5)
    story.outcome("shift", "failed", why).step("shift", "stuck", why)
    whole = f"shift could not be undone: {why}; the run was to be undone because: {because}"
    return story.run("stuck", whole)
