"""Which login a probe's transaction has: the inventory's, or what the check says instead."""

from __future__ import annotations

from orchestrator.checks.delivery import DeliveryProbe
from orchestrator.checks.smtp import SmtpProbe
from orchestrator.model.check import Aim, DeliveryArguments, SmtpArguments, SmtpCheck
from orchestrator.model.inventory import Inventory
from orchestrator.model.secret import Login, Secret

from .world import INVENTORY, FakeMail, FakeOutside, LoopClock, run

POOL = Aim(pool="smtp")
OURS = Login(user="probe", password=Secret(env="PROBE_PASSWORD"))
OTHER = Login(user="other", password=Secret(file="/etc/failover/other"))


def with_login() -> Inventory:
    """An inventory with ``OURS`` in the pool's test mail."""
    pool = INVENTORY.pools["smtp"]
    mail = pool.test_mail.model_copy(update={"login": OURS, "ca_file": "ca.pem", "server_name": "mx.lab"})
    pools = {**INVENTORY.pools, "smtp": pool.model_copy(update={"test_mail": mail})}
    return INVENTORY.model_copy(update={"pools": pools})


def test_the_login_of_the_inventory_is_used() -> None:
    """In every transaction of smtp and of delivery, with what it takes to verify the server."""
    mail = FakeMail()
    run(SmtpProbe(POOL, SmtpArguments(), FakeOutside(mail, inventory=with_login())).sample())
    run(DeliveryProbe(POOL, DeliveryArguments(), FakeOutside(mail, inventory=with_login()), LoopClock()).sample())
    assert [attempt.login for attempt in mail.attempts] == [OURS, OURS]
    assert [(attempt.ca_file, attempt.server_name) for attempt in mail.attempts] == [("ca.pem", "mx.lab")] * 2


def test_a_check_can_have_another_login() -> None:
    """What the runbook says has the last word, and needs no login in the inventory."""
    mail = FakeMail()
    for inventory in (with_login(), INVENTORY):
        run(SmtpProbe(POOL, SmtpArguments(login=OTHER), FakeOutside(mail, inventory=inventory)).sample())
    assert [attempt.login for attempt in mail.attempts] == [OTHER, OTHER]


def test_no_login_is_none() -> None:
    """As before there were any."""
    mail = FakeMail()
    run(SmtpProbe(POOL, SmtpArguments(), FakeOutside(mail)).sample())
    assert mail.attempts[0].login is None


def test_a_check_is_written_with_a_reference() -> None:
    """As a runbook has it, and as a plan stores it."""
    login = {"user": "other", "password": "file:/etc/failover/other"}
    check = SmtpCheck.model_validate({"probe": "smtp", "at": {"pool": "smtp"}, "with": {"login": login}})
    assert check.with_.login == OTHER
    assert check.model_dump(mode="json", by_alias=True)["with"]["login"] == login
