"""A server's settings, our role, and the programs of its major."""

from __future__ import annotations

import pytest

from pgvault.cli import streaming
from pgvault.doctor import visiting
from pgvault.doctor.server import (
    ArchiveSettings,
    RoleFacts,
    judge_grants,
    judge_programs,
    judge_role,
    judge_wal,
)
from pgvault.errors import ProgramMissing, ServerUnreachable
from pgvault.monitor.finding import Level

PUSH = "/opt/pgvault/bin/pgvault wal push %p"


@pytest.mark.parametrize(
    ("settings", "level", "said"),
    [
        (ArchiveSettings("replica", "on", PUSH, ""), Level.OK, "pgvault's"),
        (ArchiveSettings("logical", "always", f"/usr/bin/env X=1 {PUSH} --cluster a", ""), Level.OK, "pgvault's"),
        (
            ArchiveSettings("replica", "on", 'python3 -P "/x/cli/pushprogram.py" wal push "%p"', ""),
            Level.OK,
            "pgvault's",
        ),
        (ArchiveSettings("minimal", "on", PUSH, ""), Level.RED, "wal_level is minimal"),
        (ArchiveSettings("replica", "off", "", ""), Level.RED, "archive_mode is off"),
        (ArchiveSettings("replica", "on", " ", ""), Level.RED, "empty"),
        (ArchiveSettings("replica", "on", "/bin/true", ""), Level.RED, "throws WAL away"),
        (ArchiveSettings("replica", "on", "exit 0;", ""), Level.RED, "throws WAL away"),
        (ArchiveSettings("replica", "on", f"{PUSH} || true", ""), Level.RED, "even where it fails"),
        (ArchiveSettings("replica", "on", f"{PUSH}; exit 0", ""), Level.RED, "even where it fails"),
        (ArchiveSettings("replica", "on", "", "basic_archive"), Level.RED, "basic_archive"),
        (ArchiveSettings("replica", "on", "test ! -f /a/%f && cp %p /a/%f", ""), Level.WARN, "does not call"),
        (ArchiveSettings("replica", "on", "pgvault wal fetch %f %p", ""), Level.WARN, "does not call"),
    ],
)
def test_settings_that_lose_wal_are_told(settings: ArchiveSettings, level: Level, said: str) -> None:
    """A script may call us, so what we can not see in it is a warning; what can not archive is wrong."""
    found = judge_wal(settings, is_streamed=False)

    assert found.level is level
    assert said in found.detail


def test_a_streamed_server_need_not_archive() -> None:
    """It still has to write what a backup needs."""
    assert judge_wal(ArchiveSettings("replica", "off", "", ""), is_streamed=True).level is Level.OK
    assert judge_wal(ArchiveSettings("minimal", "off", "", ""), is_streamed=True).level is Level.RED


def test_missing_grants_are_wrong_and_said() -> None:
    found = judge_grants(["GRANT pg_read_all_settings TO backup"])

    assert found.level is Level.RED
    assert found.hint == "As a superuser: GRANT pg_read_all_settings TO backup;"
    assert judge_grants([]).level is Level.OK


@pytest.mark.parametrize(
    ("role", "level"),
    [
        (RoleFacts("reader", False, 0), Level.OK),
        (RoleFacts("app", False, 3), Level.WARN),
        (RoleFacts("postgres", True, 0), Level.WARN),
        (ServerUnreachable("away"), Level.RED),
    ],
)
def test_a_role_of_checks_that_may_write_is_told(role: RoleFacts | ServerUnreachable, level: Level) -> None:
    assert judge_role(role).level is level


def test_a_missing_program_is_wrong() -> None:
    """By what it is needed for."""
    found = list(judge_programs(18, {"dumps": "/usr/bin", "drills": ProgramMissing("none", hint="Install it.")}))

    assert [(each.name, each.level) for each in found] == [
        ("programs for dumps", Level.OK),
        ("programs for drills", Level.RED),
    ]
    assert found[1].hint == "Install it."


def test_the_usual_spool_is_the_one_that_streams() -> None:
    """What is looked at is where WAL will lie."""
    assert visiting.SPOOLS == streaming.SPOOLS
