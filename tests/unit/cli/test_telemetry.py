"""Events out, from the command line: what is wrong is said before the run, and nothing disturbs it afterwards."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.cli.telemetry import telemetry
from orchestrator.errors import InputError

from .desk import Desk

INVENTORY = str(Path(__file__).parents[1] / "load" / "inventory.yaml")
RUNBOOK = """\
version: 1
runbook: wait
steps:
  - {id: window, do: hold, with: {until: approval}}
  - {id: again, do: hold, with: {until: approval}}
"""
DONE = ["--approve", "window", "--approve", "again"]


@pytest.fixture
def runbook(tmp_path: Path) -> str:
    """A runbook that waits for two approvals."""
    path = tmp_path / "wait.yaml"
    path.write_text(RUNBOOK)
    return str(path)


def events(path: Path) -> list[dict[str, Any]]:
    """The log's lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def metric(path: Path, name: str, **labels: str) -> float:
    """The sum of these samples."""
    families = text_string_to_metric_families(path.read_text())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def test_all_sinks_of_one_run(desk: Desk, tmp_path: Path, runbook: str) -> None:
    """A run with a log and metrics prints what it prints without them, and leaves both complete."""
    log, metrics = tmp_path / "log", tmp_path / "failover.prom"
    wanted = ["--log", str(log), "--metrics-file", str(metrics)]
    result = desk.failover("run", runbook, "-i", INVENTORY, *DONE, "--json", *wanted)
    assert (result.exit_code, result.stderr) == (0, "")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    seqs = {one["seq"] for one in told if one.get("event") not in {None, "progress"}}
    ahead = [one["seq"] for one in events(log) if one["event"] == "person.approval"]
    assert {one["seq"] for one in events(log)} == seqs | set(ahead)
    assert [one["status"] for one in events(log) if one["event"] == "run.status"][-1] == "done"
    assert metric(metrics, "failover_run_status", status="done") == 1
    assert metric(metrics, "failover_approvals_total") == 2


