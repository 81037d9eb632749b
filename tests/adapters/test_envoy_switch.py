"""Envoy as a traffic switch: the contract on a real one on loopback, and what is Envoy's own."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.envoy_endpoints import EndpointsFile
from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.traffic import Intake, MemberReading, Session
from tests.adapters.envoy_bench import CALM, EnvoyBench, RealEnvoy, door, envoy, greeters
from tests.adapters.haproxy_bench import MEMBERS, eventually, free_port
from tests.adapters.switch_contract import SwitchContract

pytestmark = [pytest.mark.lab, pytest.mark.timeout(60)]

DRAINED = Intake(weight=100, admin="drain")
TCP_CHECK = {"timeout": "0.2s", "interval": "0.1s", "unhealthy_threshold": 1, "healthy_threshold": 1}


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """Where the members listen."""
    with greeters() as ports:
        yield ports


@pytest.fixture
def it(tmp_path: Path, ports: dict[str, int]) -> Iterator[RealEnvoy]:
    """An Envoy before ``MEMBERS``."""
    with envoy(tmp_path, ports) as it:
        yield it


class TestEnvoy(SwitchContract):
    """The contract."""

    @pytest.fixture
    def bench(self, it: RealEnvoy) -> Iterator[EnvoyBench]:
        """An Envoy before ``MEMBERS``."""
        with door(it.admin) as front:
            yield EnvoyBench(it, front)


def read(it: RealEnvoy, **settings: str) -> Mapping[str, MemberReading]:
    """What the driver reads."""
    return asyncio.run(it.driver(**settings).read())


def apply(it: RealEnvoy, changes: Mapping[str, Intake], **settings: str) -> None:
    """What the driver does."""
    asyncio.run(it.driver(**settings).apply(changes))


def test_shares_follow_weights(it: RealEnvoy) -> None:
    """New connections come to the members by their weights."""
    apply(it, {"mx1": Intake(weight=300), "mx2": Intake(weight=100), "mx3": Intake(weight=200)})
    shares = it.shares(300)
    assert abs(shares["mx1"] - 150) <= 10
    assert abs(shares["mx2"] - 50) <= 10
    assert abs(shares["mx3"] - 100) <= 10


@pytest.mark.parametrize("out", [Intake(weight=0), DRAINED, Intake(weight=0, admin="drain")])
def test_who_is_out_keeps_what_it_has_and_gets_nothing_new(it: RealEnvoy, out: Intake) -> None:
    """Without weight or drained a member gets no new connection; its open ones go on and are counted until they end."""
    client = it.connect_to("mx1")
    apply(it, {"mx1": out})
    assert set(it.shares(60)) == {"mx2", "mx3"}
    client.sendall(b"still here\n")
    assert client.recv(100) == b"still here\n"
    reading = read(it)["mx1"]
    assert (reading.intake, reading.up, reading.sessions) == (out, True, 1)
    client.close()
    eventually(lambda: read(it)["mx1"].sessions == 0)


def test_a_drain_cuts_nothing_where_failures_do(tmp_path: Path, ports: dict[str, int]) -> None:
    """With close_connections_on_host_health_failure a drained member's connections still go on."""
    with envoy(tmp_path, ports, CALM | {"close_connections_on_host_health_failure": True}) as it:
        client = it.connect_to("mx1")
        apply(it, {"mx1": DRAINED})
        time.sleep(0.3)
        client.sendall(b"still here\n")
        assert client.recv(100) == b"still here\n"
        client.close()


def test_all_members_can_be_out(it: RealEnvoy) -> None:
    """With nobody in, new connections are closed, and none comes to a member that is out."""
    apply(it, dict.fromkeys(MEMBERS, DRAINED))
    assert set(it.shares(20)) == {""}
    apply(it, dict.fromkeys(MEMBERS, Intake(weight=100)))
    assert set(it.shares(20)) == set(MEMBERS)


def test_panic_must_be_off(tmp_path: Path, ports: dict[str, int]) -> None:
    """Envoy's default sends new connections to drained members when nobody else is healthy: that is refused."""
    with envoy(tmp_path, ports, {}) as it:
        it.put_and_wait(it.document(dict.fromkeys(MEMBERS, DRAINED)))
        assert set(it.shares(20)) == set(MEMBERS), "the reason for the rule is gone"
        for attempt in (lambda: read(it), lambda: apply(it, {"mx1": Intake(weight=1)})):
            with pytest.raises(UnfitError, match=r"panic threshold of 50%.*healthy_panic_threshold to 0"):
                attempt()


