"""``failover new``: whatever an inventory has, the runbook that comes out is sound, and says what is missing."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator
from typer.testing import CliRunner, Result

from orchestrator.cli.main import app
from orchestrator.load.inventory import load_inventory
from orchestrator.load.lint import lint
from orchestrator.load.runbook import LoadedRunbook, load_runbook
from orchestrator.report.starter.kind import SHORTEST, Kind
from orchestrator.status import RunStatus

from ..library.stage import Stage

GOLDEN = Path(__file__).parent / "new"
FULL = (GOLDEN / "full.yaml").read_text(encoding="utf-8")
LAB = Path(__file__).parents[3] / "inventories" / "lab.yaml"
KINDS = tuple(kind.value for kind in Kind)

QUIET = """\
  quiet:
    protocol: smtp
    address: 192.0.2.5:25
    switch: {driver: haproxy, socket: /run/haproxy.sock, backend: quiet}
    demand: 5/s
    test_mail: {sender: probe@example.org, recipient: probe@example.org}
    sites:
      ord: {members: [ord1], capacity: 40/s, address: "192.0.2.6:25"}
"""


def without(*patterns: str) -> str:
    """The full inventory, with what these patterns match taken out."""
    return re.sub("|".join(patterns), "", FULL)


def with_quiet(sites: str = "") -> str:
    """The full inventory, and a second pool that stands at ord, and at the sites added here."""
    return FULL.replace("hosts:\n", f"{QUIET}{sites}hosts:\n")


BLIND = re.sub(r"postfix-policy, control: \S+}", "postfix-map, database: /var/lib/gate.sqlite}", FULL)
INVENTORIES = {
    "full": FULL,
    "no inbox": without(r"      inbox: .*\n"),
    "no gates": without(r"gate: {[^}]*}, "),
    "a gate missing": FULL.replace("ord1: {gate: {driver: postfix-policy, control: /run/gate.sock}, ", "ord1: {"),
    "no queues": without(r", queue: {[^}]*}"),
    "no TLS": without(r"      ca_file: .*\n"),
    "blind gates": BLIND,
    "measured demand": FULL.replace("demand: 100/s", "demand: {from: switch}").replace("0/s", "0 sessions"),
    "nothing asked for": FULL.replace("demand: 100/s", "demand: 0/s"),
    "too little": FULL.replace("demand: 100/s", "demand: 400/s"),
    "several pools": with_quiet('      iad: {members: [iad1], capacity: 40/s, address: "192.0.2.7:25"}\n'),
    "no hosts described": without(r"(?s)hosts:\n.*"),
    "two sites": without(r" {6}dfw: .*\n"),
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lab(desk: Path) -> None:
    """The lab's inventory on the desk as lab.yaml, with addresses that need no lab."""
    text = re.sub(r"\$\{lab:[^}]*\}", "127.0.0.1:2525", LAB.read_text(encoding="utf-8"))
    (desk / "lab.yaml").write_text(text, encoding="utf-8")


@pytest.fixture
def has(desk: Path) -> Callable[[str], None]:
    """Puts an inventory on the desk, as i.yaml."""

    def put(text: str) -> None:
        (desk / "i.yaml").write_text(text, encoding="utf-8")

    return put


def new(*arguments: str, inventory: str = "i.yaml") -> Result:
    """``failover new``, with no terminal."""
    return CliRunner().invoke(app, ["new", "-i", inventory, *arguments])


def loaded(file: str, inventory: str = "i.yaml", **given: str) -> LoadedRunbook:
    """The runbook, after lint has found nothing in it."""
    bound = load_inventory([Path(inventory)], {})
    runbook = load_runbook(Path(file), bound, given)
    assert [str(finding.problem) for finding in lint(runbook, bound)] == []
    return runbook


