"""HAProxy as a traffic switch: the contract on a real one on loopback, and what is HAProxy's own."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.haproxy import HaproxyDriver
from orchestrator.adapters.haproxy_socket import Limits
from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.switch import HaproxySwitch
from orchestrator.model.traffic import Intake
from orchestrator.ports import TrafficSwitch
from tests.adapters.haproxy_bench import (
    MEMBERS,
    HaproxyBench,
    RealHaproxy,
    eventually,
    free_port,
    members,
    running,
    type_in,
)
from tests.adapters.switch_contract import SwitchContract

pytestmark = [pytest.mark.lab, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def member_port() -> Iterator[int]:
    """Where the members listen."""
    with members() as port:
        yield port


@pytest.fixture
def haproxy(tmp_path: Path, member_port: int) -> Iterator[RealHaproxy]:
    """A HAProxy before ``MEMBERS``."""
    with running(tmp_path, MEMBERS, member_port) as haproxy:
        yield haproxy


class TestHaproxy(SwitchContract):
    """The contract."""

    @pytest.fixture
    def bench(self, haproxy: RealHaproxy) -> HaproxyBench:
        """A HAProxy before ``MEMBERS``."""
        return HaproxyBench(haproxy)


def intakes(switch: TrafficSwitch) -> dict[str, Intake]:
    """What each member takes now."""
    return {name: reading.intake for name, reading in asyncio.run(switch.read()).items()}


def test_reads_every_member(haproxy: RealHaproxy) -> None:
    """Every member is there, with what it takes, up where nothing is checked, and without sessions."""
    readings = asyncio.run(haproxy.driver().read())
    assert tuple(readings) == MEMBERS
    assert {(r.intake, r.up, r.sessions) for r in readings.values()} == {(Intake(weight=100), True, 0)}


def test_applies_weights(haproxy: RealHaproxy) -> None:
    """Members come to the weights asked for, zero and the largest too; a member that is not named stays."""
    driver = haproxy.driver()
    asyncio.run(driver.apply({"mx1": Intake(weight=0), "mx2": Intake(weight=driver.max_weight)}))
    assert intakes(driver) == {
        "mx1": Intake(weight=0),
        "mx2": Intake(weight=driver.max_weight),
        "mx3": Intake(weight=100),
    }


@pytest.mark.parametrize("admin", ["drain", "maint"])
def test_drains_and_returns(haproxy: RealHaproxy, admin: str) -> None:
    """A member goes out of service and back, with weight and state at once."""
    driver = haproxy.driver()
    away = Intake.model_validate({"weight": 7, "admin": admin})
    asyncio.run(driver.apply({"mx1": away}))
    assert intakes(driver)["mx1"] == away
    asyncio.run(driver.apply({"mx1": Intake(weight=100)}))
    assert intakes(driver)["mx1"] == Intake(weight=100)


def test_a_person_does_the_same_by_hand(haproxy: RealHaproxy) -> None:
    """The commands for a shell bring members where they are to be, and leave what they do not name."""
    driver = haproxy.driver()
    type_in(driver.by_hand({"mx1": 0, "mx2": 30}, {"mx2": "maint", "mx3": "drain"}))
    away = {"mx1": Intake(weight=0), "mx2": Intake(weight=30, admin="maint"), "mx3": Intake(weight=100, admin="drain")}
    assert intakes(driver) == away
    type_in(driver.by_hand({"mx1": 100, "mx2": 100}, {"mx2": "ready", "mx3": "ready"}))
    assert intakes(driver) == dict.fromkeys(MEMBERS, Intake(weight=100))
    assert driver.by_hand({}, {}) == []


def test_refuses_a_weight_that_cannot_be(haproxy: RealHaproxy) -> None:
    """A weight above the largest is rejected with the member's name; what was asked of others is tried."""
    driver = haproxy.driver()
    with pytest.raises(RejectedError, match="mx1"):
        asyncio.run(driver.apply({"mx1": Intake(weight=driver.max_weight + 1), "mx2": Intake(weight=50)}))
    assert (intakes(driver)["mx1"].weight, intakes(driver)["mx2"].weight) == (100, 50)


