"""The digests that chain a run's entries, so that a lost, changed or swapped one is noticed when it is read.

Each entry's digest covers the one before it; the first covers the run's own row, its plan included. The journal
keeps the last digest beside them, so that a missing end shows too. The chain finds
damage and careless edits. It is no protection against somebody who can write the file and recompute it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue, ValidationError

from orchestrator.errors import JournalError
from orchestrator.model.journal import Entry


class StoredEntry(NamedTuple):
    """An entry as a database keeps it; the fields stand in the order of its columns."""

    seq: int
    run: str
    at: float
    epoch: int
    kind: str
    step: str
    attempt: int
    data: str
    digest: str

    def entry(self) -> Entry:
        """The entry itself.

        Raises:
            JournalError: it was written by a version that knows more than this one.
        """
        try:
            return Entry.model_validate(self._asdict() | {"data": json.loads(self.data)}, extra="ignore")
        except ValidationError as error:
            raise JournalError(
                f"cannot read entry {self.seq} of run {self.run}: this version of failover does not know its form",
                remedy="use the newest version that has written to this journal",
            ) from error


def canonical(data: Mapping[str, JsonValue]) -> str:
    """The one JSON text of ``data``: sorted keys, no blanks, ASCII."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def genesis(run: str, created: float, runbook: str, plan: str) -> str:
    """The digest that a run's chain begins with."""
    return _digest(run, created, runbook, plan)


def stored(entry: Entry, seq: int, before: str) -> StoredEntry:
    """``entry`` as the ``seq``-th of its journal, chained to the digest ``before`` it."""
    # Adding 0.0 turns -0.0 into 0.0: SQLite keeps no negative zero, and the digest must survive the way back.
    fields = (seq, entry.run, float(entry.at) + 0.0, entry.epoch, entry.kind, entry.step, entry.attempt)
    data = canonical(entry.data)
    return StoredEntry(*fields, data, _digest(before, *fields, data))


def flaw(before: str, entries: Sequence[StoredEntry], head: str) -> str | None:
    """What is wrong with ``entries`` that must lead from the digest ``before`` to ``head``; None when nothing is."""
    for entry in entries:
        if _digest(before, *entry[:-1]) != entry.digest:
            return f"entry {entry.seq} was changed, or one before it is missing"
        before = entry.digest
    return None if before == head else "its last entries are missing"


def _digest(*fields: object) -> str:
    # A damaged file can hold a value of any type in any column: repr keeps even that from raising here.
    text = json.dumps(fields, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode()).hexdigest()