def called(kind: str, site: str, to: str, host: str) -> dict[str, str]:
    """The parameters that a kind asks for."""
    return {"site": site, "host": host} if kind == "reboot" else {"site": site, "to": to}


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("kind", KINDS)
def test_the_lab_gets_this_file(kind: str) -> None:
    """For the lab every word is as agreed, comments too."""
    made = new("--kind", kind, "-o", "-", inventory="lab.yaml")
    assert made.stdout == (GOLDEN / f"{kind}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_an_editor_finds_nothing_wrong(kind: str) -> None:
    """The schema that the first line names accepts it."""
    schema = json.loads((LAB.parents[1] / "runbooks" / "runbook.schema.json").read_text(encoding="utf-8"))
    written = yaml.safe_load((GOLDEN / f"{kind}.yaml").read_text(encoding="utf-8"))
    assert [error.message for error in Draft7Validator(schema).iter_errors(written)] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", INVENTORIES)
def test_whatever_there_is_the_runbook_is_sound(has: Callable[[str], None], name: str, kind: str) -> None:
    """For each inventory it loads with what it was written for, and lint has nothing against it."""
    has(INVENTORIES[name])
    made = new("mine", "--kind", kind, "--pool", "smtp", "--site", "ord", "--approval", "3")
    assert made.exit_code == 0, made.stderr
    runbook = loaded("mine.yaml", **called(kind, "ord", "iad", "ord2")).runbook
    assert runbook.runbook == "mine"
    assert sorted(step.approval.people for step in runbook.steps if step.approval) == [3]


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("kind", KINDS)
def test_the_runbook_is_for_every_site(kind: str) -> None:
    """What was written for one pair of sites is sound for every other, and in the shortest window."""
    new(kind, "--kind", kind, "--window", f"{SHORTEST[Kind(kind)]:g}s", inventory="lab.yaml")
    for site, to in itertools.permutations(("ord", "iad", "dfw"), 2):
        loaded(f"{kind}.yaml", "lab.yaml", **called(kind, site, to, f"{site}-mx2"))


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("kind", KINDS)
def test_the_runbook_does_its_work(kind: str) -> None:
    """On the lab's fakes it is planned and runs to its end under live mail: no message is cut or doubled."""
    new("--kind", kind, "--approval", "1", inventory="lab.yaml")
    ended = Stage(loaded(f"{kind}.yaml", "lab.yaml", **called(kind, "ord", "iad", "ord-mx1"))).play(ahead=True)
    assert ended.status == RunStatus.DONE, ended.state.reason
    assert (ended.pool.cut, ended.pool.doubled) == ([], [])
    assert (ended.after == ended.before) == (kind != "evacuation")


@pytest.mark.parametrize(
    ("name", "said", "steps", "checks"),
    [
        ("full", [], ["escape", "shift", "drain", "window", "back"], {"mail-arrives", "site-silent"}),
        ("no inbox", ["no proof that mail arrives"], ["escape", "shift", "drain", "window", "back"], {"site-silent"}),
        (
            "no gates",
            ["no drain: hosts ord1, ord2 without a gate"],
            ["escape", "shift", "quiet", "window", "back"],
            {"mail-arrives", "site-silent"},
        ),
        (
            "a gate missing",
            ["no drain: host ord1 without a gate"],
            ["escape", "shift", "quiet", "window", "back"],
            {"mail-arrives", "site-silent"},
        ),
    ],
)
def test_what_is_missing_is_said(
    has: Callable[[str], None], name: str, said: list[str], steps: list[str], checks: set[str]
) -> None:
    """What the inventory cannot do is left out, and named on the screen and in the file, with what would help."""
    has(INVENTORIES[name])
    printed = new("--kind", "maintenance", "--site", "ord").stdout
    assert [part for part in said if part not in printed] == []
    assert said or "  no " not in printed
    runbook = loaded("maintenance.yaml", to="iad").runbook
    assert [step.id for step in runbook.steps] == steps
    assert {"mail-arrives", "site-silent"} & set(runbook.checks) == checks
    text = Path("maintenance.yaml").read_text(encoding="utf-8")
    assert ("test_mail.inbox" in text) == ("mail-arrives" not in checks)
    assert ("hosts.NAME.gate" in text) == ("quiet" in steps)


@pytest.mark.parametrize(("name", "commented"), [("no gates", "- id: drain"), ("no inbox", "mail-arrives:")])
def test_what_is_left_out_waits_as_a_comment(has: Callable[[str], None], name: str, commented: str) -> None:
    """With the inventory mended and the # taken away, what was left out is there, and is sound."""
    has(INVENTORIES[name])
    new("--kind", "maintenance")
    lines = Path("maintenance.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"  # {commented}"))
    end = next(number for number in range(begin, len(lines)) if not lines[number].startswith("  # "))
    lines[begin:end] = [line.replace("  # ", "  ", 1) for line in lines[begin:end]]
    text = "".join(lines).replace("[path-is-whole]", "[path-is-whole, mail-arrives]" if commented[-1] == ":" else "")
    if name == "no gates":
        text = re.sub(r"  - id: quiet\n(?:    .*\n)+", "", "".join(lines)).replace("[shift]", "[drain, shift]")
    Path("maintenance.yaml").write_text(text, encoding="utf-8")
    has(FULL)
    loaded("maintenance.yaml", site="ord", to="iad")


@pytest.mark.parametrize(
    ("name", "arguments", "headroom", "because"),
    [
        ("full", ["--to", "iad"], 1.3, "iad alone carries 250/s, 2.5 times the stated demand of 100/s"),
        ("full", [], 1.3, "dfw, the smallest site to move to, alone carries 200/s, 2 times"),
        ("full", ["--kind", "reboot", "--site", "iad"], 1.3, "with one host less, 565/s, 5.65 times"),
        ("tight", ["--to", "iad"], 1.13, "iad alone carries 250/s, 1.13 times the stated demand of 220/s"),
        ("too little", ["--to", "iad"], 1, "0.62 times the stated demand of 400/s: that is too little"),
        ("measured demand", [], 1, "The demand is what the switch measures"),
        ("nothing asked for", [], 1.3, "nothing is asked for"),
    ],
)
def test_headroom_is_what_the_capacity_allows(
    has: Callable[[str], None], name: str, arguments: list[str], headroom: float, because: str
) -> None:
    """The guard asks for what the stated capacity can give, 1.3 at most, never for less than the demand."""
    has(FULL.replace("demand: 100/s", "demand: 220/s") if name == "tight" else INVENTORIES[name])
    kind = ["--kind", "maintenance"] if "--kind" not in arguments else []
    made = new("mine", *kind, *arguments)
    text = Path("mine.yaml").read_text(encoding="utf-8")
    assert f"headroom: {{type: number, default: {headroom:g}," in text
    assert because in " ".join(text.replace("#", " ").split())
    assert ("too little capacity" in made.stdout) == (name == "too little")


def test_defaults_are_what_was_chosen(has: Callable[[str], None]) -> None:
    """A site that was named is the parameter's default; one that was only likely is not, and must be given."""
    has(FULL)
    new("--to", "dfw")
    text = Path("maintenance.yaml").read_text(encoding="utf-8")
    assert "  to: {type: site, default: dfw, " in text
    assert "  site: {type: site, help: " in text


@pytest.mark.parametrize("needed", ["switch", "control"])
def test_a_site_that_is_needed_is_not_likely(has: Callable[[str], None], needed: str) -> None:
    """Nobody is led to empty the site on which the switch or failover itself stands."""
    text = FULL.replace("backend: smtp}", "backend: smtp, site: ord}") if needed == "switch" else FULL
    has(text if needed == "switch" else f"control: {{site: ord}}\n{text}")
    assert "-p site=iad -p to=ord" in new().stdout


def test_names_stay_names(has: Callable[[str], None]) -> None:
    """Names that YAML or a shell would read as something else come through both, and through comments."""
    odd = {"smtp": "no", "ord": "a b: #$1", "iad": "7"}
    text = FULL
    for name, other in odd.items():
        text = re.sub(rf"\b{name}: {{", f"'{other}': {{", text)
    has(text.replace("  smtp:\n", "  'no':\n").replace(", ord: {}", ""))
    made = new("true", "--site", odd["ord"], "--to", odd["iad"])
    assert made.exit_code == 0, made.stderr
    runbook = loaded("true.yaml")
    assert runbook.runbook.runbook == "true"
    assert (runbook.parameters["pool"], runbook.parameters["site"], runbook.parameters["to"]) == tuple(odd.values())
    command = next(line for line in made.stdout.splitlines() if "failover lint" in line)
    assert shlex.split(command)[-4:] == ["-p", f"site={odd['ord']}", "-p", f"to={odd['iad']}"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_commands_are_real(has: Callable[[str], None], kind: str) -> None:
    """What it says to type next can be typed: lint finds the file sound."""
    has(FULL)
    printed = new("--kind", kind, "-o", "my runbook.yaml").stdout
    commands = [shlex.split(line) for line in printed.splitlines() if line.startswith("  failover ")]
    assert [command[1] for command in commands] == ["lint", "test", "permissions", "plan", "run"]
    linted = CliRunner().invoke(app, commands[0][1:])
    assert (linted.exit_code, linted.stderr) == (0, "")
    header = Path("my runbook.yaml").read_text(encoding="utf-8")
    once = [command for command in commands if command[1] in {"lint", "plan", "run"}]
    assert all(f"#   {shlex.join(command)}\n" in header for command in once)
    assert header.startswith("# yaml-language-server: $schema=runbook.schema.json\n")


ONE_SITE = without(r" {6}dfw: .*\n", r" {6}iad: .*\n")


@pytest.mark.parametrize(
    ("inventory", "arguments", "told"),
    [
        (
            ONE_SITE,
            [],
            "stands at one site only — add a second site to a pool in the inventory, or use --kind",
        ),
        (
            ONE_SITE.replace(", ord2]", "]"),
            ["--kind", "reboot"],
            "no pool has a second host",
        ),
        (with_quiet(), ["--pool", "quiet"], "for pool 'quiet': it stands at 'ord' only — add a second site to it"),
        (with_quiet(), ["--kind", "reboot", "--pool", "quiet"], "it has one host only — add a host to it"),
        (INVENTORIES["several pools"], [], "cannot tell which is meant, smtp, quiet — name one with --pool"),
        (FULL, ["--pool", "smpt"], "cannot use --pool: there is no pool 'smpt' — did you mean 'smtp'?"),
        (FULL, ["--site", "odr"], "cannot use --site: there is no site 'odr' — did you mean 'ord'?"),
        (FULL, ["--to", "fra"], "cannot use --to: there is no site 'fra' — there are these sites: ord, iad, dfw"),
        (with_quiet(), ["--kind", "reboot", "--pool", "smtp", "--to", "iad"], "cannot use --to for a reboot"),
        (
            INVENTORIES["several pools"],
            ["--pool", "quiet", "--to", "dfw"],
            "is not at site 'dfw' — it is at ord",
        ),
        (FULL, ["--site", "ord", "--to", "ord"], "--site and --to are the same — name two sites"),
        (FULL, ["--window", "soon"], "cannot use --window: 'soon' is not a duration — write for example 30s"),
        (FULL, ["--window", "5m"], "cannot use --window: 5m is too short for its own deadlines and checks — give"),
        (
            FULL,
            ["My Runbook"],
            "cannot call a runbook 'My Runbook': it is no name in this language — use",
        ),
        (
            FULL,
            ["-o", "there.yaml"],
            "it is there already — name another with -o, or use --force",
        ),
        (FULL, ["-o", "folder"], "cannot write folder: it is a folder — name a file in it with -o"),
        (
            FULL,
            ["-o", "nowhere/new.yaml"],
            "cannot write nowhere/new.yaml: No such file or directory — name",
        ),
        ("sites: {}\n", [], "i.yaml:"),
    ],
)
def test_what_cannot_be_is_one_clear_error(
    desk: Path, has: Callable[[str], None], inventory: str, arguments: list[str], told: str
) -> None:
    """Exit code 1, one message with its remedy, and no file is written or changed."""
    has(inventory)
    (desk / "there.yaml").write_text("mine\n")
    (desk / "folder").mkdir()
    before = sorted(desk.rglob("*"))
    made = new(*arguments)
    assert (made.exit_code, made.stdout) == (1, "")
    assert told in made.stderr
    assert sorted(desk.rglob("*")) == before
    assert (desk / "there.yaml").read_text() == "mine\n"


def test_force_replaces(desk: Path, has: Callable[[str], None]) -> None:
    """With --force a file that is there is replaced as a whole, and nothing else is left behind."""
    has(FULL)
    (desk / "maintenance.yaml").write_text("mine\n" * 9999)
    assert new("--force").exit_code == 0
    loaded("maintenance.yaml", site="ord", to="iad")
    assert sorted(path.name for path in desk.iterdir()) == ["i.yaml", "maintenance.yaml"]


def test_standard_output_is_the_file(desk: Path, has: Callable[[str], None]) -> None:
    """With -o - the runbook is printed, nothing else, and nothing is written."""
    has(FULL)
    printed = new("-o", "-").stdout
    assert [path.name for path in desk.iterdir()] == ["i.yaml"]
    new()
    assert Path("maintenance.yaml").read_text(encoding="utf-8") == printed


def on_terminal(answers: str, *arguments: str) -> tuple[int, str, str]:
    """The command on a terminal of its own, where somebody types: exit code, standard output, and the terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "orchestrator", "new", "-i", "i.yaml", *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True)
    try:
        os.close(theirs)
        os.write(ours, answers.encode())
        assert process.stdout is not None
        printed = process.stdout.read()
        return process.wait(60), printed, drained(ours)
    finally:
        process.kill()
        process.communicate()
        os.close(ours)


def drained(terminal: int) -> str:
    """Everything that stands on the terminal."""
    text = b""
    try:
        while more := os.read(terminal, 4096):
            text += more
    except OSError:  # the other end is closed
        pass
    return text.decode().replace("\r\n", "\n")


def test_on_a_terminal_it_asks(has: Callable[[str], None]) -> None:
    """Each question shows its choices and takes Enter for the likely one; a wrong answer is asked for again."""
    has(INVENTORIES["several pools"])
    code, printed, seen = on_terminal("\nsmtp\niad\nnowhere\n\n90m\n2\n")
    assert code == 0, seen
    assert "-p site=iad -p to=ord" in printed
    assert "  maintenance  empty a site, wait while its provider works, bring it back" in seen
    assert "  iad  250/s: iad1 iad2" in seen
    assert "there is no 'nowhere' — there are these choices: ord, dfw" in seen
    runbook = loaded("maintenance.yaml")
    assert (runbook.parameters["site"], runbook.parameters["to"], runbook.runbook.window) == ("iad", "ord", 5400)
    assert [step.approval.people for step in runbook.runbook.steps if step.approval] == [2]


def test_what_is_said_is_not_asked(has: Callable[[str], None]) -> None:
    """A terminal is asked only for what the flags leave open; with --yes, for nothing."""
    has(INVENTORIES["two sites"])
    code, printed, seen = on_terminal("\n", "--kind", "trial", "--site", "iad", "--window", "1h", "-o", "-")
    assert (code, seen.count("?"), seen.count("[0]")) == (0, 0, 1)
    assert "default: ord" in printed
    code, printed, seen = on_terminal("", "--yes")
    assert (code, seen) == (0, "")
    assert "-p site=ord -p to=iad" in printed


def test_who_leaves_a_question_leaves_nothing(desk: Path, has: Callable[[str], None]) -> None:
    """Ctrl-D at a question ends it, and no file is written."""
    has(FULL)
    code, _, _ = on_terminal("\x04")
    assert code != 0
    assert [path.name for path in desk.iterdir()] == ["i.yaml"]
