"""The probe ``smtp``: one whole mail transaction on a connection of its own."""

from __future__ import annotations

import itertools
import uuid

from orchestrator.errors import OutsideError
from orchestrator.model.check import Aim, Sample, SmtpArguments
from orchestrator.model.inventory import Inventory, TestMail
from orchestrator.ports import MailAttempt, MailClient, Outside


class SmtpProbe:
    """Sends one message a sample, each from a fresh source port, from the source addresses in turn.

    A load balancer that loses the flows of a few (address, port) pairs is invisible to one connection, and to any
    number of connections from the same port.
    """

    def __init__(self, aim: Aim, arguments: SmtpArguments, outside: Outside) -> None:
        self._aim = aim
        self._arguments = arguments
        self._outside = outside
        self._address = address_of(aim, outside.inventory)
        self._sources = itertools.cycle(arguments.sources or (None,))

    async def sample(self) -> Sample:
        """One transaction: whether the message was accepted, after how many seconds."""
        mail = self._outside.inventory.pools[self._aim.pool].test_mail
        attempt = MailAttempt(
            address=self._address,
            sender=mail.sender,
            recipient=mail.recipient,
            message_id=new_message_id(mail),
            size=self._arguments.message_size,
            timeout=self._arguments.timeout,
            starttls=self._arguments.starttls,
            ca_file=mail.ca_file,
            server_name=mail.server_name,
            source_address=next(self._sources),
            login=self._arguments.login or mail.login,
        )
        try:
            return await transact(self._outside.mail_client(), attempt)
        except OutsideError as error:
            return Sample(ok=False, where=self._address, reason=str(error), broken=True)


async def transact(client: MailClient, attempt: MailAttempt) -> Sample:
    """Make ``attempt`` and say in a sample how it went."""
    result = await client.deliver(attempt)
    return Sample(
        ok=result.ok,
        seconds=result.seconds,
        where=attempt.address,
        reason=result.reason,
        certificate_days=result.certificate_days,
        broken=result.broken,
    )


def address_of(aim: Aim, inventory: Inventory) -> str:
    """host:port to aim at: the path that leads to one site only, or the address that the pool's clients use."""
    pool = inventory.pools[aim.pool]
    return pool.sites[aim.site].address if aim.site else pool.address


def new_message_id(mail: TestMail) -> str:
    """A message identifier that no other probe has, in the sender's domain (RFC 5322, 3.6.4)."""
    domain = mail.sender.rpartition("@")[2] or "failover.invalid"
    return f"<probe.{uuid.uuid4().hex}@{domain}>"
