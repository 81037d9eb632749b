"""Inputs for the loader that nobody would write: trees of its schemas, changed files, bytes, much of one thing.

Everything random is drawn from a ``random.Random``, which Hypothesis can play as well (``st.randoms``).
"""

from __future__ import annotations

import copy
import functools
import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from orchestrator.model.inventory import Inventory
from orchestrator.model.written import RunbookFile

PROJECT = Path(__file__).parents[1]
INVENTORY = PROJECT / "tests" / "unit" / "load" / "inventory.yaml"

Schema = Mapping[str, Any]

NAMES: Final = [
    *("ord", "iad", "fra", "smtp", "api", "mx1", "mx2", "shift", "drain", "back", "mail-flows", "site-silent"),
    *("ord-dead", "site", "to", "success_rate", "p99", "sessions", "failure_rate", "child.yaml", "any.yaml"),
]
ODD: Final[list[object]] = [
    *(None, True, -1, 0, 1.5, 10**299, 1e400, "", " ", "${site}", "${", "$${", "${env:HOME}", "${nothing}", "a${to}b"),
    *("5%", "10m", "64KiB", "400/s", ">= 99.9%", "== 0", "1" * 400, "9" * 400 + "GB", "a:25", "approval", "1s" * 90),
    *("x" * 5000, "é\u2028日\x7f", "../../any.yaml", "/dev/zero", "a\0b", [], {}, [[]], {"": 1}, {"a": {"b": [1]}}),
]
HEADS: Final = [
    *("", "runbook: x\nsteps:\n", "runbook: x\nsteps: [", "steps:\n - {id: a, do: verify, checks: ["),
    *("hosts:\n", "sites: {", "runbook: x\nparameters:\n", "runbook: x\nsteps: [{id: a, do: parallel, steps:\n"),
]
PIECES: Final = [
    *(
        "'${a}', ",
        "y${a}, ",
        "${",
        "{a: b}, ",
        "[",
        "]",
        "{",
        "}",
        "*a, ",
        "*a%d, ",
        "&a b, ",
        "!t x, ",
        "? ",
        ": ",
        "- ",
    ),
    *(
        '"x", ',
        "日, ",
        "- {}\n",
        "- a\n",
        "- - ",
        "x",
        "\n",
        "#",
        "\t",
        " ",
        "999999999999s, ",
        "{a%d: 1}, ",
        "k%d: v\n",
    ),
    *(" s%d: {}\n", "h%d: {connect: ssh}\n", " p%d: {type: site, default: ord}\n", "{check: chek-%d}, "),
    *("success_rte%d: 'x', ", " - {id: s%d, do: hold, with: {until: approval}}\n", "a%d, ", "10.0.0.%d/32, "),
    " - {id: s%d, do: smtp.drain, needs: [s%d], with: {pool: smpt, site: odr}}\n",
    " - {id: s%d, do: hold, when: {param: size, is: large}, with: {until: 1s}}\n",
]
"""A ``%d`` becomes another number each time."""


class Generator:
    """Makes trees of a JSON Schema, as pydantic writes them; ``mistakes`` is the share of nodes that are wrong."""

    def __init__(self, schema: Schema, mistakes: float) -> None:
        self._root = schema
        self._mistakes = mistakes

    def tree(self, choose: random.Random) -> object:
        """One more tree."""
        return self._value(self._root, choose, 0)

    def _value(self, schema: Schema, choose: random.Random, depth: int) -> object:
        if depth and choose.random() < self._mistakes:
            return choose.choice([*NAMES, *ODD])
        if "$ref" in schema:
            return self._value(self._root["$defs"][schema["$ref"].rpartition("/")[2]], choose, depth)
        for key in ("oneOf", "anyOf"):
            if key in schema:
                return self._value(choose.choice(schema[key]), choose, depth)
        if "const" in schema or "enum" in schema:
            return choose.choice(schema.get("enum", [schema.get("const")]))
        if schema.get("examples"):
            return choose.choice(schema["examples"])
        return self._plain(schema, choose, depth)

    def _plain(self, schema: Schema, choose: random.Random, depth: int) -> object:
        match schema.get("type"):
            case "object":
                return self._object(schema, choose, depth + 1)
            case "array":
                fewest = schema.get("minItems", 0)
                count = fewest + choose.randrange(4 if depth < 6 else 1)
                return [self._value(schema["items"], choose, depth + 1) for _ in range(count)]
            case "integer" | "number":
                return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1) + choose.randrange(3)
            case "boolean":
                return choose.random() < 0.5
            case "null":
                return None
        return choose.choice(NAMES)

    def _object(self, schema: Schema, choose: random.Random, depth: int) -> dict[str, object]:
        made: dict[str, object] = {}
        required = schema.get("required", ())
        for key, inner in schema.get("properties", {}).items():
            if key in required or choose.random() < (0.5 if depth < 3 else 0.2):
                made[key] = self._value(inner, choose, depth)
        more = schema.get("additionalProperties", False)
        if isinstance(more, Mapping):
            for _ in range(1 + choose.randrange(3)):
                made[choose.choice(NAMES)] = self._value(more, choose, depth)
        if made and choose.random() < self._mistakes:
            key = choose.choice(list(made))
            made[choose.choice([key[1:], key.upper(), "${site}", *NAMES])] = made.pop(key)
        return made


@functools.cache
def schemas() -> tuple[Schema, ...]:
    """Of a runbook as it is written, and of an inventory."""
    return tuple(model.model_json_schema(by_alias=True) for model in (RunbookFile, Inventory))


