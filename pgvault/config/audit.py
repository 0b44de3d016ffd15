"""`audit:` - by which key this host signs what it did, and whose keys are believed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from pgvault.config.sections import Secret, Section, secret
from pgvault.errors import KeyUnusable

PUBLIC_KEY = re.compile(r"ed25519:[A-Za-z0-9+/]{43}=")
KEY_NAME = "audit.key"


class AuditConfig(Section):
    """Who signs, and who is believed."""

    key: Annotated[Secret, secret("audit.key")] | None = None  # None: a file of this host's own, made when needed
    signers: dict[str, str] = Field(default_factory=dict)  # public keys that count, by a name for people

    @field_validator("signers")
    @classmethod
    def _keys(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if PUBLIC_KEY.fullmatch(text) is None:
                raise ValueError(f"signer {name!r} is {text!r}, which is no public key: ed25519:BASE64")
        return value


def default_key_file() -> Path:
    """Return where a host's signing key is, where the configuration names none: below the state directory.

    Raises KeyUnusable for a user who has no home at all, as in a container.
    """
    if os.environ.get("XDG_STATE_HOME"):
        return Path(os.environ["XDG_STATE_HOME"]) / "pgvault" / KEY_NAME
    if os.geteuid() == 0:
        return Path("/var/lib/pgvault") / KEY_NAME
    try:
        return Path("~/.local/state/pgvault").expanduser() / KEY_NAME
    except RuntimeError as error:
        raise KeyUnusable(f"user {os.geteuid()} has no home directory to keep a signing key in") from error
