"""One runbook file, read and with its parameters inserted, before what it includes is put in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.load.insert import Argument
from orchestrator.load.node import MappingNode, Name, ScalarNode, child, name_at
from orchestrator.load.parameters import WrongValueError, declaration, is_reference, may_be_secret, value_of
from orchestrator.load.problems import Problems, closest, meant, quote
from orchestrator.model.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Part:
    """A file's tree, and what its parameters stand for."""

    root: MappingNode
    arguments: dict[str, Argument | None]
    used: set[str]
    """Parameters that something in the file asks for."""
    path: Path
    """As the user names it."""
    above: tuple[Path, ...]
    """The files on the way here by their one name, this one last."""
    inventory: Inventory

    def values(self) -> dict[str, str | int | float]:
        """The value of each parameter that is known."""
        found = {name: argument.value for name, argument in self.arguments.items() if argument is not None}
        return {name: value for name, value in found.items() if value is not None}

    def texts(self) -> dict[str, str]:
        """Each parameter that is known as one would type it."""
        return {name: argument.text for name, argument in self.arguments.items() if argument is not None}

    def unused(self) -> list[Name]:
        """Parameters that nothing asks for."""
        section = child(self.root, "parameters")
        pairs = section.pairs if isinstance(section, MappingNode) else ()
        return [Name(pair.key, pair.place) for pair in pairs if pair.key not in self.used]

    def why_not(self, step: MappingNode, problems: Problems) -> str:
        """Why a step is left out, as its ``when`` says; empty where it is to be done, or that cannot be known."""
        name, wanted = name_at(step, "when", "param"), child(child(step, "when"), "is")
        if name is None:
            return ""
        self.used.add(name.text)
        self._hide_secret(step, name.text, problems)
        if name.text not in self.arguments:
            message = f"cannot ask 'when' for parameter {quote(name.text)}: there is no such parameter"
            problems.add(name.place, message, meant(name.text, self.arguments, "parameters"))
            return ""
        argument, declared = self.arguments[name.text], declaration(self.root, name.text)
        if argument is None or declared is None or not isinstance(wanted, ScalarNode) or wanted.unknown:
            return ""
        if declared.type == "secret":
            message = f"cannot ask 'when' for parameter {quote(name.text)}: a secret decides nothing"
            problems.add(name.place, message, "declare a parameter of the type 'choice'")
            return ""
        try:
            value = value_of(declared, wanted.text, self.inventory)
        except WrongValueError as wrong:
            problems.add(wanted.place, f"cannot ask 'when' for parameter {quote(name.text)}: {wrong.why}", wrong.remedy)
            return ""
        return "" if value.value == argument.value else f"{name.text} is {argument.text}, not {value.text}"

    def _hide_secret(self, step: MappingNode, name: str, problems: Problems) -> None:
        """What a secret is compared with may be the secret itself."""
        declared, when = child(self.root, "parameters"), child(step, "when")
        known = closest(name, self.arguments)
        if known is None or not may_be_secret(child(declared, known)) or not isinstance(when, MappingNode):
            return
        for pair in when.pairs:
            shown = isinstance(pair.value, ScalarNode) and is_reference(pair.value.text)
            if pair.key != "param" and not shown:
                problems.hide(pair.value.place)
