"""The dns switch on a real BIND 9: the contract, and what only DNS has."""

# ruff: noqa: D102 - the contract says what the methods of a bench mean

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.dns_audience import SILENT_FOR, Ask
from orchestrator.adapters.dns_update import DnsDriver
from orchestrator.adapters.resolvers import ask
from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.switch import DnsSwitch
from orchestrator.model.traffic import Intake
from tests.adapters.dns_bench import NAME, OURS, ZONE, Forwarder, Named, Secondary, free_port, unbound
from tests.adapters.switch_contract import Bench, Intakes, SwitchContract

pytestmark = [pytest.mark.lab, pytest.mark.timeout(60)]

ADDRESSES = {"mx1": "192.0.2.1", "mx2": "192.0.2.2", "mx3": "192.0.2.3"}
FOREIGN = "192.0.2.99"
"""A record of the RRset that belongs to no member."""
IN, OUT = Intake(weight=1), Intake(weight=0)


class HandClock:
    """A clock that somebody moves."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def now(self) -> float:
        """Unix time."""
        return self.time

    def monotonic(self) -> float:
        """The same."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Move it."""
        self.time += seconds


class DnsBench(Bench):
    """BIND with two of three members in the RRset; the driver gets to it through a forwarder."""

    def __init__(self, named: Named, forwarder: Forwarder) -> None:
        self.start = {"mx1": IN, "mx2": IN, "mx3": OUT}
        self.shifted = {"mx2": OUT, "mx3": IN}
        self.elsewhere = 1
        self.named = named
        self.forwarder = forwarder
        self.clock = HandClock()
        self.ask: Ask = ask
        self.switch = self.settings()

    def settings(self, **changed: object) -> DnsSwitch:
        """The switch as an inventory has it."""
        key = {"name": OURS, "secret": f"file:{self.named.ours.file}"}
        standard: dict[str, object] = {
            "driver": "dns",
            "server": self.forwarder.place,
            "zone": ZONE,
            "name": NAME,
            "names": ADDRESSES,
            "ttl": "5s",
            "key": key,
            "resolvers": [self.named.place],
            "name_servers": [self.named.place],
        }
        return DnsSwitch.model_validate({**standard, **changed})

    def driver(self, **changed: object) -> DnsDriver:
        return DnsDriver(self.settings(**changed), list(self.start), self.clock, ask=self.ask)

    def truth(self) -> Intakes:
        records = self.named.dig()
        assert FOREIGN in records, "a record of nobody's is gone"
        return {name: Intake(weight=int(address in records)) for name, address in ADDRESSES.items()}

    def meddle(self, changes: Intakes) -> None:
        verbs = {0: "delete", 1: "add"}
        lines = (f"update {verbs[to.weight]} {NAME}. 5 A {ADDRESSES[name]}" for name, to in changes.items())
        self.named.edit(*lines)

    def failing(self, member: str) -> AbstractContextManager[None]:
        return self.named.refusing()

    @contextmanager
    def racing(self, changes: Intakes) -> Iterator[None]:
        self.forwarder.before = lambda: self.meddle(changes)
        yield
        assert self.forwarder.before is None, "no update came"

    def pass_time(self, seconds: float) -> None:
        self.clock.time += seconds


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[DnsBench]:
    """A bench of its own for each test."""
    with (
        Named(tmp_path, [ADDRESSES["mx1"], ADDRESSES["mx2"], FOREIGN]).running() as named,
        Forwarder(named.port).running() as forwarder,
    ):
        yield DnsBench(named, forwarder)


class TestDns(SwitchContract):
    """The contract."""


Apply = Mapping[str, Intake]


def apply(driver: DnsDriver, changes: Apply) -> None:
    """Apply, at once."""
    asyncio.run(driver.apply(changes))


def settling(driver: DnsDriver) -> str:
    """What is waited for, now."""
    return asyncio.run(driver.settling())


def ttl(named: Named) -> str:
    """The TTL of the RRset, as the primary has it."""
    command = ["dig", "+tcp", "+noall", "+answer", "@127.0.0.1", "-p", str(named.port), NAME]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]


