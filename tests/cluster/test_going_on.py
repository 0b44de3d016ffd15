from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pgvault.errors import (
    ClusterRunning,
    DirectoryNotEmpty,
    OtherCluster,
    PgvaultError,
    RecoveryFailed,
    Refused,
    ServerUnfit,
    WalMismatch,
)
from pgvault.instants import SystemClock
from pgvault.recovery.target import LatestTarget, TimeTarget
from pgvault.repository.leaseentry import Claim, State
from pgvault.repository.pins import READ_PREFIX, live_leases
from pgvault.repository.systems import known_systems
from pgvault.restore.adopt import adopt, awaits_backup
from pgvault.restore.place import marks_directory
from pgvault.restore.run import Ending, restore
from tests.archive import pgvault
from tests.cluster.vaults import QUICK_EFFORT, Vault, make_vault
from tests.servers import NEWEST, ServerFactory, older_in_ci
from tests.wal.servers import rows, system_of

pytestmark = pytest.mark.cluster
newest_only = pytest.mark.parametrize("major", [NEWEST])
NOTHING = {"archive_mode": "on", "restore_command": "", "recovery_target_lsn": "", "archive_command": ""}


@pytest.fixture(scope="module")
def originals(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Vault]:
    """One of each major, made when it is asked for: row 1 is in the backup, row 2 came after it."""

    @functools.cache
    def original(major: int) -> Vault:
        made = make_vault(servers, major, tmp_path_factory.mktemp("original"))
        made.insert(1)
        made.backup()
        made.insert(2)
        made.archive_all()
        made.server.stop()
        return made

    return original


@pytest.fixture
def vault(originals: Callable[[int], Vault], server: ServerFactory, major: int, tmp_path: Path) -> Vault:
    return originals(major).copied(server, tmp_path)


@older_in_ci
def test_a_finished_directory_needs_nobody_any_more(vault: Vault) -> None:
    """Plain `postgres -D DIR` starts with repository, key and configuration gone; beside it lies what adopt takes."""
    restored = vault.finished(LatestTarget())
    assert live_leases(vault.archive.repository, READ_PREFIX) == []  # nothing stays pinned
    vault.server.stop()
    vault.lose_repository()

    server = vault.start(restored.directory)

    assert rows(server) == [1, 2]
    assert {name: server.value(f"SHOW {name}") for name in NOTHING} == NOTHING | {
        "archive_mode": "off",
        "archive_command": "(disabled)",
    }
    assert [path.name for path in marks_directory(restored.directory).iterdir()] == ["postgresql.auto.conf"]
    assert not (restored.directory / "recovery.signal").exists()


@newest_only
def test_the_end_of_recovery_is_compared_with_the_plan(vault: Vault) -> None:
    """WAL that went bad between plan and replay is an error in our words, with the server stopped."""
    order = vault.order(LatestTarget(), ending=Ending.FINISHED)

    def spoil(_: object) -> None:
        for path in sorted((vault.archive.root / "clusters" / "main" / "wal").glob("*/*/*"))[-2:]:
            path.unlink()

    with pytest.raises(PgvaultError) as caught:
        restore(vault.archive.repository, order, effort=QUICK_EFFORT, clock=SystemClock(), confirm=spoil)

    assert isinstance(caught.value, RecoveryFailed)
    assert "is absent" in str(caught.value)
    assert "recovery ended before" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.endurance
@newest_only
def test_an_adopted_cluster_archives_and_asks_for_a_backup(vault: Vault) -> None:
    """Its own settings are back, its history is the cluster's, and a backup of it can be taken and restored."""
    vault.insert(3)
    vault.archive_all()
    moment = vault.clock()
    vault.insert(4)
    vault.archive_all()
    vault.server.stop()
    restored = vault.restore(TimeTarget(moment, "then", None), ending=Ending.ADOPTED)
    assert restored.adopted is not None
    assert restored.adopted.timeline == 2
    assert awaits_backup(vault.archive.repository, "main") == "timeline 2 has no backup yet"

    settings = vault.server.settings  # archive_mode and archive_command are given on the command line here
    vault.server = vault.start(restored.directory, settings)
    vault.insert(5)
    vault.backup()

    assert awaits_backup(vault.archive.repository, "main") is None
    assert vault.rows(vault.finished(LatestTarget())) == [1, 2, 3, 5]


