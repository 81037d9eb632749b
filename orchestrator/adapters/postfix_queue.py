"""The mail queue of a Postfix instance, by postqueue(1)."""

from __future__ import annotations

import json
from collections import Counter
from typing import Final

from orchestrator.adapters.command import CommandRunner
from orchestrator.errors import RejectedError
from orchestrator.model.inventory import PostfixQueue
from orchestrator.model.traffic import QueueDepth

_TIMEOUT: Final = 30.0  # a queue of 8,000 messages takes 0.3 s to list, one of 500,000 some 20 s


class PostfixMailQueue:
    """The queue of one host; needs to run as root or as a member of ``authorized_mailq_users``."""

    def __init__(self, host: str, queue: PostfixQueue, commands: CommandRunner) -> None:
        self._host = host
        self._config = queue.config
        self._commands = commands

    async def depth(self) -> QueueDepth:
        """How many messages lie in each of its queues; ``maildrop``, not yet picked up, counts as incoming."""
        listing = await self._commands.run(["postqueue", "-c", self._config, "-j"], timeout=_TIMEOUT)
        try:
            count = Counter(json.loads(line)["queue_name"] for line in listing.splitlines() if line.strip())
        except (ValueError, KeyError, TypeError) as error:
            raise RejectedError(
                f"cannot count the mail queue of {self._host}: postqueue -j wrote no JSON",
                remedy="it needs Postfix 3.1 or later",
            ) from error
        return QueueDepth(
            incoming=count["incoming"] + count["maildrop"],
            active=count["active"],
            deferred=count["deferred"],
            hold=count["hold"],
        )

    async def flush(self) -> None:
        """Ask for an attempt at every deferred message now; returns when the queue manager has been told."""
        await self._commands.run(["postqueue", "-c", self._config, "-f"], timeout=_TIMEOUT)
