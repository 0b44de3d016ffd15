"""How an operation tells that it is getting on; the command line shows it, the library never prints."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """Somebody who wants to know. Calls may come from any thread."""

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        """A new phase began; `total_bytes` if it is known how much there is to do."""

    def advance(self, done_bytes: int) -> None:
        """That many more bytes of the present phase are done."""

    def beside(self, name: str) -> AbstractContextManager[Progress]:
        """Somebody to tell of a part that has phases of its own, while others go on: one copy of several."""


class NoProgress:
    """Nobody is looking."""

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        """Do nothing."""

    def advance(self, done_bytes: int) -> None:
        """Do nothing."""

    def beside(self, name: str) -> AbstractContextManager[Progress]:  # noqa: ARG002
        """Return the same: nobody is looking there either."""
        return nullcontext(self)