@newest_only
def test_adopting_brings_back_what_was_set_by_alter_system(vault: Vault) -> None:
    """Settings that the restore commented out in postgresql.auto.conf are settings again."""
    vault.server.sql("ALTER SYSTEM SET archive_timeout = '42s'")
    vault.server.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
    vault.backup()
    restored = vault.finished(LatestTarget())
    auto_conf = restored.directory / "postgresql.auto.conf"
    assert "\narchive_timeout" not in auto_conf.read_text()

    adopted = adopt(vault.archive.repository, "main", restored.directory, clock=SystemClock())
    again = adopt(vault.archive.repository, "main", restored.directory, clock=SystemClock())

    assert "archive_timeout = '42s'" in auto_conf.read_text().splitlines()
    assert "archive_mode = 'off'" not in auto_conf.read_text()
    assert not adopted.needs_restart
    assert again.timeline == adopted.timeline == 2


@newest_only
@pytest.mark.parametrize(("ending", "has_copy"), [(Ending.FINISHED, True), (Ending.READY, True), (Ending.READY, False)])
def test_alter_system_before_adopting_loses_nothing(vault: Vault, ending: Ending, has_copy: bool) -> None:
    """PostgreSQL writes the file anew, without our marks; ours go all the same, and the original comes back."""
    own = "cp %p 'there'"
    vault.server.sql("ALTER SYSTEM SET archive_mode = 'on'")
    vault.server.sql(f"ALTER SYSTEM SET archive_command = '{own.replace(chr(39), chr(39) * 2)}'")
    recorded = vault.backup().postgres.settings["archive_command"]
    restored = vault.restore(LatestTarget(), ending=ending)
    server = vault.start(restored.directory)
    server.sql("ALTER SYSTEM SET work_mem = '5MB'")
    server.stop()
    if not has_copy:
        shutil.rmtree(marks_directory(restored.directory))

    adopted = adopt(vault.archive.repository, "main", restored.directory, clock=SystemClock())

    server = vault.start(restored.directory)
    names = ("archive_mode", "archive_command", "work_mem", "restore_command", "recovery_target_timeline")
    assert [server.value(f"SHOW {name}") for name in names] == [
        "on",
        own if has_copy else recorded,
        "5MB",
        "",
        "latest",
    ]
    assert bool(adopted.notes) >= (not has_copy)
    assert not marks_directory(restored.directory).exists()


@newest_only
def test_what_would_not_archive_is_not_adopted(vault: Vault) -> None:
    """Neither settings of its own nor recorded ones: an error, and nothing is recorded or pushed."""
    stranger = vault.factory(NEWEST, fresh=True)
    before = known_systems(vault.archive.repository, "main")

    with pytest.raises(ServerUnfit, match="would not archive"):
        adopt(vault.archive.repository, "main", stranger.data, clock=SystemClock(), accepts_new_system=True)

    assert known_systems(vault.archive.repository, "main") == before


@newest_only
@pytest.mark.endurance
def test_two_copies_do_not_both_become_the_cluster(vault: Vault) -> None:
    """The second restore takes another number; the same number with another history is refused for ever."""
    one, two = vault.finished(LatestTarget()), vault.finished(LatestTarget())
    adopt(vault.archive.repository, "main", one.directory, clock=SystemClock())
    history = two.directory / "pg_wal" / "00000002.history"
    history.write_bytes(history.read_bytes().replace(b"reached", b"was reached otherwise ") + b"# other\n")

    with pytest.raises(WalMismatch):
        adopt(vault.archive.repository, "main", two.directory, clock=SystemClock())

    third = vault.finished(LatestTarget()).finished
    assert third is not None
    assert third.timeline == 3


@newest_only
def test_a_stranger_is_adopted_only_as_a_new_system(vault: Vault) -> None:
    """After a new initdb the operator has to say so; it is recorded behind the one before."""
    stranger = vault.factory(NEWEST, fresh=True)
    stranger.stop()
    with (stranger.data / "postgresql.conf").open("a") as file:
        file.write("archive_mode = on\narchive_command = 'cp %p there'\n")

    with pytest.raises(OtherCluster):
        adopt(vault.archive.repository, "main", stranger.data, clock=SystemClock())
    adopted = adopt(vault.archive.repository, "main", stranger.data, clock=SystemClock(), accepts_new_system=True)

    assert (adopted.is_new_system, adopted.system_identifier) == (True, system_of(stranger.data))
    assert "has no backup yet" in str(awaits_backup(vault.archive.repository, "main"))


