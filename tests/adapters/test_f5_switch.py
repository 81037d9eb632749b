"""An F5 BIG-IP as a traffic switch: the contract on a server of ours, and what is a BIG-IP's own. None is real here."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.adapters.f5 import F5Driver
from orchestrator.errors import OutsideError, RejectedError, UnfitError, UnreachableError
from orchestrator.model.switch import F5Switch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session
from tests.adapters.f5_server import PASSWORD, POOL, USER, FakeBigIp, Fault, Member, serving
from tests.adapters.haproxy_bench import free_port
from tests.adapters.switch_contract import Bench, Intakes, SwitchContract

pytestmark = [pytest.mark.lab, pytest.mark.timeout(60)]

NAMES = {name: f"/Common/{name}:25" for name in ("mx1", "mx2", "mx3")}
DRAINED = Intake(weight=100, admin="drain")


@pytest.fixture
def bigip() -> FakeBigIp:
    """A BIG-IP with three members."""
    return FakeBigIp({path: Member(ratio=100) for path in NAMES.values()})


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password, where the model says that it is."""
    monkeypatch.setenv("F5_PASSWORD", PASSWORD)


@pytest.fixture
def url(bigip: FakeBigIp) -> Iterator[str]:
    """Where it listens."""
    with serving(bigip) as url:
        yield url


def model(url: str, **settings: str) -> F5Switch:
    """The model of it."""
    defaults = {"url": url, "pool": POOL, "user": USER, "password": "env:F5_PASSWORD", "names": NAMES}
    return F5Switch.model_validate({"driver": "f5"} | defaults | settings)


class F5Bench(Bench):
    """A BIG-IP of ours in the contract."""

    def __init__(self, bigip: FakeBigIp, url: str) -> None:
        self._bigip = bigip
        self.switch = self._model = model(url)
        self.start = dict.fromkeys(NAMES, Intake(weight=100))
        self.shifted = {"mx1": Intake(weight=0, admin="drain"), "mx2": Intake(weight=65_535)}

    def driver(self) -> F5Driver:
        """See ``Bench.driver``."""
        return F5Driver(self._model, list(NAMES))

    def truth(self) -> Intakes:
        """See ``Bench.truth``: without HTTP."""
        found = {}
        for name, path in NAMES.items():
            member = self._bigip.members[path]
            admin: Admin = "drain" if member.forced_down else "ready"
            found[name] = Intake(weight=member.ratio if member.session == "user-enabled" else 0, admin=admin)
        return found

    def meddle(self, changes: Intakes) -> None:
        """See ``Bench.meddle``: at its own console."""
        for name, to in changes.items():
            member = self._bigip.members[NAMES[name]]
            member.session = "user-enabled" if to.weight else "user-disabled"
            member.ratio = to.weight or member.ratio
            member.forced_down = to.admin == "drain"

    @contextmanager
    def failing(self, member: str) -> Iterator[None]:
        """Its commit fails when it touches this member, and so does all of the transaction."""
        self._bigip.broken.add(NAMES[member])
        try:
            yield
        finally:
            self._bigip.broken.clear()

    @contextmanager
    def racing(self, changes: Intakes) -> Iterator[None]:
        """Somebody else is there once the driver has read everything and begins to write."""
        seen: list[str] = []

        def meddle(method: str, path: str) -> None:
            if method != "GET" and "login" not in path and not seen:
                seen.append(path)
                self.meddle(changes)

        self._bigip.before = meddle
        try:
            yield
        finally:
            self._bigip.before = lambda method, path: None
        assert seen, "the driver has written nothing"


class TestF5(SwitchContract):
    """The contract."""

    @pytest.fixture
    def bench(self, bigip: FakeBigIp, url: str) -> F5Bench:
        """A BIG-IP with three members."""
        return F5Bench(bigip, url)


def read(url: str, **settings: str) -> Mapping[str, MemberReading]:
    """What a new driver reads."""
    return asyncio.run(F5Driver(model(url, **settings), list(NAMES)).read())


