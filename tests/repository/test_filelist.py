from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import ObjectCorrupt
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.filelist import Extent, FileKind, FileRecord, read_records
from pgvault.repository.objects import put_frames
from pgvault.repository.repository import Repository
from tests.repository.samples import make_manifest

LABEL = "20260115T103000Z-f7c2"
LINE: dict[str, Any] = {
    "path": "base/5/1259",
    "kind": "file",
    "mode": 0o600,
    "mtime_ns": 1768473000123456789,
    "size": 24576,
    "crc32c": "9a71bb4c",
    "extents": [[0, 8192, 3, 7, 4096, "00000001"], [8192, 16384, None, 0, 0, "ffffffff"]],
    "map": [0, 1280],
}

counts = st.integers(0, 2**63)
crcs = st.integers(0, 2**32 - 1)
components = st.binary(min_size=1, max_size=12).filter(
    lambda name: name not in (b".", b"..") and b"/" not in name and b"\0" not in name
)
paths = st.lists(components, min_size=1, max_size=4).map(b"/".join)


@st.composite
def files(draw: st.DrawFn) -> FileRecord:
    extents = []
    end = 0
    for length in draw(st.lists(st.integers(1, 2**40), max_size=5)):
        pack = draw(st.none() | counts)
        extents.append(Extent(end, length, pack, draw(counts), draw(st.integers(0, 2**20)), draw(crcs)))
        end += length
    kind = draw(st.sampled_from([FileKind.FILE, FileKind.EXTERNAL]))
    path = draw(paths)
    return FileRecord(
        path=b"/" + path if kind is FileKind.EXTERNAL else path,
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        mtime_ns=draw(st.integers(-(2**63), 2**63)),
        size=end,
        crc32c=draw(crcs),
        extents=tuple(extents),
        block_map=draw(st.none() | st.tuples(counts, counts)),
    )


directories = st.builds(FileRecord, paths, st.just(FileKind.DIRECTORY), st.integers(0, 0o7777), counts)
symlinks = st.builds(
    FileRecord, paths, st.just(FileKind.SYMLINK), st.just(0o777), counts, target=st.binary(max_size=20)
)
records = files() | directories | symlinks


@given(records)
def test_record_is_read_as_it_was_written(record: FileRecord) -> None:
    """Names are bytes, of whatever encoding, with new lines, quotes and backslashes in them; a record is one line."""
    line = record.encode()

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert FileRecord.decode(line, where="x") == record


@pytest.mark.parametrize(
    "name", [b"a\nb", b"\xff\xfe", b"caf\xe9", "café".encode(), b'"\\', b" ", b"#=[", "\u2028".encode(), b"\x7f\x01"]
)
def test_odd_names_survive(name: bytes) -> None:
    """Names that broke the manifests of other tools (pitfall 13)."""
    record = FileRecord(name, FileKind.SYMLINK, 0o777, 0, target=name)

    assert FileRecord.decode(record.encode(), where="x") == record


def test_line_is_that_of_format_1() -> None:
    """Pinned: what the specification shows is what is written."""
    record = FileRecord.decode(json.dumps(LINE).encode(), where="x")

    assert json.loads(record.encode()) == LINE
    assert record.extents[1] == Extent(8192, 16384, None, 0, 0, 0xFFFFFFFF)
    assert record.encode().startswith(b'{"path":"base/5/1259","kind":"file","mode":384,')


def test_fields_of_a_later_minor_are_ignored() -> None:
    """A record may grow."""
    more = json.dumps(LINE | {"compressed_with": "hope"}).encode()

    assert FileRecord.decode(more, where="x") == FileRecord.decode(json.dumps(LINE).encode(), where="x")


def extents(*changes: list[Any]) -> dict[str, Any]:
    return {"extents": list(changes)}


