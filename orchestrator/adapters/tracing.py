"""A run as an OpenTelemetry trace, sent to a collector as OTLP over HTTP.

::

    run RUNBOOK                      one for each owner of the run; those after a resume are children of the first
      STEP, undo STEP                one for each attempt, from its first gate until it is settled
        check CHECK                  a gate, from the question to its verdict
        converge WAYPOINT            from the intent to its outcome

Ids are made of the run's name and of what the span is, so that a resumed run is the same trace, and what a killed
owner could not send is sent by the next one. Spans have the times of the journal's entries.

Imported only when traces are wanted: it needs the extra ``otel``.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context

from orchestrator import __version__
from orchestrator.adapters.secrets import redact
from orchestrator.errors import UnreachableError
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan
from orchestrator.status import RunStatus, StepStatus

PATH: Final = "/v1/traces"
"""Where a collector takes spans (https://opentelemetry.io/docs/specs/otlp/#otlphttp-request)."""

ANSWER_WITHIN: Final = 2.0
"""Seconds for one request and its repetitions, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise."""

_TIMEOUTS: Final = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
_AT_ONCE: Final = 500
_KEPT: Final = 5_000
"""Spans that are kept for a collector that does not answer; the oldest are lost first."""

_SETTLED: Final = frozenset({StepStatus.DONE, StepStatus.NOTHING, StepStatus.UNDONE})
_BROKEN: Final = frozenset({StepStatus.REFUSED, StepStatus.FAILED, StepStatus.STUCK})
_WORKED_ON: Final = frozenset({RunStatus.PLANNED, RunStatus.RUNNING, RunStatus.HELD, RunStatus.UNDOING})
"""A run that stands so in its journal, but for one that is held because of a failure, had an owner that was killed."""


class Traces:
    """Sends a run's spans to the collector at ``url``, or where OTEL_EXPORTER_OTLP_ENDPOINT says; a sink."""

    name = "traces"
    pace = 1.0

    def __init__(self, url: str | None, exporter: SpanExporter | None = None) -> None:
        timeout = None if any(os.environ.get(name) for name in _TIMEOUTS) else ANSWER_WITHIN
        endpoint = None if url is None else url if url.endswith(PATH) else url.rstrip("/") + PATH
        self._trouble = _Trouble()
        self._exporter = exporter or OTLPSpanExporter(endpoint=endpoint, timeout=timeout)
        self._ended: list[ReadableSpan] = []
        self._spans: RunSpans | None = None

    def begin(self, run: str, plan: Plan, so_far: Sequence[Entry], dropped: Callable[[], Mapping[str, int]]) -> None:
        """Take up the run's trace where its journal ends; what an earlier owner has sent is not sent again."""
        self._spans = RunSpans(run, plan, self._ended.append)
        for entry in so_far:
            self._spans.entry(entry)
        if so_far and not self._spans.is_abandoned:
            self._spans.end()
        self._ended.clear()

    def entry(self, entry: Entry) -> None:
        """Begin or end what the entry begins or ends."""
        if self._spans is not None:
            self._spans.entry(entry)
        del self._ended[:-_KEPT]

    def flush(self) -> None:
        """Send what has ended.

        Raises:
            UnreachableError: the collector has not taken it.
        """
        while batch := self._ended[:_AT_ONCE]:
            with self._trouble as trouble:
                if self._exporter.export(batch) is not SpanExportResult.SUCCESS:
                    raise UnreachableError(trouble.first or "the collector has refused it")
            del self._ended[: len(batch)]

    def end(self) -> None:
        """End this owner's span and send the rest."""
        if self._spans is not None:
            self._spans.end()
        try:
            self.flush()
        finally:
            self._exporter.shutdown()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What is done in a step now."""

    span: Span
    number: int
    back: bool


class RunSpans:
    """Makes spans of one run's entries; ``ended`` gets each when it has ended. Entries may be missing."""

    def __init__(self, run: str, plan: Plan, ended: Callable[[ReadableSpan], None]) -> None:
        self._run = run
        self._runbook = plan.runbook.runbook
        self._actions = {step.id: step.step.do for step in plan.steps}
        self._ids = _Ids(_number(16, run))
        # No exit handler: what is not sent in time is lost, and the process ends.
        provider = TracerProvider(resource=_resource(), id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(_Hand(ended))
        self._tracer = provider.get_tracer("failover", __version__)
        self._epoch = 0
        self._at = 0.0
        self._status = RunStatus.PLANNED
        self._answered = False
        self._first: Span | None = None
        self._owner: Span | None = None
        self._attempts: dict[str, _Attempt] = {}
        self._converging: dict[str, Span] = {}
        self._asked: dict[tuple[str, str], float] = {}

    @property
    def is_abandoned(self) -> bool:
        """Whether the last owner was killed."""
        return self._status in _WORKED_ON and not self._answered

    def entry(self, entry: Entry) -> None:
        """Take the next entry in."""
        if entry.epoch > self._epoch:
            self._taken_over(entry)
        if self._owner is not None:
            self._happened(entry, self._owner)
        self._at = max(self._at, entry.at)

    def end(self) -> None:
        """End everything that is open at the last entry: this owner has done its work."""
        for step in list(self._attempts):
            self._end_attempt(step, self._at)
        if self._owner is not None:
            self._owner.set_attribute("failover.status", self._status.value)
            if self._status is RunStatus.STUCK:
                self._owner.set_status(Status(StatusCode.ERROR))
            self._owner.end(_nanoseconds(self._at))
        self._owner = None

    def _taken_over(self, entry: Entry) -> None:
        self.end()
        self._epoch = entry.epoch
        self._owner = self._span(f"run {self._runbook}", self._first, entry, "owner", step=False)
        self._first = self._first or self._owner

    def _happened(self, entry: Entry, owner: Span) -> None:
        data = {key: value if isinstance(value, bool) else str(value) for key, value in entry.data.items()}
        match entry.kind:
            case "run":
                self._status = RunStatus(str(data["status"]))
                self._answered = data.get("answered") is True
                _add_event(owner, "run.status", entry, status=data["status"], reason=data.get("reason", ""))
            case "step":
                self._step(entry, StepStatus(str(data["status"])), str(data.get("reason", "")), owner)
            case "intent":
                name = " ".join(("converge", str(data.get("waypoint", "")))).strip()
                span = self._span(name, self._place(entry, owner), entry, "converge")
                span.set_attribute("failover.direction", str(data.get("direction", "")))
                self._converging[entry.step] = span
            case "outcome":
                self._end_converge(entry.step, entry.at, str(data.get("result", "")), str(data.get("reason", "")))
            case "progress" if str(data.get("text", "")).endswith(" …"):  # the engine asks a check
                self._asked[entry.step, str(data["text"]).removesuffix(" …")] = entry.at
            case "verdict":
                self._verdict(entry, owner)
            case "approval" | "abort" | "override":
                person = {key: data[key] for key in ("by", "note", "direction", "then", "reason") if key in data}
                _add_event(self._place(entry, owner), f"person.{entry.kind}", entry, **person)
            case _:
                pass

    def _step(self, entry: Entry, status: StepStatus, reason: str, owner: Span) -> None:
        back = status is StepStatus.UNDOING
        now = self._attempts.get(entry.step)
        settled = status in _SETTLED or status in _BROKEN
        if now is None or (not settled and (now.number, now.back) != (entry.attempt, back)):
            self._end_attempt(entry.step, entry.at)
            name = f"undo {entry.step}" if back else entry.step
            span = self._span(name, owner, entry, "undo" if back else "step")
            self._attempts[entry.step] = now = _Attempt(span, entry.attempt, back)
        now.span.set_attribute("failover.status", status.value)
        if settled:
            if reason:
                now.span.set_attribute("failover.reason", redact(reason))
            if status in _BROKEN:
                now.span.set_status(Status(StatusCode.ERROR, redact(reason)))
            self._end_attempt(entry.step, entry.at)

    def _verdict(self, entry: Entry, owner: Span) -> None:
        check, judgement = str(entry.data.get("check", "")), str(entry.data.get("judgement", ""))
        reason, gate = str(entry.data.get("reason", "")), str(entry.data.get("gate", ""))
        place, asked = self._place(entry, owner), self._asked.pop((entry.step, check), None)
        if asked is None:
            name = "guard.breach" if gate == "guard" else "check.verdict"
            _add_event(place, name, entry, check=check, judgement=judgement, reason=reason)
            return
        span = self._span(f"check {check}", place, entry, "check", began=asked)
        found = {"gate": gate, "judgement": judgement, "reason": redact(reason)}
        span.set_attributes({f"failover.{key}": value for key, value in found.items()})
        if judgement != "pass":
            span.set_status(Status(StatusCode.ERROR, redact(reason)))
        span.end(_nanoseconds(entry.at))

    def _place(self, entry: Entry, owner: Span) -> Span:
        """Where it happens: in the step's attempt, or else in the run."""
        now = self._attempts.get(entry.step)
        return owner if now is None else now.span

    def _end_attempt(self, step: str, at: float) -> None:
        self._end_converge(step, at, "", "")
        self._asked = {key: asked for key, asked in self._asked.items() if key[0] != step}
        if (now := self._attempts.pop(step, None)) is not None:
            now.span.end(_nanoseconds(at))

    def _end_converge(self, step: str, at: float, result: str, reason: str) -> None:
        span = self._converging.pop(step, None)
        if span is None:
            return
        if result:
            span.set_attribute("failover.result", result)
        if result == "failed":
            span.set_status(Status(StatusCode.ERROR, redact(reason)))
        span.end(_nanoseconds(at))

    def _span(
        self, name: str, parent: Span | None, entry: Entry, kind: str, *, step: bool = True, began: float | None = None
    ) -> Span:
        self._ids.span = _number(8, self._run, kind, entry.step, str(entry.epoch), repr(entry.at), name)
        attributes: dict[str, str | int] = {
            "failover.run": self._run,
            "failover.runbook": self._runbook,
            "failover.epoch": entry.epoch,
        }
        if step and entry.step:
            attributes |= {"failover.step": entry.step, "failover.attempt": entry.attempt}
            attributes["failover.action"] = self._actions.get(entry.step, "")
        return self._tracer.start_span(
            redact(name),
            context=Context() if parent is None else set_span_in_context(parent, Context()),
            attributes=attributes,
            start_time=_nanoseconds(entry.at if began is None else began),
        )


class _Ids(IdGenerator):
    """Gives the ids that it was told."""

    def __init__(self, trace: int) -> None:
        self.trace = trace
        self.span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class _Hand(SpanProcessor):
    """Hands each span on when it has ended; the SDK's own ones send from threads that block the exit."""

    def __init__(self, ended: Callable[[ReadableSpan], None]) -> None:
        self._ended = ended

    def on_end(self, span: ReadableSpan) -> None:
        self._ended(span)


class _Trouble(logging.Handler):
    """Hears why an export fails, which the SDK only logs, and keeps it off the terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""
        self._logger = logging.getLogger("opentelemetry")

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or redact(_reason(record))

    def __enter__(self) -> _Trouble:
        self.first = ""
        self._logger.addHandler(self)
        self._logger.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = True


def _reason(record: logging.LogRecord) -> str:
    """The system's own words, where the SDK has logged an error that goes back to one; else what it has logged."""
    given = record.args if isinstance(record.args, tuple) else ()
    error = next((one for one in given if isinstance(one, BaseException)), None)
    while error is not None and (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return error.strerror if isinstance(error, OSError) and error.strerror else record.getMessage()


def _add_event(span: Span, name: str, entry: Entry, **attributes: str | bool) -> None:
    texts = {key: redact(value) if isinstance(value, str) else value for key, value in attributes.items()}
    span.add_event(name, texts, _nanoseconds(entry.at))


def _resource() -> Resource:
    """What sends: failover, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say otherwise."""
    own = Resource({"service.name": "failover", "service.version": __version__})
    return own.merge(OTELResourceDetector().detect())


def _number(size: int, *parts: str) -> int:
    """An id of so many bytes that the same parts always get."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:size])


def _nanoseconds(at: float) -> int:
    return round(at * 1e6) * 1000
