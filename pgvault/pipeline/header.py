r"""The clear header of every sealed object, and the trailer behind its frames.

    object  = header[128] | frame… | trailer
    header  = magic[8] "PGVAULT\n" | version u16 | kind u8 | cipher u8 | key id u32
            | salt[32] | nonce[16] | content HMAC[32] | zero[32]
    trailer = stored frame length u32 × frames | frames u32 | plain length u64 | stored length u64
            | magic[8] "PGVEND1\n" | SHA-256[32] of every byte before it

Integers are big-endian. `salt` makes the object's own data key; `nonce` says "this very write", so that a
retried put recognises itself; `content HMAC` (WAL and tails, else zeros) answers "same content?" without reading
frames. The trailer lets anybody check and copy a whole object without any key, and find frame n by
adding up lengths. Neither is secret; both are authenticated by every frame (pipeline/seal.py).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from pgvault.errors import FormatUnsupported, ObjectCorrupt

MAGIC = b"PGVAULT\n"
END_MAGIC = b"PGVEND1\n"
FORMAT_VERSION = 1
CIPHER_AES_256_GCM = 1
HEADER = struct.Struct(">8sHBBI32s16s32s32s")
TAIL = struct.Struct(">IQQ8s")
DIGEST_BYTES = 32
NO_CONTENT_HMAC = bytes(32)


class Kind(IntEnum):
    """What an object is; part of what is authenticated, so no kind passes for another."""

    MANIFEST = 1
    ABORTED = 2
    PART = 3
    MAP = 4
    PACK = 5
    WAL = 6
    SYSTEM = 7
    WATERMARK = 8
    DRILL = 9
    TAIL = 10
    GAP = 11
    TOMBSTONE = 12
    VERIFIED = 13
    HOLD = 14
    INVENTORY = 15
    DRILLED = 16
    CHECKS = 17
    AUDIT = 18
    NOTICE = 19


@dataclass(frozen=True, slots=True)
class ObjectHeader:
    """The first 128 bytes of an object."""

    kind: Kind
    key_id: int  # which repository key; 1 <= key_id < 2**32
    salt: bytes  # 32, random
    nonce: bytes  # 16, random
    content_hmac: bytes = NO_CONTENT_HMAC  # 32

    def encode(self) -> bytes:
        """Return the 128 bytes."""
        return HEADER.pack(
            MAGIC,
            FORMAT_VERSION,
            self.kind,
            CIPHER_AES_256_GCM,
            self.key_id,
            self.salt,
            self.nonce,
            self.content_hmac,
            bytes(32),
        )

    @classmethod
    def decode(cls, raw: bytes | memoryview, *, where: str) -> ObjectHeader:
        """Read a header; `where` names the object. Raises ObjectCorrupt, FormatUnsupported."""
        if len(raw) < HEADER.size:
            raise ObjectCorrupt(f"object {where!r} is cut: {len(raw)} bytes")
        magic, version, kind, cipher, key_id, salt, nonce, hmac, zero = HEADER.unpack_from(raw)
        if magic != MAGIC:
            raise ObjectCorrupt(f"object {where!r} is not a pgvault object")
        if version != FORMAT_VERSION or cipher != CIPHER_AES_256_GCM:
            raise FormatUnsupported(
                f"object {where!r} has format {version}, cipher {cipher}; this pgvault knows format 1, cipher 1",
                hint="Use a newer pgvault.",
            )
        if zero != bytes(32) or kind not in Kind.__members__.values():
            raise ObjectCorrupt(f"object {where!r} has a header that format 1 does not allow")
        return cls(Kind(kind), key_id, salt, nonce, hmac)


@dataclass(frozen=True, slots=True)
class ObjectTrailer:
    """What stands behind the frames; enough to check and to slice an object without a key."""

    frame_lengths: tuple[int, ...]  # bytes of each frame as stored, head included
    plain_length: int  # bytes of plaintext in all frames
    stored_length: int  # bytes of the whole object, this trailer included

    @property
    def frames_end(self) -> int:
        """Offset of the first byte behind the last frame."""
        return HEADER.size + sum(self.frame_lengths)

    def encode(self) -> bytes:
        """Return the trailer less its SHA-256."""
        count = len(self.frame_lengths)
        return struct.pack(f">{count}I", *self.frame_lengths) + TAIL.pack(
            count, self.plain_length, self.stored_length, END_MAGIC
        )

    @classmethod
    def decode(cls, body: bytes | memoryview, *, where: str) -> ObjectTrailer:
        """Read and check the trailer of a whole object, its SHA-256 included. Raises ObjectCorrupt."""
        view = memoryview(body)
        end = len(view) - DIGEST_BYTES
        if end < HEADER.size + TAIL.size:
            raise ObjectCorrupt(f"object {where!r} is cut: {len(view)} bytes")
        count, plain_length, stored_length, magic = TAIL.unpack_from(view, end - TAIL.size)
        index_at = end - TAIL.size - 4 * count
        if magic != END_MAGIC or stored_length != len(view) or count < 1 or index_at < HEADER.size:
            raise ObjectCorrupt(f"object {where!r} has no valid trailer: cut, or not written by pgvault")
        if hashlib.sha256(view[:end]).digest() != view[end:]:
            raise ObjectCorrupt(f"object {where!r} fails its own SHA-256")
        lengths = struct.unpack_from(f">{count}I", view, index_at)
        trailer = cls(lengths, plain_length, stored_length)
        if trailer.frames_end != index_at:
            raise ObjectCorrupt(f"object {where!r} has a frame index that does not fit")
        return trailer


def frame_count(body: bytes | memoryview) -> int:
    """Return how many frames an object has whose trailer was checked before."""
    count: int = TAIL.unpack_from(body, len(body) - DIGEST_BYTES - TAIL.size)[0]
    return count


def trailer_length(count: int) -> int:
    """Bytes of a trailer for that many frames, SHA-256 included."""
    return 4 * count + TAIL.size + DIGEST_BYTES
