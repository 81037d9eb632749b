"""The sessions of a real HAProxy on loopback, and what of them and of its weights outlives a reload."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.haproxy import HaproxyDriver
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.switch import HaproxySwitch
from orchestrator.model.traffic import Intake
from orchestrator.ports import TrafficSwitch
from tests.adapters.haproxy_bench import MEMBERS, RealHaproxy, eventually, members, no_sessions, running, type_in, until

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


def intakes(switch: TrafficSwitch) -> dict[str, Intake]:
    """What each member takes now."""
    return {name: reading.intake for name, reading in asyncio.run(switch.read()).items()}


def test_lists_sessions(haproxy: RealHaproxy) -> None:
    """A session is listed with its client's address, its member, its age and its bytes, as long as it lives."""

    async def scene() -> None:
        driver = haproxy.driver()
        began = time.monotonic()
        async with haproxy.client() as client:
            await asyncio.sleep(0.3)
            assert await client.say(b"NOOP\r\n") == b"NOOP\r\n"
            (session,) = await driver.sessions(MEMBERS)
            assert session.client == client.address
            assert session.member in MEMBERS
            assert 0.25 <= session.age <= time.monotonic() - began + 0.1
            assert (session.bytes_to_member, session.bytes_to_client) == (6, 16)
            assert (await driver.read())[session.member].sessions == 1
            others = [member for member in MEMBERS if member != session.member]
            assert await driver.sessions(others) == []
        await until(lambda: no_sessions(driver))

    asyncio.run(scene())


def test_closes_just_one_session(haproxy: RealHaproxy) -> None:
    """The session that was named ends, every other one goes on, and closing again does nothing."""

    async def scene() -> None:
        driver = haproxy.driver()
        async with haproxy.client() as first, haproxy.client() as second:
            (session,) = [s for s in await driver.sessions(MEMBERS) if s.client == first.address]
            await driver.close(session)
            assert await first.reader.read() == b""
            assert await second.say(b"NOOP\r\n") == b"NOOP\r\n"
            assert [s.client for s in await driver.sessions(MEMBERS)] == [second.address]
            await driver.close(session)

    asyncio.run(scene())


def test_a_draining_member_keeps_its_sessions(haproxy: RealHaproxy) -> None:
    """Draining cuts nothing and takes nothing new."""

    async def scene() -> None:
        driver = haproxy.driver()
        async with haproxy.client() as client:
            (session,) = await driver.sessions(MEMBERS)
            await driver.apply({session.member: Intake(weight=100, admin="drain")})
            assert await client.say(b"NOOP\r\n") == b"NOOP\r\n"
            for _ in range(4):
                async with haproxy.client() as later:
                    (new,) = [s for s in await driver.sessions(MEMBERS) if s.client == later.address]
                    assert new.member != session.member

    asyncio.run(scene())


def test_a_reused_pointer_is_not_closed(haproxy: RealHaproxy) -> None:
    """HAProxy gives a new session the pointer of an old one: closing the old one leaves the new one alone."""

    async def scene() -> None:
        driver = haproxy.driver()
        async with haproxy.client() as client:
            (session,) = await driver.sessions(MEMBERS)
            pointer = session.id.partition("/")[0]
            await driver.close(session.model_copy(update={"id": f"{pointer}/999999"}))
            await driver.close(session.model_copy(update={"client": "127.0.0.1:1"}))
            assert await client.say(b"NOOP\r\n") == b"NOOP\r\n"

    asyncio.run(scene())


def test_sees_and_closes_sessions_of_an_old_worker(haproxy: RealHaproxy) -> None:
    """After reloads a session that an old worker holds is counted, listed as itself, and can be closed."""

    async def scene() -> None:
        driver = haproxy.driver()
        async with haproxy.client() as oldest, haproxy.client() as old:
            haproxy.reload()
            async with haproxy.client() as new:
                haproxy.reload()
                sessions = {session.client: session for session in await driver.sessions(MEMBERS)}
                assert set(sessions) == {oldest.address, old.address, new.address}
                assert sum(reading.sessions or 0 for reading in (await driver.read()).values()) == 3
                await driver.close(sessions[old.address])
                assert await old.reader.read() == b""
                assert await oldest.say(b"NOOP\r\n") == b"NOOP\r\n"
                await driver.close(sessions[oldest.address])
                await until(lambda: len(haproxy.old_workers()) == 1)
                await driver.close(sessions[oldest.address])
                assert await new.say(b"NOOP\r\n") == b"NOOP\r\n"
                assert [session.client for session in await driver.sessions(MEMBERS)] == [new.address]
        await until(lambda: not haproxy.old_workers())
        assert await driver.sessions(MEMBERS) == []

    asyncio.run(scene())


