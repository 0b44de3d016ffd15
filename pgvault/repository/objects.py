"""Put sealed objects into the repository and read them back, checked.

Every object below `clusters/` but `refs` goes through here: nothing is ever written plain, and nothing is
believed before it opened at exactly the path it was asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pgvault.errors import ObjectCorrupt
from pgvault.pipeline.header import NO_CONTENT_HMAC, Kind
from pgvault.pipeline.seal import Address, Buffer, open_frames, seal, split
from pgvault.repository.fields import read_count, read_digest, read_text
from pgvault.repository.repository import Repository
from pgvault.repository.writing import put


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as stored: enough to recognise it in any copy, without a key."""

    path: str
    length: int  # bytes
    sha256: bytes  # of all of them
    frame_count: int

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "path": self.path,
            "length": self.length,
            "sha256": self.sha256.hex(),
            "frames": self.frame_count,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Stored:
        """Read the JSON form. Raises KeyError, TypeError, ValueError."""
        return cls(
            read_text(document["path"]),
            read_count(document["length"]),
            read_digest(document["sha256"]),
            read_count(document["frames"]),
        )


def address(repository: Repository, path: str, kind: Kind) -> Address:
    """Return what binds an object to its place in this repository."""
    return Address(repository.id, path, kind)


def put_frames(
    repository: Repository,
    path: str,
    kind: Kind,
    *,
    frames: Iterable[Buffer],
    content: bytes = NO_CONTENT_HMAC,
) -> Stored:
    """Seal and store frames at `path`. Raises ObjectExists when something else has that name."""
    sealed = seal(frames, address(repository, path, kind), key=repository.keys.active, content=content)
    put(repository, path, sealed.body)
    return Stored(path, len(sealed.body), sealed.sha256, sealed.frame_count)


def put_plain(repository: Repository, path: str, kind: Kind, *, plain: Buffer) -> Stored:
    """Seal and store one plaintext at `path`."""
    return put_frames(repository, path, kind, frames=split(plain))


def read_frames(repository: Repository, path: str, kind: Kind, *, expected: Stored | None = None) -> Iterator[bytes]:
    """Yield an object's frames, each checked, from the first copy that has it whole.

    With `expected`, its length and SHA-256 are what makes it whole; else that every frame of it opens.
    Raises ObjectMissing, ObjectCorrupt.
    """
    place, keys = address(repository, path, kind), repository.keys.by_id

    def is_expected(body: bytes) -> Iterable[bytes]:
        if expected is None:
            return list(open_frames(body, place, keys=keys))
        if len(body) != expected.length or hashlib.sha256(body).digest() != expected.sha256:
            raise ObjectCorrupt(f"object {path!r} is not the one its backup was made with")
        return open_frames(body, place, keys=keys)

    yield from repository.reader.read(path, is_expected)


def read_plain(repository: Repository, path: str, kind: Kind, *, expected: Stored | None = None) -> bytes:
    """Return an object's whole plaintext."""
    return b"".join(read_frames(repository, path, kind, expected=expected))


def put_json(repository: Repository, path: str, kind: Kind, *, document: Mapping[str, Any]) -> Stored:
    """Seal and store a JSON document (UTF-8, sorted keys)."""
    return put_plain(repository, path, kind, plain=json.dumps(document, sort_keys=True).encode())


def seal_json(repository: Repository, path: str, kind: Kind, *, document: Mapping[str, Any]) -> bytes:
    """Return a JSON document, sealed for `path`, for whoever puts it in an order of its own."""
    plain = json.dumps(document, sort_keys=True).encode()
    return seal(split(plain), address(repository, path, kind), key=repository.keys.active).body


def read_json(repository: Repository, path: str, kind: Kind) -> dict[str, Any]:
    """Return a sealed JSON document. Raises ObjectCorrupt when it is not one."""
    return repository.reader.read(path, lambda body: open_json(repository, path, kind, body=body))


def open_json(repository: Repository, path: str, kind: Kind, *, body: bytes) -> dict[str, Any]:
    """Return the JSON document in a sealed object that was read. Raises ObjectCorrupt when it is none."""
    try:
        document = json.loads(b"".join(open_frames(body, address(repository, path, kind), keys=repository.keys.by_id)))
    except ValueError as error:
        raise ObjectCorrupt(f"object {path!r} is not JSON") from error
    if not isinstance(document, dict):
        raise ObjectCorrupt(f"object {path!r} is not a JSON object")
    return document
