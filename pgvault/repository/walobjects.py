"""WAL files as stored: one sealed object per file, its first frame an info document.

    frame 0 = {"wal": 1, "name", "length", "sha256", "system_identifier", "timeline", "start_lsn" | null,
               "last_write_at", "pushed_at"}        JSON; times ISO 8601 UTC, from the pushing host's clock
    frame 1… = the file's bytes

The clear header carries HMAC(SHA-256 of the file), so that "is this the content I hold?" costs one small read and
no plaintext. A WAL file is put once and never replaced: the same content again is success, other content under
its name is an error for ever.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from pgvault.errors import ObjectCorrupt, ObjectExists, UsageError, WalMismatch, WrongKey
from pgvault.instants import iso
from pgvault.pipeline.header import HEADER, Kind, ObjectHeader, frame_count
from pgvault.pipeline.seal import Buffer, content_hmac, open_frames, seal, split
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.fields import read_count, read_decimal, read_digest, read_instant, read_text
from pgvault.repository.objects import Stored, address
from pgvault.repository.repository import Repository
from pgvault.repository.writing import bring, put

if TYPE_CHECKING:
    from hashlib import _Hash as HASH

logger = logging.getLogger(__name__)

TWO_SERVERS = "Two servers archive under one cluster name, or a restored one archives into its source's history."
TAKEN_NUMBER = (
    "Another server was promoted to that timeline and archived its history first: if it is a stray copy, stop its "
    "archiving. Nothing of this server is archived, and its pg_wal grows, until the other's files of that timeline are "
    "moved out of the repository; pgvault list must show no backup on it."
)


@dataclass(frozen=True, slots=True)
class WalInfo:
    """What the info frame says of a WAL file."""

    name: str
    length: int  # bytes of the file
    sha256: bytes  # of the file
    system_identifier: int
    timeline: int
    start_lsn: Lsn | None  # of a segment; None for history files
    last_write_at: datetime  # mtime in pg_wal
    pushed_at: datetime

    def encode(self) -> bytes:
        """Return the info frame."""
        document = {
            "wal": 1,
            "name": self.name,
            "length": self.length,
            "sha256": self.sha256.hex(),
            "system_identifier": str(self.system_identifier),
            "timeline": self.timeline,
            "start_lsn": None if self.start_lsn is None else str(self.start_lsn),
            "last_write_at": iso(self.last_write_at),
            "pushed_at": iso(self.pushed_at),
        }
        return json.dumps(document, sort_keys=True).encode()

    @classmethod
    def decode(cls, frame: bytes, *, where: str) -> WalInfo:
        """Read an info frame. Raises ObjectCorrupt."""
        try:
            document: Mapping[str, Any] = json.loads(frame)
            start = document["start_lsn"]
            return cls(
                name=read_text(document["name"]),
                length=read_count(document["length"]),
                sha256=read_digest(document["sha256"]),
                system_identifier=read_decimal(document["system_identifier"]),
                timeline=read_count(document["timeline"]),
                start_lsn=None if start is None else Lsn.parse(read_text(start)),
                last_write_at=read_instant(document["last_write_at"]),
                pushed_at=read_instant(document["pushed_at"]),
            )
        except (KeyError, TypeError, UsageError, ValueError) as error:
            raise ObjectCorrupt(f"WAL object {where!r} has a malformed info frame") from error


class WalOutcome(StrEnum):
    """What a push did."""

    STORED = "stored"
    ALREADY = "already there"


@dataclass(frozen=True, slots=True)
class StoredWal:
    """A WAL object that was read back."""

    info: WalInfo
    path: str
    body: bytes = field(repr=False)
    blake3: bytes | None = None  # of the file, where it was asked for

    @property
    def stored(self) -> Stored:
        """What to recognise it by; hashed only here, since whoever fetches has no use for it."""
        return Stored(self.path, len(self.body), hashlib.sha256(self.body).digest(), frame_count(self.body))


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a content is recognised by when it is opened again."""

    sha256: bytes
    blake3: bytes | None = None  # compared instead where it is known: as strong, in half the time

    def is_of(self, frames: Iterable[bytes]) -> bool:
        """Tell whether these frames are that content."""
        digest: HASH | blake3 = hashlib.sha256() if self.blake3 is None else blake3()
        for frame in frames:
            digest.update(frame)
        return digest.digest() == (self.blake3 or self.sha256)


