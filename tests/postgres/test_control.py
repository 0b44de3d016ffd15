from __future__ import annotations

import os
import struct
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from awscrt import checksums
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import MajorUnsupported, ObjectCorrupt, SourceUnreadable
from pgvault.postgres.control import (
    CONTROL_BYTES,
    READ_ATTEMPTS,
    ClusterState,
    crc32c,
    parse_control,
    read_control,
    read_control_image,
)
from pgvault.postgres.lsn import MIB, Lsn

if TYPE_CHECKING:
    from pathlib import Path

# The first 296 bytes as initdb of 15.20, 17.10 and 18.6 wrote them; zeros follow.
IMAGES = {
    15: bytes.fromhex(
        "f5cd964df84a016b1405000025770d0c0100000000000000f84a016b00000000b029750100000000b029750100000000"
        "01000000010000000100000000000000d402000000000000053500000100000000000000cc0200000100000001000000"
        "0100000000000000f84a016b0000000000000000000000000000000000000000e8030000000000000000000000000000"
        "00000000000000000000000000000000000000000000000000000000010000000000000064000000080000000a000000"
        "000000004000000000000000080000000000000087d63241002000000000020000200000000000014000000020000000"
        "cc070000000800000100000001000000a85e4925b9e9d1aa364ab9f80558c5556db430a04f0638429dd300706b89106c"
        "0fdbe1a200000000"
    ).ljust(CONTROL_BYTES, b"\0"),
    17: bytes.fromhex(
        "057e9d03f94a016ba40600008979100c0100000000000000f94a016b00000000f8376c0100000000f8376c0100000000"
        "01000000010000000100000001000000e202000000000000e63100000100000000000000da0200000100000001000000"
        "0100000000000000f94a016b0000000000000000000000000000000000000000e8030000000000000000000000000000"
        "00000000000000000000000000000000000000000000000000000000010000000000000064000000080000000a000000"
        "000000004000000000000000080000000000000087d63241002000000000020000200000000000014000000020000000"
        "cc0700000008000001000000010000003791f30927881f9c2340af09116d797141c77c2c6480209638e9d59e440b4da1"
        "b0d1e06c00000000"
    ).ljust(CONTROL_BYTES, b"\0"),
    18: bytes.fromhex(
        "150e6097f94a016b080700003300120c0100000000000000fa4a016b0000000058f46e010000000058f46e0100000000"
        "01000000010000000100000001000000f002000000000000f03100000100000000000000e80200000100000001000000"
        "0100000000000000fa4a016b0000000000000000000000000000000000000000e8030000000000000000000000000000"
        "00000000000000000000000000000000000000000000000000000000010000000000000064000000080000000a000000"
        "000000004000000000000000080000000000000087d63241002000000000020000200000000000014000000020000000"
        "cc0700000008000001000000010000000150bd887e6e585b951532fcea4a4cc6aebecb0888d0f53860f7ad54b9270029"
        "b8000000e45a09cf"
    ).ljust(CONTROL_BYTES, b"\0"),
}


@pytest.mark.parametrize(
    ("major", "identifier", "checkpoint", "version_directory"),
    [
        (15, 7710526467349073397, "0/17529B0", "PG_15_202209061"),
        (17, 7710526470402964997, "0/16C37F8", "PG_17_202406281"),
        (18, 7710526472881966613, "0/16EF458", "PG_18_202506291"),
    ],
)
def test_image_says_what_pg_controldata_says(
    major: int, identifier: int, checkpoint: str, version_directory: str
) -> None:
    """Frozen images of three majors; the live comparison of every field is in test_real_files.py."""
    control = parse_control(IMAGES[major])

    assert control.system_identifier == identifier
    assert control.major == major
    assert control.version_directory == version_directory
    assert control.state is ClusterState.SHUT_DOWN
    assert control.checkpoint_lsn == control.redo_lsn == Lsn.parse(checkpoint)
    assert control.checkpoint_timeline == 1
    assert control.modified_at.replace(second=0) == datetime(2026, 11, 21, 7, 40, tzinfo=UTC)
    assert (control.max_connections, control.max_worker_processes, control.max_wal_senders) == (100, 8, 10)
    assert (control.max_prepared_xacts, control.max_locks_per_xact) == (0, 64)
    assert (control.block_size, control.relseg_size, control.wal_block_size) == (8192, 131072, 8192)
    assert control.wal_segment_size == 16 * MIB
    assert control.has_data_checksums


