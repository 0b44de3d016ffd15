"""A second writer of format 1, for tests: it follows FORMAT.md, shares no code with pgvault and can lie.

What it writes by default is valid; each field may be given another value, and everything is sealed and hashed
anew afterwards, so that only the rule that is being tested stands between the lie and the reader.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


@dataclass(frozen=True, slots=True)
class ForgedFrame:
    """One frame; None: the honest value."""

    payload: bytes  # what is encrypted
    codec: int = 0
    plain_length: int | None = None  # honest for codec 0 only
    number: int | None = None
    last: int | None = None
    reserved: int = 0


def compressed(plain: bytes, *, checksum: bool = True, content_size: bool = True) -> bytes:
    """Return one zstd frame."""
    return zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=content_size).compress(plain)


def hkdf(secret: bytes, *, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA-256, 32 bytes."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(secret)


@dataclass(frozen=True, slots=True)
class Forger:
    """Writes objects of one repository at one path."""

    secret: bytes
    repository_id: bytes
    path: str
    kind: int
    key_id: int = 1
    salt: bytes = bytes(range(32))
    nonce: bytes = bytes(range(16))

    def header(self) -> bytes:
        """The 128 bytes."""
        start = b"PGVAULT\n" + struct.pack(">HBBI", 1, self.kind, 1, self.key_id)
        return start + self.salt + self.nonce + bytes(32) + bytes(32)

    def seal(self, frames: Sequence[ForgedFrame]) -> bytes:
        """Write an object of these frames."""
        header = self.header()
        cipher = AESGCM(hkdf(self.secret, salt=self.salt, info=b"pgvault 1 object"))
        bound = hashlib.sha256(self.repository_id + self.path.encode() + header).digest()
        pieces = []
        plain_length = 0
        for index, frame in enumerate(frames):
            number = index if frame.number is None else frame.number
            last = int(index == len(frames) - 1) if frame.last is None else frame.last
            length = len(frame.payload) if frame.plain_length is None else frame.plain_length
            head = struct.pack(">IIBBH", len(frame.payload) + 16, length, frame.codec, last, frame.reserved)
            sealed = cipher.encrypt(number.to_bytes(12, "big"), frame.payload, bound + struct.pack(">Q", number) + head)
            pieces.append(head + sealed)
            plain_length += length
        return assemble(header, pieces, plain_length)


def assemble(header: bytes, pieces: Sequence[bytes], plain_length: int) -> bytes:
    """Put sealed frames behind a header and a right trailer behind them."""
    stored_length = len(header) + sum(map(len, pieces)) + 4 * len(pieces) + 28 + 32
    index = struct.pack(f">{len(pieces)}I", *map(len, pieces))
    tail = struct.pack(">IQQ", len(pieces), plain_length, stored_length) + b"PGVEND1\n"
    return rehashed(header + b"".join(pieces) + index + tail + bytes(32))


def dissect(body: bytes) -> tuple[bytes, list[bytes], int]:
    """Return header, sealed frames and plain length of a valid object."""
    count, plain_length = struct.unpack(">IQ", body[-60:-48])
    lengths = struct.unpack(f">{count}I", body[-60 - 4 * count : -60])
    pieces = []
    offset = 128
    for length in lengths:
        pieces.append(body[offset : offset + length])
        offset += length
    return body[:128], pieces, plain_length


def rehashed(body: bytes) -> bytes:
    """Return `body` with its last 32 bytes made right: what anybody can do who has no key."""
    return body[:-32] + hashlib.sha256(body[:-32]).digest()
