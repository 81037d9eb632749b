"""The project as a whole: what it loads, what it is called, and that its files stay readable."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import orchestrator

PACKAGE = Path(orchestrator.__file__).parent
PROJECT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("aiosmtplib", "boto3", "botocore", "hypothesis", "kubernetes", "psycopg", "pyinfra", "pytest")


def test_the_command_starts_without_what_few_commands_need() -> None:
    """Importing the command line loads neither an SDK nor the mail client: ``failover --help`` is quick."""
    code = "import sys, orchestrator.cli.main; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert "typer" in done.stdout.split()
    assert not set(HEAVY) & set(done.stdout.split())


def test_there_is_one_version() -> None:
    """The package, its project file and what is installed are of the same version."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert orchestrator.__version__ == project["version"] == metadata.version("failover")


def test_the_changelog_knows_the_version() -> None:
    """The changelog has the coming changes, or the section of this version."""
    headings = [line for line in (PROJECT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[0] == "## [Unreleased]" or headings[0].startswith(f"## [{orchestrator.__version__}]")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(module: Path) -> None:
    """A module begins with a docstring, and is short enough to be about one thing."""
    text = module.read_text()
    assert ast.get_docstring(ast.parse(text)), "it has no docstring"
    assert len(text.splitlines()) <= 450, "it is several nouns: split it"
