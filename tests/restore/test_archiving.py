from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.postgres.control import parse_control
from pgvault.restore.archiving import keep_copy, read_copy, with_archiving, without_recovery
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


def rewritten(content: bytes, **changed: str) -> bytes:
    """As ALTER SYSTEM writes it: no comments, the changed names last."""
    lines = [line for line in content.decode().splitlines() if line and not line.startswith("#")]
    lines = [line for line in lines if line.partition(" ")[0] not in changed]
    return "\n".join(
        ["# Do not edit", *lines, *(f"{name} = '{value}'" for name, value in changed.items()), ""]
    ).encode()


@pytest.mark.parametrize("is_finished", [True, False])
def test_ours_go_without_their_marks(is_finished: bool) -> None:
    """By name and value; the originals come from the copy, and what was set since counts more."""
    fetch = "/usr/bin/pgvault wal fetch --plan /srv/d.pgvault/plan.json"
    original = ORIGINAL + b"max_connections = '200'\n"
    recovery = RECOVERY | {"restore_command": fetch}
    kept = render_auto_conf(original, recovery, at_least={"max_connections": 100})
    today = rewritten(without_recovery(kept) if is_finished else kept, work_mem="2MB", archive_timeout="7")

    adopted = with_archiving(today, kept).decode()

    settings = sorted(line for line in adopted.splitlines() if not line.startswith("#"))
    assert settings == [
        "archive_command = 'cp %p /srv'",
        "archive_mode = 'on'",
        "archive_timeout = '7'",
        "max_connections = '200'",
        "synchronous_standby_names = ''",
        "work_mem = '2MB'",
    ]
    assert with_archiving(adopted.encode()) == adopted.encode()
    left = with_archiving(today).decode()
    assert not any(name in left for name in ("archive_mode", "archive_command", "restore_command", "recovery_target"))


def test_settings_behind_ours_are_not_ours(tmp_path: Path) -> None:
    """An operator who wrote at the end of the file keeps it; his own restore_command, too."""
    kept = render_auto_conf(ORIGINAL, RECOVERY, at_least={})
    data = tmp_path / "data"
    data.mkdir()
    (data / "postgresql.auto.conf").write_bytes(kept)
    keep_copy(data, tmp_path)

    adopted = with_archiving(kept + b"archive_command = 'mine'\n", read_copy(tmp_path)).decode()

    assert adopted.splitlines()[-1] == "archive_command = 'mine'"
    assert read_copy(tmp_path) == kept
    assert b"restore_command" in with_archiving(b"restore_command = 'cp /srv/%f %p'\n")
