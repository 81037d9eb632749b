"""What the lab's ledger says is what happened, and its faults are real."""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.errors import RefusedError, UnreachableError
from orchestrator.lab.client import Lab
from orchestrator.lab.layout import PROBE_MAILBOX, SITES
from orchestrator.lab.ledger import Ledger
from orchestrator.lab.processes import wait_until
from orchestrator.lab.profiles import PROFILES, ProfileName
from orchestrator.lab.runtime_api import ask_edge

pytestmark = pytest.mark.lab


def edge_says(lab: Lab, command: str, socket_name: str = "edge.socket") -> str:
    """HAProxy's answer to one command."""
    return ask_edge(Path(lab.addresses()[socket_name]), command)


def banner(address: str, timeout: float = 3.0) -> str:
    """Which host greets a new connection; empty when none does in time."""
    host, _, port = address.partition(":")
    try:
        with socket.create_connection((host, int(port)), timeout) as connection:
            connection.settimeout(timeout)
            return connection.recv(200).decode().removeprefix("220 ").partition(".")[0]
    except OSError:
        return ""


def all_settled(ledger: Ledger) -> bool:
    """Every accepted message arrived."""
    return ledger.in_flight == ledger.lost == 0 and ledger.accepted == ledger.delivered > 0


@pytest.mark.parametrize("profile", PROFILES)
def test_plain_load_is_clean(start_lab: Callable[..., Lab], profile: ProfileName) -> None:
    """Under each profile, without any fault, every message is accepted and delivered once."""
    lab = start_lab(profile=profile, clients=30)
    assert wait_until(lambda: lab.status().ledger.accepted >= 50, 30.0, every=0.3)
    ledger = lab.settle(60)
    assert all_settled(ledger)
    assert ledger.clean, ledger
    assert ledger.hard_errors == ledger.replies_421 == ledger.deferred == ledger.failed_connects == 0


def test_cutting_sessions_makes_duplicates(start_lab: Callable[..., Lab]) -> None:
    """The old way, maint and 'shutdown sessions': where mail is scanned, about half the host's sessions send twice."""
    lab = start_lab(profile="scan", clients=40)
    assert wait_until(lambda: lab.status().ledger.accepted >= 150, 30.0, every=0.3)
    cut = 0
    for site in ("ord", "iad", "ord"):  # several times: in one cut all clients may happen to be in one phase
        hosts = (f"{site}-mx1", f"{site}-mx2")
        now = lab.status()
        cut += sum(now.hosts[host].sessions for host in hosts)
        for host in hosts:
            edge_says(lab, f"set server smtp/{host} state maint")
            edge_says(lab, f"shutdown sessions server smtp/{host}")
        time.sleep(1.0)
        for host in hosts:
            edge_says(lab, f"set server smtp/{host} state ready")
    ledger = lab.settle(30)
    assert cut >= 45
    assert 0.25 * cut <= ledger.duplicated <= cut, f"{ledger.duplicated} of {cut}"
    assert ledger.hard_errors + ledger.idle_closes >= cut
    assert ledger.transactions_cut >= ledger.duplicated
    assert all_settled(ledger)


def test_a_closed_gate_moves_clients_and_cuts_nothing(start_lab: Callable[..., Lab]) -> None:
    """421 at MAIL: every client of the host goes elsewhere politely, and the ledger stays clean."""
    lab = start_lab(profile="hot", clients=20)
    assert wait_until(lambda: lab.status().ledger.accepted >= 200, 30.0, every=0.3)
    at = time.time()
    for host in ("ord-mx1", "ord-mx2"):
        edge_says(lab, f"set server smtp/{host} state drain")
        answer = gate_says(lab, host, "close")
        assert answer["ok"], answer
    assert wait_until(lambda: not any(lab.status().hosts[host].sessions for host in ("ord-mx1", "ord-mx2")), 10.0)
    ledger = lab.settle(30)
    assert all_settled(ledger)
    assert ledger.clean, ledger
    assert ledger.hard_errors == 0
    assert ledger.replies_421 >= 8
    assert 0.0 < lab.longest_in_flight("ord", at) < 3.0


def gate_says(lab: Lab, host: str, do: str) -> dict[str, object]:
    """The answer of a host's gate."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(lab.addresses()[f"{host}.gate-control"])
        connection.sendall(json.dumps({"do": do}).encode() + b"\n")
        with connection.makefile() as answers:
            found = json.loads(answers.readline())
    assert isinstance(found, dict)
    return found


@pytest.fixture
def quiet_lab(start_lab: Callable[..., Lab]) -> Lab:
    """A lab with little load."""
    return start_lab(clients=5)


def test_what_probes_and_operators_see(quiet_lab: Lab) -> None:
    """Paths reach just their site's hosts, probes land in the inbox, flows get lost as told, a reload is survived."""
    paths_reach_their_sites(quiet_lab)
    probes_land_in_the_inbox(quiet_lab)
    lost_flows_are_a_share(quiet_lab)
    a_reload_keeps_sessions_and_states(quiet_lab)


def paths_reach_their_sites(lab: Lab) -> None:
    """Each connection on a path meets the site's next host in turn."""
    for site in SITES:
        seen = Counter(banner(lab.addresses()[f"edge.path-{site}"]) for _ in range(4))
        assert seen == {f"{site}-mx1": 2, f"{site}-mx2": 2}


