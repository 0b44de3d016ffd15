"""A finding of `check`: one thing that was tried, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pgvault.errors import PgvaultError
from pgvault.monitor.finding import Level


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    name: str
    detail: str  # what was seen when it passed
    error: PgvaultError | None = None
    warning: str | None = None  # what to do about something that passed

    @property
    def level(self) -> Level:
        """How it is."""
        if self.error is not None:
            return Level.RED
        return Level.OK if self.warning is None else Level.WARN

    def line(self) -> str:
        """Return it for people."""
        if self.error is None and self.warning is not None:
            return f"warn  {self.name}: {self.detail}\n      {self.warning}"
        if self.error is None:
            return f"ok    {self.name}: {self.detail}"
        hint = f"\n      {self.error.hint}" if self.error.hint else ""
        return f"FAIL  {self.name}: {self.error}{hint}"

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        detail = self.detail if self.error is None else str(self.error)
        hint = self.warning if self.error is None else self.error.hint
        return {
            "name": self.name,
            "passed": self.error is None,
            "level": self.level.value,
            "detail": detail,
            "hint": hint,
        }


def tried(name: str, look: Callable[[], str]) -> Finding:
    """Try something; what it says, or why it fails, is the finding."""
    try:
        return Finding(name, look())
    except PgvaultError as error:
        return Finding(name, "", error)
