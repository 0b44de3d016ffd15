"""Do the checksums of a file's record fit together? Restore and verify ask before they fetch."""

from __future__ import annotations

from awscrt.checksums import combine_crc32c, crc32c

from pgvault.errors import ObjectCorrupt
from pgvault.repository.filelist import FileRecord


def check_sum(record: FileRecord) -> None:
    """Compare a file's CRC-32C with those of its extents, and zeros with what zeros have. Raises ObjectCorrupt."""
    crc, length = 0, 0
    for extent in record.extents:
        if extent.pack is None and extent.crc32c != zeros_crc(extent.length):
            raise ObjectCorrupt(f"file list: {record.path!r} has zeros that are none")
        crc = combine_crc32c(crc, extent.crc32c, extent.length) if length else extent.crc32c
        length += extent.length
    if crc != record.crc32c:
        raise ObjectCorrupt(f"file list: the CRC of {record.path!r} is not that of its extents")


def zeros_crc(length: int) -> int:
    """CRC-32C of that many zero bytes, in as many steps as the number has digits."""
    crc, done = 0, 0
    power, power_crc = 1, crc32c(b"\0")
    while length:
        if length & 1:
            crc = combine_crc32c(crc, power_crc, power) if done else power_crc
            done += power
        power_crc = combine_crc32c(power_crc, power_crc, power)
        power, length = power * 2, length >> 1
    return crc
