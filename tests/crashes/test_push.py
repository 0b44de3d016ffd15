"""`pgvault wal push`, killed after each store operation."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.repository.walobjects import read_wal_bytes
from tests.archive import SYSTEM, Archive, make_archive, make_segment, pgvault, small
from tests.crashpoints import Words, enumerate_crashes

pytestmark = pytest.mark.endurance


def make_places(directory: Path) -> tuple[dict[int, Archive], Path]:
    """Archives by crash point, and three ready segments as archive_command finds them."""
    wal = directory / "pg_wal"
    (wal / "archive_status").mkdir(parents=True)
    for number in (2, 3, 4):
        name = small(number).name
        (wal / name).write_bytes(make_segment(small(number)))
        (wal / "archive_status" / f"{name}.ready").touch()
    return {}, wal


def test_segment_is_archived_whole_or_not_at_all(tmp_path: Path) -> None:
    """Whatever is there after a crash is the segment, and the archiver's next try gets it in."""
    places, wal = make_places(tmp_path)
    names = [small(number).name for number in (2, 3, 4)]

    def command(k: int) -> Words:
        (tmp_path / str(k)).mkdir()
        places[k] = make_archive(tmp_path / str(k))
        return ["pgvault", "--config", places[k].config, "wal", "push", wal / names[0]]

    def invariant(k: int) -> None:
        found = [name for name in places[k].names(SYSTEM) if ".tail" not in name]
        for name in names:
            if name in found:
                assert read_wal_bytes(places[k].repository, "main", SYSTEM, name)[1] == (wal / name).read_bytes()
            again = pgvault("--config", places[k].config, "wal", "push", wal / name)
            assert again.status == 0, again.errors
        assert places[k].names(SYSTEM) == names

    assert enumerate_crashes(command, invariant) >= 3
