from __future__ import annotations

from pgvault.pipeline.seal import RepositoryKey
from pgvault.repository.blockmap import BLOCK_BYTES, ENTRY, block_hash, block_key

KEY = RepositoryKey(1, bytes(range(32)))
ID = b"repository id 16"


def test_entries_are_those_of_format_1() -> None:
    """Pinned: twenty bytes a block of 64 KiB, CRC before hash, and the key they are made with."""
    assert BLOCK_BYTES == 65536
    assert ENTRY.pack(0x9A71BB4C, bytes(range(16))) == b"\x9a\x71\xbb\x4c" + bytes(range(16))
    assert block_key(KEY, ID).hex() == "69910f60b653fbb498d93c21df911e2bb0e6e93e01da61b755fc1048d909eb38"
    assert block_hash(b"page", block_key(KEY, ID)).hex() == "7c2327e14bbccfa6305b41e3b7bf8a61"


def test_equal_blocks_have_one_hash_in_one_repository_only() -> None:
    """A hash tells nothing to whom lacks the key, also not that two repositories hold the same block."""
    key = block_key(KEY, ID)

    assert block_hash(b"page", key) == block_hash(memoryview(b"page"), key)
    assert block_hash(b"page", key) != block_hash(b"pagf", key)
    assert block_hash(b"page", key) != block_hash(b"page", block_key(KEY, b"repository id 17"))
    assert block_hash(b"page", key) != block_hash(b"page", block_key(RepositoryKey(1, bytes(32)), ID))
