from __future__ import annotations

import pytest

from pgvault.errors import ObjectCorrupt, ObjectMissing, PgvaultError
from pgvault.monitor.finding import Level
from pgvault.monitor.reading import judge_reading
from pgvault.repository import layout
from tests.mirror.vaults import LABELS, Vault, tail_path, wal_path

ROOT = layout.manifest("main", LABELS[0])


@pytest.mark.parametrize(
    ("copy", "path", "error", "level"),
    [
        ("primary", ROOT, ObjectMissing("gone"), Level.RED),
        ("primary", wal_path(2), ObjectMissing("gone"), Level.RED),
        ("primary", ROOT, ObjectCorrupt("changed"), Level.WARN),
        ("primary", tail_path(6, 0, 64), ObjectMissing("merged"), Level.WARN),
        ("primary", "clusters/main/gaps/20260115T103000Z-0001", ObjectMissing("merged"), Level.WARN),
        ("dr", ROOT, ObjectMissing("under way"), Level.WARN),
    ],
)
def test_a_backup_that_the_first_copy_lost_is_red(copy: str, path: str, error: PgvaultError, level: Level) -> None:
    """It is read from another one, and no backup is any worse; but it is in one copy less than everybody believes."""
    repository = Vault().both
    other = "dr" if copy == "primary" else "primary"
    repository.reader.note_damage(path, error, copy=copy, taken_from=other, is_older=False)

    (finding,) = judge_reading(repository)

    assert (finding.name, finding.level) == ("damage", level)