@functools.cache
def real_files() -> tuple[str, ...]:
    """The files that ship, and those of the tests, sound and wrong; each sound one often enough to be met."""
    shipped = [path for folder in ("runbooks", "inventories") for path in sorted((PROJECT / folder).rglob("*.yaml"))]
    sound = [path.read_text() for path in (*shipped, INVENTORY)]
    wrong = [path.read_text() for path in sorted((INVENTORY.parent / "wrong").rglob("*.yaml"))]
    return (*wrong, *(sound * (1 + len(wrong) // len(sound))))


def from_schema(choose: random.Random) -> str:
    """A tree of a schema, as text: in one line or in many."""
    tree = Generator(choose.choice(schemas()), choose.choice([0.0, 0.01, 0.05])).tree(choose)
    if choose.random() < 0.5:
        return json.dumps(tree, ensure_ascii=False)
    return yaml.dump(tree, Dumper=yaml.CSafeDumper, allow_unicode=True, sort_keys=False)


def mutated(choose: random.Random) -> str:
    """A real file, changed in a few places."""
    text = choose.choice(real_files())
    for _ in range(1 + choose.randrange(5)):
        start = choose.randrange(len(text) + 1)
        end = min(len(text), start + choose.choice([0, 1, 2, 8, 40, 300]))
        other = choose.choice(real_files())
        begin = choose.randrange(len(other) + 1)
        put = choose.choice(
            [
                "",
                str(choose.choice([*NAMES, *ODD])),
                choose.choice("\n\t -:?,[]{}#&*!|>'\"%@`~\\$"),
                text[start:end] * choose.choice([2, 3, 50]),
                other[begin : begin + choose.choice([1, 10, 100])],
            ]
        )
        text = text[:start] + put + text[end:]
    return text


@functools.cache
def real_trees() -> tuple[str, ...]:
    """Those of the real files that are YAML, as JSON."""
    trees = []
    for text in real_files():
        try:
            trees.append(json.dumps(yaml.load(text, Loader=yaml.CSafeLoader), default=str))
        except (yaml.YAMLError, TypeError):
            continue
    return tuple(trees)


def changed(choose: random.Random) -> str:
    """A real file, with a few nodes of its tree changed."""
    tree = {"": json.loads(choose.choice(real_trees()))}
    for _ in range(1 + choose.randrange(3)):
        change(tree, choose)
    return json.dumps(tree[""], ensure_ascii=False)


def change(node: Any, choose: random.Random) -> None:
    """Change something inside of ``node``, which is a list or mapping with something in it."""
    key = choose.choice(list(node) if isinstance(node, dict) else range(len(node)))
    inner = node[key]
    if inner and isinstance(inner, dict | list) and choose.random() < 0.85:
        change(inner, choose)
        return
    match choose.randrange(4):
        case 0:
            node[key] = copy.deepcopy(choose.choice([*NAMES, *ODD]))
        case 1 if isinstance(node, dict) and key:
            node[choose.choice(NAMES)] = node.pop(key)
        case 2 if isinstance(node, list):
            node.insert(choose.randrange(len(node)), copy.deepcopy(choose.choice(node)))
        case 3 if key != "":
            del node[key]


def large(choose: random.Random) -> str:
    """A piece over and over, after another, up to some size that the loader may read."""
    size = choose.choice([1_000, 20_000, 100_000, 250_000, 300_000])
    parts = [choose.choice(HEADS)]
    piece = "".join(choose.choices(PIECES, k=choose.choice([1, 1, 1, 2, 3])))
    length = len(parts[0])
    for number in range(size):
        parts.append(piece.replace("%d", str(number)))
        length += len(parts[-1].encode())
        if length > size:
            break
    return "".join(parts)


def by_hypothesis(count: int, seed: int, strategy: Callable[[], Any]) -> list[str | bytes]:
    """``count`` inputs that Hypothesis draws."""
    import hypothesis

    drawn: list[str | bytes] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy())
    def draw(value: str | bytes) -> None:
        drawn.append(value)

    draw()
    return drawn[:count]


def trees_by_hypothesis() -> Any:
    """``from_schema`` with choices that Hypothesis makes."""
    from hypothesis import strategies as st

    return st.randoms(use_true_random=False).map(from_schema)


def bytes_by_hypothesis() -> Any:
    """Bytes that mean nothing, and text that could."""
    from hypothesis import strategies as st

    signs = st.text(st.sampled_from(" \n\t-:?,[]{}#&*!|>'\"%@`ab01$.~<=\\xuU\u2028é"), max_size=80)
    return st.binary(max_size=300) | signs | st.text(max_size=100)


def inputs(count: int, seed: int) -> Iterator[tuple[str, str | bytes]]:
    """``count`` inputs of all kinds, with the name of their kind."""
    choose = random.Random(seed)
    few = max(1, count // 250)
    drawn = max(1, count // 10)
    for text in by_hypothesis(drawn, seed, trees_by_hypothesis):
        yield "hypothesis", text
    for text in by_hypothesis(drawn * 2, seed, bytes_by_hypothesis):
        yield "bytes", text
    for _ in range(few):
        yield "large", large(choose)
    makers = {"schema": from_schema, "mutated": mutated, "changed": changed}
    for number in range(count - few - 3 * drawn):
        kind = list(makers)[number % 3]
        yield kind, makers[kind](choose)
