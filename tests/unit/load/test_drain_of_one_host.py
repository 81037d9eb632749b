"""A drain of one host may say where the host stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.load.runbook import load_runbook
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import DrainStep

RUNBOOK = """
runbook: one-host
parameters:
  site: {{type: site}}
  host: {{type: host}}
checks:
  answers: {{probe: smtp, at: {{pool: smtp, site: "${{site}}"}}, over: 10s, expect: {{success_rate: ">= 90%"}}}}
guards:
  - check: answers
steps:
  - {{id: out, do: smtp.drain, with: {{pool: smtp, {where}, deadline: 1m}}}}
"""
BOTH = 'site: "${site}", host: "${host}"'


def test_the_site_may_be_named_with_its_host(file: Callable[..., Path], inventory: Inventory) -> None:
    """It is one host that is drained, so mail to its site may be guarded: the other hosts go on."""
    step = load_runbook(file(RUNBOOK.format(where=BOTH)), inventory, {"site": "ord", "host": "mx1"}).runbook.steps[0]
    assert isinstance(step, DrainStep)
    assert (step.with_.site, step.with_.host) == ("ord", "mx1")


def test_a_whole_site_that_is_drained_cannot_be_guarded(file: Callable[..., Path], inventory: Inventory) -> None:
    """Where the host is left out the site is emptied, and a guard that sends mail there is refused."""
    with pytest.raises(InputError, match="sends mail to 'ord', which is emptied"):
        load_runbook(file(RUNBOOK.format(where='site: "${site}"')), inventory, {"site": "ord", "host": "mx1"})


def test_a_host_that_stands_elsewhere_is_refused(file: Callable[..., Path], inventory: Inventory) -> None:
    """A host of another site than the one named is not drained."""
    with pytest.raises(InputError, match="cannot drain 'mx1' in step 'out': it stands at 'ord', not at 'iad'"):
        load_runbook(file(RUNBOOK.format(where=BOTH)), inventory, {"site": "iad", "host": "mx1"})
