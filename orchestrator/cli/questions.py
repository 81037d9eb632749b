"""Questions on a terminal, and what is taken for an answer where nobody can be asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Protocol

import typer

from orchestrator.errors import RefusedError
from orchestrator.load.problems import listed, meant


class Questions(Protocol):
    """What is not said on the command line."""

    deliberate: bool
    """Whether a person answers."""

    def choose(self, question: str, flag: str, choices: Mapping[str, str], likely: str | None) -> str:
        """One of ``choices``, of each of which is said what it is; ``likely`` when nothing is answered.

        Raises:
            RefusedError: nothing is answered, and nothing is likely.
        """

    def enter(self, question: str, likely: str, check: Callable[[str], object]) -> str:
        """A text that ``check`` does not refuse."""


class Unasked:
    """Takes what is likely."""

    deliberate = False

    def choose(self, question: str, flag: str, choices: Mapping[str, str], likely: str | None) -> str:
        """See ``Questions.choose``."""
        if likely is None:
            raise RefusedError(f"cannot tell which is meant, {listed(choices)}", remedy=f"name one with {flag}")
        return likely

    def enter(self, question: str, likely: str, check: Callable[[str], object]) -> str:
        """See ``Questions.enter``."""
        return likely


class Terminal:
    """Asks until the answer can be used; on standard error, so that what is made can go down a pipe."""

    deliberate = True

    def choose(self, question: str, flag: str, choices: Mapping[str, str], likely: str | None) -> str:
        """See ``Questions.choose``; what is the only choice is not asked for."""

        def check(text: str) -> None:
            if text not in choices:
                raise RefusedError(f"there is no {text!r}", remedy=meant(text, choices, "choices"))

        if len(choices) == 1:
            return next(iter(choices))
        print(f"\n{question}", file=sys.stderr)
        width = max(map(len, choices))
        for choice, about in choices.items():
            print(f"  {choice:{width}}  {about}".rstrip(), file=sys.stderr)
        return self._answer(flag.lstrip("-"), likely, check)

    def enter(self, question: str, likely: str, check: Callable[[str], object]) -> str:
        """See ``Questions.enter``."""
        print(file=sys.stderr)
        return self._answer(question, likely, check)

    def _answer(self, label: str, likely: str | None, check: Callable[[str], object]) -> str:
        def read(text: str) -> str:
            try:
                check(text.strip())
            except RefusedError as error:
                raise typer.BadParameter(str(error)) from error
            return text.strip()

        return str(typer.prompt(label, default=likely, value_proc=read, err=True))
