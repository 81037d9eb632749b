"""Files to nodes: what YAML 1.2 means, and that nothing in a file can hurt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.load.document import MAX_BYTES, read
from orchestrator.load.node import MappingNode, Place, Tree, place_of, plain
from orchestrator.load.problems import Problems


def meaning(path: Path) -> Tree:
    """The file without its places; any problem is an error."""
    problems = Problems()
    root = read(path, problems)
    problems.raise_any()
    assert root is not None
    return plain(root)


def only_problem(path: Path) -> str:
    """The one thing that is wrong with the file."""
    problems = Problems()
    assert read(path, problems) is None
    with pytest.raises(InputError) as caught:
        problems.raise_any()
    assert len(caught.value.problems) == 1
    return str(caught.value.problems[0]).removeprefix(str(path))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("22:30", "22:30"),
        ("2014-09-30", "2014-09-30"),
        ("5%", "5%"),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("true", True),
        ("~", None),
        ("", None),
        ('"5"', "5"),
        ("'true'", "true"),
        ("9" * 301, "9" * 301),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(file: Callable[..., Path], written: str, meant: object) -> None:
    """Only null, true, false and numbers are not text; quoted is always text, and so is no, a time, a date."""
    assert meaning(file(f"key: {written}\n")) == {"key": meant}


def test_every_key_and_value_has_its_place(file: Callable[..., Path]) -> None:
    """Lines and columns count from 1, for keys, values and entries of lists."""
    path = file("one: 1\ntwo:\n  - a\n  - {b: 'c'}\n")
    root = read(path, Problems())
    assert isinstance(root, MappingNode)
    assert [(pair.key, pair.place.line, pair.place.column) for pair in root.pairs] == [("one", 1, 1), ("two", 2, 1)]
    assert place_of(root, "one") == Place(str(path), 1, 6)
    assert place_of(root, "two", 1, "b") == Place(str(path), 4, 9)
    assert place_of(root, "two", 7, "b") == Place(str(path), 3, 3)


def test_a_value_that_is_not_written_stands_where_its_key_does(file: Callable[..., Path]) -> None:
    """A missing value is shown at the key that lacks it, not at what comes next."""
    root = read(file("a:\nb: 1\n"), Problems())
    assert root is not None
    assert place_of(root, "a").line == 1


def test_a_byte_order_mark_is_no_character(file: Callable[..., Path]) -> None:
    """A file that an editor of another system saved can be read."""
    assert meaning(file(b"\xef\xbb\xbfa: 1\n")) == {"a": 1}


def test_windows_line_ends_count_once(file: Callable[..., Path]) -> None:
    """CRLF is one line break, so that the lines shown are the editor's."""
    root = read(file("a: 1\r\nb: 2\r\n"), Problems())
    assert root is not None
    assert place_of(root, "b").line == 2


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is one clear problem."""
    assert only_problem(tmp_path / "x") == ": cannot read this file: it does not exist — check its path"


def test_directory(tmp_path: Path) -> None:
    """A directory is one clear problem."""
    assert only_problem(tmp_path) == ": cannot read this file: it is a directory — name a file in it"


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    """Neither a NUL in a path nor a file taken for a folder gives a traceback."""
    assert "no file can have this name" in only_problem(Path("a\0b"))
    (tmp_path / "x").write_text("a: 1")
    assert "cannot read this file" in only_problem(tmp_path / "x" / "y")


def test_unreadable_file(tmp_path: Path) -> None:
    """Trouble of the operating system is said in its words."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot read this file: Too many levels of symbolic links" in only_problem(tmp_path / "loop")


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n", "---\n", "---\n...\n", "null\n"])
def test_empty_file(file: Callable[..., Path], content: str) -> None:
    """A file with nothing in it is called empty."""
    assert only_problem(file(content)) == ": cannot read this file: it is empty — write a document in it"


def test_not_utf_8_names_the_byte_and_its_place(file: Callable[..., Path]) -> None:
    """A file in another encoding is refused at the first byte that is not UTF-8."""
    assert only_problem(file(b"a: 1\nb: caf\xe9\n")).startswith(":2:7: cannot read this file: byte 0xe9 is not UTF-8")


def test_large_file(file: Callable[..., Path]) -> None:
    """More than 256 KiB is refused before it is parsed; /dev/zero is no trouble either."""
    assert "larger than 256 KiB" in only_problem(file(b"#" * (MAX_BYTES + 1)))
    assert "larger than 256 KiB" in only_problem(Path("/dev/zero")).removeprefix("/dev/zero")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting(file: Callable[..., Path], opening: str) -> None:
    """What is nested too deep is refused as soon as it is, however much of it follows."""
    assert "nested deeper than 50 levels" in only_problem(file(opening * 60_000))


def test_alias_bomb_does_not_expand(file: Callable[..., Path]) -> None:
    """Nine levels of nine aliases, which would be 387 million values, cost nothing and are refused by name."""
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    problems = Problems()
    read(file("\n".join(["l0: &l0 [x, x]", *levels])), problems)
    with pytest.raises(InputError) as caught:
        problems.raise_any()
    assert [problem.message.partition(":")[0] for problem in caught.value.problems] == [
        f"cannot follow the alias '*l{n}'" for n in range(9)
    ]


def test_an_alias_to_what_it_stands_in(file: Callable[..., Path]) -> None:
    """A file cannot contain itself."""
    problems = Problems()
    read(file("a: &a [*a]\n"), problems)
    with pytest.raises(InputError, match="cannot follow the alias"):
        problems.raise_any()


@pytest.mark.parametrize(
    "content", ['a: "\\ud800"', 'a: "\\U00110000"', "a: !<tag:yaml.org,2002:int> x", "%YAML 3.0\n---\na"]
)
def test_where_the_parser_itself_stumbles(file: Callable[..., Path], content: str) -> None:
    """What makes the parser fail with an error of Python's own is a problem like any other."""
    problems = Problems()
    read(file(content), problems)
    with pytest.raises(InputError, match="cannot"):
        problems.raise_any()
