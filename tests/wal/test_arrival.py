"""What is said of the way on which WAL arrived."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from pgvault.wal.arrival import ArchivingServer, way_of


@pytest.mark.parametrize(
    ("slot", "archive_mode", "in_recovery", "way"),
    [
        (None, "on", False, "the server's archive_command"),
        ("pgvault", "off", False, "the stream"),
        # A segment that is there does not tell who brought it: a dead stream must not be credited.
        ("pgvault", "on", False, "archive_command or the stream"),
        # Nor does that of a standby, of which both servers may archive.
        (None, "on", True, "the primary's archive_command"),
        (None, "always", True, "archive_command, the primary's or the standby's"),
        ("pgvault", "off", True, "archive_command or the stream"),
    ],
)
def test_only_a_way_that_is_the_only_one_is_proven(
    slot: str | None, archive_mode: str, in_recovery: bool, way: str
) -> None:
    facts = SimpleNamespace(archive_mode=archive_mode, in_recovery=in_recovery)
    server = cast("ArchivingServer", SimpleNamespace(stream_slot=slot, facts=facts))
    assert way_of(server) == way
