"""The contract of ``ports.TrafficSwitch``: what every driver keeps to, on a real switch or an honest counterpart.

A driver joins with a class of tests::

    class TestMySwitch(SwitchContract):
        @pytest.fixture
        def bench(self) -> Iterator[MyBench]: ...

Nothing is believed of what a driver says of itself: after every write the bench looks at the switch by another way
(``truth``). ``test_bad_switches.py`` shows that a switch that lies, hangs or does half of it does not pass.
"""

from __future__ import annotations

import asyncio
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, TypeVar

import pytest

from orchestrator.errors import OutsideError, UnfitError
from orchestrator.model.switch import AnySwitch
from orchestrator.model.traffic import Intake
from orchestrator.ports import TrafficSwitch

T = TypeVar("T")

Intakes = Mapping[str, Intake]


class Bench(ABC):
    """A switch with its members, and hands of its own on it."""

    switch: AnySwitch
    """The model of the driver, with the facts of its kind."""
    start: Intakes
    """Every member as it is when the bench is new; at least two, and at least one with traffic."""
    shifted: Intakes
    """Some members, but not all if there are three, in another way that the switch can do."""
    elsewhere: int = 0
    """The weights of what takes traffic at the switch and is no member."""

    @abstractmethod
    def driver(self) -> TrafficSwitch:
        """A new driver for it."""

    @abstractmethod
    def truth(self) -> Intakes:
        """Every member, read by another way than the driver's."""

    @abstractmethod
    def meddle(self, changes: Intakes) -> None:
        """Change members with somebody else's hand."""

    @abstractmethod
    def failing(self, member: str) -> AbstractContextManager[None]:
        """Within the block the switch does not take a write that touches this member.

        A switch that takes all of a write or nothing takes nothing then.
        """

    @abstractmethod
    def racing(self, changes: Intakes) -> AbstractContextManager[None]:
        """Within the block somebody else makes ``changes`` just before the driver's first write gets there."""

    def pass_time(self, seconds: float) -> None:  # noqa: B027 - most have none
        """Let time pass for the driver and the switch, where they have a clock of their own."""

    def obey(self, line: str) -> None:
        """Do what a person types into a shell; benches whose commands are not here do what can be done of it."""
        subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=20)