def test_variables_ask_for_them_too(desk: Desk, tmp_path: Path, runbook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine's environment asks for holds for each run, with its debugging events."""
    monkeypatch.setenv("FAILOVER_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("FAILOVER_LOG_LEVEL", "debug")
    monkeypatch.setenv("FAILOVER_METRICS_FILE", str(tmp_path / "failover.prom"))
    for _ in range(2):
        assert desk.failover("run", runbook, "-i", INVENTORY, *DONE).exit_code == 0
    assert len({one["run"] for one in events(tmp_path / "log")}) == 2
    assert "step.progress" in {one["event"] for one in events(tmp_path / "log")}
    assert metric(tmp_path / "failover.prom", "failover_run_info") == 1


def test_a_resumed_run_counts_on(desk: Desk, tmp_path: Path, runbook: str) -> None:
    """After a kill in the middle and a resume, log and metrics have the whole run, each transition once."""
    log, metrics = tmp_path / "log", tmp_path / "failover.prom"
    wanted = ["--log", str(log), "--metrics-file", str(metrics)]
    with desk.start("run", runbook, "-i", INVENTORY, "--approve", "window", "--json", *wanted) as process:
        try:
            assert process.stdout is not None
            while '"again waits' not in process.stdout.readline():
                assert process.poll() is None
            until = time.monotonic() + 20
            while not (log.exists() and "again waits" in log.read_text()) and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            process.kill()
    with desk.journal() as journal:
        run = journal.runs()[0].run
    assert desk.failover("approve", run, "again").exit_code == 0
    assert desk.failover("resume", run, *wanted).exit_code == 0
    with desk.journal() as journal:
        written = [entry for entry in journal.entries(run) if entry.kind != "progress"]
    assert [one["seq"] for one in events(log)] == [entry.seq for entry in written]
    assert metric(metrics, "failover_approvals_total") == 2
    assert metric(metrics, "failover_step_transitions_total", status="done") == 2
    assert metric(metrics, "failover_step_transitions_total") == sum(entry.kind == "step" for entry in written)


def test_a_log_that_hangs_does_not_hold_the_run(desk: Desk, tmp_path: Path, runbook: str) -> None:
    """A pipe that nobody reads, as a dead file server, costs at most some seconds at the end, and is said once."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with desk.start("run", runbook, "-i", INVENTORY, *DONE, "--json", "--log", str(pipe)) as process:
        try:
            assert process.stdout is not None
            while '"status": "done", "reason": ""' not in (line := process.stdout.readline()) or '"run"' not in line:
                assert process.poll() is None
            ended = time.monotonic()
            _, said = process.communicate(timeout=20)
            assert time.monotonic() - ended < 6
        finally:
            process.kill()
    assert process.returncode == 0
    assert said.startswith("--log has missed ")
    assert said.endswith("events: it does not answer (the run has not waited for it)\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_full_disk_is_said_at_the_end(desk: Desk, runbook: str) -> None:
    """Each line of the log fails, and the run is done as if there was none."""
    result = desk.failover("run", runbook, "-i", INVENTORY, *DONE, "--log", "/dev/full")
    assert result.exit_code == 0
    assert "events: No space left on device (the run has not waited for it)" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--log", "{}/none/log"], "cannot append to the log {}/none/log: there is no folder {}/none — name another"),
        (["--log", "{}"], "cannot append to the log {}: it is a folder"),
        (["--metrics-file", "{}/none/a.prom"], "cannot keep metrics in {}/none/a.prom: there is no folder"),
        (["--metrics-file", "{}/a.txt"], "node_exporter reads only files whose names end in .prom"),
        (["--metrics-listen", "nine"], "cannot serve metrics at nine: it is no port from 1 to 65535"),
        (["--metrics-listen", "127.0.0.1:70000"], "cannot serve metrics at 127.0.0.1:70000: it is no port"),
        (["--traces", "collector:4317"], "--traces takes the URL of a collector — as http://127.0.0.1:4318"),
    ],
)
def test_what_cannot_work_is_said_before_the_run(
    desk: Desk, tmp_path: Path, runbook: str, options: list[str], said: str
) -> None:
    """One clear line with a remedy, exit code 1, and no run in the journal."""
    wanted = [option.format(tmp_path) for option in options]
    result = desk.failover("run", runbook, "-i", INVENTORY, *DONE, *wanted)
    assert result.exit_code == 1
    assert said.format(tmp_path, tmp_path) in result.stderr
    with desk.journal() as journal:
        assert journal.runs() == []


def test_a_port_in_use_is_said_before_the_run(desk: Desk, runbook: str) -> None:
    """The run is refused, rather than found without metrics afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = desk.failover("run", runbook, "-i", INVENTORY, *DONE, "--metrics-listen", str(port))
    assert result.exit_code == 1
    assert f"cannot serve metrics at 127.0.0.1:{port}: address already in use" in result.stderr
    with desk.journal() as journal:
        assert journal.runs() == []


def test_a_refused_run_lets_its_port_go(desk: Desk, tmp_path: Path) -> None:
    """What was opened for a run that did not start is closed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = desk.failover("run", str(tmp_path / "none.yaml"), "-i", INVENTORY, "--metrics-listen", str(port))
    assert result.exit_code == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


NO_OTEL = "import sys; sys.modules['opentelemetry'] = None; from orchestrator.cli.main import main; main()"
COLLECTOR = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("options", "variables", "code"),
    [
        (["--traces", COLLECTOR], {}, 1),
        ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, 1),
        ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_SDK_DISABLED": "true"}, 0),
        ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, 0),
    ],
)
def test_traces_without_opentelemetry(
    tmp_path: Path, runbook: str, options: list[str], variables: dict[str, str], code: int
) -> None:
    """Who wants traces and has not installed what makes them is told what installs it."""
    done = subprocess.run(
        [sys.executable, "-c", NO_OTEL, "run", runbook, "-i", INVENTORY, *DONE, *options],
        env={**os.environ, "FAILOVER_STATE": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert ("pip install 'failover[otel]'" in done.stderr) is (code == 1)


def test_traces_leave_a_collector_that_hangs_behind(desk: Desk, runbook: str) -> None:
    """A collector that takes the connection and never answers delays neither the run nor, for long, its exit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with desk.start("run", runbook, "-i", INVENTORY, *DONE, "--traces", url) as process:
            try:
                out, said = process.communicate(timeout=30)
            finally:
                process.kill()
    assert (process.returncode, "Done." in out) == (0, True)
    assert said.startswith("--traces has missed the last events: ")


def test_an_unknown_level_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAILOVER_LOG_LEVEL is one of two words."""
    monkeypatch.setenv("FAILOVER_LOG_LEVEL", "loud")
    with (
        pytest.raises(InputError, match="FAILOVER_LOG_LEVEL=loud — use info or debug"),
        telemetry(tmp_path / "log", None, None, None),
    ):
        pass


def test_nothing_asked_for_is_nothing_done() -> None:
    """Without options there are no sinks, no threads and no imports."""
    with telemetry(None, None, None, None) as sinks:
        assert sinks == []
