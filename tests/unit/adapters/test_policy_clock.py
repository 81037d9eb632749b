"""A gate on a host whose clock is not ours: ``since`` is by ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pytest

from orchestrator.adapters.postfix_config import map_lines, policy_lines
from orchestrator.adapters.postfix_map import MapGateDriver, table_text
from orchestrator.adapters.postfix_policy import PolicyGateDriver
from orchestrator.errors import RejectedError
from orchestrator.model.inventory import MapGate, PolicyGate

NOW = 1_700_000_000.0
DATABASE = "/var/lib/failover-gate/gate.sqlite"
POLICY = PolicyGate(driver="postfix-policy", control="/run/gate.sock")
TABLE = MapGate(driver="postfix-map", database=DATABASE)


@dataclass
class DistantHost:
    """A mail host behind ssh whose clock is ``skew`` seconds ahead; its Postfix has these ``lines`` in main.cf.

    They were written ``changed`` seconds ago, and its gate service began ``began`` seconds ago.
    """

    lines: dict[str, str]
    skew: float
    changed: float = 500.0
    began: float = 100.0
    date: str = ""
    """What date(1) says, when it is not the time."""
    dates: int = 0
    host: str = "mx1"
    remote: bool = True

    def by_hand(self, line: str) -> str:
        """Where a person types it."""
        return line

    async def run(
        self, command: Sequence[str], *, stdin: str = "", timeout: float = 10.0, accept: Collection[int] = (0,)
    ) -> str:
        """Answer one command."""
        match command:
            case ["postconf", _, _, "-x", *names]:
                return "".join(f"{name} = {self.lines.get(name, '')}\n" for name in names)
            case ["postconf", _, _, "-Px"]:
                return "10025/inet/smtpd_upstream_proxy_protocol = haproxy\n"
            case ["postconf", _, _, "-M"]:
                return "10025 inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy\n"
            case ["stat", *_, file]:
                return f"{NOW + self.skew - self.changed if file.endswith('.cf') else 0}\n"
            case ["date", "+%s.%N"]:
                self.dates += 1
                return self.date or f"{NOW + self.skew:.9f}\n"
            case ["python3", "-c", _, "/run/gate.sock"]:
                return self._status()
            case ["cat", _]:
                return table_text(DATABASE)
            case ["sqlite3", *_]:
                return "delete\n" if "journal_mode;" in stdin else "closed=0\n"
        raise AssertionError(command)

    def _status(self) -> str:
        there = NOW + self.skew
        status = {"ok": True, "closed": False, "spare": [], "listen": "127.0.0.1:10045"}
        return json.dumps(status | {"since": there - self.began, "time": there, "moment": 7.0}) + "\n"


def policy(host: DistantHost) -> PolicyGateDriver:
    """The driver of its policy service."""
    return PolicyGateDriver("mx1", POLICY, host, [], clock=lambda: NOW)


def table(host: DistantHost) -> MapGateDriver:
    """The driver of its table."""
    return MapGateDriver("mx1", TABLE, host, [], clock=lambda: NOW)


SKEWS = pytest.mark.parametrize("skew", [-7200.0, -30.0, 0.0, 30.0, 7200.0])


@SKEWS
@pytest.mark.parametrize(("changed", "began", "ago"), [(500.0, 100.0, 100.0), (50.0, 100.0, 50.0)])
def test_the_policy_gate_is_as_old_as_it_is(skew: float, changed: float, began: float, ago: float) -> None:
    """``since`` is the later of the service's start and main.cf's change, by our clock and not by the host's."""
    host = DistantHost(policy_lines("inet:127.0.0.1:10045"), skew, changed, began)
    driver = policy(host)
    assert asyncio.run(driver.read()).since == pytest.approx(NOW - ago, abs=0.001)
    assert asyncio.run(driver.look()).since == pytest.approx(NOW - ago, abs=0.001)


@SKEWS
def test_the_map_gate_is_as_old_as_it_is(skew: float) -> None:
    """``since`` is when its files changed, by our clock; the host is asked for its time once."""
    host = DistantHost(map_lines("/var/lib/failover-gate/gate.cf"), skew)
    driver = table(host)
    for _ in range(2):
        assert asyncio.run(driver.read()).since == pytest.approx(NOW - 500, abs=0.001)
    assert host.dates == 1


def test_the_map_gate_of_this_machine_has_our_clock() -> None:
    """Nobody is asked for the time where there is one clock."""
    host = DistantHost(map_lines("/var/lib/failover-gate/gate.cf"), 0.0, remote=False)
    assert asyncio.run(table(host).read()).since == NOW - 500
    assert host.dates == 0


def test_a_date_that_says_no_time() -> None:
    """A date(1) without nanoseconds is a clear error."""
    host = DistantHost(map_lines("/var/lib/failover-gate/gate.cf"), 0.0, date="1700000000.%N\n")
    with pytest.raises(RejectedError, match=r"cannot tell the time of mx1: date\(1\) there says '1700000000.%N'"):
        asyncio.run(table(host).read())
