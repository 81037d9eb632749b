"""Bytes to nodes: YAML with places, read from libyaml's events so that nothing can blow up.

``no`` and ``22:30`` are text, as YAML 1.2.2 has it (section 10.3.2, the core schema). Aliases are not followed:
every value has one place, and a file cannot grow while it is read. Tags are refused: a file names no types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
)
from yaml.reader import ReaderError

from orchestrator.errors import MissingToolError
from orchestrator.load.node import MappingNode, Node, Pair, Place, Plain, ScalarNode, SequenceNode
from orchestrator.load.problems import Problems, quote

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 50
MAX_NODES: Final = 20_000
"""Keys and values in all files of one load. A step has some 25, a host in an inventory 10."""
MAX_TEXT: Final = 8 * 1024
"""Characters of one value."""

_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: Final[dict[str, Plain]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAG_DIRECTIVE: Final = re.compile(r"^%TAG\b", re.MULTILINE)
_LONGEST_NUMBER: Final = 300
"""Digits. Python refuses to read much longer ones, and no quantity of ours needs them."""


class _UnreadableError(Exception):
    """The file ends here for us; carries the problem."""

    def __init__(self, place: Place, message: str, remedy: str) -> None:
        super().__init__(message)
        self.place, self.message, self.remedy = place, message, remedy


def read(path: Path, problems: Problems) -> Node | None:
    """The tree of a file; None where it has none, which is then reported.

    Keys that stand twice, aliases and tags are reported too, and the tree does without them.
    """
    try:
        return _tree(_text(path), str(path), problems)
    except _UnreadableError as error:
        problems.add(error.place, error.message, error.remedy)
        return None


def _text(path: Path) -> str:
    data = _bytes(path)
    if len(data) > MAX_BYTES:
        raise _UnreadableError(Place(str(path)), "cannot read this file: it is larger than 256 KiB", "split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", errors="replace")
        line = before.count("\n") + 1
        place = Place(str(path), line, len(before) - before.rfind("\n"))
        message = f"cannot read this file: byte 0x{data[error.start]:02x} is not UTF-8"
        raise _UnreadableError(place, message, "save the file as UTF-8") from None


def _bytes(path: Path) -> bytes:
    whole = Place(str(path))
    try:
        if path.is_dir():
            raise _UnreadableError(whole, "cannot read this file: it is a directory", "name a file in it")
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _UnreadableError(whole, "cannot read this file: it does not exist", "check its path") from None
    except PermissionError:
        raise _UnreadableError(whole, "cannot read this file: no permission", "check its owner and mode") from None
    except OSError as error:
        raise _UnreadableError(whole, f"cannot read this file: {error.strerror or error}", "check its path") from None
    except ValueError:  # a NUL in the path
        raise _UnreadableError(whole, "cannot read this file: no file can have this name", "check its path") from None


def _tree(text: str, file: str, problems: Problems) -> Node:
    directive = _TAG_DIRECTIVE.search(text)
    if directive is not None:  # libyaml compares each with all before it, and no tag is of use here
        place = _character_place(text, directive.start(), file)
        raise _UnreadableError(place, "cannot use a %TAG directive: files name no types", "leave it out")
    builder = _Builder(file, problems)
    try:
        for event in _events(text):
            builder.take(event)
    except ReaderError as error:
        raise _character(error, text, file) from None
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, text, file) from None
    if builder.root is None or (isinstance(builder.root, ScalarNode) and builder.root.value is None):
        raise _UnreadableError(Place(file), "cannot read this file: it is empty", "write a document in it")
    return builder.root


def _events(text: str) -> Iterable[Event]:
    """What libyaml reads. PyYAML's own parser would do the same at a hundredth of the speed: no file is worth that."""
    if not yaml.__with_libyaml__:
        raise MissingToolError(
            "cannot read YAML: PyYAML was built without libyaml here",
            remedy="install its wheel: pip install --force-reinstall --only-binary :all: pyyaml",
        )
    events: Iterable[Event] = yaml.parse(text, Loader=yaml.CBaseLoader)
    return events


