"""Integrity checks as they are configured."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from pgvault.config.sections import Duration, Section


class CheckBase(Section):
    """What every type of check has. It passes when what it measures is at most `threshold`."""

    name: str
    threshold: float = Field(default=0, allow_inf_nan=False)  # infinity would pass everything, NaN nothing
    severity: str = "critical"  # low, info and warning are told, and stop nothing
    action: str | None = None
    database: str | None = None
    timeout: Duration = timedelta(minutes=10)
    schedule: str | None = None  # cron, of runs on the live server
    allow_empty: bool = False  # whether tables without any row prove something
    show: Literal["keys", "all"] = "keys"  # what of the offending rows is kept


class CheckConfig(CheckBase):
    """An integrity query of the author's own: its result is measured against the threshold."""

    type: Literal["sql"] = "sql"
    query: str
    measure: Literal["auto", "value", "rows"] = "auto"
    null: Literal["fail", "pass"] = "fail"
