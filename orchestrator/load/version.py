"""The version of a file's language."""

from __future__ import annotations

from typing import Final

from orchestrator.load.node import MappingNode, ScalarNode, child
from orchestrator.load.problems import Problems

READABLE: Final = 1


def check_version(root: MappingNode, problems: Problems) -> bool:
    """Whether this program can read the file at all; when its language is newer that is the one thing to say."""
    node = child(root, "version")
    if isinstance(node, ScalarNode) and isinstance(node.value, bool):  # which Python takes for 1
        problems.add(node.place, f"cannot read version {node.text} of this language: it is no number", "write 1")
        return False
    if not isinstance(node, ScalarNode) or not isinstance(node.value, int) or node.value <= READABLE:
        return True  # a wrong one is the schema's to report
    message = f"cannot read version {node.text[:20]} of this language: this failover reads version {READABLE}"
    problems.add(node.place, message, "update failover")
    return False
