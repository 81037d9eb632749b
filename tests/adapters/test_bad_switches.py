"""The contract of switches, held to switches that are bad on purpose: it is worth what they do not get past."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Final

import pytest

from orchestrator.errors import OutsideError, RejectedError, UnfitError
from orchestrator.model.switch import (
    AnySwitch,
    Elbv2TargetsSwitch,
    Elbv2WeightsSwitch,
    F5Switch,
    HaproxySwitch,
)
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session
from tests.adapters.switch_contract import Bench, Intakes, SwitchContract, contract

MEMBERS: Final = ("mx1", "mx2", "mx3")

HAPROXY: Final = HaproxySwitch(driver="haproxy", socket="/run/haproxy.sock", backend="smtp")
F5: Final = F5Switch.model_validate(
    {"driver": "f5", "url": "https://192.0.2.5", "pool": "/Common/smtp", "user": "admin", "password": "env:F5"}
)
ELB: Final = Elbv2WeightsSwitch(driver="elbv2-weights", forward="arn:aws:elasticloadbalancing:us-east-1:1:listener/x")
TARGETS: Final = Elbv2TargetsSwitch(driver="elbv2-targets", target_group="arn:aws:elasticloadbalancing:us-east-1:1:t/x")
"""Facts of four kinds: all admin states and sessions; drain only; weights only; no weights."""


class Plant:
    """The switch itself: what it holds, who else writes to it, and the time that clients need."""

    elsewhere = 7
    """The weight of a server that is no member."""
    slowness = 3.0
    """Seconds until clients meet a change."""

    def __init__(self, members: Intakes) -> None:
        self.members = dict(members)
        self.closed: set[str] = set()
        """Members that take no write."""
        self.others: list[Intakes] = []
        """What somebody else writes just before the next write."""
        self.now = 0.0
        self.settled_at = 0.0

    def write(self, name: str, intake: Intake) -> None:
        """One member; nothing is said where it is not taken."""
        while self.others:
            self.members |= self.others.pop()
        if name not in self.closed:
            self.members[name] = intake
            self.settled_at = self.now + self.slowness


class Honest:
    """A ``TrafficSwitch`` that does what it says."""

    def __init__(self, switch: AnySwitch, plant: Plant) -> None:
        self.switch = switch
        self.plant = plant

    @property
    def max_weight(self) -> int:
        """That of its kind."""
        return self.switch.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """The plant's members."""
        sessions = 0 if self.switch.counts_sessions else None
        return {
            name: MemberReading(intake=intake, up=True, sessions=sessions)
            for name, intake in self.plant.members.items()
        }

    async def elsewhere(self) -> int:
        """What the plant has besides."""
        return self.plant.elsewhere

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Check, write what differs, read back."""
        self.check(changes)
        self.write({name: to for name, to in changes.items() if self.plant.members[name] != to})
        wrong = [name for name, to in changes.items() if self.plant.members[name] != to]
        if wrong:
            raise RejectedError(f"cannot set {', '.join(wrong)}: it stays as it was")

    def check(self, changes: Mapping[str, Intake]) -> None:
        """Refuse what cannot be."""
        unknown = [name for name in changes if name not in self.plant.members]
        if unknown:
            raise UnfitError(f"cannot find {', '.join(unknown)}: there are {', '.join(self.plant.members)}")
        for name, to in changes.items():
            least = 0 if self.switch.weighs else self.max_weight
            if not least <= to.weight <= self.max_weight or to.admin not in self.switch.admins:
                raise RejectedError(f"cannot give {name} {to}: this switch has no such thing")

    def write(self, changes: Mapping[str, Intake]) -> None:
        """Send it to the plant."""
        for name, to in changes.items():
            self.plant.write(name, to)

    async def settling(self) -> str:
        """Clients need their time."""
        return "clients hold the old answer" if self.plant.now < self.plant.settled_at else ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """There are none."""
        if not self.switch.lists_sessions:
            raise UnfitError("cannot list sessions: this switch knows none")
        return []

    async def close(self, session: Session) -> None:
        """There are none."""

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """Lines that ``MemoryBench.obey`` understands."""
        lines = [f"weight {name} {weight}" for name, weight in weights.items()]
        return [*lines, *(f"admin {name} {admin}" for name, admin in admins.items())]


class Lies(Honest):
    """It does nothing, says done, and reads back what it was asked."""

    def __init__(self, switch: AnySwitch, plant: Plant) -> None:
        super().__init__(switch, plant)
        self.said: dict[str, Intake] = {}

    async def read(self) -> Mapping[str, MemberReading]:
        """What was asked."""
        readings = dict(await super().read())
        return readings | {
            name: readings[name].model_copy(update={"intake": intake}) for name, intake in self.said.items()
        }

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Say done."""
        self.check(changes)
        self.said |= changes


