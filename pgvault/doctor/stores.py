"""Judge a bucket: whether what is overwritten or removed there, by whoever holds the credentials, can be had back."""

from __future__ import annotations

from pgvault.errors import PgvaultError, StoreDenied
from pgvault.monitor.finding import Finding, ok, red, warn
from pgvault.stores.base import Guards

RIGHTS = "Allow s3:GetBucketVersioning and s3:GetBucketObjectLockConfiguration."


def judge_guards(copy: str, guards: Guards | PgvaultError, *, is_locked: bool) -> Finding:
    """Judge what a bucket's owner has set against loss; `is_locked`: the configuration asks for locks."""
    name = f"bucket of {copy}"
    if isinstance(guards, StoreDenied):
        return warn(name, f"unknown: {guards}", hint=RIGHTS)
    if isinstance(guards, PgvaultError):
        return red(name, str(guards), hint=guards.hint)
    if is_locked and not (guards.is_versioned and guards.can_lock):
        hint = "Enable versioning and object lock on the bucket, or take object_lock out of the copy."
        return red(name, "objects are to be locked, and the bucket can not", hint=hint)
    if not guards.is_versioned:
        said = "older versions are not kept: who may write there can destroy every backup"
        return warn(name, said, hint="Enable versioning on the bucket, and object lock for as long as backups count.")
    if not is_locked:
        said = "older versions are kept, and can be removed by whoever may delete: nothing is locked"
        return warn(name, said, hint="Enable object lock on the bucket, and say `object_lock:` for this copy.")
    return ok(name, "older versions are kept, and locked" + (", MFA delete" if guards.needs_mfa else ""))
