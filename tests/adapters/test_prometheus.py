"""Metrics of a run: right numbers, in a file that is always whole, and at an address that always answers."""

from __future__ import annotations

import os
import socket
import stat
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.adapters.prometheus import MetricsEndpoint, MetricsFile, RunMetrics
from orchestrator.errors import RefusedError
from orchestrator.model.journal import Entry
from tests.unit.engine.scene import RUN, Scene, hold, manual, turn, verify
from tests.unit.report import story
from tests.unit.report.story import Story

Samples = dict[tuple[str, ...], float]


def parsed(text: str) -> Samples:
    """Every sample but buckets, by its name and its labels' values in the order of their names, without the run's."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels["run"] in {story.RUN, RUN}
            key = (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "run"))
            assert key not in found
            found[key] = sample.value
    return {key: value for key, value in found.items() if not key[0].endswith("_bucket")}


def measured(told: Story, so_far: int = 0) -> Samples:
    """What a story comes to, of which so many entries are in the journal already."""
    metrics = RunMetrics()
    metrics.begin(story.RUN, story.plan(), told.entries[:so_far], lambda: {"log": 3})
    for entry in told.entries[so_far:]:
        metrics.entry(entry)
    return parsed(generate_latest(metrics.registry).decode())


def test_a_run_that_is_done() -> None:
    """Status, transitions, durations, verdicts and approvals are those of the story."""
    found = measured(story.done())
    assert found["failover_run_info", "provider-maintenance"] == 1
    assert {key[1]: value for key, value in found.items() if key[0] == "failover_run_status" and value} == {"done": 1}
    assert found["failover_step_status", "traffic.shift", "done", "shift"] == 1
    assert found["failover_step_status", "traffic.shift", "converging", "shift"] == 0
    assert found["failover_step_transitions_total", "converging", "shift"] == 3
    assert found["failover_step_duration_seconds_count", "return", "done"] == 2
    assert found["failover_step_duration_seconds_sum", "verify", "done"] == pytest.approx(4.2)
    assert found["failover_verdicts_total", "mail-flows", "pass"] == 5
    assert found["failover_approvals_total",] == 1
    assert found["failover_last_entry_timestamp_seconds",] == story.done().entries[-1].at
    assert found["failover_events_dropped_total", "log"] == 3


def test_a_broken_guard_is_counted_where_the_others_are_known_to_hold() -> None:
    """Each guard of the runbook has its count from the begin, so that an alert can see it rise."""
    found = measured(story.breached())
    breaches = {key[1]: value for key, value in found.items() if key[0] == "failover_guard_breaches_total"}
    assert breaches == {"mail-flows": 0, "headroom smtp >= 1.3": 0, "serving smtp >= 1 site": 0, "serving": 1}


def test_only_one_status_of_a_step_is_one() -> None:
    """At any moment of a run, run and steps are in exactly one status each."""
    told = story.undone()
    for number in range(len(told.entries)):
        cut = Story()
        cut.entries = told.entries[:number]
        found = measured(cut)
        assert sum(value for key, value in found.items() if key[0] == "failover_run_status") == 1
        assert sum(value for key, value in found.items() if key[0] == "failover_step_status") == len(story.plan().steps)


def test_a_resumed_run_counts_on() -> None:
    """Whoever takes the run up, and wherever, the metrics are those of the whole run."""
    told = story.done()
    whole = measured(told)
    for number in range(0, len(told.entries), 7):
        assert measured(told, so_far=number) == whole


def test_missing_entries_do_not_confuse_it() -> None:
    """Metrics that have missed entries go on with the next one."""
    told = Story()
    told.entries = story.undone().entries[::3]
    assert measured(told)["failover_last_entry_timestamp_seconds",] == told.entries[-1].at


class Waited(Scene):
    """A scene that notes what its metrics say of waiting for people, whenever that changes."""

    def watch(self) -> list[float]:
        """Begin to note."""
        self.metrics = RunMetrics()
        self.metrics.begin(RUN, self.plan, [], dict)
        self.noted = [0.0]
        return self.noted

    def _hear(self, entry: Entry) -> None:
        super()._hear(entry)
        self.metrics.entry(entry)
        now = parsed(generate_latest(self.metrics.registry).decode())["failover_waiting_for_person",]
        if now != self.noted[-1]:
            self.noted.append(now)


def test_waiting_for_a_person_is_told_from_waiting_for_time() -> None:
    """A hold of some minutes asks nobody; one that waits for an approval does, until it is given."""
    scene = Waited(hold("minutes", until="5m"), hold("window"))
    noted = scene.watch()
    scene.start(after={400.0: lambda: scene.approve("window")})
    assert noted == [0.0, 1.0, 0.0]


def test_an_undo_that_asks_a_person_waits_for_one() -> None:
    """A manual step is undone by somebody: the run is undoing, and waits."""
    scene = Waited(manual("valve", undo="open it"), verify("arrives", "mail"), judge={"mail": "fail"})
    noted = scene.watch()
    scene.start(after={10.0: lambda: scene.approve("valve"), 60.0: lambda: scene.approve("valve", by="bob")})
    assert noted == [0.0, 1.0, 0.0, 1.0, 0.0]


def test_a_run_that_is_held_by_a_failure_waits_for_a_person() -> None:
    """Somebody must decide how to go on."""
    scene = Waited(turn("shift", after=["flows"], on_failure="hold"), judge={"flows": "fail"})
    noted = scene.watch()
    scene.start()
    assert (scene.status, noted) == ("held", [0.0, 1.0])


def test_the_file_is_written_whole_and_for_everybody(tmp_path: Path) -> None:
    """It parses after each flush, is readable by node_exporter's user, and nothing is left beside it."""
    path = tmp_path / "failover.prom"
    sink = MetricsFile(path)
    sink.begin(story.RUN, story.plan(), [], dict)
    before = os.umask(0o077)
    try:
        for entry in story.done().entries:
            sink.entry(entry)
            sink.flush()
            assert parsed(path.read_text())["failover_last_entry_timestamp_seconds",] == entry.at
        sink.end()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [found.name for found in tmp_path.iterdir()] == ["failover.prom"]


