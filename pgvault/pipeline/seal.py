"""Seal frames of plaintext into one object, and open them again.

    frame      = stored length u32 | plain length u32 | codec u8 | last u8 | zero u16 | ciphertext | tag[16]
    data key   = HKDF-SHA-256(repository key, salt = header.salt, info = "pgvault 1 object"), 32 bytes
    GCM nonce  = frame number, 96 bits big-endian, from 0
    GCM AAD    = SHA-256(repository id[16] | path | header[128]) | frame number u64 | the frame's 12-byte head

`stored length` counts ciphertext and tag; codec 0 is raw, 1 is one zstd frame with content size and checksum.
The path is part of what is authenticated, and so are the frame's number and whether it is the last: an object
that was moved, cut, reordered, spliced or relabelled does not open. No byte leaves before its tag was checked.
Nothing here knows where objects live.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pgvault.errors import ObjectCorrupt, WrongKey
from pgvault.pipeline.header import (
    HEADER,
    NO_CONTENT_HMAC,
    Kind,
    ObjectHeader,
    ObjectTrailer,
    trailer_length,
)

FRAME_HEAD = struct.Struct(">IIBBH")
FRAME_BYTES = 1 << 20  # most plaintext a frame may hold; 4 MiB frames measured slower (design, section 10)
TAG_BYTES = 16
REPOSITORY_ID_BYTES = 16
CODEC_RAW = 0
CODEC_ZSTD = 1
LEVEL = 3

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class RepositoryKey:
    """A key that objects of one repository are sealed with."""

    id: int
    secret: bytes  # 32

    def __repr__(self) -> str:
        return f"RepositoryKey(id={self.id})"

    def derive(self, info: str, *, salt: bytes) -> bytes:
        """Return 32 bytes for one purpose (HKDF-SHA-256)."""
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info.encode()).derive(self.secret)


@dataclass(frozen=True, slots=True)
class Address:
    """Where an object belongs: it opens nowhere else."""

    repository_id: bytes  # 16
    path: str  # its key, relative to the copy
    kind: Kind

    def __post_init__(self) -> None:
        # Id and path stand side by side in what is authenticated: only a fixed length keeps them apart.
        if len(self.repository_id) != REPOSITORY_ID_BYTES:
            raise ValueError(f"a repository id has {REPOSITORY_ID_BYTES} bytes, not {len(self.repository_id)}")


@dataclass(frozen=True, slots=True)
class SealedObject:
    """An object ready to be stored."""

    body: bytes
    sha256: bytes  # of the whole body: what `sha256sum` prints
    frame_count: int
    plain_length: int


class _Zstd(threading.local):
    """One compressor and decompressor a thread: their contexts must not be shared."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


def content_hmac(key: RepositoryKey, repository_id: bytes, plain_sha256: bytes) -> bytes:
    """Return the keyed name of a content: equal for equal plaintext, telling nothing without the key."""
    secret = key.derive("pgvault 1 content", salt=repository_id)
    return hmac.digest(secret, plain_sha256, "sha256")


def seal(
    frames: Iterable[Buffer], address: Address, *, key: RepositoryKey, content: bytes = NO_CONTENT_HMAC
) -> SealedObject:
    """Seal `frames` (each at most FRAME_BYTES, at least one) as the object at `address`."""
    header = ObjectHeader(address.kind, key.id, os.urandom(32), os.urandom(16), content)
    sealer = _FrameSealer(header, address, key)
    body = io.BytesIO()  # grows in place and is handed on without a copy: a pack is held once
    body.write(header.encode())
    lengths: list[int] = []
    plain_length = 0
    for number, (plain, is_last) in enumerate(_mark_last(frames)):
        lengths.append(sum(map(body.write, sealer.seal(number, plain, is_last=is_last))))
        plain_length += len(plain)
    stored_length = body.tell() + trailer_length(len(lengths))
    body.write(ObjectTrailer(tuple(lengths), plain_length, stored_length).encode())
    digest = hashlib.sha256(body.getbuffer())
    trailer_digest = digest.digest()
    body.write(trailer_digest)
    digest.update(trailer_digest)
    return SealedObject(body.getvalue(), digest.digest(), len(lengths), plain_length)


def open_frames(body: Buffer, address: Address, *, keys: Mapping[int, RepositoryKey]) -> Iterator[bytes]:
    """Yield the plaintext of each frame of a whole object, in order, each checked before it is yielded.

    Raises ObjectCorrupt when anything is not as it was sealed at this address, WrongKey when the object
    names a key that is not in `keys`.
    """
    view = memoryview(body)
    header = ObjectHeader.decode(view, where=address.path)
    trailer = ObjectTrailer.decode(view, where=address.path)  # before the key: a flipped bit is no wrong key
    if header.kind != address.kind:
        raise ObjectCorrupt(f"object {address.path!r} is a {header.kind.name}, not a {address.kind.name}")
    if header.key_id not in keys:
        raise WrongKey(f"object {address.path!r} is sealed with key {header.key_id}, which is not at hand")
    sealer = _FrameSealer(header, address, keys[header.key_id])
    offset = HEADER.size
    plain_length = 0
    for number, length in enumerate(trailer.frame_lengths):
        is_last = number == len(trailer.frame_lengths) - 1
        plain = sealer.open(number, view[offset : offset + length], is_last=is_last)
        offset += length
        plain_length += len(plain)
        yield plain
    if plain_length != trailer.plain_length:
        raise ObjectCorrupt(f"object {address.path!r} holds {plain_length} bytes, its trailer says otherwise")


