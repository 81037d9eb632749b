"""A run as a trace: its tree, its ids over resumes and crashes, and a collector that takes it, refuses it or hangs."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from orchestrator.adapters.secrets import remember
from orchestrator.adapters.tracing import Traces
from orchestrator.errors import UnreachableError
from orchestrator.model.journal import Entry
from orchestrator.report.sinks import Outlets
from tests.unit.engine.scene import RUN, Scene, turn, verify
from tests.unit.report import story
from tests.unit.report.story import Story


class Collector(SpanExporter):
    """A collector in this process; ``well`` when it takes what it gets."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.well = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take them, or not."""
        if not self.well:
            return SpanExportResult.FAILURE
        self.spans += spans
        return SpanExportResult.SUCCESS

    def lines(self) -> list[str]:
        """Every span with its parents and its length in seconds, in the order of their begins; errors have a mark."""
        known = {_id(span): span for span in self.spans}

        def path(span: ReadableSpan) -> str:
            parent = known.get(span.parent.span_id) if span.parent is not None else None
            return f"{path(parent)}/{span.name}" if parent is not None else span.name

        inner = sorted(self.spans, key=lambda span: (_time(span.start_time), path(span).count("/")))
        return [
            f"{path(span)} {round(_time(span.end_time) - _time(span.start_time), 3):g}s"
            + (" !" if span.status.status_code is StatusCode.ERROR else "")
            for span in inner
        ]

    def named(self, name: str) -> ReadableSpan:
        """The one span of this name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span


def _id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def _time(nanoseconds: int | None) -> float:
    assert nanoseconds is not None
    return nanoseconds / 1e9


def told(story_: Story, collector: Collector, so_far: int = 0, *, killed: bool = False) -> None:
    """Let an owner tell a story, of which so many entries are in the journal already; ``killed``: it never ends."""
    sink = Traces(None, collector)
    sink.begin(story.RUN, story.plan(), story_.entries[:so_far], dict)
    for entry in story_.entries[so_far:]:
        sink.entry(entry)
    if not killed:
        sink.end()


def test_a_run_is_a_tree() -> None:
    """The run has its steps, a step its converges, each from the intent to its outcome; a failure is an error."""
    collector = Collector()
    told(story.undone(), collector)
    assert collector.lines() == [
        "run provider-maintenance 67.2s",
        "run provider-maintenance/escape 4.2s",
        "run provider-maintenance/shift 62s !",
        "run provider-maintenance/shift/converge 5% 1s",
        "run provider-maintenance/shift/converge 25% 1s",
        "run provider-maintenance/undo shift 1s",
        "run provider-maintenance/undo shift/converge as before 1s",
    ]


def test_spans_say_what_they_are() -> None:
    """Run, runbook, epoch, step, attempt, action and how it ended; the times are those of the journal."""
    collector = Collector()
    told(story.undone(), collector)
    span = collector.named("shift")
    assert dict(span.attributes or {}) == {
        "failover.run": story.RUN,
        "failover.runbook": "provider-maintenance",
        "failover.epoch": 1,
        "failover.step": "shift",
        "failover.attempt": 1,
        "failover.action": "traffic.shift",
        "failover.status": "failed",
        "failover.reason": f"mail-flows failed: {story.LOSSY}",
    }
    assert _time(span.start_time) == pytest.approx(story.BEGIN + 4.2)
    assert span.resource.attributes["service.name"] == "failover"
    assert [event.name for event in collector.named("run provider-maintenance").events] == ["run.status"] * 3


def test_people_and_guards_are_events_of_what_they_concern() -> None:
    """An approval stands in its step's span with who and why, a broken guard in the run's."""
    collector = Collector()
    told(story.done(), collector)
    (event,) = [one for one in collector.named("window").events if one.name == "person.approval"]
    assert dict(event.attributes or {}) == {"by": "alice", "note": "provider says rebooted"}
    collector = Collector()
    told(story.breached(), collector)
    assert "guard.breach" in [event.name for event in collector.named("run provider-maintenance").events]


class Traced(Scene):
    """A scene with a trace."""

    def watch(self, collector: Collector) -> None:
        """Begin one."""
        self.sink = Traces(None, collector)
        self.sink.begin(RUN, self.plan, self.journal.entries(RUN), dict)

    def _hear(self, entry: Entry) -> None:
        super()._hear(entry)
        self.sink.entry(entry)


def test_gates_are_spans_too() -> None:
    """A check takes its own time within its step, as the engine asks it; a try that fails is followed by the next."""
    retries = {"times": 1, "pause": "10s"}
    scene = Traced(
        verify("escape", "path"), turn("shift", after=["flows"], retries=retries), judge={"flows": "fail pass"}
    )
    collector = Collector()
    scene.watch(collector)
    scene.start()
    scene.sink.end()
    assert [re.sub(r" [\d.]+s", "", line) for line in collector.lines()] == [
        "run scene",
        "run scene/escape",
        "run scene/escape/check path",
        "run scene/shift",
        "run scene/shift/converge 100%",
        "run scene/shift/check flows !",
        "run scene/shift",
        "run scene/shift/converge as wanted",
        "run scene/shift/check flows",
    ]


def test_a_resumed_run_is_the_same_trace() -> None:
    """The next owner's span is in the trace of the first and below it; what the first has sent is not sent again."""
    collector, whole = Collector(), story.shifting().run("interrupted", "SIGTERM")
    first = len(whole.entries)
    told(whole, collector)
    whole.wait(60).taken_over().run("running").step("shift", "gating").wait(3).step("shift", "done").run("done")
    told(whole, collector, so_far=first)
    assert len({span.context.trace_id for span in collector.spans if span.context is not None}) == 1
    assert len({_id(span) for span in collector.spans}) == len(collector.spans)
    assert [line for line in collector.lines() if "converge" not in line] == [
        "run provider-maintenance 66.2s",
        "run provider-maintenance/escape 4.2s",
        "run provider-maintenance/shift 62s",
        "run provider-maintenance/run provider-maintenance 3s",
        "run provider-maintenance/run provider-maintenance/shift 3s",
    ]


