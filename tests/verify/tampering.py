"""What somebody without the key can do to a stored object, and a small repository with objects of every kind for it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from awscrt.checksums import crc32c

from pgvault.pipeline.header import Kind
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.repository import layout
from pgvault.repository.catalog import commit_manifest, read_root
from pgvault.repository.copies import Copy
from pgvault.repository.filelist import Extent, FileKind, FileRecord, read_records
from pgvault.repository.keys import Credential
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import Stored, put_frames, read_plain
from pgvault.repository.refs import put_refs, read_refs
from pgvault.repository.repository import Repository, init_repository
from pgvault.repository.tails import Span, TailInfo, put_tail
from pgvault.repository.walobjects import WalInfo, put_wal, read_wal_bytes
from pgvault.restore.files import Destination, restore_files
from pgvault.wal.fetch import read_checked, read_streamed
from tests.archive import AT, SYSTEM, make_segment
from tests.fakes import MemoryStore
from tests.pipeline.forge import assemble, dissect, rehashed
from tests.repository.samples import make_manifest
from tests.restore.backups import EFFORT

LABELS = ("20261121T080000Z-0001", "20261121T090000Z-0002")
FIRST, SECOND = LABELS
PIECE = b"sixteen bytes of "
SEGMENT = WalSegment(1, 5, MIB)
TAILED = WalSegment(1, 6, MIB)
SMALL = 4096  # bytes; of smaller objects every place is tried
PLACES = 60  # of larger ones, beside those that mean something


@dataclass(frozen=True, slots=True)
class Reading:
    """A way in which a stored object is read by a command."""

    key: str
    read: Callable[[Repository], object]


class Tampered:
    """A small repository of two labels, all of whose objects have several frames where their kind allows."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.repository, _ = init_repository([Copy("primary", self.store)], Credential("raw", bytes(32)), now=AT)
        content = make_segment(SEGMENT)
        for segment in (SEGMENT, WalSegment(1, 7, MIB)):
            self.put_segment(segment)
        tail = make_segment(TAILED)[:9000]
        info = TailInfo(TAILED, 0, 9000, SYSTEM, hashlib.sha256(tail).digest(), AT)
        put_tail(self.repository, "main", info, content=tail)
        assert len(content) == MIB
        self.manifests = [self.put_backup(label) for label in LABELS]

    @property
    def objects(self) -> dict[str, bytes]:
        return self.store.objects

    def put_segment(self, segment: WalSegment) -> None:
        content = make_segment(segment)
        info = WalInfo(segment.name, MIB, hashlib.sha256(content).digest(), SYSTEM, 1, segment.start_lsn, AT, AT)
        put_wal(self.repository, "main", info, content=content)

    def put_backup(self, label: str) -> Manifest:
        """A backup of one file of four frames in two packs, with a list and a map of several frames."""
        frames = [PIECE * count + label.encode() for count in (3, 2, 1)]
        packs = [self._put(layout.pack("main", label, number), Kind.PACK, frames) for number in range(2)]
        records = b"".join(_record(path, frames) for path in (b"base/1", b"base/2", b"base/3"))
        third = len(records) // 3
        lists = [records[:third], records[third : 2 * third], records[2 * third :]]
        part = self._put(layout.part("main", label, 0), Kind.PART, lists)
        block_map = self._put(layout.block_map("main", label, 0), Kind.MAP, [bytes(20), b"\1" * 20])
        refs = put_refs(self.repository, layout.refs("main", label), [*packs, part, block_map])
        manifest = make_manifest(
            label=label,
            system_identifier=SYSTEM,
            tablespaces={},
            packs=tuple(packs),
            parts=(part,),
            maps=(block_map,),
            wal=(),
            refs=refs,
            start_lsn=Lsn(SEGMENT.start_lsn.value + 40),
        )
        commit_manifest(self.repository, manifest)
        return manifest

    def _put(self, path: str, kind: Kind, frames: list[bytes]) -> Stored:
        return put_frames(self.repository, path, kind, frames=frames)


def _record(path: bytes, frames: list[bytes]) -> bytes:
    plain = b"".join(frames)
    pieces = [plain, plain]
    extents = tuple(
        Extent(number * len(plain), len(plain), number, 0, 0, crc32c(piece)) for number, piece in enumerate(pieces)
    )
    return FileRecord(path, FileKind.FILE, 0o600, 0, 2 * len(plain), crc32c(plain + plain), extents).encode()


