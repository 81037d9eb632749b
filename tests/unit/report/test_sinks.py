"""Sinks get what happens, and whatever they do, the run does not notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan
from orchestrator.report.sinks import Outlets, Sink

from ..engine.scene import RUN, Scene, turn, verify
from . import story

PATIENCE = 20.0
"""Seconds after which a test gives up; none comes near."""


class Kept:
    """A sink that keeps what it gets."""

    name = "kept"
    pace = 0.0

    def __init__(self) -> None:
        self.so_far: list[Entry] = []
        self.got: list[Entry] = []
        self.flushed = 0
        self.ended = False

    def begin(self, run: str, plan: Plan, so_far: Sequence[Entry], dropped: Callable[[], Mapping[str, int]]) -> None:
        """Keep what there was."""
        self.so_far = list(so_far)

    def entry(self, entry: Entry) -> None:
        """Keep it."""
        self.got.append(entry)

    def flush(self) -> None:
        """Count how many there were then."""
        self.flushed = len(self.got)

    def end(self) -> None:
        """Be over."""
        self.flush()
        self.ended = True


class Deaf(Kept):
    """Takes the first entry and never comes back, as a write to a dead NFS server; ``wake`` it in the end."""

    name = "deaf"

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.wake = threading.Event()

    def entry(self, entry: Entry) -> None:
        """Hang."""
        self.asked.set()
        self.wake.wait()


class Broken(Kept):
    """Raises whenever it is asked for anything."""

    name = "broken"

    def entry(self, entry: Entry) -> None:
        """Raise."""
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        """Raise."""
        raise ValueError("never")


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    """A deaf sink whose thread is let go."""
    sink = Deaf()
    yield sink
    sink.wake.set()


def outlets(*sinks: Sink, room: int = 10_000) -> Outlets:
    """These sinks at work on the story's run."""
    return Outlets(sinks, story.RUN, story.plan(), room=room)


def test_a_sink_gets_everything_in_order() -> None:
    """Every entry comes once, in order, after what the journal held; at the end the sink has flushed and closed."""
    told, sink = story.done().entries, Kept()
    out = Outlets([sink], story.RUN, story.plan(), so_far=told[:9])
    for entry in told[9:]:
        out.entry(entry)
    assert out.close(PATIENCE) == []
    assert (sink.so_far, sink.got, sink.flushed) == (told[:9], told[9:], len(told) - 9)
    assert sink.ended


def test_a_paced_sink_ends_at_once() -> None:
    """A sink that rests for an hour between two flushes is not waited for: the last flush comes at the end."""
    sink = Kept()
    sink.pace = 3600.0
    out = outlets(sink)
    for entry in story.done().entries:
        out.entry(entry)
    began = time.monotonic()
    assert out.close(PATIENCE) == []
    assert sink.flushed == len(story.done().entries)
    assert time.monotonic() - began < PATIENCE / 2


def test_a_sink_that_hangs_costs_nothing(deaf: Deaf) -> None:
    """Entries are taken without a wait, others get all of them, and the end is bounded; what is missing is said."""
    told, kept = story.done().entries, Kept()
    out = outlets(deaf, kept)
    out.entry(told[0])
    assert deaf.asked.wait(PATIENCE)
    began = time.monotonic()
    for entry in told[1:]:
        out.entry(entry)
    handed = time.monotonic() - began
    assert out.close(within=0.2) == [f"--deaf has missed {len(told)} of {len(told)} events: it does not answer"]
    assert (handed < 1.0, time.monotonic() - began < 2.0) == (True, True)
    assert kept.got == told


def test_hanging_sinks_share_the_time_at_the_end(deaf: Deaf) -> None:
    """Two sinks that hang are not waited for twice as long."""
    another = Deaf()
    out = outlets(deaf, another)
    try:
        out.entry(story.done().entries[0])
        began = time.monotonic()
        assert len(out.close(within=0.5)) == 2
        assert time.monotonic() - began < 0.95
    finally:
        another.wake.set()


def test_a_sink_that_raises_misses_what_it_raised_at() -> None:
    """It is asked again with each entry, others hear all, and one line says how many it has missed and why."""
    told, kept = story.done().entries, Kept()
    out = outlets(Broken(), kept)
    for entry in told:
        out.entry(entry)
    assert out.close(PATIENCE) == [f"--broken has missed {len(told)} of {len(told)} events: No space left on device"]
    assert kept.got == told
    assert out.dropped() == {"broken": len(told), "kept": 0}


def test_a_begin_that_raises_is_said() -> None:
    """A sink that could not begin gets the entries all the same, and is in the last words."""

    class Late(Kept):
        def begin(self, *_: object) -> None:
            raise RuntimeError("not yet")

    sink = Late()
    out = outlets(sink)
    out.entry(story.done().entries[0])
    assert out.close(PATIENCE) == ["--kept has missed the last events: not yet"]
    assert len(sink.got) == 1


def test_what_has_no_room_is_dropped_and_counted(deaf: Deaf) -> None:
    """Memory is bounded: past its room a slow sink misses entries, and the count can be read while the run goes."""
    told = story.done().entries
    out = outlets(deaf, room=5)
    out.entry(told[0])
    assert deaf.asked.wait(PATIENCE)
    for entry in told[1:]:
        out.entry(entry)
    assert out.dropped() == {"deaf": len(told) - 1 - 5}
    deaf.wake.set()
    assert out.close(PATIENCE) == [f"--deaf has missed {len(told) - 6} of {len(told)} events: it was too slow"]


def test_a_report_that_breaks_does_not_silence_sinks() -> None:
    """When the pipe behind the report closes, it is told no more and that is logged once; the sinks hear the rest."""
    told, kept, asked = story.done().entries, Kept(), list[Entry]()
    out = outlets(kept)

    def report(entry: Entry) -> None:
        asked.append(entry)
        raise BrokenPipeError("Broken pipe")

    with capture_logs() as logs:
        tell = out.beside(report)
        for entry in told:
            tell(entry)
    out.close(PATIENCE)
    assert (len(asked), kept.got) == (1, told)
    assert [(one["event"], one["error"]) for one in logs] == [("report.broken", "BrokenPipeError: Broken pipe")]


class Watched(Scene):
    """A scene whose recorder tells sinks too."""

    def watch(self, *sinks: Sink) -> None:
        """Let them hear."""
        self.outlets = Outlets(sinks, RUN, self.plan)

    def _hear(self, entry: Entry) -> None:
        self.outlets.beside(super()._hear)(entry)


def test_a_run_with_bad_sinks_is_the_same_run(deaf: Deaf) -> None:
    """With a sink that hangs and one that raises, a run does the same, in the same virtual time, to the last entry."""
    steps = (verify("escape", "path"), turn("shift", after=["flows"]))
    alone, scene, kept = Scene(*steps, pause=30.0), Watched(*steps, pause=30.0), Kept()
    scene.watch(deaf, Broken(), kept)
    assert scene.start() == alone.start()
    scene.outlets.close(within=0.5)
    assert [(one.at, one.kind, one.data) for one in scene.journal.written] == [
        (one.at, one.kind, one.data) for one in alone.journal.written
    ]
    assert [one for one in kept.got if one.kind != "progress"] == [
        one for one in scene.journal.written if one.kind != "progress"
    ]