@dataclass(slots=True)
class _Open:
    """A list or mapping that has begun and not ended."""

    place: Place
    is_mapping: bool
    items: list[Node] = field(default_factory=list)
    pairs: dict[str, Pair] = field(default_factory=dict)
    key: ScalarNode | None = None
    expects_value: bool = False


class _Builder:
    """Puts the tree together, event by event."""

    def __init__(self, file: str, problems: Problems) -> None:
        self.root: Node | None = None
        self._file = file
        self._problems = problems
        self._open: list[_Open] = []
        self._documents = 0
        self._aliases: set[str] = set()

    def take(self, event: Event) -> None:
        """The next event."""
        if isinstance(event, ScalarEvent):
            self._add(self._scalar(event, self._begin_node(event)))
        elif isinstance(event, CollectionStartEvent):
            self._begin(self._begin_node(event), isinstance(event, MappingStartEvent))
        elif isinstance(event, CollectionEndEvent):
            self._end()
        elif isinstance(event, AliasEvent):
            place = self._place(event)
            self._refuse_alias(str(event.anchor), place)
            self._add(ScalarNode(place, None, "", unknown=True))
        elif isinstance(event, DocumentStartEvent):
            self._begin_document(self._place(event))

    def _place(self, event: Event) -> Place:
        mark = event.start_mark
        assert mark is not None, "what is read from text has a place"
        return Place(self._file, mark.line + 1, mark.column + 1)

    def _begin_document(self, place: Place) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _UnreadableError(place, "cannot read a second document in one file", "move it to a file of its own")

    def _begin_node(self, event: ScalarEvent | CollectionStartEvent) -> Place:
        place = self._place(event)
        self._problems.nodes += 1
        if self._problems.nodes > MAX_NODES:
            message = f"cannot read more than {MAX_NODES} keys and values, in all files together"
            raise _UnreadableError(place, message, "leave out what is not needed here")
        if event.tag is not None and event.tag != "!":
            shown = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self._problems.add(place, f"cannot use the tag {quote(shown)}: files name no types", "leave it out")
        return place

    def _begin(self, place: Place, is_mapping: bool) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise _UnreadableError(place, f"cannot read what is nested deeper than {MAX_DEPTH} levels", "flatten it")
        self._open.append(_Open(place, is_mapping))

    def _end(self) -> None:
        done = self._open.pop()
        if done.is_mapping:
            self._add(MappingNode(done.place, tuple(done.pairs.values())))
        else:
            self._add(SequenceNode(done.place, tuple(done.items)))

    def _add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if not parent.is_mapping:
            parent.items.append(node)
        elif parent.expects_value:
            self._add_pair(parent, node)
        else:
            parent.key, parent.expects_value = self._key(node), True

    def _key(self, node: Node) -> ScalarNode | None:
        if isinstance(node, ScalarNode) and node.text and not node.unknown:
            return node
        if not (isinstance(node, ScalarNode) and node.unknown):
            self._problems.add(node.place, "cannot read this key: a key must be a name", "write a name before the ':'")
        return None

    def _add_pair(self, parent: _Open, value: Node) -> None:
        key, parent.key, parent.expects_value = parent.key, None, False
        if key is None:
            return
        first = parent.pairs.get(key.text)
        if first is None:
            if isinstance(value, ScalarNode) and not value.text and value.value is None and not value.unknown:
                value = replace(value, place=key.place)  # where nothing stands, the parser is at the next token
            parent.pairs[key.text] = Pair(key.text, key.place, value)
            return
        self._problems.add(
            key.place,
            f"cannot read the key {quote(key.text)} twice: it stands in line {first.place.line} already",
            "keep one of them",
        )

    def _scalar(self, event: ScalarEvent, place: Place) -> ScalarNode:
        text: str = event.value
        if len(text) > MAX_TEXT:
            message = f"cannot read a text of {len(text)} characters: more than {MAX_TEXT} are too long"
            self._problems.add(place, message, "shorten it")
            return ScalarNode(place, None, "", unknown=True)
        if not event.implicit[0] or event.tag is not None:
            return ScalarNode(place, text, text)
        meaning = _meaning(text)
        if isinstance(meaning, float) and math.isinf(meaning):
            message = f"cannot read the number {quote(text)[1:-1]}: it is too large"
            self._problems.add(place, message, "write a smaller one, or put it in quotes if it is text")
            return ScalarNode(place, None, "", unknown=True)
        return ScalarNode(place, meaning, text)

    def _refuse_alias(self, anchor: str, place: Place) -> None:
        if anchor not in self._aliases:
            message = f"cannot follow the alias {quote('*' + anchor)}: aliases are not read"
            self._problems.add(place, message, "write the value out, so that it has one place")
        self._aliases.add(anchor)