@newest_only
def test_what_still_recovers_is_not_adopted(vault: Vault) -> None:
    """Its timeline is not known before it is promoted."""
    restored = vault.restore(LatestTarget())

    with pytest.raises(Refused, match="has not ended its recovery"):
        adopt(vault.archive.repository, "main", restored.directory, clock=SystemClock())
    (left,) = live_leases(vault.archive.repository, READ_PREFIX)
    manifest = restored.prepared.manifest
    assert left.state is State.LEFT  # its server will ask for WAL
    assert left.claim == Claim("main", "", (manifest.label,), {manifest.system_identifier: manifest.start_lsn})


@newest_only
def test_in_place_moves_the_old_directory_aside(vault: Vault) -> None:
    """Only with the server stopped; the old one keeps every byte, the new one stands in its place."""
    data = vault.server.data
    with pytest.raises(ClusterRunning):
        vault.restore(LatestTarget(), directory=None, live_data=data, is_in_place=True)
    vault.server.stop()
    old = sorted(path.relative_to(data) for path in data.rglob("*"))

    restored = vault.finished(LatestTarget(), directory=None, live_data=data, is_in_place=True)

    assert restored.directory == data
    assert restored.aside is not None
    assert sorted(path.relative_to(restored.aside) for path in restored.aside.rglob("*")) == old
    assert rows(vault.start(data)) == [1, 2]
    assert not list(data.parent.glob("*.restoring-*"))


@newest_only
def test_in_place_without_finish_recovers_where_it_stands(vault: Vault) -> None:
    """The restore command names the plan beside the final directory, not beside the one it was made in."""
    vault.server.stop()

    restored = vault.restore(LatestTarget(), directory=None, live_data=vault.server.data, is_in_place=True)

    assert (marks_directory(vault.server.data) / "plan.json").exists()
    assert rows(vault.start(restored.directory)) == [1, 2]


@newest_only
def test_a_restore_keeps_away_from_what_is_in_use(vault: Vault) -> None:
    """Not over a live cluster, not over anything, not into a cluster, not into the repository."""
    with pytest.raises(ClusterRunning):
        vault.restore(LatestTarget(), directory=vault.server.data)
    inside = vault.server.data / "pg_log" / "new"
    with pytest.raises(Refused, match="inside the data directory"):
        vault.restore(LatestTarget(), directory=inside)
    with pytest.raises(Refused, match="repository"):
        vault.restore(LatestTarget(), directory=vault.archive.root / "clusters" / "new")
    alias = vault.directory / "alias"
    alias.symlink_to(vault.archive.root)
    with pytest.raises(Refused, match="repository"):
        vault.restore(LatestTarget(), directory=alias / "new")
    full = vault.directory / "full"
    full.mkdir()
    (full / "mine").touch()
    with pytest.raises(DirectoryNotEmpty):
        vault.restore(LatestTarget(), directory=full)

    assert not inside.exists()
    assert list(full.iterdir()) == [full / "mine"]


@newest_only
def test_the_command_line_restores_and_tells(vault: Vault) -> None:
    """--dry-run writes nothing; --json holds directory, backup, target with zone and LSN; DIR may be left out."""
    configured: list[str | Path] = ["--config", vault.archive.config]

    too_late = pgvault(*configured, "restore", "--to", "2099-01-01T00:00", "--json", cwd=vault.directory)
    dry = pgvault(*configured, "restore", "--to", "latest", "--dry-run", "--json", cwd=vault.directory)
    planned = json.loads(dry.output)
    was_made = Path(planned["directory"]).exists()
    done = pgvault(*configured, "restore", "--to", "latest", "--finish", "--json", cwd=vault.directory)

    assert too_late.status == 25
    assert "recovery ended before" not in too_late.errors
    assert dry.status == 0, dry.errors
    assert not was_made
    assert done.status == 0, done.errors
    document = json.loads(done.output)
    assert Path(document["directory"]).parent == vault.directory
    assert document["backup"] == planned["backup"]
    assert document["finished"]["timeline"] == 2
    assert rows(vault.start(Path(document["directory"]))) == [1, 2]
    adopted = pgvault(*configured, "adopt", document["directory"], "--json")
    assert json.loads(adopted.output)["needs_restart"]
