"""The checks of the runbooks to start from: each with the reason for which it is there."""

from __future__ import annotations

from typing import Final

from orchestrator.report.starter.means import Means
from orchestrator.report.starter.yaml_text import comment


def path_is_whole(means: Means) -> str:
    """Finds a path that loses a few connections."""
    large = "TLS and a message of 64 KiB also find" if means.tls else "A message of 64 KiB also finds"
    return f"""\
  # A load balancer that loses 2% of all connections looks healthy to one connection. This check makes as many as
  # it needs (some 400 where all is well), each from another source port, to find such a fault with 99.9% certainty.
  # {large} what hits large packets only.
{_without_tls(means)}\
  path-is-whole:
    probe: smtp
    at: {{pool: "${{pool}}", site: "${{to}}"}}
    with: {{{_tls(means)}message_size: 64KiB, concurrency: 8}}
    detect: {{failure_rate: 2%, confidence: 99.9%, false_alarms: 0.1%}}
"""


def mail_arrives(means: Means) -> str:
    """Accepted is not yet arrived; where there is no inbox, how to get one."""
    if means.inbox:
        return _MAIL_ARRIVES
    why = (
        "Accepted is not yet arrived, and nothing here proves that it does: the inventory names no inbox. Name a "
        f"Maildir in which the probes arrive, under pools.{means.pool}.test_mail.inbox. Then take the # away below, "
        "and name mail-arrives where path-is-whole is named:"
    )
    return comment(why, 2) + "  #\n" + disabled(_MAIL_ARRIVES.partition("\n")[2])


def disabled(block: str) -> str:
    """A block of YAML as a comment, to be taken up later."""
    return "".join(f"  # {line[2:]}\n" for line in block.splitlines())


def site_check(means: Means, name: str, site: str, why: str, *, latency: bool = False) -> str:
    """Whole transactions with one site."""
    slow = ', p99: "<= 2s"' if latency else ""
    return f"""\
{comment(why, 2)}\
  {name}:
    probe: smtp
    at: {{pool: "${{pool}}", site: "${{{site}}}"}}
    with: {{{_tls(means)}concurrency: 4, pause: 100ms}}
    over: "${{observe}}"
    expect: {{success_rate: ">= 99.9%"{slow}}}
"""


def works(name: str, site: str, what: str) -> str:
    """The loose one for the guard; of the whole pool where ``site`` is empty."""
    aim = f', site: "${{{site}}}"' if site else ""
    why = (
        f"{what}, for the guard that watches all the time: with little load, and loose on purpose. In some 50 "
        "transactions one lost by chance is 2%, and a breach breaks the run off. Six of 50 are no chance."
    )
    return f"""\
{comment(why, 2)}\
  {name}:
    probe: smtp
    at: {{pool: "${{pool}}"{aim}}}
    over: "${{observe}}"
    expect: {{success_rate: ">= 90%"}}
"""


def _tls(means: Means) -> str:
    return "starttls: true, " if means.tls else ""


def _without_tls(means: Means) -> str:
    if means.tls:
        return ""
    where = f"pools.{means.pool}.test_mail"
    why = (
        f"The probes speak plain text. If your servers offer TLS, name ca_file and server_name under {where} in the "
        "inventory and write 'starttls: true' into each 'with' below, as certificates fail, too."
    )
    return comment(why, 2)


MAIL_FLOWS: Final = """\
  # What the pool's clients see, wherever their connection ends.
  mail-flows:
    probe: smtp
    at: {pool: "${pool}"}
    with: {concurrency: 4, pause: 100ms}     # some 30 messages a second, not more
    over: "${observe}"
    expect: {success_rate: ">= 99.9%", p99: "<= 2s"}
"""

SITE_SILENT: Final = """\
  # The site carries no session any more. "for": at every look, for so long without a break.
  site-silent:
    probe: sessions
    at: {pool: "${pool}", site: "${site}"}
    for: 3s
    expect: {sessions: "== 0"}
"""

_MAIL_ARRIVES: Final = """\
  # Accepted is not yet arrived: the other site must deliver, too.
  mail-arrives:
    probe: delivery
    at: {pool: "${pool}", site: "${to}"}
    over: "${observe}"
    expect: {success_rate: ">= 99.9%", p99: "<= 10s"}
"""