def put_wal(
    repository: Repository, cluster: str, info: WalInfo, *, content: Buffer, blake3: bytes | None = None
) -> WalOutcome:
    """Store a WAL file; durable in the deciding copy, and in those that are sync for WAL, when it returns.

    Raises WalMismatch when other content has that name. What is to be written is opened and compared first,
    since a compressor that writes bad data is found too late at the restore (pitfall 81). `blake3` is the content's,
    taken before its SHA-256.
    """
    if len(content) != info.length:
        raise ObjectCorrupt(f"WAL file {info.name!r} changed while it was read")
    path = layout.wal_file(cluster, info.system_identifier, info.name)
    outcome = put_content(
        repository, path, Kind.WAL, frames=_frames(info, content), content=Fingerprint(info.sha256, blake3)
    )
    if outcome is WalOutcome.ALREADY:
        logger.debug("%s was archived before, with the same content", info.name)
    return outcome


def put_content(
    repository: Repository, path: str, kind: Kind, *, frames: Iterable[Buffer], content: Fingerprint
) -> WalOutcome:
    """Store an info frame and the content behind it, whose fingerprint is given, under that content's HMAC.

    Raises WalMismatch when other content has that name, ObjectCorrupt when it does not survive sealing.
    """
    name = _name_in(path)
    key = repository.keys.active
    place = address(repository, path, kind)
    sealed = seal(frames, place, key=key, content=content_hmac(key, repository.id, content.sha256))
    opened = open_frames(sealed.body, place, keys=repository.keys.by_id)
    next(opened)
    if not content.is_of(opened):
        raise ObjectCorrupt(f"WAL file {name!r} changed while it was read, or did not survive sealing")
    try:
        put(repository, path, sealed.body)
    except ObjectExists as error:
        if holds_content(repository, path, content.sha256):
            bring(repository, path)  # exactly the bytes that won: a push that was killed in between left them out
            return WalOutcome.ALREADY
        raise WalMismatch(
            f"WAL file {name!r} is archived already, with other content",
            hint=TAKEN_NUMBER if name.endswith(".history") else TWO_SERVERS,
        ) from error
    return WalOutcome.STORED


def holds_content(repository: Repository, path: str, plain_sha256: bytes) -> bool:
    """Tell whether the object at `path` holds exactly that plaintext, by its header alone."""
    raw = repository.deciding.store.get_range(path, 0, HEADER.size)
    header = ObjectHeader.decode(raw, where=path)
    key = repository.keys.by_id.get(header.key_id)
    if key is None:
        raise WrongKey(f"object {path!r} is sealed with key {header.key_id}, which is not at hand")
    return hmac.compare_digest(header.content_hmac, content_hmac(key, repository.id, plain_sha256))


def read_wal(
    repository: Repository, cluster: str, system_identifier: int, name: str, *, is_hashed: bool = False
) -> tuple[StoredWal, list[bytes]]:
    """Return a WAL object's info and its plaintext frames, from the first copy that has it whole.

    With `is_hashed`, the BLAKE3 of what was compared with the info is taken as well. Raises ObjectMissing (confirmed),
    ObjectCorrupt.
    """
    path = layout.wal_file(cluster, system_identifier, name)
    place = address(repository, path, Kind.WAL)

    def opened(body: bytes) -> tuple[StoredWal, list[bytes]]:
        frames = list(open_frames(body, place, keys=repository.keys.by_id))
        info = WalInfo.decode(frames[0], where=path)
        if info.name != name or info.system_identifier != system_identifier:
            raise ObjectCorrupt(f"WAL object {path!r} says it is {info.name!r} of system {info.system_identifier}")
        also = blake3() if is_hashed else None
        _require_whole(frames[1:], info, path, also=also)
        return StoredWal(info, path, body, None if also is None else also.digest()), frames[1:]

    return repository.reader.read(path, opened)


def read_wal_bytes(
    repository: Repository, cluster: str, system_identifier: int, name: str, *, is_hashed: bool = False
) -> tuple[StoredWal, bytes]:
    """Return a WAL object's info and its whole, checked plaintext. As `read_wal`."""
    wal, frames = read_wal(repository, cluster, system_identifier, name, is_hashed=is_hashed)
    return wal, b"".join(frames)


def _name_in(path: str) -> str:
    """Return a WAL object's name below its system, less the directory of 16 digits that all but histories lie in."""
    below = path.split("/")[4:]
    return "/".join(below[1:] or below)


def _frames(info: WalInfo, content: Buffer) -> Iterator[Buffer]:
    yield info.encode()
    yield from split(content)


def _require_whole(frames: Iterable[bytes], info: WalInfo, path: str, *, also: blake3 | None) -> None:
    digest = hashlib.sha256()
    length = 0
    for frame in frames:
        if also is not None:
            also.update(frame)  # first: what changes in between is found out by the other
        digest.update(frame)
        length += len(frame)
    if length != info.length or digest.digest() != info.sha256:
        raise ObjectCorrupt(f"WAL object {path!r} does not hold what its info frame says")
