from __future__ import annotations

import struct

import pytest

from pgvault.wal.occupied import created_tablespaces

PAGE = 8192
SIZE = 16 * PAGE


def segment(record: bytes, at: int) -> bytes:
    """A segment of noise-free pages with a record at an offset, cut by page headers (of noise) where it meets them."""
    content = bytearray(SIZE)
    while record:
        if at % PAGE == 0:
            content[at : at + 24] = b"\x05\0\x05\0\0\xff" * 4
            at += 24
        room = PAGE - at % PAGE
        content[at : at + len(record[:room])] = record[:room]
        at += len(record[:room])
        record = record[room:]
    return bytes(content)


def create(path: bytes, *, info: int = 0, manager: int = 5) -> bytes:
    """The record of CREATE TABLESPACE."""
    data = struct.pack("<I", 16390) + path + b"\0"
    head = struct.pack("<BB", 0xFF, len(data)) if len(data) < 256 else struct.pack("<BI", 0xFE, len(data))
    total = 24 + len(head) + len(data)
    return struct.pack("<IIQBBHI", total, 700, 0x1000, info, manager, 0, 0xDEADBEEF) + head + data


@pytest.mark.parametrize("at", [40, 8 * 200, *range(PAGE - 64, PAGE, 8), 3 * PAGE + 24, SIZE - 64])
def test_a_record_is_found_wherever_it_lies(at: int) -> None:
    """Also where a page header cuts it, in its head, its path or just behind it."""
    assert created_tablespaces(segment(create(b"/srv/space"), at)) == [b"/srv/space"]


@pytest.mark.parametrize("length", [2, 249, 250, 251, 252, 1024])
def test_a_path_of_any_length_is_found(length: int) -> None:
    """The long form of its length, too, and across a page."""
    path = b"/" + b"x" * (length - 1)

    assert created_tablespaces(segment(create(path), PAGE - 520)) == [path]


def test_several_are_found_in_order() -> None:
    """Each of them, and not what only looks like one."""
    one, two = create(b"/one"), create(b"/two")
    padding = bytes(-len(one) % 8)
    others = create(b"/dropped", info=0x10) + bytes(-len(create(b"/dropped")) % 8)
    foreign = create(b"/other", manager=6) + bytes(-len(create(b"/other")) % 8)

    assert created_tablespaces(segment(one + padding + others + foreign + two, PAGE - 88)) == [b"/one", b"/two"]


def test_a_record_that_the_segment_s_end_cuts_is_none() -> None:
    """Nothing is made up."""
    assert created_tablespaces(segment(create(b"/srv/space"), SIZE - 64)[: SIZE - 32]) == []
