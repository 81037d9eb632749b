"""What the pages of docs/ consist of: blocks, tables, links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import orchestrator

PROJECT = Path(orchestrator.__file__).parent.parent
DOCS = PROJECT / "docs"
PAGES = (*sorted(DOCS.rglob("*.md")), PROJECT / "README.md", PROJECT / "CHANGELOG.md")

_BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<to>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<words>.+)$", re.MULTILINE)
_MARKUP = re.compile(r"`|\*|\[([^\]]*)\]\([^)]*\)")


def blocks(page: Path, kind: str) -> list[str]:
    """The fenced blocks of one language."""
    return [block["text"] for block in _BLOCK.finditer(page.read_text()) if block["kind"] == kind]


def links(page: Path) -> Iterator[str]:
    """Where its links lead, but for those outside."""
    for link in _LINK.finditer(_BLOCK.sub("", page.read_text())):
        if "://" not in link["to"]:
            yield link["to"]


def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them: in small letters, hyphens for blanks, no punctuation."""
    words = (_MARKUP.sub(r"\1", heading["words"]) for heading in _HEADING.finditer(_BLOCK.sub("", page.read_text())))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in words}


def rows(page: Path, first: str) -> list[list[str]]:
    """The table whose header begins with this cell, as cells without it."""
    lines = page.read_text().partition(f"\n| {first} |")[2].splitlines()[2:]
    table = lines[: next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in table]
