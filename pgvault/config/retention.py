"""`retention:` - which backups and which WAL of a cluster stay, and for how long."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from pgvault.config.sections import Duration, Section

HUNDRED_YEARS = 36500  # in days; more than that is a typo, and longer than dates reach

Days = Annotated[int, Field(ge=1, le=HUNDRED_YEARS)]


class GfsConfig(Section):
    """Grandfather, father, son: the newest backup of each of so many days, weeks, months, years that have one."""

    daily: int = Field(default=0, ge=0)
    weekly: int = Field(default=0, ge=0)  # ISO weeks
    monthly: int = Field(default=0, ge=0)
    yearly: int = Field(default=0, ge=0)


class LogicalRetention(Section):
    """Which logical backups stay."""

    count: int | None = Field(default=None, ge=1)
    days: Days | None = None
    gfs: GfsConfig = GfsConfig()


class RetentionConfig(Section):
    """Which backups and WAL stay: a backup stays while any rule wants it. Without this section nothing expires."""

    full: int = Field(default=2, ge=1)  # at least so many verified fulls in each copy, however old
    days: Days | None = None  # backups that stopped within so many days
    incremental_days: Days | None = None  # likewise of incrementals; None: as `days`
    window: Duration | None = None  # any moment within it can be restored; None: as far back as the oldest backup
    gfs: GfsConfig = GfsConfig()
    logical: LogicalRetention | None = None  # None: as for physical ones, by days and gfs
    schema_backups: Literal["forever"] | int = Field(default="forever", alias="schema")  # or so many days
    grace: Duration = timedelta(hours=72)  # between marking a backup and removing its bytes
