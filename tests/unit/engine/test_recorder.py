"""The recorder: every entry under its owner's epoch, progress now and then, and nothing impossible."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import JsonValue
from structlog.testing import capture_logs

from orchestrator.engine.recorder import COMMIT_WITHIN, PROGRESS_EVERY, Recorder
from orchestrator.errors import Fenced
from orchestrator.model.journal import Entry
from orchestrator.status import RunStatus, StepStatus

from ..fakes.clock import run
from ..fakes.journal import MemoryJournal


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        """See ``Clock.now``."""
        return self.time

    def monotonic(self) -> float:
        """See ``Clock.monotonic``."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """See ``Clock.sleep``."""
        self.time += seconds


class Desk:
    """A recorder at work on a run, with what its listener heard."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.journal.create("r1", "{}", "scene", 0.0)
        self.clock = HandClock()
        self.heard: list[Entry] = []
        self.recorder = self.another()
        self.recorder.run_status(RunStatus.RUNNING)
        self.recorder.step_status("shift", StepStatus.GATING, attempt=1)

    def another(self) -> Recorder:
        """The recorder of a new owner."""
        return Recorder("r1", self.journal.take("r1"), self.journal, self.clock, self.heard.append)

    def texts(self) -> list[JsonValue]:
        """The progress that is on disk."""
        return [one.data["text"] for one in self.journal.written if one.kind == "progress"]


@pytest.fixture
def desk() -> Desk:
    """A run with one step at its gate."""
    return Desk()


def test_progress_is_heard_at_once_and_written_now_and_then(desk: Desk) -> None:
    """The listener hears each progress; the journal gets at most one a second of a step."""
    for _ in range(21):
        desk.recorder.progress("shift", f"at {desk.clock.time:.1f}", {})
        desk.clock.time += PROGRESS_EVERY / 10
    assert [one.data["text"] for one in desk.heard if one.kind == "progress"][:2] == ["at 1000.0", "at 1000.1"]
    assert desk.texts() == ["at 1000.0", "at 1001.0", "at 1002.0"]
    assert desk.recorder.step_state("shift").progress == "at 1002.0"


def test_the_last_progress_is_not_lost(desk: Desk) -> None:
    """Before a step's next status its last progress is written, whenever it was."""
    for text in ("one", "two", "three"):
        desk.recorder.progress("shift", text, {})
    desk.recorder.step_status("shift", StepStatus.FAILED, "no")
    assert desk.texts() == ["one", "three"]
    assert desk.journal.written[-1].data["status"] == "failed"


def test_steps_do_not_take_each_others_progress(desk: Desk) -> None:
    """The once a second is counted for each step."""
    desk.recorder.step_status("drain", StepStatus.GATING, attempt=1)
    desk.recorder.progress("shift", "a", {})
    desk.recorder.progress("drain", "b", {"left": 2.0})
    assert desk.texts() == ["a", "b"]
    assert desk.journal.written[-1].data == {"text": "b", "left": 2.0}


def test_an_impossible_move_never_gets_into_the_journal(desk: Desk) -> None:
    """A bug that asks for a move that does not exist fails before it is written: the run stays readable."""
    before = list(desk.journal.written)
    with pytest.raises(ValueError, match="cannot go from gating to undone"):
        desk.recorder.step_status("shift", StepStatus.UNDONE)
    with pytest.raises(ValueError, match="cannot go from running to undone"):
        desk.recorder.run_status(RunStatus.UNDONE)
    assert desk.journal.written == before


def test_a_new_owner_starts_from_the_journal(desk: Desk) -> None:
    """A recorder that is opened again stands where the last one stood; the last one is fenced."""
    desk.recorder.record("intent", "shift", {"start": {"level": 7}})
    state = desk.recorder.state
    new = desk.another()
    assert new.state == state
    assert (new.is_owner(), desk.recorder.is_owner()) == (True, False)
    with pytest.raises(Fenced):
        desk.recorder.step_status("shift", StepStatus.FAILED)


def test_the_same_run_status_is_not_written_twice(desk: Desk) -> None:
    """A run that goes on as it was has nothing to say; another reason is news."""
    number = len(desk.journal.written)
    desk.recorder.run_status(RunStatus.RUNNING)
    assert len(desk.journal.written) == number
    desk.recorder.run_status(RunStatus.HELD, "one")
    desk.recorder.run_status(RunStatus.HELD, "two")
    assert len(desk.journal.written) == number + 2