def test_a_file_that_cannot_be_written_is_written_later(tmp_path: Path) -> None:
    """While its folder is away a flush raises; nothing is lost, as each writes all."""
    folder = tmp_path / "textfile"
    sink = MetricsFile(folder / "failover.prom")
    sink.begin(story.RUN, story.plan(), story.done().entries, dict)
    with pytest.raises(FileNotFoundError):
        sink.flush()
    folder.mkdir()
    sink.end()
    assert parsed((folder / "failover.prom").read_text())["failover_run_status", "done"] == 1


@pytest.fixture
def endpoint() -> Iterator[MetricsEndpoint]:
    """Metrics at a free port."""
    sink = MetricsEndpoint("127.0.0.1", 0)
    yield sink
    sink.close()


def scraped(endpoint: MetricsEndpoint) -> Samples:
    """What a scraper gets."""
    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=10) as answer:
        return parsed(answer.read().decode())


def test_the_endpoint_answers_while_the_run_goes(endpoint: MetricsEndpoint) -> None:
    """Before the first entry, in the middle and at the end; then nobody listens any more."""
    assert scraped(endpoint) == {}
    endpoint.begin(story.RUN, story.plan(), [], dict)
    assert scraped(endpoint)["failover_run_status", "planned"] == 1
    for entry in story.done().entries:
        endpoint.entry(entry)
    now = measured(story.done())
    del now["failover_events_dropped_total", "log"]
    assert scraped(endpoint) == now
    endpoint.end()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", endpoint.port), timeout=5)


def test_a_scraper_that_hangs_keeps_nobody_waiting(endpoint: MetricsEndpoint) -> None:
    """One that connects and says nothing delays neither the next one nor the end."""
    endpoint.begin(story.RUN, story.plan(), [], dict)
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=5):
        assert scraped(endpoint)["failover_run_status", "planned"] == 1
        endpoint.end()


def test_a_scraper_that_breaks_off_is_not_news(endpoint: MetricsEndpoint, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever a scraper does, nothing is printed into the run's report."""
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) as scraper:
        scraper.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        scraper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    scraped(endpoint)
    assert capfd.readouterr() == ("", "")


def test_an_address_that_is_taken_is_refused(endpoint: MetricsEndpoint) -> None:
    """Two runs cannot serve metrics at one port; the second is told so and what to do."""
    with pytest.raises(RefusedError, match=rf"127\.0\.0\.1:{endpoint.port}: address already in use .*another address"):
        MetricsEndpoint("127.0.0.1", endpoint.port)


@pytest.mark.skipif(not socket.has_ipv6, reason="has no IPv6")
def test_ipv6_is_an_address_too() -> None:
    """The endpoint listens on ::1 where that is asked for."""
    try:
        sink = MetricsEndpoint("::1", 0)
    except RefusedError as error:
        pytest.skip(str(error))
    try:
        socket.create_connection(("::1", sink.port), timeout=5).close()
    finally:
        sink.close()