def probes_land_in_the_inbox(lab: Lab) -> None:
    """Over STARTTLS with the lab's own authority, to the spare too; the ledger does not see them."""
    context = ssl.create_default_context(cafile=lab.addresses()["ca-file"])
    context.check_hostname = False
    for number, site in enumerate(SITES):
        host, _, port = lab.addresses()[f"edge.path-{site}"].partition(":")
        with smtplib.SMTP(host, int(port), timeout=10) as client:
            client.starttls(context=context)
            text = f"Message-ID: <probe-{number}@test>\r\nSubject: p\r\n\r\n"
            client.sendmail(PROBE_MAILBOX, PROBE_MAILBOX, text + "x" * 60_000)
    inbox = Path(lab.addresses()["inbox"]) / "new"
    assert wait_until(lambda: len(list(inbox.iterdir())) == len(SITES), 10.0)
    ledger = lab.settle(20)
    assert ledger.clean
    assert ledger.accepted == ledger.delivered


def lost_flows_are_a_share(lab: Lab) -> None:
    """A fifth of the path's connections hangs, none of another path's and none of the clients'."""
    lab.flow_loss("iad", 0.2)
    with ThreadPoolExecutor(50) as pool:
        seen = list(pool.map(lambda _: banner(lab.addresses()["edge.path-iad"], timeout=2.0), range(200)))
        others = list(pool.map(lambda _: banner(lab.addresses()["edge.path-ord"]), range(20)))
    assert 15 <= seen.count("") <= 70, "200 x 20%: outside this by chance once in a million"
    assert "" not in others
    assert lab.status().flow_loss["iad"] == 0.2
    lab.heal()
    assert all(banner(lab.addresses()["edge.path-iad"]) for _ in range(10))
    assert lab.settle(20).clean


def a_reload_keeps_sessions_and_states(lab: Lab) -> None:
    """HAProxy can be reloaded under load: its old process keeps its sessions, saved states are read back."""
    edge_says(lab, "set server smtp/ord-mx2 state drain")
    state = edge_says(lab, "show servers state")
    Path(lab.addresses()["edge.state-file"]).write_text(state)
    edge_says(lab, "reload", "edge.master")
    assert wait_until(lambda: reloaded(lab), 5.0)
    row = next(line.split() for line in edge_says(lab, "show servers state smtp").splitlines() if " ord-mx2 " in line)
    assert int(row[6]) & 0x08, "it still drains"
    assert banner(lab.addresses()["edge.smtp"])
    assert lab.settle(20).clean


def reloaded(lab: Lab) -> bool:
    """Whether a new worker serves; the master does not answer while it starts itself anew."""
    try:
        return "# old workers" in edge_says(lab, "show proc", "edge.master")
    except UnreachableError:
        return False


def test_a_dead_host_loses_nothing_that_it_accepted(start_lab: Callable[..., Lab]) -> None:
    """After a power cut and a new start the host delivers what lay in its queue; nothing is called lost meanwhile."""
    lab = start_lab(profile="scan", clients=20)
    assert wait_until(lambda: lab.status().ledger.accepted >= 60, 30.0, every=0.3)
    lab.kill_host("iad-mx1")
    status = lab.status()
    assert not status.hosts["iad-mx1"].up
    assert wait_until(lambda: lab.status().hosts["iad-mx1"].sessions == 0, 5.0)
    assert lab.settle(3).lost == 0
    lab.heal()
    assert lab.status().hosts["iad-mx1"].up
    assert all_settled(lab.settle(30))


def test_a_reset_begins_at_nothing(quiet_lab: Lab) -> None:
    """After a reset the counts begin again, and stay consistent with messages that were under way."""
    assert wait_until(lambda: quiet_lab.status().ledger.accepted > 3, 20.0)
    quiet_lab.pause_load()
    quiet_lab.settle(20)
    quiet_lab.reset_ledger()
    assert quiet_lab.status().ledger.accepted == 0
    assert quiet_lab.status().paused
    quiet_lab.resume_load()
    assert wait_until(lambda: quiet_lab.status().ledger.accepted > 3, 20.0)
    assert all_settled(quiet_lab.settle(20))


def test_a_postfix_client_defers_what_it_gets_421_for(start_lab: Callable[..., Lab]) -> None:
    """A real MTA with one next hop puts off a message that meets 421; the ledger tells, and loses nothing."""
    lab = start_lab(profile="postfix", clients=30)
    assert wait_until(lambda: lab.status().ledger.accepted >= 45, 30.0, every=0.3)
    for host in ("ord-mx1", "ord-mx2"):
        edge_says(lab, f"set server smtp/{host} state drain")
        assert gate_says(lab, host, "close")["ok"]
    assert wait_until(lambda: lab.status().ledger.replies_421 > 0, 10.0)
    ledger = lab.settle(30)
    assert all_settled(ledger)
    assert ledger.deferred > 0
    assert (ledger.duplicated, ledger.transactions_cut) == (0, 0)


def test_what_is_asked_of_an_unknown_site_is_refused(quiet_lab: Lab) -> None:
    """A mistyped site or host is an answer, not silence."""
    with pytest.raises(RefusedError, match="the lab has ord, iad, dfw"):
        quiet_lab.flow_loss("lax", 0.1)
    with pytest.raises(RefusedError, match="the lab has ord-mx1"):
        quiet_lab.kill_host("lax-mx1")
    with pytest.raises(RefusedError, match="the lab has ord, iad, dfw"):
        quiet_lab.longest_in_flight("lax", 0.0)