def apply(url: str, changes: Mapping[str, Intake], **settings: str) -> None:
    """What a new driver does."""
    asyncio.run(F5Driver(model(url, **settings), list(NAMES)).apply(changes))


def test_a_drain_is_the_documented_forced_offline(bigip: FakeBigIp, url: str) -> None:
    """Without weight and drained a member is user-disabled and user-down; its ratio and priority group stay."""
    bigip.members["/Common/mx1:25"].priority_group = 7
    apply(url, {"mx1": Intake(weight=0, admin="drain")})
    assert bigip.members["/Common/mx1:25"] == Member(
        ratio=100, session="user-disabled", forced_down=True, priority_group=7
    )


def test_counts_the_members_that_are_not_ours(bigip: FakeBigIp, url: str) -> None:
    """Others that are enabled count with their ratio; whoever is disabled or forced offline takes nothing new."""
    driver = F5Driver(model(url), list(NAMES))
    bigip.members["/Common/theirs:25"] = Member(ratio=7)
    bigip.members["/Common/off:25"] = Member(ratio=7, session="user-disabled")
    bigip.members["/Common/forced:25"] = Member(ratio=7, forced_down=True)
    bigip.members["/Common/node:25"] = Member(ratio=7, node_enabled=False)
    assert asyncio.run(driver.elsewhere()) == 7
    bigip.mode = "round-robin"
    assert asyncio.run(driver.elsewhere()) == 1


def test_all_or_nothing(bigip: FakeBigIp, url: str) -> None:
    """When one member cannot be changed the others are not either, and the BIG-IP's reason is told."""
    bigip.broken.add("/Common/mx3:25")
    with pytest.raises(RejectedError, match="transaction failed:01070712:3: Cannot modify pool member /Common/mx3:25"):
        apply(url, dict.fromkeys(NAMES, DRAINED))
    assert {member.forced_down for member in bigip.members.values()} == {False}


def test_only_what_differs_is_written(bigip: FakeBigIp, url: str) -> None:
    """A member that is as asked is not part of the transaction; without any there is no transaction."""
    apply(url, {"mx1": Intake(weight=100), "mx2": DRAINED})
    assert [line for line in bigip.log if line.startswith("PATCH") and "members" in line] == [
        "PATCH /mgmt/tm/ltm/pool/~Common~smtp/members/~Common~mx2:25"
    ]
    bigip.log.clear()
    apply(url, {"mx2": DRAINED})
    assert [line for line in bigip.log if not line.startswith("GET")] == [
        "POST /mgmt/shared/authn/login",
        "POST /mgmt/tm/sys/config",
    ]


def test_a_reboot_forgets_nothing(bigip: FakeBigIp, url: str) -> None:
    """What was applied is on disk."""
    apply(url, {"mx1": DRAINED})
    bigip.reboot()
    assert read(url)["mx1"].intake == DRAINED


def test_says_when_it_cannot_be_saved_and_saves_the_next_time(bigip: FakeBigIp, url: str) -> None:
    """A change that is not on disk is an error; asking again, with nothing to change, saves it."""
    bigip.faults = [Fault("POST", "/mgmt/tm/sys/config", 503, times=1)]
    with pytest.raises(UnfitError, match=r"a reboot would forget this change.*tmsh save sys config"):
        apply(url, {"mx1": DRAINED})
    apply(url, {"mx1": DRAINED})
    bigip.reboot()
    assert read(url)["mx1"].intake == DRAINED


def test_a_token_that_expires_is_renewed(bigip: FakeBigIp, url: str) -> None:
    """One login serves until the BIG-IP does not take its token any more, also in the middle of a change."""
    driver = F5Driver(model(url), list(NAMES))
    asyncio.run(driver.read())
    asyncio.run(driver.read())
    assert bigip.log.count("POST /mgmt/shared/authn/login") == 1
    passed: list[str] = []

    def expire_once(method: str, path: str) -> None:
        if method == "PATCH" and not passed:
            passed.append(path)
            bigip.expire()

    bigip.before = expire_once
    asyncio.run(driver.apply({"mx1": DRAINED}))
    assert bigip.members["/Common/mx1:25"].forced_down


