"""pg_control of a restored cluster: it knows no checkpoint, so that nothing but backup_label says where to begin.

A restored directory whose backup_label was removed ("it would not start otherwise") would find the checkpoint that
pg_control names, replay from there and open, inconsistent and without a word. With an impossible position in its
place it does not start at all (pitfall 47); with the label, PostgreSQL takes the position from there and corrects it.
"""

from __future__ import annotations

import struct

from pgvault.errors import ObjectCorrupt, OtherCluster
from pgvault.postgres.control import CRC_OFFSETS, crc32c, parse_control
from pgvault.repository.manifest import Manifest

NO_CHECKPOINT = 0xDEAD  # as pgBackRest does; 57005 is within a page, so PostgreSQL looks for a record there
CHECKPOINT_OFFSET = 32
VERSION_OFFSET = 8


def check_control(image: bytes, manifest: Manifest) -> None:
    """Raise ObjectCorrupt or OtherCluster unless `image` is a pg_control of the backup's cluster."""
    control = parse_control(image)
    if control.system_identifier != manifest.system_identifier:
        raise OtherCluster(
            f"pg_control of backup {manifest.label!r} is of system {control.system_identifier}, "
            f"its root says {manifest.system_identifier}"
        )
    if control.checkpoint_lsn < manifest.start_lsn:
        raise ObjectCorrupt(f"pg_control of backup {manifest.label!r} is older than the backup")


def without_checkpoint(image: bytes) -> bytes:
    """Return the image with an impossible checkpoint position, its own CRC right."""
    changed = bytearray(image)
    struct.pack_into("<Q", changed, CHECKPOINT_OFFSET, NO_CHECKPOINT)
    (version,) = struct.unpack_from("<I", changed, VERSION_OFFSET)
    offset = CRC_OFFSETS[version]
    struct.pack_into("<I", changed, offset, crc32c(bytes(changed[:offset])))
    return bytes(changed)
