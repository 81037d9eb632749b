"""The probe ``delivery``: one message through the pool, until it lies in the inbox."""

from __future__ import annotations

from typing import Final

from orchestrator.checks.smtp import address_of, new_message_id, transact
from orchestrator.errors import OutsideError
from orchestrator.model.check import Aim, DeliveryArguments, Sample
from orchestrator.model.units import format_duration
from orchestrator.ports import Clock, Inbox, MailAttempt, Outside

POLL_INTERVAL: Final = 0.2
"""Seconds between two looks into the inbox; the resolution of what this probe measures."""

MESSAGE_SIZE: Final = 1024


class DeliveryProbe:
    """Sends one message a sample and waits for it: what ``smtp`` cannot see, a queue that does not move, it sees."""

    def __init__(self, aim: Aim, arguments: DeliveryArguments, outside: Outside, clock: Clock) -> None:
        self._aim = aim
        self._timeout = arguments.timeout
        self._outside = outside
        self._clock = clock
        self._address = address_of(aim, outside.inventory)
        self._inbox: Inbox | None = None

    async def sample(self) -> Sample:
        """One message: whether it arrived, after how many seconds since the first packet."""
        began = self._clock.monotonic()
        try:
            inbox = self._opened_inbox()
            attempt = self._attempt()
            accepted = await transact(self._outside.mail_client(), attempt)
            if not accepted.ok:
                return accepted
            arrived = await self._arrives(inbox, attempt.message_id, began + self._timeout)
        except OutsideError as error:
            return Sample(ok=False, where=self._address, reason=str(error), broken=True)
        seconds = self._clock.monotonic() - began
        reason = "" if arrived else f"accepted, but not in the inbox within {format_duration(self._timeout)}"
        return Sample(ok=arrived, seconds=seconds, where=self._address, reason=reason)

    def _opened_inbox(self) -> Inbox:
        if self._inbox is None:
            self._inbox = self._outside.inbox(self._aim.pool)
        return self._inbox

    def _attempt(self) -> MailAttempt:
        mail = self._outside.inventory.pools[self._aim.pool].test_mail
        return MailAttempt(
            address=self._address,
            sender=mail.sender,
            recipient=mail.recipient,
            message_id=new_message_id(mail),
            size=MESSAGE_SIZE,
            timeout=self._timeout,
            ca_file=mail.ca_file,
            server_name=mail.server_name,
            login=mail.login,
        )

    async def _arrives(self, inbox: Inbox, message_id: str, end: float) -> bool:
        while not await inbox.take(message_id):
            if self._clock.monotonic() >= end:
                return False
            await self._clock.sleep(POLL_INTERVAL)
        return True
