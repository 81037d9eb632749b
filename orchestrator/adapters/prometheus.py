"""A run as Prometheus metrics: in a file for node_exporter's textfile collector, and at an address to scrape.

Every metric has the label ``run``: files of several runs lie in one folder, and node_exporter refuses the whole
folder when two of them have the same metric with the same labels. Counts begin with the run's first entry, so that
they are right after a resume too.

Imported only when metrics are wanted.
"""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    MetricsHandler,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from orchestrator.checks.guards import name_of
from orchestrator.errors import RefusedError
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import HoldStep
from orchestrator.model.units import format_duration
from orchestrator.status import RunStatus, StepStatus

BUCKETS: Final = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400)
"""Seconds: a verify step takes some, a hold hours."""

REQUEST_WITHIN: Final = 10.0
"""Seconds that a scraper has for each read and write."""

READABLE: Final = 0o644
"""node_exporter reads the file as another user; there is nothing in it that is worth hiding."""

_SETTLED: Final = frozenset(
    {
        StepStatus.DONE,
        StepStatus.NOTHING,
        StepStatus.REFUSED,
        StepStatus.FAILED,
        StepStatus.UNDONE,
        StepStatus.STUCK,
    }
)


class RunMetrics:
    """Metrics of one run, fed with its entries; whole whenever they are read, from any thread."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter, for nobody
        self.registry = CollectorRegistry()
        self._run = ""
        self._actions: dict[str, str] = {}
        self._timed: frozenset[str] = frozenset()
        self._began: dict[str, float] = {}
        self._status: dict[str, str] = {}
        self._asked: set[str] = set()
        own = self.registry
        self._info = Gauge("failover_run_info", "Always 1; names the runbook.", ["run", "runbook"], registry=own)
        self._run_status = Gauge(
            "failover_run_status", "1 for the status of the run, 0 for all others.", ["run", "status"], registry=own
        )
        self._step_status = Gauge(
            "failover_step_status",
            "1 for the status of the step, 0 for those that it has left.",
            ["run", "step", "action", "status"],
            registry=own,
        )
        self._transitions = Counter(
            "failover_step_transitions_total",
            "How often the step has come to the status.",
            ["run", "step", "status"],
            registry=own,
        )
        self._durations = Histogram(
            "failover_step_duration_seconds",
            "From a step's first gate, or the begin of its undo, until it was settled, with all waits.",
            ["run", "action", "outcome"],
            buckets=BUCKETS,
            registry=own,
        )
        self._verdicts = Counter(
            "failover_verdicts_total", "Verdicts of checks.", ["run", "check", "judgement"], registry=own
        )
        self._breaches = Counter("failover_guard_breaches_total", "Broken guards.", ["run", "guard"], registry=own)
        self._approvals = Counter("failover_approvals_total", "Approvals by people.", ["run"], registry=own)
        self._waiting = Gauge(
            "failover_waiting_for_person", "1 while the run waits until a person does something.", ["run"], registry=own
        )
        self._last = Gauge(
            "failover_last_entry_timestamp_seconds",
            "Unix time of the last entry in the journal.",
            ["run"],
            registry=own,
        )

    def begin(self, run: str, plan: Plan, so_far: Sequence[Entry], dropped: Callable[[], Mapping[str, int]]) -> None:
        """Name the run, and count what its journal holds already."""
        self._run = run
        self._actions = {step.id: step.step.do for step in plan.steps}
        self._timed = frozenset(_waits_for_time(plan))
        self.registry.register(_Dropped(run, dropped))
        self._info.labels(run, plan.runbook.runbook).set(1)
        for status in RunStatus:
            self._run_status.labels(run, status.value).set(status is RunStatus.PLANNED)
        for step in plan.steps:
            self._step(step.id, StepStatus.PENDING.value)
        for guard in plan.runbook.guards:
            self._breaches.labels(run, name_of(guard))
        for metric in (self._approvals, self._waiting):
            metric.labels(run)
        for entry in so_far:
            self.entry(entry)

    def entry(self, entry: Entry) -> None:
        """Count it."""
        data = {key: str(value) for key, value in entry.data.items()}
        match entry.kind:
            case "run":
                self._run_changes(data, entry.data.get("answered") is True)
            case "step":
                self._step_changes(entry.step, StepStatus(data["status"]), entry.at)
            case "outcome":
                self._asked.discard(entry.step)
            case "verdict":
                self._verdicts.labels(self._run, data["check"], data["judgement"]).inc()
                if data.get("gate") == "guard":
                    self._breaches.labels(self._run, data["check"]).inc()
            case "approval":
                self._approvals.labels(self._run).inc()
            case "progress" if data.get("text", "").startswith("waits for "):  # an undo that asks a person
                self._asked.add(entry.step)
            case _:
                pass
        self._waiting.labels(self._run).set(bool(self._asked))
        self._last.labels(self._run).set(entry.at)

    def _run_changes(self, data: Mapping[str, str], answered: bool) -> None:
        for status in RunStatus:
            self._run_status.labels(self._run, status.value).set(status.value == data["status"])
        self._asked.clear()
        if data["status"] == RunStatus.HELD and (answered or data.get("reason", "") not in self._timed):
            self._asked.add("")

    def _step_changes(self, step: str, status: StepStatus, at: float) -> None:
        self._asked.discard(step)
        self._transitions.labels(self._run, step, status.value).inc()
        self._step(step, status.value)
        if status not in _SETTLED:
            self._began.setdefault(step, at)
        elif step in self._began:
            took = max(0.0, at - self._began.pop(step))
            self._durations.labels(self._run, self._action(step), status.value).observe(took)

    def _step(self, step: str, status: str) -> None:
        before = self._status.get(step)
        self._status[step] = status
        if before is not None:
            self._step_status.labels(self._run, step, self._action(step), before).set(0)
        self._step_status.labels(self._run, step, self._action(step), status).set(1)

    def _action(self, step: str) -> str:
        return self._actions.get(step, "")


def _waits_for_time(plan: Plan) -> Iterator[str]:
    """Reasons for which a run is held that need nobody."""
    for planned in plan.steps:
        step = planned.step
        if isinstance(step, HoldStep) and step.with_.until != "approval":
            yield f"{planned.id} waits for {format_duration(float(step.with_.until))}"


class _Dropped(Collector):
    """What the sinks have missed, when it is asked for."""

    def __init__(self, run: str, dropped: Callable[[], Mapping[str, int]]) -> None:
        self._run = run
        self._dropped = dropped

    def collect(self) -> Iterator[CounterMetricFamily]:
        """See ``Collector.collect``."""
        family = CounterMetricFamily(
            "failover_events_dropped_total", "Entries that a sink has missed.", labels=["run", "sink"]
        )
        for sink, number in self._dropped().items():
            family.add_metric([self._run, sink], number)
        yield family


class MetricsFile:
    """Keeps a ``.prom`` file up to date, whole at every moment; a sink.

    Written beside it and renamed, as node_exporter asks (https://github.com/prometheus/node_exporter#textfile-collector).
    """

    name = "metrics-file"
    pace = 1.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._metrics = RunMetrics()
        self.begin = self._metrics.begin
        self.entry = self._metrics.entry

    def flush(self) -> None:
        """Write the file.

        Raises:
            OSError: it could not be written; the one before stands.
        """
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")  # no .prom: nobody reads it
        try:
            with beside.open("wb") as file:
                os.fchmod(file.fileno(), READABLE)
                file.write(generate_latest(self._metrics.registry))
            beside.replace(self._path)
        except OSError:
            with suppress(OSError):
                beside.unlink()
            raise

    def end(self) -> None:
        """Write how the run ended."""
        self.flush()


class MetricsEndpoint:
    """Answers scrapes at an address for as long as this process works on the run; a sink. Port 0 is any free one.

    Raises:
        RefusedError: nobody can listen there.
    """

    name = "metrics-listen"
    pace = 0.0

    def __init__(self, host: str, port: int) -> None:
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._metrics = RunMetrics()
        self.begin = self._metrics.begin
        self.entry = self._metrics.entry
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._server = _Server(address, family, _Scrape.factory(self._metrics.registry))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise RefusedError(
                f"cannot serve metrics at {at}: {why}",
                remedy="name another address with --metrics-listen or FAILOVER_METRICS_LISTEN, or neither",
            ) from error
        serve = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="metrics", daemon=True)
        serve.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def flush(self) -> None:
        """Every scrape reads what is there."""

    def end(self) -> None:
        """Answer no more."""
        self.close()

    def close(self) -> None:
        """Stop listening; once is enough."""
        self._server.stop()


class _Server(socketserver.ThreadingTCPServer):
    """Not ``http.server.HTTPServer``, which asks the DNS for its own name, and in some versions shares its port."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: object, family: socket.AddressFamily, handler: type) -> None:
        self.address_family = family
        super().__init__(address, handler)  # type: ignore[arg-type]  # an IPv6 address has four parts

    def stop(self) -> None:
        if self.fileno() >= 0:
            self.shutdown()
            self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A scraper that goes away is nothing to print."""


class _Scrape(MetricsHandler):
    timeout = REQUEST_WITHIN
