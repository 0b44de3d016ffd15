"""What values of panels mean: from which step on which colour, and words for those that are no amounts."""

from __future__ import annotations

from pgvault.metrics.panel import Scale

DAY = 86400
GOOD, DOUBT, BAD = "green", "yellow", "red"
LEVEL = Scale(((None, GOOD), (1, DOUBT), (2, BAD)), {0: ("well", GOOD), 1: ("look", DOUBT), 2: ("broken", BAD)})
NONE_IS_GOOD = Scale(((None, GOOD), (1, BAD)))
SHARE = Scale(((None, GOOD), (0.8, DOUBT), (1, BAD)))  # of what is promised
AGE_WEEK = Scale(((None, GOOD), (7 * DAY, DOUBT), (30 * DAY, BAD)))
RESULT = Scale(
    ((None, GOOD), (1, DOUBT), (2, BAD)), {0: ("passed", GOOD), 1: ("objective missed", DOUBT), 2: ("failed", BAD)}
)
DONE = Scale(((None, BAD), (1, GOOD)), {0: ("missing", BAD), 1: ("done", GOOD)})
IS_THERE = Scale(((None, BAD), (1, GOOD)), {0: ("no", BAD), 1: ("yes", GOOD)})
IS_LOST = Scale(((None, GOOD), (1, BAD)), {0: ("kept", GOOD), 1: ("lost", BAD)})
FAILURE = Scale(((None, GOOD), (1, BAD)), {0: ("passed", GOOD), 1: ("failed", BAD)})
KEPT = Scale(((None, BAD), (1, GOOD)), {0: ("missed", BAD), 1: ("kept", GOOD)})
OFF = Scale(((None, GOOD), (1, DOUBT)), {0: ("usual", GOOD), 1: ("off", DOUBT)})