def test_does_not_close_the_givers_when_no_taker_opens(haproxy: RealHaproxy) -> None:
    """When those that should take traffic cannot be opened, those that have it keep it."""
    driver = haproxy.driver()
    idle = Intake(weight=0)
    asyncio.run(driver.apply({"mx2": idle, "mx3": idle}))
    with pytest.raises(RejectedError):
        asyncio.run(
            driver.apply({"mx1": Intake(weight=100, admin="drain"), "mx2": Intake(weight=driver.max_weight + 1)})
        )
    assert intakes(driver) == {"mx1": Intake(weight=100), "mx2": idle, "mx3": idle}


def test_names_what_haproxy_has_instead(haproxy: RealHaproxy) -> None:
    """A server or backend that only the inventory knows is named, together with those that there are."""
    with pytest.raises(UnfitError, match=r"mx8, mx9 in backend smtp.*mx1, mx2, mx3"):
        asyncio.run(haproxy.driver(["mx1", "mx8", "mx9"]).read())
    with pytest.raises(UnfitError, match=r"backend mail .*smtp, other"):
        asyncio.run(haproxy.driver(backend="mail").read())


def test_counts_the_servers_that_are_no_members(tmp_path: Path, member_port: int) -> None:
    """Others that are ready count with their weight; one that is drained does not, nor a backup, which only waits."""
    spare = f"server spare 127.0.0.1:{member_port} weight 9 backup"
    with running(tmp_path, [*MEMBERS, "theirs"], member_port, spare) as haproxy:
        driver = haproxy.driver()
        assert asyncio.run(driver.elsewhere()) == 100
        haproxy.meddle({"theirs": Intake(weight=40), "mx1": Intake(weight=3)})
        assert asyncio.run(driver.elsewhere()) == 40
        haproxy.meddle({"theirs": Intake(weight=40, admin="drain")})
        assert asyncio.run(driver.elsewhere()) == 0


def test_refuses_names_that_would_be_commands() -> None:
    """A name with HAProxy's separators never gets into a command line."""
    switch = HaproxySwitch(driver="haproxy", socket="/nowhere", backend="smtp")
    with pytest.raises(UnfitError, match="as a name"):
        HaproxyDriver(switch, ["mx1 weight 0;shutdown sessions server smtp/mx2"])


def test_says_why_it_cannot_connect(tmp_path: Path) -> None:
    """A socket that is not there, or that nobody listens on, is told apart, each with its remedy."""
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(dead))
    for place, why in (
        (str(tmp_path / "none.sock"), "no such socket — start HAProxy"),
        (str(dead), "nobody listens there"),
        (f"127.0.0.1:{free_port()}", "nobody listens there"),
        (str(tmp_path / ("x" * 120)), "path too long"),
    ):
        driver = HaproxyDriver(HaproxySwitch(driver="haproxy", socket=place, backend="smtp"), MEMBERS)
        with pytest.raises(UnreachableError, match=why):
            asyncio.run(driver.read())


def test_refuses_what_is_no_stats_socket(haproxy: RealHaproxy, member_port: int) -> None:
    """A socket below admin, the master's in place of the worker's, or a mail server: each is said plainly."""
    for place, why in (
        (f"{haproxy.folder}/operator.sock", "level is 'operator' — put 'level admin'"),
        (str(haproxy.master), "HAProxy's master answers there"),
        (f"127.0.0.1:{member_port}", "something else answers there"),
    ):
        with pytest.raises(UnfitError, match=why):
            asyncio.run(haproxy.driver(socket=place).read())
    with pytest.raises(UnfitError, match="not HAProxy's master"):
        asyncio.run(haproxy.driver(master=str(haproxy.stats)).read())


def test_works_over_tcp(haproxy: RealHaproxy) -> None:
    """A stats socket at host:port serves as one at a path does."""
    driver = haproxy.driver(socket=f"127.0.0.1:{haproxy.stats_port}")
    asyncio.run(driver.apply({"mx1": Intake(weight=0, admin="drain")}))
    assert intakes(driver)["mx1"] == Intake(weight=0, admin="drain")
    assert asyncio.run(driver.sessions(MEMBERS)) == []


