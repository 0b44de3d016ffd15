"""`objectives:` and `classes:` - what was promised, of a cluster as a whole and of some of its tables."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field

from pgvault.config.schedule import Cron
from pgvault.config.sections import Duration, Section


def _share(value: object) -> object:
    """Let `99.9%` stand for 0.999. A bare 99.9 says neither, so it is refused."""
    text = str(value).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise ValueError(f"{text!r} is no share; write 99.9% or 0.999") from error
    if not 0 < share <= 1:
        raise ValueError(f"{text!r} is no share; write 99.9% or 0.999")
    return share


Share = Annotated[float, BeforeValidator(_share)]


class Objectives(Section):
    """What was promised; None where nothing was. A drill judges all but the last two, which no single drill knows."""

    rto: Duration | None = None  # from the decision to restore until the last blocking check passed
    rpo: Duration | None = None  # what may be lost
    backup_age: Duration | None = None  # of the newest backup
    backup_duration: Duration | None = None
    archive_lag: Duration | None = None  # of the oldest commit that is not stored
    copy_lag: Duration | None = None  # for which a further copy lacks what the first one has
    drill_age: Duration | None = None  # of the last drill that passed
    success_rate: Share | None = None  # of backups, as 99.9% or 0.999


class ClassConfig(Section):
    """A data class: tables whose rows are backed up, kept, checked and restored together."""

    tables: tuple[str, ...] = Field(min_length=1)  # patterns of schema.table
    databases: tuple[str, ...] | None = None  # patterns; None: all
    priority: int = 1  # 1 is restored, and checked, first
    rto: Duration | None = None  # until the last check of its tables passed
    rpo: Duration | None = None
    # `hourly`, `daily`, `weekly`, `monthly`, or a cron expression; also as `logical:`
    backup: Cron | None = Field(default=None, validation_alias=AliasChoices("backup", "logical"))
    keep: Duration | None = None