def test_what_a_killed_owner_had_under_way_is_sent_by_the_next() -> None:
    """A converge that the kill has cut off, its step and the owner's own span end with the last entry."""
    collector, whole = Collector(), story.escaped().step("shift", "gating").towards("shift", "5%").wait(2)
    whole.progress("shift", "weight ord 97, iad 103")
    first = len(whole.entries)
    told(whole, collector, killed=True)
    assert collector.spans == []
    whole.wait(60).taken_over().run("running")
    told(whole, collector, so_far=first)
    assert collector.lines() == [
        "run provider-maintenance 6.2s",
        "run provider-maintenance/shift 2s",
        "run provider-maintenance/shift/converge 5% 2s",
        "run provider-maintenance/run provider-maintenance 0s",
    ]


def test_missing_entries_do_not_confuse_it() -> None:
    """A trace that has missed entries goes on with the next one."""
    for step in (2, 3, 5):
        collector, cut = Collector(), Story()
        cut.entries = story.undone().entries[::step]
        told(cut, collector)
        assert all(_time(span.end_time) >= _time(span.start_time) for span in collector.spans)


def test_no_secret_gets_into_a_trace() -> None:
    """What was read as a secret is masked in attributes, statuses and events."""
    remember("opensesame-43")
    why, collector = "535 opensesame-43", Collector()
    broken = story.escaped().step("shift", "gating").towards("shift", "5%").outcome("shift", "failed", why)
    broken.verdict("shift", "after", "mail-flows", "fail", why).step("shift", "failed", why).run("undoing", why)
    told(broken, collector)
    assert len(collector.spans) == 4
    assert "opensesame" not in "".join(span.to_json() for span in collector.spans)


def test_spans_wait_for_a_collector_that_is_away() -> None:
    """What could not be sent is sent with the next flush, once."""
    collector = Collector()
    sink = Traces(None, collector)
    collector.well = False
    sink.begin(story.RUN, story.plan(), [], dict)
    *before, last = story.done().entries
    for entry in before:
        sink.entry(entry)
    with pytest.raises(UnreachableError):
        sink.flush()
    collector.well = True
    sink.entry(last)
    sink.end()
    names = [span.name for span in collector.spans]
    assert names.count("shift") == names.count("run provider-maintenance") == 1


class Post(BaseHTTPRequestHandler):
    """Takes what is posted."""

    got: list[tuple[str, bytes]]
    answer = 200

    def do_POST(self) -> None:
        """Keep it, and answer."""
        self.got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.answer)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, type[Post]]]:
    """A collector's address, and its handler with what it got."""
    handler = type("Handler", (Post,), {"got": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        serving = threading.Thread(target=listening.serve_forever, args=(0.01,))
        serving.start()
        yield f"http://127.0.0.1:{listening.server_port}", handler
        listening.shutdown()
        serving.join()


def outlets_of(url: str) -> Outlets:
    """A trace to this address at work, with the whole story."""
    outlets = Outlets([Traces(url)], story.RUN, story.plan())
    for entry in story.done().entries:
        outlets.entry(entry)
    return outlets


def test_otlp_over_http(server: tuple[str, type[Post]]) -> None:
    """A collector gets every span as protobuf where OTLP says, in time before the process ends."""
    url, handler = server
    assert outlets_of(url).close(20.0) == []
    request = ExportTraceServiceRequest()
    names: list[str] = []
    ids: list[bytes] = []
    for path, body in handler.got:
        assert path == "/v1/traces"
        request.ParseFromString(body)
        (resource,) = request.resource_spans
        names += [span.name for scope in resource.scope_spans for span in scope.spans]
        ids += [span.span_id for scope in resource.scope_spans for span in scope.spans]
    assert {"run provider-maintenance", "escape", "shift", "drain", "window", "back.drain", "back.shift"} < set(names)
    assert len(set(ids)) == len(ids)


def test_a_collector_that_refuses_is_said_in_its_words(
    server: tuple[str, type[Post]], capfd: pytest.CaptureFixture[str]
) -> None:
    """One line in the end has its reason; nothing is printed into the run's report before."""
    url, handler = server
    handler.answer = 403
    (said,) = outlets_of(url).close(20.0)
    assert said.startswith("--traces has missed the last events: Failed to export spans batch code: 403")
    assert capfd.readouterr() == ("", "")


def test_a_collector_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    """It costs the end of the run its two seconds at most, and one line."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert outlets_of(url).close(20.0) == ["--traces has missed the last events: Connection refused"]
    assert capfd.readouterr() == ("", "")


def test_a_collector_that_never_answers_is_left_behind() -> None:
    """It takes the connection and says nothing: entries are handed over at once, and the end is bounded."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        outlets = outlets_of(f"http://127.0.0.1:{silent.getsockname()[1]}")
        handed = time.monotonic() - began
        said = outlets.close(within=0.3)
        assert time.monotonic() - began < handed + 1.5
        assert (handed < 1.0, len(said)) == (True, 1)
        time.sleep(2.2)  # its own limit, after which its thread ends