def open_first_frame(start: Buffer, address: Address, *, keys: Mapping[int, RepositoryKey]) -> bytes | None:
    """Return the plaintext of the first frame from an object's first bytes; None when they do not hold all of it.

    The frame is authentic; that the object is whole, nobody has seen. Raises ObjectCorrupt, WrongKey.
    """
    view = memoryview(start)
    header = ObjectHeader.decode(view, where=address.path)
    if header.kind != address.kind:
        raise ObjectCorrupt(f"object {address.path!r} is a {header.kind.name}, not a {address.kind.name}")
    if header.key_id not in keys:
        raise WrongKey(f"object {address.path!r} is sealed with key {header.key_id}, which is not at hand")
    frame = view[HEADER.size :]
    if len(frame) < FRAME_HEAD.size:
        return None
    stored, _, _, last, _ = FRAME_HEAD.unpack_from(frame)
    if len(frame) < FRAME_HEAD.size + stored:
        return None
    sealer = _FrameSealer(header, address, keys[header.key_id])
    return sealer.open(0, frame[: FRAME_HEAD.size + stored], is_last=bool(last))


class _FrameSealer:
    """Seals and opens the frames of one object."""

    def __init__(self, header: ObjectHeader, address: Address, key: RepositoryKey) -> None:
        self._cipher = AESGCM(key.derive("pgvault 1 object", salt=header.salt))
        bound = address.repository_id + address.path.encode() + header.encode()
        self._bound = hashlib.sha256(bound).digest()
        self._path = address.path

    def _aad(self, number: int, head: bytes) -> bytes:
        return self._bound + number.to_bytes(8, "big") + head

    def seal(self, number: int, plain: Buffer, *, is_last: bool) -> tuple[bytes, bytes]:
        """Return the frame's head and what follows it."""
        if len(plain) > FRAME_BYTES:
            raise ValueError(f"a frame holds at most {FRAME_BYTES} bytes, not {len(plain)}")
        payload: Buffer = _zstd.compressor.compress(plain)
        codec = CODEC_ZSTD
        if len(payload) >= len(plain):
            payload, codec = plain, CODEC_RAW
        head = FRAME_HEAD.pack(len(payload) + TAG_BYTES, len(plain), codec, is_last, 0)
        return head, self._cipher.encrypt(number.to_bytes(12, "big"), payload, self._aad(number, head))

    def open(self, number: int, frame: memoryview, *, is_last: bool) -> bytes:
        if len(frame) < FRAME_HEAD.size + TAG_BYTES:
            raise ObjectCorrupt(f"object {self._path!r}: frame {number} is cut")
        head = bytes(frame[: FRAME_HEAD.size])
        stored, plain_length, codec, last, zero = FRAME_HEAD.unpack(head)
        sealed = frame[FRAME_HEAD.size :]
        if stored != len(sealed) or last != is_last or zero or plain_length > FRAME_BYTES:
            raise ObjectCorrupt(f"object {self._path!r}: frame {number} does not fit its index")
        try:
            payload = self._cipher.decrypt(number.to_bytes(12, "big"), sealed, self._aad(number, head))
        except InvalidTag as error:
            raise ObjectCorrupt(
                f"object {self._path!r}: frame {number} does not open: changed, moved or of another key"
            ) from error
        plain = payload if codec == CODEC_RAW else _decompress(payload, codec, plain_length, path=self._path)
        if len(plain) != plain_length:
            raise ObjectCorrupt(f"object {self._path!r}: frame {number} has the wrong length")
        return plain


def _decompress(payload: bytes, codec: int, plain_length: int, *, path: str) -> bytes:
    """Undo one frame's codec, refusing cut frames and junk behind them (python-zstandard does not by itself)."""
    if codec != CODEC_ZSTD:
        raise ObjectCorrupt(f"object {path!r}: unknown codec {codec}")
    try:
        promised = zstandard.get_frame_parameters(payload)
        if promised.content_size != plain_length or not promised.has_checksum:
            raise ObjectCorrupt(f"object {path!r}: a zstd frame without the right length, or without a checksum")
        # Faster than a decompressobj, which grows its output; but an empty frame is not looked at here.
        if plain_length:
            return _zstd.decompressor.decompress(payload, allow_extra_data=False)
        decompressor = _zstd.decompressor.decompressobj()
        plain = decompressor.decompress(payload)
    except zstandard.ZstdError as error:
        raise ObjectCorrupt(f"object {path!r}: zstd refuses a frame: {error}") from error
    if not decompressor.eof or decompressor.unused_data:
        raise ObjectCorrupt(f"object {path!r}: a zstd frame is cut or has a tail")
    return plain


def _mark_last(frames: Iterable[Buffer]) -> Iterator[tuple[Buffer, bool]]:
    """Yield each frame with whether it is the last; an empty iterable is one empty frame."""
    source = iter(frames)
    current: Buffer = next(source, b"")
    for following in source:
        yield current, False
        current = following
    yield current, True


def split(plain: Buffer) -> Iterator[memoryview]:
    """Cut a buffer into frames of FRAME_BYTES; the last may be shorter, an empty one gives one empty frame."""
    view = memoryview(plain)
    if not view:
        yield view
    for start in range(0, len(view), FRAME_BYTES):
        yield view[start : start + FRAME_BYTES]
