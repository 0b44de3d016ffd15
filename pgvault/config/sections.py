"""What every part of the configuration is made of: strict sections, durations, references to secrets."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from pgvault.errors import KeyUnusable, PlainSecret, UsageError
from pgvault.instants import parse_duration

CREDENTIALS = "(ssl)?password|oauth_client_secret|scram_(client|server)_key"  # of a dsn


def _duration(value: object) -> timedelta:
    """Let `15m` stand for a timedelta. A bare 15 says no unit, so it is refused."""
    if isinstance(value, timedelta):
        return value
    try:
        return parse_duration(str(value))
    except UsageError as error:
        raise ValueError(f"{error}. {error.hint}") from error


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class Section(BaseModel):
    """A part of the file: frozen, and strict about keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Secret(Section):
    """Where a secret is; never the secret itself."""

    source: Literal["file", "env"]
    name: str

    @classmethod
    def parse(cls, text: str, *, what: str) -> Secret:
        """Read `file:PATH` or `env:NAME`. Raises PlainSecret for anything else."""
        source, _, name = text.partition(":")
        if source not in ("file", "env") or not name:
            raise PlainSecret(
                f"{what} is written into the configuration",
                hint="Write file:PATH or env:NAME; the secret itself stays out of the configuration.",
            )
        return cls(source="file" if source == "file" else "env", name=name)

    def read(self) -> bytes:
        """Return the secret's bytes, less one trailing newline. Raises KeyUnusable, also for an empty one."""
        content = self._read_environment() if self.source == "env" else self._read_file()
        secret = content.removesuffix(b"\n").removesuffix(b"\r")
        if not secret:
            raise KeyUnusable(f"secret {str(self)!r} is empty", hint="Write the secret into it, on one line.")
        return secret

    def _read_environment(self) -> bytes:
        value = os.environ.get(self.name)
        if value is None:
            hint = "Set it where pgvault is started: cron, systemd and archive_command each have their own environment."
            raise KeyUnusable(f"environment variable {self.name!r} is not set", hint=hint)
        return os.fsencode(value)

    def _read_file(self) -> bytes:
        try:
            return Path(self.name).read_bytes()
        except OSError as error:
            hint = (
                "It must be there, and belong to the user that runs pgvault (mode 0400): pgvault doctor looks at both."
            )
            raise KeyUnusable(f"secret file {self.name!r} can not be read: {error.strerror}", hint=hint) from error

    def __str__(self) -> str:
        return f"{self.source}:{self.name}"


def secret(what: str) -> BeforeValidator:
    """Return what reads a reference to a secret; `what` names it where the secret itself was written."""

    def read(value: object) -> Secret:
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            raise ValueError("write file:PATH or env:NAME")  # noqa: TRY004 - pydantic wants ValueError
        return Secret.parse(value, what=what)

    return BeforeValidator(read)


def require_no_password(dsn: str) -> str:
    """Return a dsn that may stand in the configuration. Raises PlainSecret for one that holds a password."""
    if re.search(rf"(^|[\s?&])({CREDENTIALS})\s*=", dsn) or re.match(r"postgres(ql)?://[^/@]*:[^/@]*@", dsn):
        raise PlainSecret("dsn holds a password", hint="Use password: file:PATH, or ~/.pgpass.")
    return dsn
