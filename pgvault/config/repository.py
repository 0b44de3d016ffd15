"""`repository:` - which key opens it, and its copies: where each is, how it is written, what guards it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from pgvault.config.keys import KeyField
from pgvault.config.sections import Duration, Secret, Section, secret
from pgvault.errors import PlainSecret

# A copy's name is part of the names of objects.
CopyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]


class ObjectLockConfig(Section):
    """For how long the store refuses to remove what is put there; the bucket must be versioned."""

    mode: Literal["governance", "compliance"] = "compliance"
    days: int = Field(ge=1, le=36500)


class CopyConfig(Section):
    """One copy of the repository: an object store prefix and how to reach it."""

    url: str
    region: str | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    addressing: Literal["auto", "path", "virtual"] = "auto"
    access_key: Annotated[Secret, secret("access_key")] | None = None
    secret_key: Annotated[Secret, secret("secret_key")] | None = None
    backups: Literal["sync", "async"] | None = None  # whether a backup waits for it; None: as `mode`
    wal: Literal["sync", "async"] | None = None  # whether the archiver waits for it
    mode: Literal["sync", "async"] = "async"  # of both; the first copy is sync whatever stands here
    wal_lag: Duration = timedelta(minutes=15)  # for which WAL may be missing here before `status` is red
    backup_lag: Duration = timedelta(hours=24)  # and a backup
    checksums: Literal["sha256", "none"] = "sha256"  # that a put carries; none: for stores that refuse them
    encryption: Literal["AES256", "aws:kms"] | None = None  # the store's own, beside pgvault's
    encryption_key: str | None = None  # of KMS
    storage_class: str | None = None
    object_lock: ObjectLockConfig | None = None
    archive_after: Duration | None = None  # when backups move to `archive_class`
    archive_class: str = "GLACIER_IR"

    @property
    def is_sync_for_backups(self) -> bool:
        """Whether a backup waits for this copy."""
        return (self.backups or self.mode) == "sync"

    @property
    def is_sync_for_wal(self) -> bool:
        """Whether the archiver waits for this copy."""
        return (self.wal or self.mode) == "sync"

    @property
    def place(self) -> tuple[str | None, str]:
        """What tells two places apart, as far as words can: a link or a second address of a server do not show."""
        scheme, _, rest = self.url.partition("://")
        return self.endpoint_url, f"{scheme}:{'/'.join(part for part in rest.split('/') if part not in ('', '.'))}"

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not re.match(r"(file:///|s3://[^/])", value):
            raise ValueError("a copy's url begins with file:/// or s3://bucket")
        if "@" in value.partition("://")[2].partition("/")[0]:
            raise PlainSecret("a copy's url holds credentials", hint="Use access_key and secret_key.")
        return value

    def credentials(self) -> tuple[str, str] | None:
        """Return (access key, secret key) when both are configured, else None: boto3's own chain."""
        if self.access_key is None or self.secret_key is None:
            return None
        return self.access_key.read().decode(), self.secret_key.read().decode()


class RepositoryConfig(Section):
    """Where backups and WAL live, and which key opens them."""

    key: KeyField
    copies: dict[CopyName, CopyConfig] = Field(min_length=1)

    @field_validator("copies")
    @classmethod
    def _apart(cls, value: dict[str, CopyConfig]) -> dict[str, CopyConfig]:
        """See that no two copies are one place: what is lost there would be lost in both."""
        known: dict[tuple[str | None, str], str] = {}
        for name, copy in value.items():
            other = known.setdefault(copy.place, name)
            if other != name:
                raise ValueError(f"copies {other!r} and {name!r} are one place, {copy.url}: one copy, that is")
        return value