@pytest.mark.parametrize("major", IMAGES)
def test_any_flipped_bit_is_noticed(major: int) -> None:
    """A changed bit before or in the CRC never yields other values; one in the version number says so."""
    image = IMAGES[major]
    end = 296 if major == 18 else 292
    for bit in range(end * 8):
        damaged = bytearray(image)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((ObjectCorrupt, MajorUnsupported)):
            parse_control(bytes(damaged))


@pytest.mark.parametrize("length", [0, 292, 512, CONTROL_BYTES - 1, CONTROL_BYTES + 1])
def test_image_of_another_length_is_corrupt(length: int) -> None:
    """A pg_control has 8192 bytes, no more and no fewer."""
    with pytest.raises(ObjectCorrupt):
        parse_control(IMAGES[18].ljust(length, b"\0")[:length])


def rewritten(major: int, offset: int, packed: bytes) -> bytes:
    """An image with other bytes at `offset` and a CRC that fits."""
    image = bytearray(IMAGES[major])
    image[offset : offset + len(packed)] = packed
    crc_offset = 292 if major == 18 else 288
    struct.pack_into("<I", image, crc_offset, checksums.crc32c(bytes(image[:crc_offset])))
    return bytes(image)


def test_unknown_layout_is_refused_by_name() -> None:
    """PostgreSQL 14's version (1300, older catalog), 19's and a byte-swapped one are not guessed at."""
    for version in (1201, 1901, 0x14050000):
        with pytest.raises(MajorUnsupported):
            parse_control(rewritten(18, 8, struct.pack("<I", version)))

    fourteen = parse_control(rewritten(15, 12, struct.pack("<I", 202107181)))
    with pytest.raises(MajorUnsupported, match="202107181"):
        _ = fourteen.major

    assert parse_control(rewritten(15, 12, struct.pack("<I", 202307071))).version_directory == "PG_16_202307071"


@pytest.mark.parametrize(("offset", "packed"), [(16, struct.pack("<i", 7)), (208, struct.pack(">d", 1234567.0))])
def test_impossible_content_under_a_valid_checksum_is_corrupt(offset: int, packed: bytes) -> None:
    """A state that does not exist, or numbers in another format."""
    with pytest.raises(ObjectCorrupt):
        parse_control(rewritten(17, offset, packed))


@given(st.binary(max_size=400))
def test_crc_is_castagnolis(content: bytes) -> None:
    """The table agrees with a library."""
    assert crc32c(content) == checksums.crc32c(content)


def test_torn_image_is_read_again(tmp_path: Path) -> None:
    """A reader that meets a half-written file waits for the rest of the write."""
    path = tmp_path / "pg_control"
    whole = rewritten(18, 32, struct.pack("<Q", 0x5000028))
    path.write_bytes(whole[:150] + IMAGES[18][150:])

    def finish() -> None:
        time.sleep(0.05)
        with path.open("r+b") as file:
            file.write(whole)

    writer = threading.Thread(target=finish)
    writer.start()
    control = read_control(path)
    writer.join()

    assert control.checkpoint_lsn == Lsn.parse("0/5000028")


def test_file_that_stays_torn_is_unreadable(tmp_path: Path) -> None:
    """After ten attempts the cluster is reported, not a guess stored."""
    path = tmp_path / "pg_control"
    path.write_bytes(IMAGES[17][:150] + IMAGES[18][150:])

    with pytest.raises(SourceUnreadable, match=str(READ_ATTEMPTS)):
        read_control_image(path)


def test_only_whole_images_are_ever_returned(tmp_path: Path) -> None:
    """While two images alternate by half-writes, each read is one or the other."""
    path = tmp_path / "pg_control"
    images = [rewritten(18, 32, struct.pack("<Q", number)) for number in (0x5000028, 0x6000028)]
    path.write_bytes(images[0])
    stop = threading.Event()

    def alternate() -> None:
        descriptor = os.open(path, os.O_WRONLY)
        while not stop.is_set():
            for image in images:
                os.pwrite(descriptor, image[:150], 0)
                time.sleep(0.0002)
                os.pwrite(descriptor, image[150:], 150)
                time.sleep(0.002)
        os.close(descriptor)

    writer = threading.Thread(target=alternate)
    writer.start()
    try:
        seen = {read_control_image(path) for _ in range(1000)}
    finally:
        stop.set()
        writer.join()

    assert seen == set(images)


@pytest.mark.parametrize("name", ["absent", "directory", "short"])
def test_what_can_not_be_read_is_named(tmp_path: Path, name: str) -> None:
    """A missing file, a directory and half a file are SourceUnreadable with the path."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "short").write_bytes(IMAGES[18][:4096])

    with pytest.raises(SourceUnreadable, match=name):
        read_control(tmp_path / name)
