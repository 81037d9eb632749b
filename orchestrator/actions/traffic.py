"""``traffic.shift``: move a site's share of new traffic to another site, in waypoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from orchestrator.actions.action import REACHED, ByHand, Effect, Outcome, Watch, Waypoint
from orchestrator.actions.settling import settle
from orchestrator.model.inventory import Pool
from orchestrator.model.runbook import ShiftArguments
from orchestrator.model.switch import ALL_OR_NOTHING
from orchestrator.model.traffic import Intake
from orchestrator.model.units import format_fraction
from orchestrator.model.value import Value
from orchestrator.ports import TrafficSwitch

COARSE = 0.01
"""How far a waypoint's share may be from what the runbook asks, as whole weights round it."""


class Shares(Value):
    """The intake of the two sites' members, and what the rest of the pool takes."""

    members: dict[str, Intake]
    elsewhere: int = 0
    """The weights of all that takes traffic there besides: they are read and never touched."""

    def weight(self, members: Sequence[str]) -> int:
        """The weight that counts of ``members`` together."""
        return sum(self.members[name].share_weight for name in members)


class TrafficShift:
    """From one site to another along ``by``, each waypoint gated; every other site keeps its weights.

    The weights of a switch with dials are no shares: a dial says how much a member takes of what would come to it
    anyway. There the giver's dials go down along ``by``, and the taker's go up until they are open.

    It sets weights only. Whether a member is in service is an operator's business, or another step's: that stays
    as it is found at each write, and shares count the members that are in service then. A member that has left
    service since the start still gets its weight, which counts for nothing until somebody puts it back: so the
    way back ends at the recorded weights, whoever took out or brought back what meanwhile.
    """

    state: ClassVar[type[Value]] = Shares
    reversible: ClassVar[bool] = True
    asks: ClassVar[bool] = False

    def __init__(self, arguments: ShiftArguments, pool: Pool, switch: TrafficSwitch) -> None:
        self._arguments = arguments
        self._switch = switch
        self._kind = pool.switch
        self._givers = pool.members(arguments.from_)
        self._takers = pool.members(arguments.to)

    async def preflight(self) -> Sequence[str]:
        """Refuse what weights cannot express, and a target that takes no traffic."""
        site, to = self._arguments.from_, self._arguments.to
        now = await self.observe()
        if not any(now.members[name].admin == "ready" for name in self._takers):
            return [f"cannot shift to {to}: every member of {to} is out of service in the switch — set one to ready"]
        if not now.weight(self._givers) and not now.weight(self._takers):
            why = f"cannot shift from {site} to {to}: neither takes any of the pool's traffic in the switch"
            return [f"{why} — look what does, and whether the inventory names the members as the switch does"]
        if not now.weight(self._givers) or self._kind.dials:
            return []
        before, problems = self._site_shares(now), []
        waypoints = list(zip(self._arguments.by, self.route(now, self.target(now)), strict=True))
        if self._switch.max_weight == ALL_OR_NOTHING and now.elsewhere:
            waypoints.pop()  # all that are in the switch then share what the site had, whatever is asked
        for share, waypoint in waypoints:
            moved, got = share * before[site], self._site_shares(waypoint.state)
            for name, wanted in ((site, before[site] - moved), (to, before[to] + moved)):
                if abs(got[name] - wanted) > COARSE:
                    problems.append(self._too_coarse(name, wanted, got[name], waypoint.state))
                    break
        return problems

    def _too_coarse(self, site: str, wanted: float, got: float, state: Shares) -> str:
        if self._switch.max_weight == ALL_OR_NOTHING:
            return (
                f"cannot leave {site} at {format_fraction(round(wanted, 4))} of the new traffic: a member of a "
                f"{self._kind.driver} switch takes traffic or does not, and the nearest that gives is "
                f"{format_fraction(round(got, 4))} — write by: [100%]"
            )
        largest = max(one.weight for one in state.members.values())
        clipped = largest == self._switch.max_weight and state.elsewhere
        return (
            f"cannot leave {site} at {format_fraction(round(wanted, 4))} of the new traffic: the nearest that weights "
            f"of 0 to {self._switch.max_weight} give is {format_fraction(round(got, 4))} — give all "
            f"{'that takes traffic at the switch' if state.elsewhere else 'members of the pool'} weights some "
            f"{'a tenth as' if clipped else '50 times as'} large"
        )

    async def observe(self) -> Shares:
        """The weights and admin states as the switch reports them; also of those that are no members of the pool."""
        members, strangers = await self._switch.read(), await self._switch.elsewhere()
        ours = (*self._givers, *self._takers)
        others = sum(one.intake.share_weight for name, one in members.items() if name not in ours)
        return Shares(members={name: members[name].intake for name in ours}, elsewhere=others + strangers)

    def target(self, observed: Shares) -> Shares:
        """All weight of the one site on the other; as it is, where the site takes nothing any more."""
        if self._kind.dials:
            return self._dialled(observed)
        total = observed.weight(self._givers) + observed.weight(self._takers)
        if not observed.weight(self._givers):
            return observed
        weights = {**dict.fromkeys(self._givers, 0.0), **self._spread(observed, float(total))}
        return self._with_weights(observed, self._fitted(observed, weights))

    def reached(self, now: Shares, wanted: Shares) -> bool:
        """Whether both sites' members have the weights that are wanted, in service or not."""
        return not self._differing(now, wanted)

    def route(self, start: Shares, end: Shares) -> Sequence[Waypoint[Shares]]:
        """The runbook's waypoints, between any two states: the way back is paced like the way out."""
        *between, _ = self._arguments.by
        pause, seen = self._arguments.pause, _as_seen(end, start)
        points = [
            Waypoint(self._between(start, seen, share), label=format_fraction(share), pause=pause) for share in between
        ]
        return [*points, Waypoint(end, label="100%", pause=pause)]

    async def converge(self, to: Shares, watch: Watch) -> Outcome:
        """Set the weights that differ, and say the new shares; declined where it would take the last traffic away."""
        now = await self.observe()
        then = _as_seen(to, now)
        if now.weight(tuple(now.members)) and not then.weight(tuple(then.members)):
            site, other = self._arguments.from_, self._arguments.to
            reason = f"no member of {site} or {other} that is in service now would have weight — set one to ready"
            return Outcome(reached=False, reason=f"cannot shift traffic: {reason}")
        watch.fence()
        # Also without a difference: whoever was killed here may not have made the last one outlive a reload.
        await self._switch.apply({name: then.members[name] for name in self._differing(now, then)})
        settled = await settle(self._switch, watch)
        if not settled.reached:
            return settled
        watch.progress(self._summary(then), **self._site_shares(then))
        return REACHED

    def receivers(self, start: Shares, end: Shares) -> Sequence[tuple[str, str]]:
        """The site whose share grows; weights alone say nothing, as they may have been scaled up on the way."""
        before, after = self._site_shares(start), self._site_shares(_as_seen(end, start))
        return [(self._arguments.pool, site) for site in before if after[site] > before[site]]

    def effect(self, state: Shares) -> Effect:
        """The members' weights."""
        return Effect(self._arguments.pool, weights={name: one.weight for name, one in state.members.items()})

    def by_hand(self, to: Shares) -> ByHand:
        """The weights of both sites' members, whoever has changed some of them already."""
        # Those that are to take traffic first, and of these the site that had it before.
        weights = {name: one.weight for name, one in sorted(to.members.items(), key=lambda it: not it[1].weight)}
        listed = ", ".join(f"{name} {weight}" for name, weight in weights.items())
        return ByHand(f"weights in the switch: {listed}", self._switch.by_hand(weights, {}))

    def describe(self, observed: Shares, target: Shares) -> Sequence[str]:
        """A line for each member that changes, and the sites' shares."""
        then = _as_seen(target, observed)
        lines = [f"{name}: {observed.members[name]} → {then.members[name]}" for name in self._differing(observed, then)]
        if lines and not self._kind.dials:
            before, after = self._site_shares(observed), self._site_shares(then)
            moved = ", ".join(f"{s} {format_fraction(before[s])} → {format_fraction(after[s])}" for s in before)
            lines.append(f"share of new traffic: {moved}")
        return lines

    @staticmethod
    def _differing(now: Shares, wanted: Shares) -> list[str]:
        return [name for name, intake in wanted.members.items() if now.members[name].weight != intake.weight]

    def _spread(self, observed: Shares, total: float) -> dict[str, float]:
        """``total`` over the takers that are in service, in proportion to their weights; evenly where all are 0."""
        ready = [name for name in self._takers if observed.members[name].admin == "ready"]
        weight = sum(observed.members[name].weight for name in ready)
        if not weight:
            return {name: total / len(ready) for name in ready}
        return {name: total * observed.members[name].weight / weight for name in ready}

    def _between(self, start: Shares, end: Shares, share: float) -> Shares:
        """The state in which ``share`` of the way from ``start`` to ``end``, seen from there, is done."""
        if self._kind.dials:
            return self._dialled_between(start, end, share)
        first, last = (sum(one.share_weight for one in state.members.values()) or 1 for state in (start, end))
        total = first if start.elsewhere else max(first, last)
        weights = {}
        for name, intake in end.members.items():
            before, after = start.members[name].share_weight / first, intake.share_weight / last
            weights[name] = (before + (after - before) * share) * total
        return self._with_weights(end, self._fitted(start, weights))

    def _dialled(self, observed: Shares) -> Shares:
        """The giver's dials closed, and those of the taker that are in service wide open.

        A dial of 1% would turn away nearly all that the giver does not take any more.
        """
        closed = dict.fromkeys(self._givers, 0)
        opened = dict.fromkeys(self._takers, self._switch.max_weight)
        return self._with_weights(observed, {**closed, **opened} if observed.weight(self._givers) else {})

    def _dialled_between(self, start: Shares, end: Shares, share: float) -> Shares:
        """Each dial by itself so far along: what the one lets through no more, the others do not get by a dial."""
        way = {name: (start.members[name].weight, to.weight) for name, to in end.members.items()}
        return self._with_weights(end, {name: round(a + (b - a) * share) for name, (a, b) in way.items()})

    def _fitted(self, observed: Shares, weights: Mapping[str, float]) -> dict[str, int]:
        """Whole weights in the same proportions.

        Where other members take traffic too, the sum stays as it is, or their share would change. Else only
        the proportions count, and small weights are scaled up until rounding does not hurt.
        """
        largest, limit = max(weights.values(), default=0.0), self._switch.max_weight
        if observed.elsewhere:
            return {name: min(limit, weight) for name, weight in _whole(weights).items()}
        scale = 1.0
        if largest:
            fine = all(abs(weight - round(weight)) <= COARSE * largest for weight in weights.values())
            if largest > limit or not fine:
                scale = limit / largest
        return {name: min(limit, round(weight * scale)) for name, weight in weights.items()}

    @staticmethod
    def _with_weights(state: Shares, weights: Mapping[str, int]) -> Shares:
        members = {
            name: intake.model_copy(update={"weight": weights[name]})
            if name in weights and intake.admin == "ready"
            else intake
            for name, intake in state.members.items()
        }
        return state.model_copy(update={"members": members})

    def _site_shares(self, state: Shares) -> dict[str, float]:
        everything = state.weight((*self._givers, *self._takers)) + state.elsewhere
        return {
            site: state.weight(members) / everything if everything else 0.0
            for site, members in ((self._arguments.from_, self._givers), (self._arguments.to, self._takers))
        }

    def _summary(self, state: Shares) -> str:
        if self._kind.dials:
            return "dials: " + ", ".join(f"{name} {one.share_weight}%" for name, one in state.members.items())
        return "new traffic: " + ", ".join(
            f"{site} {format_fraction(round(share, 3))}" for site, share in self._site_shares(state).items()
        )


def _whole(weights: Mapping[str, float]) -> dict[str, int]:
    """Whole weights of the same sum: the largest remainders are rounded up (Hamilton's method)."""
    whole = {name: math.floor(weight) for name, weight in weights.items()}
    missing = round(sum(weights.values())) - sum(whole.values())
    for name in sorted(weights, key=lambda name: whole[name] - weights[name])[:missing]:
        whole[name] += 1
    return whole


def _as_seen(state: Shares, now: Shares) -> Shares:
    """The weights of ``state`` in the world of ``now``: who is in service, and what the rest of the pool takes."""
    members = {
        name: intake.model_copy(update={"admin": now.members[name].admin}) for name, intake in state.members.items()
    }
    return Shares(members=members, elsewhere=now.elsewhere)
