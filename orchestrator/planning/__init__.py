"""A runbook and the observed world → a plan, or a refusal with every reason. Reads only.

::

    runbook ─ ordered ─▶ steps ─────────────┐
                                            ▼
    the world ─ observe ─▶ snapshot ─▶ forecast ⇄ walk ─▶ steps, as foreseen ─ rules, times ─▶ Plan
                reads, at most 8 at a time           │                               └───────▶ PlanRefusedError
                                                     └ each step's effect changes the forecast only

* ``order``: the engine's units of work, and an order in which they can be done.
* ``snapshot``: everything of the world that the runbook rests on, read once.
* ``forecast``: the same ports over the snapshot, which foresee instead of acting.
* ``walk``: takes each step's own action over the forecast, and writes down what it would do.
* ``overlap``: which steps may move one pool at the same time, which cannot be foreseen.
* ``standing``, ``rules``: how a pool stands at each waypoint, and whether that may be.
* ``set_aside``: what an override lets through, and what is watched instead.
* ``history``: how long the same work took before.
* ``times``: how long it takes, and how long the way back is; ``window``: whether that fits.
* ``permissions``: what AWS and Kubernetes must allow for all this, by ``iam`` and ``rbac``, which know the drivers.
* ``world``, ``saved``: what a plan rests on, to be looked at again; and the file that it waits in.
"""

from orchestrator.planning.history import History
from orchestrator.planning.order import in_order, ordered, steps_of
from orchestrator.planning.planner import Recheck, make_plan, recheck
from orchestrator.planning.saved import read_saved, save
from orchestrator.planning.set_aside import watched_as, watched_guards
from orchestrator.planning.times import back_from, critical_path, undo_takes
from orchestrator.planning.window import begin_by, too_late
from orchestrator.planning.world import moved

__all__ = [
    "History",
    "Recheck",
    "back_from",
    "begin_by",
    "critical_path",
    "in_order",
    "make_plan",
    "moved",
    "ordered",
    "read_saved",
    "recheck",
    "save",
    "steps_of",
    "too_late",
    "undo_takes",
    "watched_as",
    "watched_guards",
]
