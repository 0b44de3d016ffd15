"""How a cluster stands as a whole."""

from __future__ import annotations

import pytest

from pgvault.monitor.finding import Finding, ok, red, warn
from pgvault.monitor.standing import State, stand

STALE = red("backup", "stale, older than 24 h: x, 26 h ago", {"count": 4, "is_stale": True})
NONE = red("backup", "there is no backup", {"count": 0, "is_stale": True})
AGE = red("objective", "backup_age: 26 h", {"objective": "backup_age", "measured": 93600.0})
RPO = red("objective", "rpo: 26 h", {"objective": "rpo", "measured": 93600.0})


@pytest.mark.parametrize(
    ("findings", "state", "reason"),
    [
        ([ok("backup", "")], State.HEALTHY, None),
        ([ok("backup", ""), warn("drill", "never drilled")], State.WATCHED, "drill: never drilled"),
        ([AGE, STALE], State.STALE, f"backup: {STALE.detail}; also objective backup_age"),
        ([STALE, RPO], State.BROKEN, f"backup: {STALE.detail}; also objective rpo"),
        ([NONE, red("gap", "x"), red("gap", "y")], State.BROKEN, "backup: there is no backup; also gap"),
        ([], State.BROKEN, "nothing was looked at"),
    ],
)
def test_a_word_and_a_reason(findings: list[Finding], state: State, reason: str | None) -> None:
    """Stale is a backup that is old and nothing else; none at all is broken, and nothing looked at is not green."""
    found = stand(findings)

    assert (found.state, found.reason) == (state, reason)
