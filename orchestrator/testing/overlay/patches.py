"""Names that are replaced for a while, and put back as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_ABSENT: Final = object()


class Patches:
    """Replaced attributes of modules and classes. ``remove`` puts them back in reverse order."""

    def __init__(self) -> None:
        self._was: list[tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, new: Any) -> None:
        """Put ``new`` in the place of ``owner.name``.

        Raises:
            LookupError: ``owner`` has no such name: another version of it than the one that this was written for.
        """
        if not hasattr(owner, name):
            raise LookupError(f"cannot replace {name} of {owner!r}: it has none — use moto 5.2 with its botocore")
        self._put(owner, name, new)

    def add(self, owner: Any, name: str, new: Any) -> None:
        """Put ``new`` where ``owner`` may have nothing yet."""
        self._put(owner, name, new)

    def wrap(self, owner: Any, name: str, around: Callable[..., Any]) -> None:
        """Have ``around(original, *arguments, **named)`` called instead of ``owner.name(*arguments, **named)``."""
        original = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            return around(original, *arguments, **named)

        self.replace(owner, name, wrapped)

    def remove(self) -> None:
        """Put everything back."""
        while self._was:
            owner, name, was = self._was.pop()
            if was is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, was)

    def _put(self, owner: Any, name: str, new: Any) -> None:
        # vars, not getattr: an inherited name must be inherited again afterwards, and a classmethod stay one.
        self._was.append((owner, name, vars(owner).get(name, _ABSENT)))
        setattr(owner, name, new)
