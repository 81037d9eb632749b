"""Plans to read, as planning fills them in."""

from __future__ import annotations

from orchestrator.model.plan import Fact, Milestone, Plan, PlannedStep, PoolForecast, Refusal
from orchestrator.model.runbook import Runbook

from . import story


def stand(ord_share: float, moved: float, headroom: float | None, *serving: str) -> PoolForecast:
    """How the pool smtp stands, with what is not at ord at iad."""
    shares = {"ord": ord_share, "iad": 1 - ord_share}
    return PoolForecast(pool="smtp", shares=shares, moved=moved, serving=serving or ("ord", "iad"), headroom=headroom)


def milestones(*stands: tuple[str, PoolForecast]) -> tuple[Milestone, ...]:
    """Waypoints of one pool."""
    return tuple(Milestone(label=label, pools=(one,)) for label, one in stands)


def maintenance() -> Plan:
    """The runbook of the stories, as planning foresees it."""
    escape, shift, drain, window, back_drain, back_shift = story.plan().steps
    out = ("ord: 50% → 0% of new sessions", "iad: 50% → 100% of new sessions")
    back = ("ord: 0% → 50% of new sessions", "iad: 100% → 50% of new sessions")
    steps = (
        escape.model_copy(update={"expected": 2.7, "at_most": 60.0}),
        shift.model_copy(
            update={
                "diff": out,
                "undo": back,
                "expected": 120.0,
                "at_most": 360.0,
                "milestones": milestones(
                    ("5%", stand(0.475, 0.025, 2.666)),
                    ("25%", stand(0.375, 0.1, 2.666)),
                    ("100%", stand(0.0, 0.375, 1.3333, "iad")),
                ),
            }
        ),
        drain.model_copy(
            update={
                "diff": ("mx1: ready → drain", "mx2: ready → drain", "mx1 gate: open → closed", "sessions: 50 → 0"),
                "undo": ("mx1: drain → ready", "mx2: drain → ready", "mx1 gate: closed → open"),
                "sessions": 50,
                "expected": 25.0,
                "at_most": 1230.0,
                "milestones": milestones(("", stand(0.0, 0.0, 1.3333, "iad"))),
            }
        ),
        window,
        back_drain.model_copy(
            update={
                "diff": ("mx1: drain → ready", "mx2: drain → ready", "mx1 gate: closed → open"),
                "undo": ("mx1: ready → drain", "mx2: ready → drain", "mx1 gate: open → closed"),
                "expected": 32.0,
                "at_most": 60.0,
            }
        ),
        back_shift.model_copy(
            update={
                "diff": back,
                "undo": out,
                "expected": 120.0,
                "at_most": 360.0,
                "milestones": milestones(
                    ("95%", stand(0.025, 0.025, 1.3333)),
                    ("75%", stand(0.125, 0.1, 1.52)),
                    ("0%", stand(0.5, 0.375, None)),
                ),
            }
        ),
    )
    world = (Fact(subject="pool smtp: mx1", value="weight 100"), Fact(subject="host mx1: gate", value="open"))
    return story.plan().model_copy(update={"steps": steps, "world": world})


