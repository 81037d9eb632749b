"""``failover new`` for every kind of switch: what fits is written, runs to its end, and what does not is refused."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.main import app
from orchestrator.load.inventory import load_inventory
from orchestrator.load.lint import lint
from orchestrator.load.runbook import LoadedRunbook, load_runbook
from orchestrator.model.driver import drivers_of
from orchestrator.model.runbook import ShiftStep, TakeOutStep
from orchestrator.model.switch import AnySwitch
from orchestrator.report.starter.kind import SHORTEST, Kind
from orchestrator.testing import world_of

ELB = "arn:aws:elasticloadbalancing:us-east-1:123456789012"
SWITCHES = {
    "haproxy": "socket: /run/haproxy.sock, backend: smtp",
    "elbv2-weights": f"forward: '{ELB}:listener/app/a/1/2'",
    "elbv2-targets": f"target_group: '{ELB}:targetgroup/t/1'",
    "route53-weights": "zone: Z1, name: mx.example.com",
    "route53-failover": "zone: Z1, name: mx.example.com, type: CNAME",
    "global-accelerator": "listener: 'arn:aws:ga', names: {ord1: us-east-1, iad1: us-west-2}",
    "arc-routing": "cluster: {us-east-1: 'https://cluster'}, names: {ord1: 'arn:o', iad1: 'arn:i'}",
    "arc-zonal-shift": f"resource: '{ELB}:loadbalancer/net/a/1', names: {{ord1: use1-az1, iad1: use1-az2}}",
    "dns": "server: 192.0.2.53, zone: example.com, name: mx.example.com",
    "kubernetes-route": "name: smtp",
    "kubernetes-selector": "name: smtp, label: site",
    "f5": "url: 'https://192.0.2.5', pool: /Common/smtp, user: u, password: 'env:F5'",
    "envoy": "admin: '127.0.0.1:9901', cluster: smtp, endpoints: /run/eds.yaml",
}
TELLS_HOSTS_APART = frozenset({"haproxy", "elbv2-targets", "f5", "envoy"})
INVENTORY = """\
sites: {{ord: {{}}, iad: {{}}}}
pools:
  smtp:
    protocol: smtp
    address: mx.example.com:25
    switch: {{driver: {driver}, {settings}}}
    demand: 100/s
    test_mail: {{sender: probe@example.org, recipient: probe@example.org}}
    sites:
      ord: {{members: {ord}, capacity: 150/s, address: ord.example.com:25}}
      iad: {{members: {iad}, capacity: 400/s, address: iad.example.com:25}}
