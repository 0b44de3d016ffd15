"""Block maps: for each 64 KiB block of a file, a CRC-32C and a keyed hash of what was read at the source.

    entry = CRC-32C u32 big-endian | first 16 bytes of BLAKE3 keyed with HKDF(repository key,
            salt = repository id, "pgvault 1 blocks")

A file's entries stand one after the other in one map object, at the offset its record names ("map" in
filelist.py); the last block of a file may be short. Maps are for deciding what an incremental may reuse; the
hash is keyed, so that equal blocks of two repositories look different.
"""

from __future__ import annotations

import struct

from blake3 import blake3

from pgvault.pipeline.seal import RepositoryKey

BLOCK_BYTES = 64 << 10
HASH_BYTES = 16
ENTRY = struct.Struct(f">I{HASH_BYTES}s")


def block_key(key: RepositoryKey, repository_id: bytes) -> bytes:
    """Return the 32-byte key of block hashes."""
    return key.derive("pgvault 1 blocks", salt=repository_id)


def block_hash(block: bytes | memoryview, key: bytes) -> bytes:
    """Return the 16-byte keyed hash of a block."""
    return blake3(block, key=key).digest(HASH_BYTES)