def _meaning(text: str) -> Plain:
    """What an unquoted scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _character_place(text: str, position: int, file: str) -> Place:
    before = text[:position]
    return Place(file, before.count("\n") + 1, position - before.rfind("\n"))


def _character(error: ReaderError, text: str, file: str) -> _UnreadableError:
    before = text.encode()[: error.position].decode(errors="ignore")  # libyaml counts bytes here
    message = f"cannot read the character U+{error.character:04X}: YAML allows no control characters"
    return _UnreadableError(_character_place(text, len(before), file), message, "remove it")


_SYNTAX: Final = (
    ("mapping values are not allowed", "a ':' cannot stand here", "indent as the lines around it, or quote the text"),
    ("cannot start any token", "this character cannot begin a value", "put the text in quotes; indent with spaces"),
    ("violates indentation", "this line begins with a tab", "indent with spaces"),
    ("found unexpected end of stream", "the quote is never closed", "close it"),
    ("expected ',' or ']'", "this list is never closed, or a ',' is missing", "look for the missing ',' or ']'"),
    ("expected ',' or '}'", "this mapping is never closed, or a ',' is missing", "look for the missing ',' or '}'"),
    ("expected key", "this does not fit what stands above it", "align it with its neighbours"),
    ("expected '-' indicator", "this does not fit the list above it", "begin it with '- ', or align it otherwise"),
    ("expected node content", "a value is missing before this", "write one, or quote the text"),
    ("could not find expected ':'", "a ':' is missing", "write 'key: value'"),
    ("entries are not allowed", "a list cannot begin here", "begin it on a line of its own, or quote the text"),
    ("keys are not allowed", "a key cannot begin here", "begin it on a line of its own, or quote the text"),
    ("unknown escape character", "there is no such escape", "write '\\\\' for a backslash, or use single quotes"),
    ("invalid Unicode character", "this escape is no character", "write \\U and eight digits"),
    ("found undefined tag handle", "tags are not read", "leave the '!' out, or put the text in quotes"),
    ("incompatible YAML document", "it says that it is of another version of YAML", "leave the %YAML line out"),
    ("expected <document start>", "the document ends above this", "leave the '...' out"),
)
"""The parser's words, why it is so, and what to do about it."""


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> _UnreadableError:
    said = f"{error.problem or error.context or 'it is broken'}"
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return _UnreadableError(Place(file), f"cannot read this as YAML: {said}", "check the syntax")
    if "end of stream" in said and error.context_mark is not None:
        mark = error.context_mark  # where the quote begins says more than where the file ends
    place = Place(file, mark.line + 1, mark.column + 1)
    start = max(mark.index - 1, 0)
    if text[start : start + 2] == "${":
        return _UnreadableError(
            place, "cannot read ${…} here: YAML takes its '{' for a mapping", 'write it in quotes: "${…}"'
        )
    why, remedy = next(
        ((why, remedy) for part, why, remedy in _SYNTAX if part in said), (said, "check the syntax here")
    )
    begun = error.context_mark
    if begun is not None and begun.line != mark.line and "closed" in why:
        why += f" (it begins in line {begun.line + 1})"
    return _UnreadableError(place, f"cannot read this as YAML: {why}", remedy)
