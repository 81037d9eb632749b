"""A run as events for a log: one line of JSON for each transition, written by structlog.

Every event has ``event``, ``level``, ``at`` (RFC 3339), ``run``, ``runbook``, ``epoch`` and ``seq`` (of its journal
entry); what happens in a step has ``step``, ``attempt`` and ``action`` too. By event:

=================  ==================================================================================================
run.status         status, was, reason, seconds (for how long it was what it was)
step.status        the same, of a step
step.intent        waypoint, direction: written before anything is touched
step.outcome       result, reason, seconds since the intent
step.duration      as the journal has it: what a step took, without people
step.progress      text, numbers; at level ``debug``
check.verdict      check, gate, judgement, reason, samples, metrics
guard.breach       the same, of a guard that is broken
person.approval    by, note, ahead, direction; of people ``epoch`` is 0
person.abort       by, note, then
person.override    by, rule, reason
=================  ==================================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import structlog
from pydantic import JsonValue

from orchestrator.model.check import Judgement
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan
from orchestrator.report.account import GUARD
from orchestrator.report.records import entry_record, json_line
from orchestrator.status import RunStatus, StepStatus

Level = Literal["debug", "info", "warning", "error"]

_ERRORS: Final = frozenset({StepStatus.STUCK, RunStatus.STUCK})
_WARNINGS: Final = frozenset({StepStatus.REFUSED, StepStatus.FAILED, StepStatus.UNDOING, RunStatus.INTERRUPTED})
_PEOPLE: Final = frozenset({"approval", "abort", "override"})
_NEW_FILE: Final = 0o640
"""Reasons in it are for those who may see the inventory."""


class EventLog:
    """Appends a run's events to a file; a sink."""

    name = "log"
    pace = 0.0

    def __init__(self, path: Path, redact: structlog.typing.Processor, level: Level = "info") -> None:
        self._file = _AppendedFile(path)
        self._log: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
            self._file,
            processors=[structlog.processors.add_log_level, redact, structlog.processors.JSONRenderer(_serialised)],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            context_class=dict,
        )
        self._events = Events({})

    def begin(self, run: str, plan: Plan, so_far: Sequence[Entry], dropped: Callable[[], Mapping[str, int]]) -> None:
        """Log what people said since the run's last owner wrote: nobody has listened."""
        self._log = self._log.bind(run=run, runbook=plan.runbook.runbook)
        self._events = Events({step.id: step.step.do for step in plan.steps})
        heard = max((number for number, entry in enumerate(so_far, 1) if entry.epoch), default=0)
        for entry in so_far[:heard]:
            self._events.of(entry)
        for entry in so_far[heard:]:
            self.entry(entry)

    def entry(self, entry: Entry) -> None:
        """Write its line, whole."""
        level, event, fields = self._events.of(entry)
        getattr(self._log, level)(event, **fields)

    def flush(self) -> None:
        """Each line is written at once."""

    def end(self) -> None:
        """Close the file."""
        self._file.close()


class Events:
    """Names what happened; remembers since when things are as they are. ``actions`` by step."""

    def __init__(self, actions: Mapping[str, str]) -> None:
        self._actions = actions
        self._since: dict[str, tuple[JsonValue, float]] = {}
        self._intents: dict[str, float] = {}

    def of(self, entry: Entry) -> tuple[Level, str, dict[str, JsonValue]]:
        """The entry's level, event and fields."""
        record = entry_record(entry)
        fields = {key: record[key] for key in ("at", "epoch", "seq")}
        if entry.step:
            fields |= {"step": entry.step, "attempt": entry.attempt}
            if entry.step in self._actions:
                fields["action"] = self._actions[entry.step]
        level, event, more = self._told(entry)
        return level, event, {**fields, **more, **fields}  # what identifies it stands first, and stays

    def _told(self, entry: Entry) -> tuple[Level, str, dict[str, JsonValue]]:
        data = dict(entry.data)
        match entry.kind:
            case "run" | "step":
                return self._status(entry)
            case "intent":
                self._intents[entry.step] = entry.at
                return "info", "step.intent", {key: data.get(key) for key in ("waypoint", "direction")}
            case "outcome":
                if (began := self._intents.pop(entry.step, None)) is not None:
                    data["seconds"] = round(entry.at - began, 3)
                return "warning" if data.get("result") == "failed" else "info", "step.outcome", data
            case "verdict":
                level: Level = "info" if data.get("judgement") == Judgement.PASS else "warning"
                return level, "guard.breach" if data.get("gate") == GUARD else "check.verdict", data
            case "progress":
                text = data.pop("text", "")
                return "debug", "step.progress", {"text": text, "numbers": data}
            case kind:
                return "info", f"{'person' if kind in _PEOPLE else 'step'}.{kind}", data

    def _status(self, entry: Entry) -> tuple[Level, str, dict[str, JsonValue]]:
        status = entry.data.get("status")
        first = RunStatus.PLANNED if entry.kind == "run" else StepStatus.PENDING
        was, since = self._since.get(entry.step, (first.value, None))
        self._since[entry.step] = (status, entry.at)
        level: Level = "error" if status in _ERRORS else "warning" if status in _WARNINGS else "info"
        fields: dict[str, JsonValue] = {**entry.data, "was": was}
        if since is not None:
            fields["seconds"] = round(entry.at - since, 3)
        return level, f"{entry.kind}.status", fields


def _serialised(event: Mapping[str, JsonValue], **_: object) -> str:
    """What happened first, then the rest; a number that JSON cannot write is null."""
    first = {key: event[key] for key in ("at", "level", "event")}
    return json_line({**first, **event})


class _AppendedFile:
    """A structlog logger on a file. It is opened when there is something to write, and again after an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: int | None = None
        self._torn = False

    def msg(self, line: str) -> None:
        """Append the line; it is one write, so that two processes can share the file.

        Raises:
            OSError: it was not written, or not whole.
        """
        data = f"{line}\n".encode()
        if self._torn:
            data = b"\n" + data
        if self._opened is None:
            self._opened = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _NEW_FILE)
        try:
            while data:
                written = os.write(self._opened, data)
                self._torn = written < len(data)
                data = data[written:]
        except OSError:
            self.close()
            raise

    debug = info = warning = error = msg

    def close(self) -> None:
        if self._opened is not None:
            with suppress(OSError):
                os.close(self._opened)
        self._opened = None
