"""What is said of the way on which WAL arrived."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from pgvault.wal.arrival import ArchivingServer, way_of


@pytest.mark.parametrize(
    ("slot", "archive_mode", "way"),
    [
        (None, "on", "the server's archive_command"),
        ("pgvault", "off", "the stream"),
        # A segment that is there does not tell who brought it: a dead stream must not be credited.
        ("pgvault", "on", "archive_command or the stream"),
    ],
)
def test_only_a_way_that_is_the_only_one_is_proven(slot: str | None, archive_mode: str, way: str) -> None:
    server = cast(
        "ArchivingServer", SimpleNamespace(stream_slot=slot, facts=SimpleNamespace(archive_mode=archive_mode))
    )
    assert way_of(server) == way
