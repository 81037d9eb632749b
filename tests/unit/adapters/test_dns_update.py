"""What the dns switch knows without asking anybody: records, places, commands for a shell, and what it refuses."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

import pytest

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.dns_update import DnsDriver
from orchestrator.adapters.resolvers import parse_place, parse_record, record_text
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.switch import DnsSwitch
from orchestrator.model.traffic import Intake, Session

NAMES = {"mx1": "192.0.2.1", "mx2": "192.0.2.2"}


def driver(**changed: object) -> DnsDriver:
    """A driver whose server nobody has started."""
    standard: dict[str, object] = {
        "driver": "dns",
        "server": "127.0.0.1:1",
        "zone": "example.com",
        "name": "mx.example.com",
        "names": NAMES,
        "ttl": "90s",
    }
    return DnsDriver(DnsSwitch.model_validate({**standard, **changed}), list(NAMES), SystemClock())


@pytest.mark.parametrize(
    ("place", "host", "port"),
    [
        ("ns1.example.com", "ns1.example.com", 53),
        ("ns1.example.com:5353", "ns1.example.com", 5353),
        ("192.0.2.53:54", "192.0.2.53", 54),
        ("2001:db8::53", "2001:db8::53", 53),
        ("[2001:db8::53]", "2001:db8::53", 53),
        ("[2001:db8::53]:54", "2001:db8::53", 54),
    ],
)
def test_places_have_a_port(place: str, host: str, port: int) -> None:
    """Port 53 is meant where none is written, also behind an IPv6 address."""
    assert parse_place(place) == (host, port)


@pytest.mark.parametrize("place", ["", "host:", "host:port", "host:65536", "[::1", "a:b:c]"])
def test_what_is_no_place_is_refused(place: str) -> None:
    """A server that cannot be one is refused before anything is asked."""
    with pytest.raises(UnfitError, match="as a DNS server"):
        driver(server=place)


@pytest.mark.parametrize(
    ("type_", "written", "meant"),
    [
        ("A", "192.0.2.1", "192.0.2.1"),
        ("AAAA", "2001:DB8:0:0::1", "2001:db8::1"),
        ("MX", "010 MX1.Example.com", "10 mx1.example.com."),
        ("CNAME", "Edge.example.com.", "edge.example.com."),
        ("SRV", "0 5 25 mx1.example.com", "0 5 25 mx1.example.com."),
        ("TXT", '"Two Words"', '"Two Words"'),
    ],
)
def test_records_have_one_form(type_: str, written: str, meant: str) -> None:
    """However data are written, they are compared in one form; a name is a whole one, with its dot or without."""
    assert record_text(parse_record(type_, written)) == meant


def test_a_member_needs_its_record() -> None:
    """A member without record data, or with those of another, is refused by name."""
    with pytest.raises(UnfitError, match=r"mx2.*no record data of the type A.*switch\.names"):
        driver(names={"mx1": "192.0.2.1"})
    with pytest.raises(UnfitError, match=r"cannot tell mx1 and mx2 apart: both are 192\.0\.2\.1"):
        driver(names=dict.fromkeys(NAMES, "192.0.2.1"))


def test_the_name_is_in_the_zone() -> None:
    """A name outside its zone, or none at all, is refused before anything is asked."""
    with pytest.raises(UnfitError, match="the name is not in it"):
        driver(name="mx.example.org")
    with pytest.raises(UnfitError, match="correct 'zone', 'name' and 'key'"):
        driver(name="mx..example.com")


@pytest.mark.parametrize(
    ("to", "why"),
    [
        (Intake(weight=2), "cannot give mx1 weight 2: DNS has no weights"),
        (Intake(weight=1, admin="drain"), "cannot bring mx1 to drain: DNS has no such state"),
    ],
)
def test_refuses_what_dns_does_not_have_before_it_asks(to: Intake, why: str) -> None:
    """Weights above 1 and admin states are refused with the member's name; the server is not even asked."""
    with pytest.raises(RejectedError, match=why):
        asyncio.run(driver().apply({"mx2": Intake(weight=1), "mx1": to}))


def test_knows_no_sessions() -> None:
    """Nobody is told that there are no sessions: DNS does not know."""
    with pytest.raises(UnfitError, match="knows no sessions"):
        asyncio.run(driver().sessions(["mx1"]))
    with pytest.raises(UnfitError, match="knows no sessions"):
        asyncio.run(driver().close(Session(id="1", client="192.0.2.7:1", member="mx1", age=1)))


def test_what_a_person_types() -> None:
    """One line for a shell, with names in full, in the order that is asked for; nothing for nothing."""
    (line,) = driver().by_hand({"mx2": 1, "mx1": 0}, {"mx1": "ready"})
    said = ["server 127.0.0.1 1", "zone example.com."]
    said += ["update add mx.example.com. 90 A 192.0.2.2", "update delete mx.example.com. A 192.0.2.1"]
    assert line == f"printf '%s\\n' {shlex.join([*said, 'send'])} | nsupdate -v"
    assert driver().by_hand({}, {"mx1": "ready"}) == []


def test_a_person_gives_the_secret_without_showing_it() -> None:
    """The shell puts the secret in: it stands in no command, and so in no list of processes."""
    (by_file,) = driver(key={"name": "k", "secret": "file:/etc/it's"}).by_hand({"mx1": 0}, {})
    assert """ "key hmac-sha256:k $(cat '/etc/it'"'"'s')" """ in by_file
    (by_env,) = driver(key={"name": "k", "algorithm": "hmac-sha512", "secret": "env:S"}).by_hand({"mx1": 0}, {})
    assert ' "key hmac-sha512:k ${S}" ' in by_env


@pytest.mark.parametrize("secret", ["not base64!", "YWJ", "ä"])
def test_a_secret_that_is_none_is_not_shown(tmp_path: Path, secret: str) -> None:
    """What is no base64 is refused without a word of it, and no cause that has it."""
    file = tmp_path / "secret"
    file.write_text(secret)
    file.chmod(0o600)
    with pytest.raises(UnfitError, match="is no base64") as caught:
        asyncio.run(driver(key={"name": "k", "secret": f"file:{file}"}).read())
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_secret_is_read_when_it_is_used(tmp_path: Path) -> None:
    """A plan can be made into commands where the secret does not lie; to ask the server needs it."""
    it = driver(key={"name": "k", "secret": f"file:{tmp_path / 'none'}"})
    assert it.by_hand({"mx1": 0}, {})
    with pytest.raises(UnfitError, match="there is no such file"):
        asyncio.run(it.read())