def test_panic_must_be_off_at_run_time_too(it: RealEnvoy) -> None:
    """What the runtime says comes before the cluster's own threshold."""
    import urllib.request

    url = f"http://127.0.0.1:{it.admin}/runtime_modify?upstream.healthy_panic_threshold=30"
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10):
        pass
    with pytest.raises(UnfitError, match=r"30%.*runtime"):
        read(it)


@pytest.mark.parametrize(
    ("cluster", "why"),
    [
        ({"lb_policy": "RANDOM"}, "RANDOM"),
        (
            {
                "load_balancing_policy": {
                    "policies": [
                        {
                            "typed_extension_config": {
                                "name": "envoy.load_balancing_policies.random",
                                "typed_config": {
                                    "@type": "type.googleapis.com/"
                                    "envoy.extensions.load_balancing_policies.random.v3.Random"
                                },
                            }
                        }
                    ]
                }
            },
            "random",
        ),
    ],
)
def test_weights_must_count(tmp_path: Path, ports: dict[str, int], cluster: dict[str, Any], why: str) -> None:
    """A policy that does not look at weights is refused by its name."""
    with envoy(tmp_path, ports, CALM | cluster) as it, pytest.raises(UnfitError, match=why):
        read(it)


def test_a_policy_as_an_extension_is_fine(tmp_path: Path, ports: dict[str, int]) -> None:
    """Round robin in the newer way of writing counts weights too."""
    typed = {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"}
    policy = {"typed_extension_config": {"name": "rr", "typed_config": typed}}
    with envoy(tmp_path, ports, CALM | {"load_balancing_policy": {"policies": [policy]}}) as it:
        apply(it, {"mx1": DRAINED})
        assert set(it.shares(30)) == {"mx2", "mx3"}


def test_names_what_is_there(it: RealEnvoy) -> None:
    """A cluster or a member that Envoy does not have is refused, with those that it has."""
    with pytest.raises(UnfitError, match="other, smtp"):
        read(it, cluster="imap")
    with pytest.raises(UnfitError, match=r"mx9 \(mx9\).*127\.0\.0\.1:"):
        asyncio.run(it.driver(("mx1", "mx9")).read())


def test_endpoints_must_come_from_a_file(it: RealEnvoy) -> None:
    """A cluster with other endpoints is refused."""
    document = it.filed()
    document["resources"][0]["cluster_name"] = "other"
    beside = it.file.with_name("other.json")
    beside.write_text(json.dumps(document))
    with pytest.raises(UnfitError, match="do not come from a file"):
        apply(it, {"mx1": DRAINED}, cluster="other", endpoints=str(beside))


def test_priorities_must_be_the_same(it: RealEnvoy) -> None:
    """Weights say nothing between members of several priorities."""
    document = it.filed()
    first, *rest = document["resources"][0]["endpoints"][0]["lb_endpoints"]
    document["resources"][0]["endpoints"] = [{"lb_endpoints": [first]}, {"lb_endpoints": rest, "priority": 1}]
    it.put_and_wait(document)
    with pytest.raises(UnfitError, match="several priorities"):
        read(it)


def test_leaves_alone_what_is_not_its_own(it: RealEnvoy) -> None:
    """Other endpoints, other clusters and fields that it does not know are as before, and its mark is gone."""
    document = it.filed()
    assignment = document["resources"][0]
    assignment["policy"] = {"overprovisioning_factor": 150}
    assignment["endpoints"][0]["locality"] = {"zone": "a"}
    assignment["endpoints"][0]["lb_endpoints"][0]["metadata"] = {"filter_metadata": {"their": {"own": 1}}}
    foreign = {
        "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9}}, "hostname": "mx9"},
        "load_balancing_weight": 7,
        "health_status": "UNHEALTHY",
    }
    assignment["endpoints"][0]["lb_endpoints"].append(foreign)
    it.put_and_wait(document)
    apply(it, {"mx1": Intake(weight=0), "mx2": Intake(weight=5)})
    apply(it, {"mx1": Intake(weight=100), "mx2": Intake(weight=100)})
    now = it.filed()
    now["version_info"] = document["version_info"]
    for one in now["resources"][0]["endpoints"][0]["lb_endpoints"][:2]:
        assert one.pop("health_status") == "HEALTHY"
    assert now == document


def test_puts_the_file_back_when_envoy_does_not_take_it(it: RealEnvoy) -> None:
    """After a refusal the file is, byte for byte, what it was before, and says so."""
    document = it.filed()
    bad = {"endpoint": {"address": {"socket_address": {"address": "no address", "port_value": 9}}}}
    document["resources"][0]["endpoints"][0]["lb_endpoints"].append(bad)
    it.put_and_wait(document)
    before = it.file.read_bytes()
    with pytest.raises(RejectedError, match=r"mx1 has weight 100 instead of weight 100, drain.*as before"):
        apply(it, {"mx1": DRAINED})
    assert it.file.read_bytes() == before
    assert sorted(each.name for each in it.file.parent.iterdir()) == ["smtp.json", "smtp.json.lock"]


def watching(folder: Path, file: Path) -> dict[str, Any]:
    """A cluster whose file Envoy reads again only when something is moved in this other folder."""
    source = {"path": str(file), "watched_directory": {"path": str(folder)}}
    return CALM | {"eds_cluster_config": {"eds_config": {"path_config_source": source}}}


def test_waits_until_envoy_has_loaded_the_file(tmp_path: Path, ports: dict[str, int]) -> None:
    """An Envoy that looks at its file late has loaded it when the change is said to be done."""
    folder = tmp_path / "watched"
    folder.mkdir()
    file = tmp_path / "eds" / "smtp.json"

    def look_late() -> None:
        eventually(lambda: "DRAINING" in file.read_text())
        time.sleep(0.3)
        (tmp_path / "moved").touch()
        (tmp_path / "moved").rename(folder / "moved")

    with envoy(tmp_path, ports, watching(folder, file)) as it:
        late = threading.Thread(target=look_late)
        late.start()
        apply(it, {"mx1": DRAINED})
        assert set(it.shares(30)) == {"mx2", "mx3"}
        late.join()


def test_does_not_wait_for_ever(tmp_path: Path, ports: dict[str, int]) -> None:
    """An Envoy that does not look at its file is an error after some time, and the file is as it was."""
    folder = tmp_path / "watched"
    folder.mkdir()
    with envoy(tmp_path, ports, watching(folder, tmp_path / "eds" / "smtp.json")) as it:
        before = it.file.read_bytes()
        with pytest.raises(RejectedError, match="has not loaded"):
            apply(it, {"mx1": DRAINED})
        assert it.file.read_bytes() == before


def test_a_file_that_was_edited_in_place_is_not_believed(it: RealEnvoy) -> None:
    """Envoy does not notice an edit in place: file and Envoy differ, and nothing is planned on that."""
    document = it.document(dict.fromkeys(MEMBERS, Intake(weight=7)))
    it.file.write_text(json.dumps(document))
    with pytest.raises(UnfitError, match=r"mx1, mx2, mx3 the file .* something else than Envoy has loaded"):
        read(it)


def test_a_foreign_unhealthy_is_neither_up_nor_overwritten(it: RealEnvoy) -> None:
    """What somebody has marked UNHEALTHY in the file is not up, and a change of it is refused."""
    document = it.filed()
    document["resources"][0]["endpoints"][0]["lb_endpoints"][0]["health_status"] = "UNHEALTHY"
    it.put_and_wait(document)
    assert [reading.up for reading in read(it).values()] == [False, True, True]
    with pytest.raises(RejectedError, match=r"mx1.*UNHEALTHY"):
        apply(it, {"mx1": DRAINED, "mx2": DRAINED})
    assert it.filed() == document


def test_counts_the_endpoints_that_are_no_members(it: RealEnvoy) -> None:
    """Others of the members' priority count with their weight; those of another one wait until all of ours are gone."""
    document = it.filed()
    groups = document["resources"][0]["endpoints"]
    theirs = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9}}}}
    groups[0]["lb_endpoints"].append({**theirs, "load_balancing_weight": 7})
    spare = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 10}}}}
    groups.append({"priority": 1, "lb_endpoints": [{**spare, "load_balancing_weight": 50}]})
    it.put_and_wait(document)
    assert asyncio.run(it.driver().elsewhere()) == 7