def test_one_message_does_all_and_nothing_costs_none(bench: DnsBench) -> None:
    """A change of several members is one update, and what is so already sends none."""
    driver = bench.driver()
    apply(driver, bench.shifted)
    apply(driver, bench.shifted)
    apply(bench.driver(), bench.shifted)
    assert len(bench.forwarder.updates) == 1


def test_a_concurrent_edit_is_refused_and_nothing_is_changed(bench: DnsBench) -> None:
    """A record that somebody adds between our reading and our writing makes the server refuse all of it."""
    driver = bench.driver()
    bench.forwarder.before = partial(bench.named.edit, f"update add {NAME}. 5 A 192.0.2.77")
    with pytest.raises(RejectedError, match=re.escape("somebody else changed it meanwhile — look, then try again")):
        apply(driver, bench.shifted)
    assert bench.truth() == bench.start
    assert "192.0.2.77" in bench.named.dig()
    apply(driver, bench.shifted)
    assert "192.0.2.77" in bench.named.dig()


def test_a_set_that_was_empty_may_not_have_come_meanwhile(bench: DnsBench) -> None:
    """Where there was no RRset, one that somebody makes before us is not added to."""
    bench.named.edit(f"update delete {NAME}. A")
    bench.forwarder.before = partial(bench.named.edit, f"update add {NAME}. 5 A {FOREIGN}")
    with pytest.raises(RejectedError, match="somebody else"):
        apply(bench.driver(), {"mx1": IN})
    assert bench.named.dig() == [FOREIGN]


def test_the_ttl_of_the_set_is_kept(bench: DnsBench) -> None:
    """An RRset keeps its TTL; one that is made anew gets that of the inventory."""
    apply(bench.driver(ttl="77s"), bench.shifted)
    assert ttl(bench.named) == "5"
    bench.named.edit(f"update delete {NAME}. A")
    apply(bench.driver(ttl="77s"), {"mx1": IN})
    assert ttl(bench.named) == "77"


def test_the_last_record_stays(bench: DnsBench) -> None:
    """A change that would leave no record at all is refused, and nothing is touched."""
    bench.named.edit(f"update delete {NAME}. A {FOREIGN}")
    with pytest.raises(RejectedError, match="no member would be left"):
        apply(bench.driver(), dict.fromkeys(bench.start, OUT))
    assert bench.named.dig() == ["192.0.2.1", "192.0.2.2"]


def test_settles_after_the_ttl_and_not_before(bench: DnsBench) -> None:
    """Caches keep what they have for one TTL, and the second that it began in; who has not written counts from now."""
    driver = bench.driver()
    apply(driver, bench.shifted)
    assert settling(driver) == "resolvers may hold the old answer for 6s more"
    bench.pass_time(5)
    assert settling(driver) == "resolvers may hold the old answer for 1s more"
    assert settling(bench.driver()) == "resolvers may hold the old answer for 6s more"
    bench.pass_time(1)
    assert settling(driver) == ""


def test_no_answer_is_cached_too(bench: DnsBench) -> None:
    """Where there was no RRset, resolvers may remember that for as long as the zone's SOA says."""
    bench.named.edit(f"update delete {NAME}. A")
    driver = bench.driver()
    apply(driver, {"mx1": IN})
    assert settling(driver) == "resolvers may hold the old answer for 6s more"


def test_says_which_resolver_lags(bench: DnsBench) -> None:
    """After the TTL each resolver is asked; what it still gives, or does not yet, is said, and silence too."""
    driver = bench.driver()
    apply(driver, bench.shifted)
    assert "for 6s more" in settling(driver)
    bench.pass_time(6)
    bench.meddle({"mx2": IN})
    assert settling(driver) == f"resolver {bench.named.place} still gives 192.0.2.2"
    bench.meddle({"mx2": OUT, "mx3": OUT})
    assert settling(driver) == f"resolver {bench.named.place} does not give 192.0.2.3 yet"
    bench.meddle({"mx3": IN})
    assert settling(driver) == ""
    bench.named.stop_answering()
    assert f"no word from resolver {bench.named.place}: cannot ask" in settling(driver)


