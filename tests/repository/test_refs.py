from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault import process
from pgvault.errors import ObjectCorrupt, ProgramFailed
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.objects import Stored, put_plain
from pgvault.repository.refs import decode_refs, encode_refs, put_refs
from pgvault.repository.repository import Repository

LABEL = "20260115T103000Z-f7c2"
DIGEST = hashlib.sha256(b"x").digest()
LINE = f"{DIGEST.hex()}  clusters/main/x\n".encode()

names = st.text("abcXYZ0189._+-/", min_size=1, max_size=20)
stored_objects = st.builds(
    Stored, names, st.integers(0, 2**40), st.binary(min_size=32, max_size=32), st.integers(0, 99)
)


@given(st.lists(stored_objects, max_size=8, unique_by=lambda stored: stored.path))
def test_refs_are_read_as_they_were_written(objects: list[Stored]) -> None:
    """Every object is there once, in the order of names, whatever order they came in."""
    raw = encode_refs(objects)

    assert decode_refs(raw, where="x") == {stored.path: stored.sha256 for stored in objects}
    assert raw == encode_refs(reversed(objects))
    assert list(decode_refs(raw, where="x")) == sorted(stored.path for stored in objects)


@pytest.mark.parametrize(
    "raw",
    [
        LINE[:-1],
        LINE[1:],
        LINE + LINE,
        LINE + b"\n",
        LINE.replace(b"  ", b" "),
        LINE.replace(b"  ", b" *"),
        LINE.upper(),
        LINE.replace(b"\n", b"\r\n"),
        b"\xff" + LINE,
        b"junk\n",
    ],
)
def test_what_is_no_list_of_digests_is_refused(raw: bytes) -> None:
    """One odd line makes the list corrupt."""
    with pytest.raises(ObjectCorrupt):
        decode_refs(raw, where="x")


def test_sha256sum_checks_a_backup_without_any_key(on_disk: Repository, directory: Path) -> None:
    """The list is one that coreutils understand, and it finds a changed object."""
    path = layout.pack("main", LABEL, 0)
    pack = put_plain(on_disk, path, Kind.PACK, plain=b"page" * 1000)
    refs = put_refs(on_disk, layout.refs("main", LABEL), [pack])
    check = ["sha256sum", "--check", "--strict", refs.path]

    assert process.run(check, timeout=10, cwd=directory) == f"{path}: OK\n"
    assert refs == Stored(refs.path, (directory / refs.path).stat().st_size, refs.sha256, 0)
    assert hashlib.sha256((directory / refs.path).read_bytes()).digest() == refs.sha256

    with (directory / path).open("r+b") as file:
        file.seek(200)
        file.write(b"?")
    with pytest.raises(ProgramFailed):
        process.run(check, timeout=10, cwd=directory)