def test_a_foreign_draining_is_a_drain(it: RealEnvoy) -> None:
    """A member that somebody drains without our mark reads as drained, and can be taken back."""
    document = it.filed()
    document["resources"][0]["endpoints"][0]["lb_endpoints"][0]["health_status"] = "DRAINING"
    it.put_and_wait(document)
    assert read(it)["mx1"].intake == DRAINED
    apply(it, {"mx1": Intake(weight=100)})
    assert "mx1" in it.shares(30)


def test_up_is_what_active_checks_say(tmp_path: Path, ports: dict[str, int]) -> None:
    """A member that does not answer Envoy's health check is not up, drained or not."""
    check = TCP_CHECK | {"tcp_health_check": {}}
    with envoy(tmp_path, {**ports, "mx3": free_port()}, CALM | {"health_checks": [check]}) as it:
        eventually(lambda: not read(it)["mx3"].up)
        apply(it, {"mx1": DRAINED, "mx3": DRAINED})
        eventually(lambda: [reading.up for reading in read(it).values()] == [True, True, False])


def test_during_a_hot_restart_sessions_are_not_known(it: RealEnvoy) -> None:
    """As long as an old process carries connections nobody knows of which member: no number is given."""
    client = it.connect_to("mx1")
    it.start(epoch=1)
    assert {reading.sessions for reading in read(it).values()} == {None}
    client.close()
    eventually(lambda: {reading.sessions for reading in read(it).values()} == {0})