def test_gives_up_on_a_silent_haproxy() -> None:
    """Somebody who accepts and says nothing costs the reply's time limit, no more."""

    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            switch = HaproxySwitch(driver="haproxy", socket=f"127.0.0.1:{silent.getsockname()[1]}", backend="smtp")
            async with asyncio.timeout(5):
                await HaproxyDriver(switch, MEMBERS, Limits(reply=0.2)).read()

    with pytest.raises(UnreachableError, match=r"no whole reply within 0.2 s"):
        asyncio.run(scene())


def test_moves_500_servers_in_one_apply(tmp_path: Path, member_port: int) -> None:
    """500 servers change places within seconds, and at every look somebody takes traffic."""
    names = [f"server-{number}" for number in range(500)]
    there, here = names[:250], names[250:]
    away = Intake(weight=0, admin="drain")
    changes = dict.fromkeys(there, away) | dict.fromkeys(here, Intake(weight=1))
    with running(tmp_path, names, member_port) as haproxy:
        driver = haproxy.driver(names)
        asyncio.run(driver.apply(dict.fromkeys(here, away)))

        async def scene() -> float:
            began = time.monotonic()
            moving = asyncio.create_task(driver.apply(changes))
            while not moving.done():
                assert any(reading.intake.share_weight for reading in (await driver.read()).values())
            await moving
            return time.monotonic() - began

        assert asyncio.run(scene()) < 5
        assert intakes(driver) == dict.fromkeys(there, away) | dict.fromkeys(here, Intake(weight=1))


def test_opens_the_takers_before_it_closes_the_givers(haproxy: RealHaproxy) -> None:
    """On the wire: weight, then ready, of those that take; then drain, then weight, of those that give."""

    commands: list[str] = []

    def record(line: str) -> tuple[str, str]:
        commands.extend(one.removeprefix("set server smtp/") for one in line.split(";") if one.startswith("set"))
        return line, ""

    driver = haproxy.driver()
    asyncio.run(driver.apply({"mx2": Intake(weight=0, admin="maint")}))
    with haproxy.front(record):
        asyncio.run(
            driver.apply({"mx1": Intake(weight=0, admin="drain"), "mx2": Intake(weight=9), "mx3": Intake(weight=100)})
        )
    assert commands == ["mx2 weight 9", "mx2 state ready", "mx1 state drain", "mx1 weight 0"]


def test_names_a_server_that_stays_as_it_is(tmp_path: Path, member_port: int) -> None:
    """What HAProxy takes without a word and does not do, as with a server that tracks another, is found out."""
    options = f"server leader 127.0.0.1:{member_port} weight 100 check"
    options += f"\n              server follower 127.0.0.1:{member_port} weight 100 track smtp/leader"
    with running(tmp_path, ["mx1"], member_port, options) as haproxy:
        driver = haproxy.driver(["mx1", "leader", "follower"])
        asyncio.run(driver.apply({"leader": Intake(weight=100, admin="maint")}))
        with pytest.raises(RejectedError, match="follower has weight 5, maint instead of weight 5"):
            asyncio.run(driver.apply({"follower": Intake(weight=5), "mx1": Intake(weight=5)}))
        assert intakes(driver)["mx1"] == Intake(weight=5)


def test_up_is_what_the_health_check_says(tmp_path: Path, member_port: int) -> None:
    """A member is down when its check fails, also while it drains, and in maintenance it stays as last seen."""
    options = f"server dead 127.0.0.1:{free_port()} weight 1 check inter 50ms fall 1"
    options += f"\n              server alive 127.0.0.1:{member_port} weight 1 check inter 50ms"
    with running(tmp_path, ["mx1"], member_port, options) as haproxy:
        driver = haproxy.driver(["mx1", "alive", "dead"])

        def up() -> dict[str, bool]:
            return {name: reading.up for name, reading in asyncio.run(driver.read()).items()}

        eventually(lambda: not up()["dead"] and "L4OK" in haproxy.say("show stat"))
        for away in (Intake(weight=1, admin="drain"), Intake(weight=1, admin="maint")):
            asyncio.run(driver.apply({"dead": away, "alive": away, "mx1": away}))
            assert up() == {"mx1": True, "alive": True, "dead": False}