def test_the_ttl_counts_from_when_the_last_name_server_has_it(bench: DnsBench, tmp_path: Path) -> None:
    """As long as one of the zone's servers gives the old answer, caches take it anew, for a whole TTL."""
    with Secondary(tmp_path / "secondary", bench.named.port).running() as other:
        driver = bench.driver(name_servers=[bench.named.place, other.place])
        apply(driver, bench.shifted)
        for _ in range(2):
            assert settling(driver) == f"name server {other.place} still gives 192.0.2.2"
            bench.pass_time(100)
        other.catch_up(bench.named.dig())
        assert settling(driver) == "resolvers may hold the old answer for 6s more"
        bench.pass_time(6)
        assert settling(driver) == ""


def test_the_name_servers_are_those_of_the_zone(bench: DnsBench) -> None:
    """Where the inventory names none, the zone's NS records do, by the addresses that the primary has for them."""
    asked: list[str] = []

    async def listen(server: str, name: str, type_: str) -> frozenset[str]:
        asked.append(server)
        return await ask(bench.named.place, name, type_)

    bench.ask = listen
    driver = bench.driver(name_servers=[])
    bench.named.edit(f"update add {ZONE}. 5 NS ns.example.org.")
    apply(driver, bench.shifted)
    assert settling(driver) == "resolvers may hold the old answer for 6s more"
    assert sorted(asked) == ["127.0.0.1", "ns.example.org"]


@pytest.mark.parametrize("lost", [["192.0.2.53"], ["192.0.2.53", "192.0.2.54"]])
def test_a_name_server_that_is_away_serves_nobody(bench: DnsBench, lost: list[str]) -> None:
    """One that stays silent is not waited for, also where it is the only one; the words say so."""

    async def listen(server: str, name: str, type_: str) -> frozenset[str]:
        if server.startswith("192.0.2."):
            raise UnreachableError(f"cannot ask {server}")
        return await ask(server, name, type_)

    bench.ask = listen
    driver = bench.driver(name_servers=[*lost, *([bench.named.place] if len(lost) == 1 else [])])
    apply(driver, bench.shifted)
    assert settling(driver) == "; ".join(f"no word from name server {one}: cannot ask {one}" for one in lost)
    bench.pass_time(SILENT_FOR)
    told = settling(driver)
    assert told.startswith("resolvers may hold the old answer for 6s more (no word from name server 192.0.2.53")
    bench.pass_time(6)
    assert settling(driver) == ""


def test_the_primary_may_go_after_the_write(bench: DnsBench) -> None:
    """Who serves the zone is asked before the change: a primary that dies after it spoils no wait."""

    async def listen(server: str, name: str, type_: str) -> frozenset[str]:
        return frozenset({ADDRESSES["mx1"], ADDRESSES["mx3"], FOREIGN})

    bench.ask = listen
    driver = bench.driver(name_servers=[])
    apply(driver, bench.shifted)
    bench.named.stop_answering()
    assert settling(driver) == "resolvers may hold the old answer for 6s more"


def wrong_secret(bench: DnsBench) -> dict[str, object]:
    """The name of our key with the secret of another."""
    return {"key": {"name": OURS, "secret": f"file:{bench.named.theirs.file}"}}


REFUSALS: list[tuple[str, Callable[[DnsBench], dict[str, object]], str]] = [
    ("a key that it does not know", lambda b: {"key": {"name": "x", "secret": f"file:{b.named.ours.file}"}}, "BADKEY"),
    ("another secret", wrong_secret, "BADSIG"),
    (
        "another name",
        lambda b: {"name": f"other.{ZONE}"},
        f"REFUSED — its log says why; in BIND, let the key {OURS} change the name",
    ),
    ("no key", lambda b: {"key": None}, "in BIND, let this machine change"),
    ("a zone of others", lambda b: {"zone": "test"}, "NOTAUTH for the zone test. — name the zone's primary"),
    ("a name of others", lambda b: {"zone": "org", "name": "example.org"}, "cannot read example.org A at"),
    ("an alias", lambda b: {"name": f"alias.{ZONE}"}, "the name is an alias of mx.example.test."),
]


