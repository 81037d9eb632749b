"""``failover test``: what it says of a runbook in a world of its own, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .desk import Desk

EXAMPLE = Path(__file__).parents[3] / "docs/examples/ci"
REPLACE = (
    "test",
    str(EXAMPLE / "runbooks/replace-relay.yaml"),
    "-i",
    str(EXAMPLE / "inventory.yaml"),
    "-p",
    "relay=va-mx1",
)
LEAVE = (
    *("test", str(EXAMPLE / "runbooks/leave-region.yaml"), "-i", str(EXAMPLE / "inventory.yaml")),
    *("-p", "from=virginia", "-p", "to=oregon"),
)


def test_says_how_a_runbook_ends(desk: Desk) -> None:
    """Every step with its time in that world, the end, and that nothing outside was contacted; no command to type."""
    result = desk.failover(*REPLACE)
    assert result.exit_code == 0, result.output
    assert "out       done         took 5m10s" in result.output
    assert "6m40s in that world" in result.output
    assert "nothing outside was contacted" in result.output
    assert "failover " not in result.output
    assert list(desk.state.iterdir()) == [], "a test leaves nothing in this machine's journal"


@pytest.mark.parametrize(
    ("arguments", "code"), [((), 3), (("--expect", "undone"), 0), (("--expect", "done"), 1), (("--expect", "stuck"), 1)]
)
def test_exit_codes(desk: Desk, arguments: tuple[str, ...], code: int) -> None:
    """As a run's own; with --expect, whether it was as expected."""
    assert desk.failover(*REPLACE, "-p", "deadline=2m", *arguments).exit_code == code


def test_json_for_machines(desk: Desk) -> None:
    """A line for each event, and the last one says how it ended and whether all is as before."""
    lines = [
        json.loads(line) for line in desk.failover(*LEAVE, "--fault", "never-in-sync:1", "--json").stdout.splitlines()
    ]
    assert all("event" in line for line in lines[:-1])
    record = lines[-1]["test"]
    assert (record["status"], record["as_before"], record["unmet"]) == ("undone", True, [])
    assert record["steps"]["shift"] == "undone"
    assert "Route 53" in record["reasons"]["shift"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fault", "never-insync"), "there is no such fault — use one of"),
        (("--fault", "throttling"), "it needs a service and an operation"),
        (("--fault", "throttling=route53.Nothing"), "Nothing"),
        (("--fault", "Throttling!"), "write for example --fault never-in-sync"),
        (("--broken", "virgina"), "cannot break virgina: there is no such site — did you mean 'virginia'?"),
    ],
)
def test_what_cannot_go_wrong_is_refused(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    """A misspelt fault or site is bad input, in one line, and nothing is run."""
    result = desk.failover(*LEAVE, *arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("arguments", [(), ("--expect", "done"), ("--json",)])
def test_a_fault_that_nothing_met_is_no_success(desk: Desk, arguments: tuple[str, ...]) -> None:
    """A test in which the fault never happened has not tested it, however the runbook ended."""
    result = desk.failover(*REPLACE, "--fault", "never-in-sync", *arguments)
    assert result.exit_code == 1
    assert "no call has met: never-in-sync of route53 ChangeResourceRecordSets" in result.stderr
    if "--json" in arguments:
        record = json.loads(result.stdout.splitlines()[-1])["test"]
        assert record["unmet"] == ["never-in-sync of route53 ChangeResourceRecordSets"]


def test_a_broken_site_stops_the_runbook(desk: Desk) -> None:
    """A site that answers no probe is not shifted to."""
    result = desk.failover(*LEAVE, "--broken", "oregon", "--json")
    record = json.loads(result.stdout.splitlines()[-1])["test"]
    assert record["steps"]["shift"] == "pending"
    assert record["status"] != "done"


def test_a_rule_is_set_aside_with_its_reason(desk: Desk, tmp_path: Path) -> None:
    """What the plan refuses can be tested as it can be run: with the rule's name, and why."""
    thin = tmp_path / "inventory.yaml"
    thin.write_text((EXAMPLE / "inventory.yaml").read_text().replace("demand: 300/s", "demand: 350/s"))
    given = [*LEAVE[:3], str(thin), *LEAVE[4:]]
    refused = desk.failover(*given)
    assert refused.exit_code == 1
    assert "[headroom]" in refused.output
    assert desk.failover(*given, "--override", "headroom=two more relays come up first").exit_code == 0