"""
GATES = "hosts:\n" + "".join(
    f"  {host}: {{gate: {{driver: postfix-policy, control: /g}}, queue: {{driver: postfix}}}}\n"
    for host in ("ord1", "ord2", "iad1", "iad2")
)
KINDS = tuple(Kind)

STEPS: dict[str, tuple[str, ...]] = {
    "haproxy": ("traffic.shift", "smtp.drain"),
    **dict.fromkeys(("f5", "envoy"), ("traffic.shift", "traffic.drain")),
    **dict.fromkeys(("elbv2-targets", "arc-zonal-shift"), ("traffic.drain",)),
}
"""What empties a site; the others only shift."""
IN_ONE_MOVE = frozenset({"route53-failover", "arc-routing", "dns", "kubernetes-selector"})

REFUSED: dict[tuple[str, Kind], str] = {
    **{
        (
            driver,
            Kind.TRIAL,
        ): f"a switch of kind '{driver}' has no weights, so that nothing can be tried on another site"
        for driver in ("elbv2-targets", "arc-zonal-shift")
    },
    **{
        (driver, Kind.REBOOT): f"a switch of kind '{driver}' cannot take a host out: its members have weights only"
        for driver in set(SWITCHES) - TELLS_HOSTS_APART
    },
    ("arc-zonal-shift", Kind.REBOOT): "a member of a switch of kind 'arc-zonal-shift' is a whole zone, and no host",
}
RUN: dict[str, tuple[Kind, ...]] = {
    "elbv2-weights": (Kind.TRIAL,),
    "elbv2-targets": (Kind.REBOOT, Kind.EVACUATION),
    "route53-weights": (Kind.EVACUATION,),
    "route53-failover": (Kind.TRIAL,),
    "global-accelerator": (Kind.EVACUATION,),
    "arc-routing": (Kind.MAINTENANCE,),
    "arc-zonal-shift": (Kind.MAINTENANCE, Kind.EVACUATION),
}
"""Of AWS, whose world takes its time; of the others each."""


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def has(desk: Path) -> Callable[..., None]:
    """Puts an inventory of one pool on the desk, as i.yaml."""

    def put(driver: str, more: str = "") -> None:
        hosts = ("[ord1, ord2]", "[iad1, iad2]") if driver in TELLS_HOSTS_APART else ("[ord1]", "[iad1]")
        text = INVENTORY.format(driver=driver, settings=SWITCHES[driver] + more, ord=hosts[0], iad=hosts[1])
        (desk / "i.yaml").write_text(text + (GATES if driver == "haproxy" else ""), encoding="utf-8")

    return put


def new(kind: Kind, *arguments: str) -> Result:
    """``failover new`` for a site, with no terminal; the file is called as its kind."""
    return CliRunner().invoke(app, ["new", "-i", "i.yaml", "--kind", kind, "--site", "ord", "--force", *arguments])


def written(kind: Kind, *arguments: str) -> LoadedRunbook:
    """The runbook, after lint has found nothing in it."""
    made = new(kind, *arguments)
    assert made.exit_code == 0, made.stderr
    bound = load_inventory([Path("i.yaml")], {})
    runbook = load_runbook(Path(f"{kind}.yaml"), bound, called(kind))
    assert [str(finding.problem) for finding in lint(runbook, bound)] == []
    return runbook


def called(kind: Kind) -> dict[str, str]:
    """The parameters that a kind asks for."""
    return {"host": "ord1"} if kind is Kind.REBOOT else {"to": "iad"}


def in_short(kind: Kind) -> dict[str, str]:
    """The same, with times that make a short run."""
    pause = {Kind.REBOOT: {}, Kind.TRIAL: {"watch": "10s"}}.get(kind, {})
    return {**called(kind), "observe": "2s", **pause}


def text_of(kind: Kind) -> str:
    """The file without its line breaks, as a person reads it."""
    return " ".join(Path(f"{kind}.yaml").read_text(encoding="utf-8").replace("#", " ").split())


def test_every_kind_of_switch_is_here() -> None:
    """Who adds a driver adds it to these tests."""
    assert set(SWITCHES) == set(drivers_of(AnySwitch))


@pytest.mark.parametrize(("driver", "kind"), sorted(itertools.product(SWITCHES, KINDS)))
def test_what_fits_is_written(has: Callable[..., None], driver: str, kind: Kind) -> None:
    """Every runbook is clean, also in the shortest window, or refused with the reason."""
    has(driver)
    if (driver, kind) in REFUSED:
        refused = new(kind)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert f"cannot write a runbook of kind {kind} for pool 'smtp': {REFUSED[driver, kind]} — " in refused.stderr
        assert not Path(f"{kind}.yaml").exists()
        return
    written(kind)
    written(kind, "--window", f"{SHORTEST[kind]:g}s")


@pytest.mark.parametrize("driver", SWITCHES)
def test_a_site_is_emptied_as_its_switch_can(has: Callable[..., None], driver: str) -> None:
    """A shift where there are weights, in one move where there are no shares; a drain where there is one to be had."""
    has(driver)
    runbook = written(Kind.MAINTENANCE).runbook
    does = [step.do for step in runbook.steps]
    assert does == ["verify", *STEPS.get(driver, ("traffic.shift",)), "hold", "return"]
    shares = [step.with_.by for step in runbook.steps if isinstance(step, ShiftStep)]
    assert shares in ([], [(1.0,)] if driver in IN_ONE_MOVE else [(0.05, 0.25, 0.6, 1.0)])
    assert ("site-silent" in runbook.checks) == (driver in {"haproxy", "f5", "envoy"})


@pytest.mark.parametrize(
    ("driver", "kind", "why"),
    [
        ("dns", Kind.MAINTENANCE, "all at once: a member of a switch of kind dns takes traffic or it does not"),
        ("dns", Kind.TRIAL, "So no small share comes first"),
        ("dns", Kind.EVACUATION, "No drain: a switch of kind dns takes no member out and sees no session"),
        ("dns", Kind.MAINTENANCE, "No check of sessions: a switch of kind dns counts none"),
        (
            "f5",
            Kind.MAINTENANCE,
            "lists no sessions, so that nobody could close them between two messages (smtp.drain)",
        ),
        ("f5", Kind.REBOOT, "it takes the host out"),
        ("f5", Kind.REBOOT, "must lead to its hosts past the switch"),
        ("elbv2-targets", Kind.MAINTENANCE, "has no weights, so there is no shift"),
        ("elbv2-targets", Kind.EVACUATION, "It serves what is open for 5m more, unless somebody has set another delay"),
        ("arc-zonal-shift", Kind.EVACUATION, "AWS itself ends the shift 12h after its begin"),
    ],
)
def test_the_file_says_why(has: Callable[..., None], driver: str, kind: Kind, why: str) -> None:
    """Whoever reads the file learns why it is done in this way, and not in the usual one."""
    has(driver)
    new(kind)
    assert why in text_of(kind)


@pytest.mark.parametrize(
    ("driver", "kind", "note"),
    [
        ("dns", Kind.MAINTENANCE, "no drain: a switch of kind dns takes no member out and sees no session"),
        ("dns", Kind.TRIAL, "no small share first: a member of a switch of kind dns takes traffic or it does not"),
        ("arc-zonal-shift", Kind.EVACUATION, "it does not last: AWS itself ends the shift 12h after its begin"),
    ],
)
def test_what_it_does_without_is_said(has: Callable[..., None], driver: str, kind: Kind, note: str) -> None:
    """What the switch cannot do stands on the screen, too; for one that can do all, nothing does."""
    has(driver)
    assert f"  {note}" in new(kind).stdout
    has("haproxy")
    assert note.partition(":")[0] not in new(kind).stdout


def test_a_drain_is_given_what_the_switch_needs(has: Callable[..., None]) -> None:
    """However short the window is, the deadline is longer than the delay for which targets are drained."""
    has("elbv2-targets")
    runbook = written(Kind.EVACUATION, "--window", "10m").runbook
    assert [step.with_.deadline for step in runbook.steps if isinstance(step, TakeOutStep)] == [360]
    has("f5")
    runbook = written(Kind.EVACUATION).runbook
    assert [step.with_.deadline for step in runbook.steps if isinstance(step, TakeOutStep)] == [120]


def test_a_window_ends_before_the_zonal_shift(has: Callable[..., None]) -> None:
    """A maintenance is over before AWS ends the shift: the likely window is so short, and a longer one is refused."""
    has("arc-zonal-shift", ", expires: 2h")
    assert written(Kind.MAINTENANCE).runbook.window == 7200
    refused = new(Kind.MAINTENANCE, "--window", "3h")
    assert (
        "cannot use --window: AWS ends the zonal shift after 2h, and 3h is longer — give 2h at most" in refused.stderr
    )
    has("arc-zonal-shift", ", expires: 10m")
    assert "AWS ends its zonal shift after 10m, before all is done — raise 'expires'" in new(Kind.MAINTENANCE).stderr
    assert written(Kind.EVACUATION).runbook.window == 1800


def test_headroom_is_what_each_site_has_alone(has: Callable[..., None]) -> None:
    """Where one site serves at a time, it may be the smaller one, before the run and after it."""
    has("route53-failover")
    new(Kind.MAINTENANCE, "--to", "iad")
    assert "ord, the smallest site that may serve alone, carries 150/s, 1.5 times" in text_of(Kind.MAINTENANCE)
    has("route53-weights")
    new(Kind.MAINTENANCE, "--to", "iad")
    assert "iad alone carries 400/s, 4 times" in text_of(Kind.MAINTENANCE)


def test_a_pool_is_chosen_that_fits(has: Callable[..., None], desk: Path) -> None:
    """Of two pools that whose switch can do it is taken; one that is named and cannot is refused."""
    has("f5")
    text = (desk / "i.yaml").read_text(encoding="utf-8")
    second = re.sub(r"(?s)^.*?  smtp:", "  relay:", text).replace("ord.", "r-ord.").replace("iad.", "r-iad.")
    second = re.sub(r"switch: .*", f"switch: {{driver: elbv2-targets, {SWITCHES['elbv2-targets']}}}", second)
    second = re.sub(r"(ord|iad)(\d)", r"r-\1\2", second)
    (desk / "i.yaml").write_text(text + second, encoding="utf-8")
    assert "of pool smtp" in new(Kind.TRIAL).stdout
    refused = new(Kind.TRIAL, "--pool", "relay")
    assert "has no weights" in refused.stderr
    assert "or name another --pool" in refused.stderr


@pytest.mark.parametrize("driver", SWITCHES)
def test_the_runbooks_do_their_work(has: Callable[..., None], driver: str) -> None:
    """In a world of its own each is planned and runs to its end; then all is as before, or the site is left."""
    has(driver)
    kinds = [kind for kind in KINDS if (driver, kind) not in REFUSED]
    for kind in kinds:
        new(kind)
    with world_of(load_inventory([Path("i.yaml")], {})) as world:
        for kind in kinds:
            world.plan(Path(f"{kind}.yaml"), called(kind))
        for kind in sorted(RUN.get(driver, kinds), key=lambda kind: kind is Kind.EVACUATION):
            ran = world.run(Path(f"{kind}.yaml"), in_short(kind))
            assert ran.status == "done", ran.reasons
            away = [intake.share_weight for name, intake in ran.after["smtp"].items() if name.startswith("ord")]
            assert ran.after == ran.before if kind is not Kind.EVACUATION else not any(away)