def readings(made: Tampered, directory: Path) -> dict[str, Reading]:
    """Every kind of object with the function that a restore, a fetch or a catalog reads it by."""
    manifest = made.manifests[0]
    number = iter(range(1 << 30))

    def restore(repository: Repository) -> object:
        data = directory / f"data{next(number)}"
        (data / "base").mkdir(parents=True)
        restore_files(repository, manifest, Destination(data), effort=EFFORT)
        return [(path.name, path.read_bytes()) for path in sorted((data / "base").iterdir())]

    def fetch(repository: Repository) -> object:
        return read_checked(repository, "main", SYSTEM, name=SEGMENT.name, segment_size=MIB)

    def fetch_tail(repository: Repository) -> object:
        return read_streamed(repository, "main", SYSTEM, segment=TAILED, spans=[Span(0, 9000)])

    wal = layout.wal_file("main", SYSTEM, SEGMENT.name)
    (block_map,) = manifest.maps
    return {
        "root": Reading(layout.manifest("main", FIRST), lambda repository: read_root(repository, "main", FIRST)),
        "refs": Reading(manifest.refs.path, lambda repository: read_refs(repository, manifest.refs)),
        "part": Reading(manifest.parts[0].path, lambda repository: list(read_records(repository, manifest))),
        "pack": Reading(manifest.packs[1].path, restore),
        "map": Reading(
            block_map.path, lambda repository: read_plain(repository, block_map.path, Kind.MAP, expected=block_map)
        ),
        "wal": Reading(wal, fetch),
        "wal bytes": Reading(wal, lambda repository: read_wal_bytes(repository, "main", SYSTEM, SEGMENT.name)[1]),
        "tail": Reading(layout.tail("main", SYSTEM, TAILED.name, start=0, end=9000), fetch_tail),
    }


def structural(key: str, objects: dict[str, bytes], foreign: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield what can be made of an object by who knows the format and has no key; every trailer is right."""
    body = objects[key]
    yield "empty", b""
    yield "a byte longer", body + b"\0"
    yield "twice", body + body
    yield "of another repository", foreign[key]
    for other in sorted(objects):
        if other != key and not other.startswith(("leases/", "keys/", "pgvault.json")):
            yield f"{other} in its place", objects[other]
    if not body.startswith(b"PGVAULT\n"):
        return
    header, pieces, plain_length = dissect(body)
    yield "another kind", rehashed(header[:10] + bytes([2]) + body[11:])
    yield "another salt", rehashed(body[:16] + bytes(32) + body[48:])
    yield "another nonce", rehashed(body[:48] + bytes(16) + body[64:])
    yield "another content field", rehashed(body[:64] + b"\1" * 32 + body[96:])
    if len(pieces) > 1:
        yield "without its last frame", assemble(header, pieces[:-1], plain_length)
        yield "without its first frame", assemble(header, pieces[1:], plain_length)
        yield "frames exchanged", assemble(header, [pieces[1], pieces[0], *pieces[2:]], plain_length)
    yield "a frame twice", assemble(header, [pieces[0], *pieces], plain_length)
    yield "the last frame twice", assemble(header, [*pieces, pieces[-1]], plain_length)
    for other in sorted(objects):
        if other != key and objects[other].startswith(b"PGVAULT\n"):
            _, strange, _ = dissect(objects[other])
            yield f"first frame of {other}", assemble(header, [strange[0], *pieces[1:]], plain_length)
            yield f"last frame of {other}", assemble(header, [*pieces[:-1], strange[-1]], plain_length)
    _, strange, _ = dissect(foreign[key])
    yield "frames of another repository's", assemble(header, strange, plain_length)


def mechanical(body: bytes, *, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield the object cut and flipped: at every place of a small one, else at every edge and some places by chance."""
    marks = {0, 1, 7, 8, 10, 11, 12, 16, 48, 64, 96, 127, 128, len(body) - 60, len(body) - 32, len(body) - 1}
    if body.startswith(b"PGVAULT\n"):
        offset = 128
        for piece in dissect(body)[1]:
            marks |= {offset, offset + 12, offset + len(piece) - 16, offset + len(piece)}
            offset += len(piece)
    places = set(range(len(body)))
    if len(body) > SMALL:
        places = {place for place in marks if place < len(body)}
        places |= set(random.Random(seed).sample(range(len(body)), PLACES))
    for place in sorted(places):
        yield f"cut at {place}", body[:place]
        yield f"flipped at {place}", body[:place] + bytes([body[place] ^ 1 << place % 8]) + body[place + 1 :]
        if body.startswith(b"PGVAULT\n") and place < len(body) - 32:
            yield f"flipped at {place}, rehashed", rehashed(body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :])
