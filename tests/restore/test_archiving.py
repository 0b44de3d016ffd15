from __future__ import annotations

import pytest

from pgvault.postgres.control import parse_control
from pgvault.restore.archiving import with_archiving, without_recovery
from pgvault.restore.control import NO_CHECKPOINT, without_checkpoint
from pgvault.restore.settings import render_auto_conf
from tests.archive import make_control

ORIGINAL = (
    b"# Do not edit\nwork_mem = '1MB'\narchive_mode = 'on'\narchive_command = 'cp %p /srv'\nprimary_conninfo = 'x'\n"
)
RECOVERY = {"restore_command": "fetch", "recovery_target_lsn": "0/3000000", "hot_standby": "off"}


def test_when_recovery_is_over_only_quiet_settings_stay() -> None:
    """Nothing of recovery is left, and it still does not archive."""
    finished = without_recovery(render_auto_conf(ORIGINAL, RECOVERY, at_least={"max_connections": 100})).decode()

    settings = [line for line in finished.splitlines() if line and not line.startswith("#")]
    assert settings == [
        "work_mem = '1MB'",
        "archive_mode = 'off'",
        "archive_command = ''",
        "archive_library = ''",
        "synchronous_standby_names = ''",
    ]


@pytest.mark.parametrize("is_finished", [True, False])
def test_adopting_brings_the_archive_settings_back(is_finished: bool) -> None:
    """Those that were there, and no other of the lines that were disarmed; doing it twice changes nothing."""
    restored = render_auto_conf(ORIGINAL, RECOVERY, at_least={})

    adopted = with_archiving(without_recovery(restored) if is_finished else restored)

    settings = [line for line in adopted.decode().splitlines() if line and not line.startswith("#")]
    assert settings == [
        "work_mem = '1MB'",
        "archive_mode = 'on'",
        "archive_command = 'cp %p /srv'",
        "synchronous_standby_names = ''",
    ]
    assert with_archiving(adopted) == adopted


def test_a_file_that_is_none_of_ours_stays_as_it_is() -> None:
    """A cluster that pgvault did not restore keeps its settings to the byte."""
    assert with_archiving(ORIGINAL) == ORIGINAL


def test_pg_control_is_valid_and_knows_no_checkpoint() -> None:
    """Its CRC is right, so that only the missing record stops a server without backup_label."""
    image = without_checkpoint(make_control())

    assert parse_control(image).checkpoint_lsn.value == NO_CHECKPOINT
    assert parse_control(image).system_identifier == parse_control(make_control()).system_identifier
