"""What the info frame of a WAL object says, from its first bytes: one small read, whatever the object's size.

The frame is authentic, bound to the object's name. That the bytes behind it are whole, nobody has seen: whoever
uses a segment reads it whole (walobjects.py).
"""

from __future__ import annotations

from pgvault.errors import ObjectCorrupt
from pgvault.pipeline.header import HEADER, Kind
from pgvault.pipeline.seal import FRAME_BYTES, FRAME_HEAD, TAG_BYTES, open_first_frame
from pgvault.repository import layout
from pgvault.repository.objects import address
from pgvault.repository.repository import Repository
from pgvault.repository.walobjects import WalInfo

FIRST_READ_BYTES = 1024  # header and info frame take about 390
LONGEST_BYTES = HEADER.size + FRAME_HEAD.size + FRAME_BYTES + TAG_BYTES


def read_info(repository: Repository, cluster: str, system_identifier: int, name: str) -> WalInfo:
    """Return the info frame of an archived WAL file. Raises ObjectMissing (confirmed), ObjectCorrupt, WrongKey."""
    path = layout.wal_file(cluster, system_identifier, name)
    info = WalInfo.decode(read_first_frame(repository, path, Kind.WAL), where=path)
    if info.name != name or info.system_identifier != system_identifier:
        raise ObjectCorrupt(f"WAL object {path!r} says it is {info.name!r} of system {info.system_identifier}")
    return info


def read_first_frame(repository: Repository, path: str, kind: Kind) -> bytes:
    """Return the plaintext of an object's first frame."""
    place = address(repository, path, kind)

    def opened(begin: bytes) -> bytes | None:
        return open_first_frame(begin, place, keys=repository.keys.by_id)

    def whole(begin: bytes) -> bytes:
        frame = opened(begin)
        if frame is None:  # in the check: another copy may have it
            raise ObjectCorrupt(f"object {path!r} is cut in its first frame")
        return frame

    frame = repository.reader.read_range(path, 0, FIRST_READ_BYTES, opened)
    return frame if frame is not None else repository.reader.read_range(path, 0, LONGEST_BYTES, whole)