def test_a_count_that_is_not_given_is_not_0(it: RealEnvoy) -> None:
    """A drain would take 0 for empty."""
    with door(it.admin) as front:
        front.retold = lambda body: body.replace(b"cx_active", b"cx_other")
        driver = it.driver(admin=f"127.0.0.1:{front.server_address[1]}")
        assert {reading.sessions for reading in asyncio.run(driver.read()).values()} == {None}


def test_an_envoy_that_is_gone(it: RealEnvoy) -> None:
    """Without an answer nothing is known, and it says at which address."""
    it.stop()
    with pytest.raises(UnreachableError, match=f"127.0.0.1:{it.admin}"):
        read(it)


def test_lists_and_closes_no_sessions(it: RealEnvoy) -> None:
    """It is said that Envoy lists none, for closing too."""
    session = Session(id="1", client="127.0.0.1:1", member="mx1", age=1.0)
    with pytest.raises(UnfitError, match="counts connections and lists none"):
        asyncio.run(it.driver().close(session))


def test_two_orchestrators_do_not_write_at_once(it: RealEnvoy) -> None:
    """While one is at it the other waits, and both changes are there in the end."""

    async def scene() -> None:
        await asyncio.gather(
            it.driver().apply({"mx1": DRAINED}),
            it.driver().apply({"mx2": Intake(weight=9)}),
        )

    asyncio.run(scene())
    assert it.truth() == {"mx1": DRAINED, "mx2": Intake(weight=9), "mx3": Intake(weight=100)}


def test_keeps_the_mode_of_the_file(it: RealEnvoy) -> None:
    """Who could read the file before can read it after, by the driver and by hand."""
    it.file.chmod(0o640)
    apply(it, {"mx1": DRAINED})
    assert it.file.stat().st_mode & 0o777 == 0o640
    (line,) = it.driver().by_hand({}, {"mx1": "ready"})
    assert os.system(line) == 0
    assert it.file.stat().st_mode & 0o777 == 0o640
    assert read(it)["mx1"].intake == Intake(weight=100)


def test_says_which_version_is_loaded(it: RealEnvoy) -> None:
    """The version in the file changes with its content, so that /stats tells which one Envoy has."""
    apply(it, {"mx1": DRAINED})
    contents = EndpointsFile(str(it.file), "smtp").read()
    version = json.loads(contents.data)["version_info"]
    assert version.startswith("failover-")
    assert version in it.ask("/stats?filter=version_text")
