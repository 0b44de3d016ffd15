"""What is seen before a backup of a server begins, and when it has ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pgvault.backup.inventory import Before
from pgvault.backup.source import Ended, check_ended, check_server
from pgvault.errors import ServerUnfit
from pgvault.postgres.backuplabel import BackupLabel
from pgvault.postgres.control import ClusterState, parse_control
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import ServerFacts, StoppedBackup
from pgvault.repository.manifest import Owner
from tests.archive import make_control

PRIMARY = ServerFacts(
    system_identifier=1,
    version_num=180000,
    version_text="18.0",
    timeline=1,
    in_recovery=False,
    data_directory=Path("/data"),
    config_file=Path("/data/postgresql.conf"),
    hba_file=Path("/data/pg_hba.conf"),
    ident_file=Path("/data/pg_ident.conf"),
    block_size=8192,
    wal_block_size=8192,
    wal_segment_size=1 << 20,
    wal_level="replica",
    full_page_writes=True,
    data_checksums=True,
    timezone="UTC",
    log_timezone="UTC",
    archive_mode="on",
    archive_command="pgvault wal push %p",
    archive_library="",
    archive_timeout=timedelta(0),
    shared_preload_libraries="",
    session_settings={},
    standby_minima={},
    tablespaces={},
    databases={},
    bootstrap_superuser="postgres",
    role="postgres",
)
STANDBY = replace(PRIMARY, in_recovery=True)
LABEL = BackupLabel(Lsn(1000), Lsn(1100), 1, is_from_standby=True)


def silent(facts: ServerFacts) -> ServerFacts:
    """The same, archiving nothing."""
    return replace(facts, archive_mode="off", archive_command="")


def refuses(facts: ServerFacts, *, is_streamed: bool = False, primary: ServerFacts | None = None) -> bool:
    try:
        check_server(facts, is_untested_major_allowed=False, is_streamed=is_streamed, primary=primary)
    except ServerUnfit:
        return True
    return False


def test_whoever_archives_a_servers_wal_is_asked_for_its_settings() -> None:
    """A primary archives its own; that of a standby its primary does, or the standby itself where it always does."""
    assert not refuses(PRIMARY)
    assert refuses(silent(PRIMARY))
    assert not refuses(silent(PRIMARY), is_streamed=True)
    assert not refuses(STANDBY, primary=PRIMARY)
    assert refuses(STANDBY, primary=silent(PRIMARY))
    assert not refuses(replace(STANDBY, archive_mode="always"), primary=silent(PRIMARY))
    assert not refuses(silent(STANDBY))  # nobody says: the WAL itself will tell


def ended(*, state: ClusterState = ClusterState.IN_ARCHIVE_RECOVERY, minimum: int = 1500, stop: int = 2000) -> Ended:
    control = replace(
        parse_control(make_control()), state=state, min_recovery_lsn=Lsn(minimum), min_recovery_timeline=1
    )
    return Ended(StoppedBackup(Lsn(stop), b"", b""), Before(), control, Owner(0, 0, None, None))


def test_a_standbys_backup_is_whole_where_its_pg_control_says() -> None:
    """That is behind its start, and no further than its stop."""
    check_ended(ended(), LABEL, in_recovery=True)
    check_ended(ended(minimum=2000), LABEL, in_recovery=True)


@pytest.mark.parametrize(
    ("of", "label", "in_recovery"),
    [
        (ended(minimum=2001), LABEL, True),  # WAL that nobody waited for
        (ended(minimum=0), LABEL, True),  # a primary's
        (ended(state=ClusterState.IN_PRODUCTION), LABEL, True),  # promoted
        (ended(), replace(LABEL, timeline=2), True),  # its primary was replaced meanwhile
        (ended(), replace(LABEL, is_from_standby=False), True),
        (ended(), LABEL, False),
        (ended(stop=1000), LABEL, True),
    ],
)
def test_what_does_not_belong_together_is_no_backup(of: Ended, label: BackupLabel, in_recovery: bool) -> None:
    with pytest.raises(ServerUnfit):
        check_ended(of, label, in_recovery=in_recovery)