def test_refuses_to_guess_what_an_old_worker_holds(haproxy: RealHaproxy) -> None:
    """Without the master's socket an old worker on this machine is an error, until it has ended."""

    async def scene() -> None:
        driver = HaproxyDriver(HaproxySwitch(driver="haproxy", socket=str(haproxy.stats), backend="smtp"), MEMBERS)
        assert await driver.sessions(MEMBERS) == []
        async with haproxy.client():
            haproxy.reload()
            with pytest.raises(UnfitError, match=r"old workers .* — start HAProxy with -S"):
                await driver.sessions(MEMBERS)
        await until(lambda: not haproxy.old_workers())
        assert await driver.sessions(MEMBERS) == []

    asyncio.run(scene())


def test_works_through_a_failed_reload(haproxy: RealHaproxy) -> None:
    """After a reload with a broken configuration the master says so in its prompt, and can still be asked."""
    haproxy.config.write_text("nonsense\n")
    haproxy.process.send_signal(signal.SIGUSR2)
    eventually(lambda: "ReloadFailed" in haproxy.say("prompt\nquit", haproxy.master))
    assert asyncio.run(haproxy.driver().sessions(MEMBERS)) == []


def test_the_state_file_survives_a_reload(haproxy: RealHaproxy) -> None:
    """With a state file a reload forgets neither weight nor drain; without one it forgets both."""
    changes = {"mx1": Intake(weight=3, admin="drain"), "mx2": Intake(weight=7)}
    asyncio.run(haproxy.driver().apply(changes))
    haproxy.reload()
    assert intakes(haproxy.driver())["mx1"] == Intake(weight=100)
    asyncio.run(haproxy.driver(state_file=str(haproxy.state)).apply(changes))
    haproxy.reload()
    assert intakes(haproxy.driver()) == changes | {"mx3": Intake(weight=100)}
    assert not list(haproxy.folder.glob(".state*"))


def test_saves_also_what_went_half_way(haproxy: RealHaproxy) -> None:
    """When one member is rejected, a reload keeps what was changed of the others."""
    with pytest.raises(RejectedError):
        asyncio.run(
            haproxy.driver(state_file=str(haproxy.state)).apply({"mx1": Intake(weight=7), "mx2": Intake(weight=999)})
        )
    haproxy.reload()
    assert intakes(haproxy.driver())["mx1"] == Intake(weight=7)


def test_no_change_saves_the_state_file_too(haproxy: RealHaproxy) -> None:
    """Whoever was killed between a change and its state file is made good by the next call, which changes nothing."""
    driver = haproxy.driver(state_file=str(haproxy.state))
    asyncio.run(driver.apply({"mx1": Intake(weight=7)}))
    haproxy.state.unlink()
    asyncio.run(driver.apply({}))
    haproxy.reload()
    assert intakes(haproxy.driver())["mx1"] == Intake(weight=7)


def test_a_state_file_that_cannot_be_written_stops_the_change(haproxy: RealHaproxy) -> None:
    """Nothing is changed where it could not be saved."""
    driver = haproxy.driver(state_file="/nowhere/at/all/state")
    with pytest.raises(UnfitError, match="no such folder"):
        asyncio.run(driver.apply({"mx1": Intake(weight=3)}))
    assert intakes(driver)["mx1"] == Intake(weight=100)


@pytest.mark.parametrize("place", ["stats", "tcp"])
def test_what_is_done_by_hand_outlives_a_reload(haproxy: RealHaproxy, place: str) -> None:
    """With a state file the last command saves it, whether HAProxy is reached by a path or by host:port."""
    socket_ = str(haproxy.stats) if place == "stats" else f"127.0.0.1:{haproxy.stats_port}"
    driver = haproxy.driver(socket=socket_, state_file=str(haproxy.state))
    type_in(driver.by_hand({"mx1": 7}, {"mx1": "drain"}))
    haproxy.reload()
    assert intakes(driver)["mx1"] == Intake(weight=7, admin="drain")