def test_does_not_log_in_for_ever(bigip: FakeBigIp, url: str) -> None:
    """Where no token helps it stops after the second."""
    bigip.faults = [Fault("GET", ".*", 401)]
    with pytest.raises(UnfitError, match="role"):
        read(url)
    assert bigip.log.count("POST /mgmt/shared/authn/login") == 2


def test_a_wrong_password_is_not_told(bigip: FakeBigIp, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not let in, and which secret, is said; the password is not, even where the BIG-IP repeats it."""
    monkeypatch.setenv("F5_PASSWORD", "tr0ub4dor&3")
    with pytest.raises(UnfitError, match=r"as failover: .*secret env:F5_PASSWORD") as caught:
        read(url)
    assert "tr0ub4dor&3" not in str(caught.value)
    bigip.faults = [Fault("POST", "/mgmt/shared/authn/login", 400, "Bad Request: password tr0ub4dor&3")]
    with pytest.raises(RejectedError, match=r"password \*\*\*"):
        read(url)


def test_reads_connections_and_monitors(bigip: FakeBigIp, url: str) -> None:
    """Sessions are the connections to the member; up is what its monitor says, and true without one or when forced."""
    bigip.members["/Common/mx1:25"].connections = 7
    bigip.members["/Common/mx2:25"].monitor = False
    bigip.members["/Common/mx3:25"].monitor = True
    assert [(one.up, one.sessions) for one in read(url).values()] == [(True, 7), (False, 0), (True, 0)]
    apply(url, {"mx2": DRAINED, "mx3": DRAINED})
    assert [(one.up, one.intake.admin) for one in read(url).values()] == [
        (True, "ready"),
        (True, "drain"),
        (True, "drain"),
    ]
    apply(url, {"mx2": Intake(weight=100)})
    assert not read(url)["mx2"].up


def test_weights_need_a_mode_that_looks_at_ratios(bigip: FakeBigIp, url: str) -> None:
    """Without such a mode members have weight 1 or 0, and any other is refused with what to type, before a write."""
    bigip.mode = "least-connections-member"
    assert {one.intake for one in read(url).values()} == {Intake(weight=1)}
    apply(url, {"mx1": Intake(weight=0), "mx2": Intake(weight=1, admin="drain")})
    apply(url, {"mx1": Intake(weight=1), "mx2": Intake(weight=1)})
    assert {member.ratio for member in bigip.members.values()} == {100}
    bigip.log.clear()
    with pytest.raises(UnfitError, match=r"mx2 weight 30.*tmsh modify ltm pool /Common/smtp load-balancing-mode ratio"):
        apply(url, {"mx1": Intake(weight=0), "mx2": Intake(weight=30)})
    assert not [line for line in bigip.log if "transaction" in line]


def test_priority_groups_are_refused(bigip: FakeBigIp, url: str) -> None:
    """With priority groups weights do not say who takes traffic; they are named. Without a minimum they do nothing."""
    bigip.members["/Common/mx1:25"].priority_group = 10
    assert read(url)["mx1"].intake == Intake(weight=100)
    bigip.min_active_members = 1
    with pytest.raises(UnfitError, match=r"mx1:25 is in group 10, /Common/mx2:25 is in group 0.*min-active-members 0"):
        read(url)


def test_a_disabled_node_is_refused(bigip: FakeBigIp, url: str) -> None:
    """What is not the member's own state cannot be changed at the member."""
    bigip.members["/Common/mx1:25"].node_enabled = False
    with pytest.raises(UnfitError, match=r"mx1 .*addr-disabled.*tmsh modify ltm node /Common/mx1 session"):
        read(url)


def test_names_what_is_there(url: str) -> None:
    """An unknown pool or member is refused, with the members that there are."""
    with pytest.raises(UnfitError, match="no such pool"):
        read(url, pool="/Common/imap")
    with pytest.raises(UnfitError, match=r"mx9 \(mx9\) is not in it, but /Common/mx1:25, /Common/mx2:25"):
        asyncio.run(F5Driver(model(url), ["mx9"]).read())


def test_reads_back(bigip: FakeBigIp, url: str) -> None:
    """A BIG-IP that says it is done and is not is not believed."""
    bigip.lies = True
    with pytest.raises(RejectedError, match="mx1 has weight 100 instead of weight 100, drain"):
        apply(url, {"mx1": DRAINED})


@pytest.mark.parametrize(
    ("status", "kind"), [(503, UnreachableError), (500, UnreachableError), (403, UnfitError), (409, RejectedError)]
)
def test_faults(bigip: FakeBigIp, url: str, status: int, kind: type[OutsideError]) -> None:
    """A busy BIG-IP, one that forbids and one that refuses are told apart, with its own words and no member changed."""
    bigip.faults = [Fault("PATCH", "/mgmt/tm/transaction/.*", status, "its own words")]
    with pytest.raises(kind, match=rf"its own words \({status}\)"):
        apply(url, {"mx1": DRAINED})
    assert not bigip.members["/Common/mx1:25"].forced_down


def test_nobody_is_there() -> None:
    """Without an answer nothing is known."""
    with pytest.raises(UnreachableError, match="POST /mgmt/shared/authn/login"):
        read(f"http://127.0.0.1:{free_port()}")


def test_the_password_never_goes_in_the_clear() -> None:
    """Without TLS a BIG-IP elsewhere is not asked at all."""
    with pytest.raises(UnfitError, match="in the clear"):
        read("http://192.0.2.5")


def test_the_certificate_is_verified(bigip: FakeBigIp, tmp_path: Path) -> None:
    """A BIG-IP is asked when its CA is named, and not otherwise; a CA file that is none is named."""
    certificate, key = tmp_path / "bigip.pem", tmp_path / "bigip.key"
    new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=bigip -days 2"
    where = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *new.split(), *where], check=True, capture_output=True, timeout=30)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with serving(bigip, tls) as url:
        with pytest.raises(UnfitError, match="certificate is not valid"):
            read(url)
        assert bigip.log == []
        assert set(read(url, ca_file=str(certificate))) == set(NAMES)
        with pytest.raises(UnfitError, match="cannot use the CA file /nowhere"):
            read(url, ca_file="/nowhere")


