from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.errors import ServerUnfit
from pgvault.restore.effective import ArchiveSettings, archive_settings
from tests.servers import MAJORS

NOT_INSTALLED = 99  # the files are read without PostgreSQL then
WITH_AND_WITHOUT = pytest.mark.parametrize("major", [*MAJORS, NOT_INSTALLED])


def make_data(directory: Path, config: str) -> Path:
    data = directory / "data"
    (data / "conf.d").mkdir(parents=True)
    (data / "postgresql.conf").write_text(config)
    (data / "conf.d" / "a.conf").write_text("Archive_Command 'cp %p ''it'''  # a comment\n")
    return data


@WITH_AND_WITHOUT
def test_postgresql_auto_conf_is_the_one_that_is_meant(tmp_path: Path, major: int) -> None:
    """Not the one in the directory, and it counts more than postgresql.conf; includes are followed."""
    data = make_data(tmp_path, f"archive_mode = on\ninclude_dir 'conf.d'\ndata_directory = '{tmp_path / 'data'}'\n")
    (data / "postgresql.auto.conf").write_text("archive_mode = 'off'\n")

    on = archive_settings(data, b"", major=major)
    without = archive_settings(data, b"archive_mode = 'off'\narchive_command = ''\n", major=major)

    assert (on.is_on, on.has_means, on.command.startswith("cp %p")) == (True, True, True)
    assert without == ArchiveSettings("off", "", "")


@WITH_AND_WITHOUT
def test_a_running_servers_command_line_counts(tmp_path: Path, major: int) -> None:
    """It says where postgresql.conf is, as on Debian; of a stopped server nobody knows whether it was meant."""
    data = make_data(tmp_path, "archive_mode = on\narchive_library = 'basic'\n")
    elsewhere = tmp_path / "elsewhere.conf"
    elsewhere.write_text("archive_mode = always\n")
    options = f'/usr/bin/postgres "-D" "{data}" "-c" "config_file={elsewhere}" "--archive-command=true %p"\n'
    (data / "postmaster.opts").write_text(options)

    stopped = archive_settings(data, b"", major=major)
    (data / "postmaster.pid").touch()
    running = archive_settings(data, b"", major=major)

    assert stopped == ArchiveSettings("on", "", "basic")
    assert running == ArchiveSettings("always", "true %p", "")


@pytest.mark.skipif(not MAJORS, reason="no PostgreSQL")
def test_a_configuration_that_no_server_starts_with_is_said_to_be_one(tmp_path: Path) -> None:
    """With PostgreSQL's own words."""
    data = make_data(tmp_path, "archive_mode = perhaps\n")

    with pytest.raises(ServerUnfit, match="perhaps"):
        archive_settings(data, b"", major=MAJORS[-1])
