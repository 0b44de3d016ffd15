"""`schedule:` - when what should run: the one source for cron, systemd, Helm and 'next scheduled'."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pgvault.config.sections import Section
from pgvault.errors import UsageError
from pgvault.schedule import read_cron


def _cron(value: object) -> object:
    """Let a word stand for a cron expression. A misspelt word is no schedule that anything would keep."""
    if not isinstance(value, str):
        return value
    try:
        return read_cron(value)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _cron_or_off(value: object) -> object:
    """Let `off` say that nothing is scheduled; YAML reads it as false, unless it is quoted."""
    is_off = value is False or (isinstance(value, str) and value.strip().lower() == "off")
    return None if is_off else _cron(value)


Cron = Annotated[str, BeforeValidator(_cron)]
CronOrOff = Annotated[Cron | None, BeforeValidator(_cron_or_off)]


class Schedule(Section):
    """Cron expressions, in the configuration's `timezone`; None: not scheduled."""

    backup: CronOrOff = None
    logical: CronOrOff = None
    schema_backups: CronOrOff = Field(default=None, alias="schema")
    drill: CronOrOff = None
    verify: CronOrOff = None
    expire: CronOrOff = None
    copies: CronOrOff = Field(default=None, alias="copy")  # pgvault copy
    checks: CronOrOff = None

    @property
    def jobs(self) -> dict[str, str | None]:
        """Every job by the name that it has in the file, and its cron expression."""
        return {field.alias or name: getattr(self, name) for name, field in type(self).model_fields.items()}
