"""`anomaly:` - how far a backup may be off from the ones before it, measure by measure.

    anomaly:
      size: 50%                # the default of each; more than that off from the median is told
      changed: off             # not judged
      databases: 0%            # any database less is told
      normal_since: 2026-01-15T10:30:00+00:00    # what came since is right: an operator has looked
      accept_after: 30d        # … and without such a word, what went on for so long is normal

All of it may be left out.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from pgvault.config.sections import Duration, Section

PERCENT = re.compile(r"([0-9]{1,6}(?:\.[0-9]+)?)\s*%", re.ASCII)
HALF = 0.5


def _limit(value: object) -> object:
    """Let `50%` stand for 0.5 and `off` for None. YAML reads a bare off as false; a bare 50 says no unit."""
    if value is False or value is None or str(value).strip().lower() == "off":
        return None
    match = PERCENT.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{str(value)!r} is no limit; write 50% or off")
    return float(match[1]) / 100


def _aware(value: object) -> object:
    """Refuse a time without its zone: this file may be read far from the server."""
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise ValueError(f"{str(value)!r} is no time; write 2026-01-15T10:30:00+00:00") from error
    if at.tzinfo is None:
        raise ValueError(f"{str(value)!r} does not say its zone; write 2026-01-15T10:30:00+00:00")
    return at


Limit = Annotated[float | None, BeforeValidator(_limit)]


class AnomalyConfig(Section):
    """Limits as shares of the median: 0.5 is 50 %. None: that measure is not judged."""

    size: Limit = HALF  # bytes of all files, before compression
    files: Limit = HALF
    relations: Limit = HALF  # of a logical backup: tables
    databases: Limit = 0.0  # fewer of them; more are never told
    rows: Limit = HALF  # of logical backups
    changed: Limit = HALF  # blocks that are not as in the backup before; fewer are never told
    compression: Limit = HALF  # stored bytes for each byte
    wal: Limit = HALF  # bytes an hour since the backup before; fewer are never told
    normal_since: Annotated[datetime, BeforeValidator(_aware)] | None = None
    accept_after: Duration = Field(default=timedelta(days=30))

    @field_validator("accept_after")
    @classmethod
    def _positive(cls, value: timedelta) -> timedelta:
        if value <= timedelta():
            raise ValueError("accept_after is no time at all")
        return value