def test_people_are_heard(desk: Desk) -> None:
    """An approval of another process is read once, told to the listener, and part of the state."""
    data: dict[str, JsonValue] = {"by": "ada", "note": "all good"}
    desk.journal.append(Entry(run="r1", at=1.0, epoch=0, kind="approval", step="window", data=data))
    assert desk.recorder.step_state("window").approved_by is None
    desk.recorder.refresh()
    desk.recorder.refresh()
    assert desk.recorder.step_state("window").approved_by == "ada"
    assert [one.kind for one in desk.heard].count("approval") == 1


def test_entries_carry_the_attempt(desk: Desk) -> None:
    """What happens in a second attempt is told apart from the first."""
    desk.recorder.step_status("shift", StepStatus.FAILED)
    desk.recorder.step_status("shift", StepStatus.GATING, attempt=2)
    desk.recorder.record("verdict", "shift", {})
    desk.recorder.record("verdict", "", {})
    assert [one.attempt for one in desk.journal.written] == [0, 1, 1, 2, 2, 0]


def test_a_broken_report_is_logged_once_and_heard_no_more(desk: Desk) -> None:
    """A listener that raises is told nothing any more; what happens goes into the journal as if it listened."""
    asked: list[Entry] = []

    def broken(entry: Entry) -> None:
        asked.append(entry)
        raise BrokenPipeError("Broken pipe")

    recorder = Recorder("r1", desk.journal.take("r1"), desk.journal, desk.clock, broken)
    person = Entry(run="r1", at=1.0, epoch=0, kind="approval", step="shift", data={"by": "ada"})
    with capture_logs() as logs:
        recorder.progress("shift", "half", {})
        desk.journal.append(person)
        recorder.refresh()
        recorder.step_status("shift", StepStatus.FAILED, "no")
    assert [one.kind for one in asked] == ["progress"]
    assert [(one["event"], one["error"]) for one in logs] == [("report.broken", "BrokenPipeError: Broken pipe")]
    assert recorder.step_state("shift").approved_by == "ada"
    assert desk.journal.written[-1].data["status"] == "failed"


def test_a_log_that_breaks_too_changes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the log goes down the same closed pipe as the report, the run still goes on."""

    class ClosedPipe:
        def error(self, event: str, **more: object) -> None:
            raise BrokenPipeError(event)

    def broken(entry: Entry) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("orchestrator.engine.recorder.log", ClosedPipe())
    recorder = Recorder("r1", desk.journal.take("r1"), desk.journal, desk.clock, broken)
    recorder.step_status("shift", StepStatus.FAILED, "no")
    assert desk.journal.written[-1].data["status"] == "failed"


def test_words_share_a_write() -> None:
    """What is said in one moment is on disk together, within COMMIT_WITHIN; then listeners hear of it."""
    desk, seen = Desk(), list[int]()

    async def work() -> None:
        before = len(desk.journal.written)
        for status in (StepStatus.GATING, StepStatus.DONE):
            desk.recorder.step_status("drain", status)
        assert (desk.recorder.step_state("drain").status, len(desk.journal.written)) == (StepStatus.DONE, before)
        await asyncio.sleep(COMMIT_WITHIN * 1.1)
        seen.append(len(desk.journal.written) - before)

    run(work())
    assert seen == [2]
    assert [entry.seq for entry in desk.heard] == [entry.seq for entry in desk.journal.written]


def test_an_intent_waits_for_the_disk() -> None:
    """When an intent has been recorded it is on disk, with all that was said before it, and with its status."""
    desk = Desk()

    async def work() -> None:
        desk.recorder.step_status("drain", StepStatus.GATING)
        desk.recorder.intent("drain", {"start": {}, "to": {}}, StepStatus.CONVERGING)
        kinds = [(entry.kind, entry.step) for entry in desk.journal.written[-3:]]
        assert kinds == [("step", "drain"), ("intent", "drain"), ("step", "drain")]

    run(work())


def test_nothing_is_recorded_after_the_journal_has_failed() -> None:
    """Trouble with a later write stops whoever says or asks something next; nobody hears of what was not kept."""
    desk = Desk()

    async def work() -> None:
        desk.recorder.step_status("drain", StepStatus.GATING)
        heard = len(desk.heard)
        desk.journal.take("r1")
        await asyncio.sleep(COMMIT_WITHIN * 2)
        assert len(desk.heard) == heard
        with pytest.raises(Fenced):
            desk.recorder.progress("drain", "on", {})
        with pytest.raises(Fenced):
            desk.recorder.intent("drain", {}, StepStatus.CONVERGING)
        with pytest.raises(Fenced):
            desk.recorder.refresh()

    run(work())


def test_a_take_over_is_found_out_by_looking() -> None:
    """Who only waits learns of it, too: the next word raises."""
    desk = Desk()
    desk.journal.take("r1")
    desk.recorder.look()
    with pytest.raises(Fenced, match="taken over run r1"):
        desk.recorder.progress("shift", "waits", {})
