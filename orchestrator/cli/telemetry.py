"""Events out: the options that send a run's events to a log, to Prometheus and to OpenTelemetry, and their life.

What is asked for and cannot work is said before the run starts; what breaks later is said once, when it is over.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.errors import InputError, MissingToolError, Problem

if TYPE_CHECKING:
    from orchestrator.engine.recorder import Listener
    from orchestrator.model.journal import Entry
    from orchestrator.model.plan import Plan
    from orchestrator.report.sinks import Sink

LogFile = Annotated[
    Path | None,
    typer.Option("--log", envvar="FAILOVER_LOG", help="Append each event to this file, as JSON lines.", metavar="FILE"),
]
MetricsFile = Annotated[
    Path | None,
    typer.Option(
        "--metrics-file",
        envvar="FAILOVER_METRICS_FILE",
        help="Keep Prometheus metrics in this file, for node_exporter's textfile collector.",
        metavar="FILE.prom",
    ),
]
MetricsListen = Annotated[
    str | None,
    typer.Option(
        "--metrics-listen",
        envvar="FAILOVER_METRICS_LISTEN",
        help="Serve Prometheus metrics there while the run goes; on 127.0.0.1 when only a port is named.",
        metavar="[ADDRESS:]PORT",
    ),
]
TracesTo = Annotated[
    str | None,
    typer.Option(
        "--traces",
        help="Send OpenTelemetry traces to this collector (OTLP over HTTP); needs failover[otel]. "
        "Else to where OTEL_EXPORTER_OTLP_ENDPOINT says.",
        metavar="URL",
    ),
]

LOOK_WITHIN: Final = 1.0
"""Seconds in which a file system answers. One that does not is left to the sink's own thread, as the run is not."""

_LEVELS: Final = ("info", "debug")
_PORTS: Final = range(1, 65536)


@contextmanager
def telemetry(
    log: Path | None, metrics_file: Path | None, metrics_listen: str | None, traces: str | None
) -> Iterator[Sequence[Sink]]:
    """The sinks that are wanted, for the one run that they are handed to.

    Raises:
        InputError: one cannot be used as it is written; RefusedError: nobody can listen there.
        MissingToolError: traces are wanted, and OpenTelemetry is not installed.
    """
    problems = [*_of_log(log), *_of_metrics_file(metrics_file)]
    if problems:
        raise InputError(problems)
    address = None if metrics_listen is None else _address(metrics_listen)
    sinks: list[Sink] = []
    with ExitStack() as stack:
        if log is not None:
            sinks.append(_event_log(log))
        if traces is not None or _collector_in_environment():
            sinks.append(_traces(traces))
        if metrics_file is not None:
            from orchestrator.adapters.prometheus import MetricsFile as File

            sinks.append(File(metrics_file))
        if address is not None:
            from orchestrator.adapters.prometheus import MetricsEndpoint

            endpoint = MetricsEndpoint(*address)
            stack.callback(endpoint.close)
            sinks.append(endpoint)
        yield sinks


@contextmanager
def telling(
    sinks: Sequence[Sink], run: str, plan: Plan, so_far: Sequence[Entry]
) -> Iterator[Callable[[Listener], Listener]]:
    """Set the sinks to work; what makes of a report's listener one that they hear too. In the end what they missed."""
    if not sinks:
        yield lambda report: report
        return
    from orchestrator.report.sinks import Outlets

    outlets = Outlets(sinks, run, plan, so_far)
    try:
        yield outlets.beside
    finally:
        for line in outlets.close():
            with suppress(OSError):  # nobody may be there to read it
                print(f"{line} (the run has not waited for it)", file=sys.stderr)


def _event_log(path: Path) -> Sink:
    from orchestrator.adapters.secrets import redact_logs
    from orchestrator.report.events import EventLog

    level = os.environ.get("FAILOVER_LOG_LEVEL") or "info"
    if level not in _LEVELS:
        raise InputError([Problem(f"cannot log at FAILOVER_LOG_LEVEL={level}", f"use {' or '.join(_LEVELS)}")])
    return EventLog(path, redact_logs, "debug" if level == "debug" else "info")


def _traces(url: str | None) -> Sink:
    if url is not None and not url.startswith(("http://", "https://")):
        why = "cannot send traces there: --traces takes the URL of a collector"
        raise InputError([Problem(why, "as http://127.0.0.1:4318")])
    try:
        from orchestrator.adapters.tracing import Traces
    except ImportError as error:
        who = "--traces" if url is not None else "OTEL_EXPORTER_OTLP_ENDPOINT"
        raise MissingToolError(
            f"cannot send traces, which {who} asks for: {error}",
            remedy="pip install 'failover[otel]', or export OTEL_SDK_DISABLED=true",
        ) from error
    return Traces(url)


def _collector_in_environment() -> bool:
    """Whether the standard variables ask for traces (https://opentelemetry.io/docs/specs/otel/protocol/exporter/)."""
    environment = os.environ
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(environment.get(name) for name in names)


def _address(text: str) -> tuple[str, int]:
    """``PORT``, ``:PORT``, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``, as a host and a port."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) not in _PORTS:
        why = f"cannot serve metrics at {text}: it is no port from 1 to 65535, nor an address and one"
        raise InputError([Problem(why, "as --metrics-listen 127.0.0.1:9469")])
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def _of_log(path: Path | None) -> Iterator[Problem]:
    if path is not None and (why := _why_not(path)):
        yield Problem(f"cannot append to the log {path}: {why}", "name another file with --log or FAILOVER_LOG")


def _of_metrics_file(path: Path | None) -> Iterator[Problem]:
    if path is None:
        return
    cannot, remedy = f"cannot keep metrics in {path}", "name another file with --metrics-file or FAILOVER_METRICS_FILE"
    if path.suffix != ".prom":
        yield Problem(f"{cannot}: node_exporter reads only files whose names end in .prom", remedy)
    elif why := _why_not(path, renames=True):
        yield Problem(f"{cannot}: {why}", remedy)


def _why_not(path: Path, *, renames: bool = False) -> str:
    """Why the file can clearly not be written; empty when it can, or when its file system does not answer now."""
    found: list[str] = []
    look = threading.Thread(target=lambda: found.append(_trouble(path, renames=renames)), daemon=True)
    look.start()
    look.join(LOOK_WITHIN)
    return found[0] if found else ""


def _trouble(path: Path, *, renames: bool) -> str:
    try:
        mode = path.stat().st_mode if path.exists() else None
        folder = path.parent
        if not folder.is_dir():
            return f"there is no folder {folder}"
        if mode is not None and stat.S_ISDIR(mode):
            return "it is a folder"
        may = os.access(folder, os.W_OK | os.X_OK) if renames or mode is None else os.access(path, os.W_OK)
        return "" if may else "no permission"
    except OSError as error:
        return (error.strerror or str(error)).lower()