def test_by_hand_takes_the_password_from_where_it_is(url: str) -> None:
    """No secret stands in a command: the shell reads the variable or the file; names are quoted for the URL."""
    names = {"mx1": "/Common/mx 1%2:25"}
    switch = model(url, password="file:/etc/it's secret", ca_file="/etc/ca.pem").model_copy(update={"names": names})
    first, last = F5Driver(switch, ["mx1"]).by_hand({"mx1": 5}, {"mx1": "ready"})
    assert "-u failover:\"$(cat '/etc/it'\"'\"'s secret')\"" in first
    assert "--cacert /etc/ca.pem" in first
    assert "/members/~Common~mx%201%252:25" in first
    assert """'{"session": "user-enabled", "ratio": 5, "state": "user-up"}'""" in first
    assert """'{"command": "save"}'""" in last
    assert PASSWORD not in first + last


def test_a_count_that_is_not_given_is_not_0(bigip: FakeBigIp, url: str) -> None:
    """A drain would take 0 for empty."""
    bigip.untold = {"serverside.curConns"}
    assert {reading.sessions for reading in read(url).values()} == {None}


def test_lists_and_closes_no_sessions(url: str) -> None:
    """It is said that its connections are not listed, for closing too."""
    session = Session(id="1", client="127.0.0.1:1", member="mx1", age=1.0)
    with pytest.raises(UnfitError, match="counted and not listed"):
        asyncio.run(F5Driver(model(url), list(NAMES)).close(session))