class SwitchContract:
    """One test each for what every driver owes."""

    within: ClassVar[float] = 10.0
    """Seconds in which every call must come back."""
    settles_within: ClassVar[float] = 900.0
    """Seconds, by the bench's own clock, in which a change must have settled."""

    def wait(self, work: Awaitable[T]) -> T:
        """The result, in time.

        Raises:
            TimeoutError: it hangs.
        """

        async def bounded() -> T:
            async with asyncio.timeout(self.within):
                return await work

        return asyncio.run(bounded())

    def intakes(self, driver: TrafficSwitch) -> dict[str, Intake]:
        """What each member takes now, as the driver says."""
        return {name: reading.intake for name, reading in self.wait(driver.read()).items()}

    def settle(self, bench: Bench, driver: TrafficSwitch) -> None:
        """Let time pass until clients meet what was applied."""
        passed = 0.0
        while said := self.wait(driver.settling()):
            assert passed < self.settles_within, f"it never settles: {said}"
            bench.pass_time(1.0)
            passed += 1.0

    def agree(self, bench: Bench, driver: TrafficSwitch, wanted: Intakes) -> None:
        """The switch is as wanted, and the driver says so."""
        assert dict(bench.truth()) == dict(wanted)
        assert self.intakes(driver) == dict(wanted)

    def test_reads_every_member(self, bench: Bench) -> None:
        """Every member is there, in the order of the inventory, with what it takes; sessions only where they count."""
        readings = self.wait(bench.driver().read())
        assert list(readings) == list(bench.start)
        assert {name: reading.intake for name, reading in readings.items()} == bench.start
        assert all((reading.sessions is not None) == bench.switch.counts_sessions for reading in readings.values())

    def test_reading_touches_nothing(self, bench: Bench) -> None:
        """Looking and asking for what settles leaves everything as it is."""
        driver = bench.driver()
        self.wait(driver.read())
        self.wait(driver.settling())
        assert bench.truth() == bench.start

    def test_applies_and_reads_back(self, bench: Bench) -> None:
        """Members come to what is asked for; those that are not named stay; a new driver sees the same."""
        driver = bench.driver()
        self.wait(driver.apply(bench.shifted))
        self.agree(bench, driver, {**bench.start, **bench.shifted})
        self.agree(bench, bench.driver(), {**bench.start, **bench.shifted})

    def test_says_what_takes_traffic_besides(self, bench: Bench) -> None:
        """What is no member and takes traffic is told with its weight, and moving members changes nothing of that."""
        driver = bench.driver()
        assert self.wait(driver.elsewhere()) == bench.elsewhere
        self.wait(driver.apply(bench.shifted))
        assert self.wait(driver.elsewhere()) == bench.elsewhere

    def test_settles(self, bench: Bench) -> None:
        """What was applied reaches all clients in the end, and then nothing is waited for."""
        driver = bench.driver()
        self.wait(driver.apply(bench.shifted))
        self.settle(bench, driver)
        self.agree(bench, driver, {**bench.start, **bench.shifted})

    def test_goes_back_to_what_was_recorded(self, bench: Bench) -> None:
        """What was read before a change, applied after it, brings all of it back."""
        driver = bench.driver()
        recorded = self.intakes(driver)
        self.wait(driver.apply(bench.shifted))
        self.settle(bench, driver)
        self.agree(bench, driver, {**bench.start, **bench.shifted})
        self.wait(driver.apply(recorded))
        self.settle(bench, driver)
        self.agree(bench, driver, bench.start)

    def test_applying_twice_is_applying_once(self, bench: Bench) -> None:
        """Asking again for what is so already is no error and changes nothing."""
        driver = bench.driver()
        for _ in range(2):
            self.wait(driver.apply(bench.shifted))
        self.wait(bench.driver().apply(bench.shifted))
        self.agree(bench, driver, {**bench.start, **bench.shifted})

    def test_applying_nothing_changes_nothing(self, bench: Bench) -> None:
        """An empty change is fine."""
        driver = bench.driver()
        self.wait(driver.apply({}))
        self.agree(bench, driver, bench.start)

    def test_sees_the_changes_of_others(self, bench: Bench) -> None:
        """What somebody else has changed is read, and overwritten when asked for."""
        driver = bench.driver()
        self.wait(driver.read())
        bench.meddle(bench.shifted)
        self.agree(bench, driver, {**bench.start, **bench.shifted})
        self.wait(driver.apply(bench.start))
        self.agree(bench, driver, bench.start)

    def test_a_change_in_between_is_not_lost_in_silence(self, bench: Bench) -> None:
        """What somebody changes while the driver writes is still there, or the driver says that it could not write."""
        driver = bench.driver()
        self.wait(driver.read())
        mine, *_ = bench.shifted
        theirs = {name: intake for name, intake in bench.shifted.items() if name != mine}
        refused: OutsideError | None = None
        with bench.racing(theirs or bench.shifted):
            try:
                self.wait(driver.apply({mine: bench.shifted[mine]}))
            except OutsideError as error:
                refused = error
        now = bench.truth()
        assert self.intakes(driver) == dict(now)
        assert all(now[name] == intake for name, intake in theirs.items()), "what they changed is gone"
        assert refused is not None or now[mine] == bench.shifted[mine]

    def test_says_what_it_could_not_do(self, bench: Bench) -> None:
        """A write that the switch does not take, or only half of it, is an error, and reading tells how it stands."""
        driver = bench.driver()
        *_, last = bench.shifted
        with bench.failing(last):
            with pytest.raises(OutsideError):
                self.wait(driver.apply(bench.shifted))
            now = bench.truth()
            assert now[last] == bench.start[last]
        assert self.intakes(driver) == dict(now)
        self.wait(driver.apply(bench.shifted))
        self.agree(bench, driver, {**bench.start, **bench.shifted})

    def test_refuses_an_unknown_member_before_it_touches_any(self, bench: Bench) -> None:
        """A name that the switch does not have is refused by name, and the others stay as they are."""
        driver = bench.driver()
        with pytest.raises(UnfitError, match="mx-nobody"):
            self.wait(driver.apply({**bench.shifted, "mx-nobody": next(iter(bench.shifted.values()))}))
        self.agree(bench, driver, bench.start)

    def test_refuses_a_weight_that_cannot_be(self, bench: Bench) -> None:
        """A weight above the largest is refused with the member's name, and the member stays as it is."""
        driver = bench.driver()
        name, *_ = bench.start
        with pytest.raises(OutsideError, match=name):
            self.wait(driver.apply({name: Intake(weight=driver.max_weight + 1)}))
        self.agree(bench, driver, bench.start)

    def test_takes_members_out_and_back(self, bench: Bench) -> None:
        """Each admin state that the switch has is reached, from every other one; it refuses those that it has not."""
        driver = bench.driver()
        name = next(name for name, intake in bench.start.items() if intake.share_weight)
        before = bench.start[name]
        for admin in ("drain", "ready", "maint", "drain", "maint", "ready"):
            to = before.model_copy(update={"admin": admin})
            if admin in bench.switch.admins:
                self.wait(driver.apply({name: to}))
                self.settle(bench, driver)
                self.agree(bench, driver, {**bench.start, name: to})
            else:
                was = bench.truth()
                with pytest.raises(OutsideError, match=name):
                    self.wait(driver.apply({name: to}))
                assert bench.truth() == was
        self.settle(bench, driver)
        self.agree(bench, driver, bench.start)

    def test_a_switch_that_lists_no_sessions_says_so(self, bench: Bench) -> None:
        """Sessions are listed, or it is said that the switch knows none; nobody is told that there are none."""
        driver = bench.driver()
        if bench.switch.lists_sessions:
            assert list(self.wait(driver.sessions(list(bench.start)))) == []
            return
        with pytest.raises(UnfitError):
            self.wait(driver.sessions(list(bench.start)))

    def test_a_person_does_the_same_by_hand(self, bench: Bench) -> None:
        """The commands for a shell bring members where they are to be and back; for nothing there are none."""
        driver = bench.driver()
        for wanted in (bench.shifted, {name: bench.start[name] for name in bench.shifted}):
            now = bench.truth()
            weights = {name: to.weight for name, to in wanted.items() if to.weight != now[name].weight}
            admins = {name: to.admin for name, to in wanted.items() if to.admin != now[name].admin}
            lines = driver.by_hand(weights, admins)
            assert lines
            for line in lines:
                bench.obey(line)
            self.agree(bench, driver, {**bench.start, **wanted})
        assert list(driver.by_hand({}, {})) == []


def contract() -> Sequence[tuple[str, Callable[[SwitchContract, Bench], None]]]:
    """Every test of the contract, by its name."""
    return [(name, test) for name, test in vars(SwitchContract).items() if name.startswith("test_")]