@pytest.mark.parametrize(("change", "why"), [(it[1], it[2]) for it in REFUSALS], ids=[it[0] for it in REFUSALS])
def test_says_why_the_server_does_not_take_it(
    bench: DnsBench, change: Callable[[DnsBench], dict[str, object]], why: str
) -> None:
    """A server that is not set up for us is told from one that says no; no error has a secret in it."""
    with pytest.raises(UnfitError, match=re.escape(why)) as caught:
        apply(bench.driver(**change(bench)), {"mx1": OUT, "mx3": IN})
    assert bench.named.dig() == ["192.0.2.1", "192.0.2.2", FOREIGN]
    said = f"{caught.value!r} {caught.value.__cause__!r}"
    assert bench.named.ours.secret not in said
    assert bench.named.theirs.secret not in said


def test_a_wrong_key_is_found_by_reading(bench: DnsBench) -> None:
    """A key that the server does not know spoils the plan, not the run."""
    with pytest.raises(UnfitError, match="BADSIG"):
        asyncio.run(bench.driver(**wrong_secret(bench)).read())


def test_a_resolver_is_no_primary(bench: DnsBench, tmp_path: Path) -> None:
    """What a cache says is not taken for the zone: the server must answer with authority."""
    with unbound(tmp_path, bench.named.port) as resolver:
        place = f"127.0.0.1:{resolver}"
        asyncio.run(ask(place, NAME, "A"))
        with pytest.raises(UnfitError, match="it is no server of the zone"):
            asyncio.run(bench.driver(server=place, key=None).read())


def test_silence_is_not_a_no(bench: DnsBench) -> None:
    """Whether a server that hangs or is gone has done something is not known, and that is said in time."""
    driver = DnsDriver(bench.settings(), list(bench.start), bench.clock, within=0.3)
    bench.named.stop_answering()
    with pytest.raises(UnreachableError, match="does not answer in time"):
        asyncio.run(driver.read())
    with pytest.raises(UnreachableError, match="does not answer in time"):
        asyncio.run(ask(bench.named.place, NAME, "A", within=0.3))
    gone = DnsDriver(bench.settings(server=f"127.0.0.1:{free_port()}"), list(bench.start), bench.clock)
    with pytest.raises(UnreachableError):
        asyncio.run(gone.read())


def test_an_unsigned_answer_is_nobodys(bench: DnsBench) -> None:
    """Who signs takes no answer without a signature, as anybody may have sent it."""
    with Unsigned().running() as liar, pytest.raises(UnfitError, match="requires a TSIG"):
        asyncio.run(bench.driver(server=liar.place).read())


class Unsigned(Forwarder):
    """Answers every question by itself: yes, there are none."""

    def __init__(self) -> None:
        super().__init__(0)
        self.RequestHandlerClass = _SaysYes  # type: ignore[assignment]


class _SaysYes:
    def __init__(self, request: socket.socket, client: object, server: Forwarder) -> None:
        message = request.recv(4096)[2:]
        end = message.index(b"\0", 12) + 5
        answer = message[:2] + b"\x84\x00" + b"\0\1" + bytes(6) + message[12:end]
        request.sendall(len(answer).to_bytes(2, "big") + answer)


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("AAAA", ["2001:db8::1", "2001:DB8:0::2", "2001:db8::3"]),
        ("MX", ["10 MX1.Example.org", "10 mx2.example.org.", "20 mx3.example.org."]),
        ("SRV", ["0 5 25 mx1.example.test.", "0 5 25 mx2.example.test.", "0 5 25 mx3.example.test."]),
    ],
)
def test_other_types_are_members_too(tmp_path: Path, type_: str, data: list[str]) -> None:
    """Addresses, exchangers and services alike; their case and form do not matter, nor a missing final dot."""
    names = dict(zip(ADDRESSES, data, strict=True))
    written = [text if text.endswith(".") or ":" in text else f"{text}." for text in data[:2]]
    with Named(tmp_path, written, type_=type_).running() as named, Forwarder(named.port).running() as forwarder:
        bench = DnsBench(named, forwarder)
        driver = bench.driver(type=type_, names=names, resolvers=[named.place])
        before = asyncio.run(driver.read())
        assert {name: one.intake for name, one in before.items()} == bench.start
        apply(driver, bench.shifted)
        assert settling(driver) != ""
        bench.pass_time(6)
        assert settling(driver) == ""
        for line in driver.by_hand({"mx3": 0, "mx2": 1}, {}):
            bench.obey(line)
        after = asyncio.run(driver.read())
        assert {name: one.intake for name, one in after.items()} == bench.start