class Hangs(Honest):
    """It never comes back from a write."""

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Hang."""
        self.check(changes)
        await asyncio.Event().wait()


class HalfApplies(Honest):
    """It changes the first member only, and says done."""

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Do the first."""
        self.check(changes)
        self.write(dict(list(changes.items())[:1]))


class NeverSettles(Honest):
    """It does everything, and for ever waits for clients."""

    async def settling(self) -> str:
        """For ever."""
        return "clients hold the old answer"


class Overwrites(Honest):
    """It writes all members as it has read them when it was asked for the first time."""

    seen: Mapping[str, Intake] | None = None

    async def read(self) -> Mapping[str, MemberReading]:
        """Keep the first look."""
        readings = await super().read()
        self.seen = self.seen or {name: reading.intake for name, reading in readings.items()}
        return readings

    def write(self, changes: Mapping[str, Intake]) -> None:
        """All of them."""
        super().write({**(self.seen or {}), **changes})


class Hasty(Honest):
    """It writes first, and checks then."""

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Write, then check."""
        self.write({name: to for name, to in changes.items() if name in self.plant.members})
        await super().apply(changes)


class Restless(Honest):
    """It tidies up whenever it is used."""

    async def read(self) -> Mapping[str, MemberReading]:
        """Bring back the last one on the way."""
        readings = await super().read()
        self.plant.write(MEMBERS[-1], Intake(weight=0))
        return readings


class Forgets(Honest):
    """It tells of members with traffic only."""

    async def read(self) -> Mapping[str, MemberReading]:
        """Those that take any, the last one first."""
        readings = [*(await super().read()).items()]
        return {name: reading for name, reading in reversed(readings) if reading.intake.share_weight}


class Overlooks(Honest):
    """It knows of its own members only."""

    async def elsewhere(self) -> int:
        """Nothing."""
        return 0


class Pretends(Honest):
    """It says that there are no sessions where it cannot know, and that a person has nothing to do."""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """None."""
        return []

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """Nothing to do."""
        return []


class MemoryBench(Bench):
    """A plant in memory, and any driver for it."""

    def __init__(self, switch: AnySwitch, kind: type[Honest] = Honest) -> None:
        self.switch = switch
        self._kind = kind
        usual = Intake(weight=min(100, switch.max_weight))
        away: Admin = "drain" if "drain" in switch.admins else "ready"
        self.start = dict.fromkeys(MEMBERS, usual)
        self.shifted = {"mx1": Intake(weight=0, admin=away), "mx2": Intake(weight=200)}
        if not switch.weighs:
            self.shifted = dict.fromkeys(MEMBERS[:2], usual.model_copy(update={"admin": away}))
        self._plant = Plant(self.start)
        self.elsewhere = self._plant.elsewhere

    def driver(self) -> Honest:
        """See ``Bench.driver``."""
        return self._kind(self.switch, self._plant)

    def truth(self) -> Intakes:
        """See ``Bench.truth``."""
        return dict(self._plant.members)

    def meddle(self, changes: Intakes) -> None:
        """See ``Bench.meddle``."""
        self._plant.members |= changes

    @contextmanager
    def failing(self, member: str) -> Iterator[None]:
        """See ``Bench.failing``."""
        self._plant.closed.add(member)
        yield
        self._plant.closed.discard(member)

    @contextmanager
    def racing(self, changes: Intakes) -> Iterator[None]:
        """See ``Bench.racing``."""
        self._plant.others.append(changes)
        yield
        self._plant.others.clear()

    def pass_time(self, seconds: float) -> None:
        """See ``Bench.pass_time``."""
        self._plant.now += seconds

    def obey(self, line: str) -> None:
        """The two commands that ``Honest.by_hand`` knows."""
        what, name, value = line.split()
        field = {"weight": int(value)} if what == "weight" else {"admin": value}
        self._plant.members[name] = self._plant.members[name].model_copy(update=field)


class Impatient(SwitchContract):
    """The contract, for those that hang."""

    within: ClassVar[float] = 0.05


def failures(kind: type[Honest]) -> set[str]:
    """The tests of the contract that a kind of driver does not pass."""
    failed: set[str] = set()
    for name, test in contract():
        try:
            test(Impatient(), MemoryBench(F5, kind))
        except (AssertionError, OutsideError, TimeoutError, pytest.fail.Exception):
            failed.add(name)
    return failed


WRITES: Final = {
    "test_applies_and_reads_back",
    "test_settles",
    "test_goes_back_to_what_was_recorded",
    "test_applying_twice_is_applying_once",
    "test_says_what_it_could_not_do",
}
"""What every switch fails that does not bring all members where they are to be."""

BAD: Final[Mapping[type[Honest], set[str]]] = {
    Lies: WRITES | {"test_sees_the_changes_of_others", "test_takes_members_out_and_back"},
    Hangs: WRITES
    | {
        "test_applying_nothing_changes_nothing",
        "test_sees_the_changes_of_others",
        "test_a_change_in_between_is_not_lost_in_silence",
        "test_takes_members_out_and_back",
    },
    HalfApplies: WRITES | {"test_sees_the_changes_of_others"},
    NeverSettles: {"test_settles", "test_goes_back_to_what_was_recorded", "test_takes_members_out_and_back"},
    Overwrites: {"test_a_change_in_between_is_not_lost_in_silence"},
    Hasty: {"test_refuses_an_unknown_member_before_it_touches_any", "test_refuses_a_weight_that_cannot_be"},
    Restless: {"test_reading_touches_nothing"},
    Forgets: {"test_reads_every_member"},
    Overlooks: {"test_says_what_takes_traffic_besides"},
    Pretends: {"test_a_switch_that_lists_no_sessions_says_so", "test_a_person_does_the_same_by_hand"},
}
"""Each bad switch, and the tests that it fails at least."""


@pytest.mark.parametrize(("name", "test"), contract())
@pytest.mark.parametrize("switch", [HAPROXY, F5, ELB, TARGETS], ids=lambda it: it.driver)
def test_an_honest_switch_passes(switch: AnySwitch, name: str, test: Callable[[SwitchContract, Bench], None]) -> None:
    """A switch that does what it says fails no test of the contract, whatever its kind can do."""
    test(SwitchContract(), MemoryBench(switch))


@pytest.mark.parametrize("kind", BAD, ids=lambda it: it.__name__)
def test_a_bad_switch_does_not_pass(kind: type[Honest]) -> None:
    """A switch that lies, hangs, does half of it or never settles fails the tests that are there for it, and not all:
    a suite that fails everything would show nothing."""
    assert BAD[kind] <= failures(kind) < {name for name, _ in contract()}


def test_every_test_of_the_contract_keeps_somebody_out() -> None:
    """No test of the contract is idle: each is failed by some bad switch."""
    assert set().union(*BAD.values()) == {name for name, _ in contract()}