@pytest.mark.parametrize(
    "change",
    [
        {"path": ""},
        {"path": "/base/5"},
        {"path": "base//5"},
        {"path": "base/../../etc/passwd"},
        {"path": "./base"},
        {"path": "base/"},
        {"path": ".."},
        {"path": "a\0b"},
        {"path": "\ud800"},
        {"path_hex": "2e2e"},
        {"path_hex": "2f657463"},
        {"path_hex": "0"},
        {"path": None},
        {"kind": "external"},
        {"kind": "device"},
        {"kind": "directory"},
        {"kind": "symlink"},
        {"kind": None},
        {"target": "x"},
        {"mode": -1},
        {"mode": "600"},
        {"size": 24575},
        {"size": 24577},
        {"size": -1},
        {"size": 24576.0},
        {"size": 0},
        {"crc32c": 7},
        {"crc32c": "xyz"},
        {"map": [0]},
        {"map": [0, -1]},
        {"map": []},
        {"map": 7},
        {"extents": None},
        {"extents": []},
        extents([0, 8192, 3, 7, 4096, "0"]),
        extents([0, 24576, 3, 7, 4096]),
        extents([0, 24576, 3, 7, 4096, "0", 0]),
        extents([0, 24576, -1, 7, 4096, "0"]),
        extents([0, 24576, "3", 7, 4096, "0"]),
        extents([0, 24576, True, 7, 4096, "0"]),
        extents([0, 24576, 3, -7, 4096, "0"]),
        extents([0, 24576, 3, 7, -4096, "0"]),
        extents([0, 24576, 3, 7, 4096, 0]),
        extents([1, 24575, 3, 7, 4096, "0"]),
        extents([0, 8192, 3, 7, 4096, "0"], [8191, 16385, 3, 7, 0, "0"]),
        extents([0, 8192, 3, 7, 4096, "0"], [8193, 16383, 3, 7, 0, "0"]),
        extents([8192, 16384, 3, 7, 0, "0"], [0, 8192, 3, 7, 4096, "0"]),
        extents([0, 24576, 3, 7, 4096, "0"], [24576, 0, 3, 7, 4096, "0"]),
        extents([0, 24577, 3, 7, 4096, "0"], [24577, -1, 3, 7, 4096, "0"]),
    ],
)
def test_record_that_could_write_outside_or_leave_bytes_is_refused(change: dict[str, Any]) -> None:
    """Paths stay inside, extents cover each byte once, numbers are whole."""
    with pytest.raises(ObjectCorrupt):
        FileRecord.decode(json.dumps(LINE | change).encode(), where="x")


@pytest.mark.parametrize("field", ["path", "kind", "mode", "mtime_ns", "extents"])
def test_missing_field_is_refused(field: str) -> None:
    """No field but the CRC of nothing may be left out."""
    line = {name: value for name, value in LINE.items() if name != field}

    with pytest.raises(ObjectCorrupt):
        FileRecord.decode(json.dumps(line).encode(), where="x")


@pytest.mark.parametrize("line", [b"", b"[]", b"7", b"null", b'"path"', b"{", b"\xff", b"[" * 100_000])
def test_line_that_is_no_record_is_refused(line: bytes) -> None:
    """Anything but a JSON object is corrupt."""
    with pytest.raises(ObjectCorrupt):
        FileRecord.decode(line, where="x")


@given(st.lists(records, max_size=6), st.integers(1, 200))
def test_lines_may_cross_frames(
    repository_factory: Callable[[], Repository], some: list[FileRecord], frame_bytes: int
) -> None:
    """A file list is one stream of lines in each part, wherever frames end."""
    repository = repository_factory()
    plain = b"".join(record.encode() for record in some)
    frames = [plain[start : start + frame_bytes] for start in range(0, len(plain), frame_bytes)]
    first = put_frames(repository, layout.part("main", LABEL, 0), Kind.PART, frames=frames)
    second = put_frames(repository, layout.part("main", LABEL, 1), Kind.PART, frames=[plain])

    read = read_records(repository, make_manifest(parts=(first, second)))

    assert list(read) == [*some, *some]


def test_part_that_was_exchanged_is_refused(repository: Repository) -> None:
    """A part must be the very one that the root names."""
    line = FileRecord(b"base", FileKind.DIRECTORY, 0o700, 0).encode()
    part = put_frames(repository, layout.part("main", LABEL, 0), Kind.PART, frames=[line])
    repository.deciding.store.delete(part.path)
    put_frames(repository, part.path, Kind.PART, frames=[line])

    with pytest.raises(ObjectCorrupt):
        list(read_records(repository, make_manifest(parts=(part,))))