def test_an_alias_is_one_record(tmp_path: Path) -> None:
    """A CNAME leads to one member, and is turned to another in one step."""
    names = {"mx1": "one.example.org.", "mx2": "two.example.org.", "mx3": "three.example.org."}
    with (
        Named(tmp_path, [names["mx1"]], type_="CNAME").running() as named,
        Forwarder(named.port).running() as forwarder,
    ):
        driver = DnsBench(named, forwarder).driver(type="CNAME", names=names, resolvers=[named.place])
        with pytest.raises(RejectedError, match="one alias at most"):
            apply(driver, {"mx2": IN})
        apply(driver, {"mx1": OUT, "mx2": IN})
        assert named.dig("CNAME") == ["two.example.org."]


def test_a_yes_is_not_believed(tmp_path: Path) -> None:
    """BIND says yes to an alias beside other data and leaves it out (RFC 2136, 3.4.2.2): what is not there is said."""
    names = {"mx1": "one.example.org.", "mx2": "two.example.org.", "mx3": "three.example.org."}
    with Named(tmp_path, ["text"], type_="TXT").running() as named, Forwarder(named.port).running() as forwarder:
        driver = DnsBench(named, forwarder).driver(type="CNAME", names=names)
        with pytest.raises(RejectedError, match="mx2 has weight 0 instead of weight 1"):
            apply(driver, {"mx2": IN})
        assert len(forwarder.updates) == 1


def test_the_secret_of_a_person_comes_from_the_environment(bench: DnsBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line for a shell names the variable that holds the secret, and works where it is set."""
    monkeypatch.setenv("DNS_SECRET", bench.named.ours.secret)
    driver = bench.driver(key={"name": OURS, "secret": "env:DNS_SECRET"})
    (line,) = driver.by_hand({"mx3": 1, "mx2": 0}, {})
    assert bench.named.ours.secret not in line
    bench.obey(line)
    assert bench.truth() == {**bench.start, **bench.shifted}
    monkeypatch.delenv("DNS_SECRET")
    with pytest.raises(subprocess.CalledProcessError):
        bench.obey(line)


def test_a_large_answer_comes_by_tcp(tmp_path: Path) -> None:
    """An answer that fits into no datagram is asked for again over TCP."""
    many = [f"192.0.2.{number}" for number in range(1, 101)]
    with Named(tmp_path, many).running() as named:
        assert asyncio.run(ask(named.place, NAME, "A")) == frozenset(many)


def test_resolvers_follow_aliases_and_have_no_empty_errors(bench: DnsBench) -> None:
    """An alias gives the records that it leads to; no such name, or none of the type, is no error; a refusal is."""
    assert asyncio.run(ask(bench.named.place, f"alias.{ZONE}", "A")) == {"192.0.2.1", "192.0.2.2", FOREIGN}
    assert asyncio.run(ask(bench.named.place, f"nobody.{ZONE}", "A")) == frozenset()
    assert asyncio.run(ask(bench.named.place, NAME, "AAAA")) == frozenset()
    with pytest.raises(UnreachableError, match="REFUSED"):
        asyncio.run(ask(bench.named.place, "example.org", "A"))


def test_a_driver_is_quick(bench: DnsBench) -> None:
    """A change with its reading before and after takes no second; somebody waits for it."""
    driver = DnsDriver(bench.settings(), list(bench.start), SystemClock())
    began = time.monotonic()
    apply(driver, bench.shifted)
    assert time.monotonic() - began < 1.0
