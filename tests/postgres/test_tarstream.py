"""Archives that come in pieces: wherever they are cut, the same members; whatever is missing, an error."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.errors import ServerUnfit
from pgvault.postgres.tarstream import MemberKind, TarStream

CONTENTS = {b"PG_VERSION": b"18\n", b"base/5/1259": bytes(range(256)) * 64, b"base/5/empty": b"", b"b\xe4d": b"x" * 513}


def archive() -> bytes:
    """A tar as a server writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT, errors="surrogateescape") as tar:
        directory = tarfile.TarInfo("./pg_wal")
        directory.type, directory.mode = tarfile.DIRTYPE, 0o700
        tar.addfile(directory)
        for name, content in CONTENTS.items():
            member = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            member.size, member.mode, member.mtime = len(content), 0o600, 1_700_000_000
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("pg_tblspc/16388")
        link.type, link.linkname = tarfile.SYMTYPE, "/srv/fast"
        tar.addfile(link)
    return buffer.getvalue().rstrip(b"\0").ljust(end_of(buffer.getvalue()), b"\0")


def end_of(padded: bytes) -> int:
    """The standard library pads to 10 KiB, PostgreSQL ends after two blocks of zeros."""
    return -(-len(padded.rstrip(b"\0")) // 512) * 512 + 1024


WHOLE = archive()


def cut(content: bytes, places: list[int]) -> Iterator[memoryview]:
    """The same bytes in pieces, empty ones among them."""
    edges = [0, *sorted(places), len(content)]
    return (memoryview(content)[start:end] for start, end in pairwise(edges))


def read(chunks: Iterator[memoryview], *, most: int = 1 << 20) -> dict[bytes, bytes]:
    """Every member's content, taken in portions."""
    found = {}
    stream = TarStream("base.tar", chunks)
    while (member := stream.next()) is not None:
        content = b""
        while member.kind is MemberKind.FILE and len(content) < member.size:
            content += stream.take(most)
        found[member.name] = content
    return found


@settings(max_examples=40, deadline=None)
@given(places=st.lists(st.integers(0, len(WHOLE)), max_size=40), most=st.integers(100, 20000))
def test_it_is_the_same_wherever_it_is_cut(places: list[int], most: int) -> None:
    """Cuts in headers, contents and padding, and portions of any size, change nothing."""
    found = read(cut(WHOLE, places), most=most)

    assert found == {b"pg_wal": b"", **CONTENTS, b"pg_tblspc/16388": b""}


@settings(max_examples=40, deadline=None)
@given(length=st.integers(0, len(WHOLE) - 1))
def test_a_part_of_it_is_never_the_whole(length: int) -> None:
    """An archive that stops too early is an error, wherever that is."""
    with pytest.raises(ServerUnfit):
        read(cut(WHOLE[:length], []))


def test_what_follows_the_end_is_an_error() -> None:
    """More than the two blocks of zeros."""
    with pytest.raises(ServerUnfit, match="goes on behind its end"):
        read(cut(WHOLE + bytes(512), []))


@pytest.mark.parametrize("name", ["../outside", "base/../../etc", "/etc/passwd", "base//5"])
def test_a_name_that_leads_outside_is_refused(name: str) -> None:
    """Nothing of the kind comes from PostgreSQL."""
    header = tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT)

    with pytest.raises(ServerUnfit, match="holds the name"):
        read(cut(header + bytes(1024), []))


def test_a_damaged_header_is_refused() -> None:
    """Its sum is compared."""
    damaged = bytearray(WHOLE)
    damaged[512] ^= 1

    with pytest.raises(ServerUnfit, match="header"):
        read(cut(bytes(damaged), []))


def test_what_is_not_taken_is_passed_over() -> None:
    """The next member is found all the same."""
    stream = TarStream("base.tar", cut(WHOLE, [700, 701]))
    names = []
    while (member := stream.next()) is not None:
        names.append(member.name)

    assert names == [b"pg_wal", *CONTENTS, b"pg_tblspc/16388"]


@pytest.mark.parametrize("size", [8 << 30, 40 << 30])
def test_a_size_of_more_than_eleven_octal_digits_is_read(size: int) -> None:
    """PostgreSQL writes it in base 256, as GNU tar does; such a file is a segment of --with-segsize, or a log."""
    header = tarfile.TarInfo("base/5/16385.1")
    header.size = size
    stream = TarStream("base.tar", cut(header.tobuf(tarfile.GNU_FORMAT) + b"begin", []))

    member = stream.next()

    assert member is not None
    assert member.size == size
    assert stream.take(5) == b"begin"


@pytest.mark.parametrize("type_", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_header_that_postgresql_never_writes_is_refused(type_: bytes) -> None:
    """Names have 99 bytes at most in its archives, so that none needs a second header."""
    header = tarfile.TarInfo("base/5/" + "x" * 92)
    header.type = type_

    with pytest.raises(ServerUnfit, match="no tar of PostgreSQL"):
        read(cut(header.tobuf(tarfile.USTAR_FORMAT) + bytes(1024), []))
