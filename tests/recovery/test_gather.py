from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.errors import ObjectMissing, ProgramMissing, TargetTooEarly
from pgvault.postgres.walname import segments_between
from pgvault.recovery.gather import Workplace, gathering
from pgvault.recovery.plan import RestoreRequest, plan_restore
from pgvault.recovery.target import ImmediateTarget, LatestTarget
from pgvault.repository.catalog import commit_manifest
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from pgvault.repository.walobjects import WalInfo, put_wal
from pgvault.restore.apply import find_owner
from pgvault.restore.files import Destination, restore_files
from tests.archive import AT, make_segment
from tests.repository.samples import make_manifest
from tests.restore.backups import EFFORT, back_up

NO_SUCH_MAJOR = 99


@pytest.fixture
def strange(repository: Repository) -> Manifest:
    """A backup of a PostgreSQL whose programs nobody has, with its WAL."""
    sample = make_manifest(timeline=1, tablespaces={})
    manifest = replace(sample, postgres=replace(sample.postgres, major=NO_SUCH_MAJOR))
    for segment in segments_between(1, manifest.start_lsn, manifest.stop_lsn, manifest.wal_segment_size):
        content = make_segment(segment, system_identifier=manifest.system_identifier)
        digest = hashlib.sha256(content).digest()
        info = WalInfo(segment.name, len(content), digest, manifest.system_identifier, 1, segment.start_lsn, AT, AT)
        put_wal(repository, "main", info, content=content)
    commit_manifest(repository, manifest)
    return manifest


def test_without_pg_waldump_nothing_is_guessed(repository: Repository, strange: Manifest, tmp_path: Path) -> None:
    """The error says which program is missing and what works without it; nothing stays in the scratch."""
    with (
        pytest.raises(ProgramMissing, match="pg_waldump of PostgreSQL 99") as caught,
        gathering(repository, "main", None, workplace=Workplace(tmp_path)) as gathered,
    ):
        plan_restore(gathered.facts, RestoreRequest(LatestTarget()))

    assert "--immediate" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_without_pg_waldump_a_backup_is_restored_as_it_is(repository: Repository, strange: Manifest) -> None:
    """--immediate needs no look into WAL; that the rest is not known is said."""
    with gathering(repository, "main", None, target=ImmediateTarget()) as gathered:
        plan = plan_restore(gathered.facts, RestoreRequest(ImmediateTarget()))

    assert plan.settings["recovery_target"] == "immediate"
    assert gathered.manifest(plan.backup_label) == strange
    assert "how far the WAL reaches is not known: no pg_waldump of PostgreSQL 99" in gathered.notes


def test_no_backup_or_another_label_is_said(repository: Repository, strange: Manifest) -> None:
    """An empty cluster, and a label that is none."""
    with pytest.raises(TargetTooEarly), gathering(repository, "other", None):
        pass
    with pytest.raises(ObjectMissing), gathering(repository, "main", "20200101T000000Z-0000"):
        pass


def test_owners_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names count before numbers; a user that is not known here gets nothing, and a note says so."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    sample = make_manifest()

    known, _ = find_owner(replace(sample, owner=replace(sample.owner, uid=1, user="nobody", group="nogroup")))
    unknown, note = find_owner(replace(sample, owner=replace(sample.owner, user="who-is-that")))

    assert known is not None
    assert known[0] > 1
    assert (unknown, note) == (
        None,
        "user 'who-is-that', who owned the cluster, is not known here: the files belong to root",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_everything_is_given_to_the_owner(repository: Repository, tmp_path: Path) -> None:
    """Files, directories and holes alike."""
    source, data = tmp_path / "source", tmp_path / "data"
    (source / "base").mkdir(parents=True)
    (source / "base" / "1").write_bytes(b"x")
    (source / "empty").touch()
    data.mkdir()

    restore_files(repository, back_up(repository, source), Destination(data, owner=(65534, 65534)), effort=EFFORT)

    assert {path.stat().st_uid for path in data.rglob("*")} == {65534}