RUNBOOK = Runbook.model_validate(
    {
        "runbook": "evacuate-and-reboot",
        "summary": "Leave ord <now>, reboot it | and `hope`.",
        "window": "4h",
        "parameters": {
            "site": {"type": "site", "help": "the site that is left"},
            "size": {"type": "choice", "choices": ["small", "large"], "help": "how large | it is"},
            "lead": {"type": "duration", "default": "10m"},
        },
        "checks": {
            "leave.mail-flows": {
                "probe": "smtp",
                "at": {"pool": "smtp"},
                "over": "10s",
                "expect": {"success_rate": ">= 99.9%"},
            },
        },
        "guards": [
            {"check": "leave.mail-flows"},
            {"headroom": {"pool": "smtp", "at_least": 1.3}},
            {"blast_radius": {"pool": "smtp", "at_most": "40%"}},
        ],
        "steps": [
            {
                "id": "leave.shift",
                "do": "traffic.shift",
                "with": {"pool": "smtp", "from": "ord", "to": "iad"},
                "after": ["leave.mail-flows"],
                "timeout": "5m",
                "retries": {"times": 2, "pause": "5s"},
                "on_failure": "hold",
            },
            {
                "id": "leave.drain",
                "do": "smtp.drain",
                "with": {"pool": "smtp", "site": "ord"},
                "needs": [],
            },
            {
                "id": "reboot",
                "do": "manual",
                "with": {"task": "Reboot ord-1 in the provider's panel; wait until it answers to ping again."},
                "needs": ["leave.shift", "leave.drain"],
                "approval": {"people": 2, "ask": "Is the provider on the phone?"},
                "plan_b": [
                    {"id": "call", "do": "manual", "with": {"task": "Call the provider.", "undo": "Call again."}},
                    {"id": "stay", "do": "hold", "with": {"until": "approval"}},
                ],
            },
            {"id": "rest", "do": "hold", "with": {"until": "1h"}},
        ],
        "includes": {"leave": {"runbook": "leave-site", "summary": "Empty a site.", "parameters": {"site": "ord"}}},
        "skipped": {"warm-up": "size is small, not large"},
    }
)


def everything() -> Plan:
    """A plan that has one of all that a plan can have."""
    shift, drain, reboot, rest = RUNBOOK.steps
    call, stay = reboot.plan_b
    steps = (
        PlannedStep(
            id="leave.shift",
            step=shift,
            needs=(),
            diff=(*(f"mx{number}: weight 100 → weight 0" for number in range(1, 7)), "share: ord 50% → 0%"),
            undo=(*(f"mx{number}: weight 0 → weight 100" for number in range(1, 7)), "share: ord 0% → 50%"),
            observed={"ord": 100},
            milestones=milestones(("100%", stand(0.0, 0.5, 0.9399, "iad"))),
            expected=12.0,
            at_most=600.0,
        ),
        PlannedStep(id="leave.drain", step=drain, needs=(), observed={"closed": True}, expected=0.0),
        PlannedStep(
            id="reboot",
            step=reboot,
            needs=("leave.shift", "leave.drain"),
            reversible=False,
            diff=("a person: Reboot ord-1",),
            undo=("plan B: call, stay",),
        ),
        PlannedStep(id="call", step=call, needs=(), instead_of="reboot", diff=("a person: Call the provider.",)),
        PlannedStep(id="stay", step=stay, needs=("call",), instead_of="reboot"),
        PlannedStep(id="rest", step=rest, needs=("reboot",), expected=3600.0, at_most=3600.0),
    )
    return Plan(
        runbook=RUNBOOK,
        inventory=story.INVENTORY,
        parameters={"site": "ord", "size": "small", "lead": 600.0},
        steps=steps,
        set_aside=(
            Refusal(
                rule="headroom",
                step="leave.shift",
                pool="smtp",
                found=0.9399,
                reason="at 100% headroom of smtp is 0.93, 1.3 wanted: 150 sessions serve, demand 160 sessions",
            ),
            Refusal(rule="in-use", step="", reason="run 0610-k3f (scene, held) works on pool smtp"),
        ),
        overrides={"headroom": "Sunday night, the demand falls", "in-use": "run 0610-k3f is ours"},
        warnings=("r.yaml:4:2: no check after the shift *ever* | pipes [no-check-after-shift]",),
    )


def usual() -> Plan:
    """The same as ``maintenance``, after six runs of it, in a window that ends at four."""
    past: dict[str, tuple[float, float]] = {"escape": (3.1, 4.2), "shift": (131.0, 140.0), "drain": (18.4, 31.0)}
    steps = tuple(
        one.model_copy(update={"expected": past[one.id][0], "overdue": past[one.id][1], "past": 6})
        if one.id in past
        else one
        for one in maintenance().steps
    )
    return maintenance().model_copy(update={"steps": steps, "window_ends": story.BEGIN + 7200})
