from __future__ import annotations

import pytest

from pgvault.postgres.walrange import SegmentRange
from pgvault.repository.gaps import note_expired
from tests.archive import AT, SYSTEM
from tests.verify.vault import Vault, segment_of, wal_key


@pytest.mark.parametrize(("noted", "problems"), [((6, 6), []), ((5, 5), [f"WAL {segment_of(6).name}"]), (None, None)])
def test_what_retention_removed_is_not_missed(
    vault: Vault, noted: tuple[int, int] | None, problems: list[str] | None
) -> None:
    """Only that: a hole without its record is a problem."""
    del vault.objects[wal_key(segment_of(6).name)]
    if noted is not None:
        first, last = noted
        gone = SegmentRange(segment_of(first), segment_of(last))
        note_expired(vault.repository, "main", SYSTEM, [gone], at=AT)

    found = [problem.what for problem in vault.verify().problems]

    assert found == ([f"WAL {segment_of(6).name}"] if problems is None else problems)
