r"""`refs`: the clear list of every object a backup needs, in the format of `sha256sum`.

    <64 hex digits><two spaces><object name relative to the copy>\n            sorted by name

So a copy can be made, and checked, without any key: `cd COPY && sha256sum --check clusters/…/refs`. Its own SHA-256
stands in the sealed root.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from pgvault.errors import ObjectCorrupt
from pgvault.repository.objects import Stored
from pgvault.repository.repository import Repository
from pgvault.repository.writing import put

LINE = re.compile(rb"([0-9a-f]{64})  ([A-Za-z0-9._+/-]+)\n")


def encode_refs(objects: Iterable[Stored]) -> bytes:
    """Return the list as stored."""
    lines = sorted((stored.path, stored.sha256.hex()) for stored in objects)
    return b"".join(f"{digest}  {path}\n".encode() for path, digest in lines)


def decode_refs(raw: bytes, *, where: str) -> dict[str, bytes]:
    """Return name → SHA-256. Raises ObjectCorrupt."""
    digests: dict[str, bytes] = {}
    for line in raw.splitlines(keepends=True):
        match = LINE.fullmatch(line)
        if match is None or match[2].decode() in digests:
            raise ObjectCorrupt(f"{where!r} is not a list of digests")
        digests[match[2].decode()] = bytes.fromhex(match[1].decode())
    return digests


def read_refs(repository: Repository, expected: Stored) -> bytes:
    """Return the list as stored, from the first copy that has the one that the root names. Raises ObjectCorrupt."""

    def is_expected(raw: bytes) -> bytes:
        if hashlib.sha256(raw).digest() != expected.sha256:
            raise ObjectCorrupt(f"object {expected.path!r} is not the one its backup was made with")
        return raw

    return repository.reader.read(expected.path, is_expected)


def put_refs(repository: Repository, path: str, objects: Iterable[Stored]) -> Stored:
    """Store the list; returns what the root says about it."""
    raw = encode_refs(objects)
    put(repository, path, raw)
    return Stored(path, len(raw), hashlib.sha256(raw).digest(), 0)
