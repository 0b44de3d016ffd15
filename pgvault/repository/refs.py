r"""`refs`: the clear list of every object a backup needs, in the format of `sha256sum`.

    <64 hex digits><two spaces><object name relative to the copy>\n            sorted by name

So a copy can be made, and checked, without any key: `cd COPY && sha256sum --check clusters/…/refs`. Its own SHA-256
stands in the sealed root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pgvault.errors import ObjectCorrupt
from pgvault.repository.objects import Stored
from pgvault.repository.repository import Repository
from pgvault.stores.commit import put_object


def encode_refs(objects: Iterable[Stored]) -> bytes:
    """Return the list as stored."""
    lines = sorted((stored.path, stored.sha256.hex()) for stored in objects)
    return b"".join(f"{digest}  {path}\n".encode() for path, digest in lines)


def decode_refs(raw: bytes, *, where: str) -> dict[str, bytes]:
    """Return name → SHA-256. Raises ObjectCorrupt."""
    try:
        pairs = (line.split("  ", 1) for line in raw.decode().splitlines())
        return {path: bytes.fromhex(digest) for digest, path in pairs}
    except ValueError as error:
        raise ObjectCorrupt(f"{where!r} is not a list of digests") from error


def put_refs(repository: Repository, path: str, objects: Iterable[Stored]) -> Stored:
    """Store the list; returns what the root says about it."""
    raw = encode_refs(objects)
    put_object(repository.deciding.store, path, raw)
    return Stored(path, len(raw), hashlib.sha256(raw).digest(), 0)
