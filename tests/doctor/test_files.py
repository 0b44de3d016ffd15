"""Who may read and write what pgvault is trusted with, by modes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pgvault.doctor.files import (
    FileFacts,
    SecretFacts,
    UserFacts,
    judge_config_rights,
    judge_key_place,
    judge_reading,
    judge_secret,
)
from pgvault.monitor.finding import Level

POSTGRES = UserFacts("postgres", 105, (105, 110))
DIRECTORY, FILE = stat.S_IFDIR, stat.S_IFREG
KEY = Path("/etc/pgvault/key")


def chain(mode: int, *, uid: int = 105, gid: int = 105, above: int = 0o755) -> tuple[FileFacts, ...]:
    return (
        FileFacts(Path("/"), 0, 0, DIRECTORY | 0o755),
        FileFacts(KEY.parent, 0, 0, DIRECTORY | above),
        FileFacts(KEY, uid, gid, FILE | mode),
    )


@pytest.mark.parametrize(
    ("mode", "above", "level"),
    [
        (0o400, 0o755, Level.OK),
        (0o440, 0o755, Level.OK),
        (0o444, 0o755, Level.RED),
        (0o444, 0o750, Level.OK),
        (0o660, 0o755, Level.RED),
        (0o602, 0o755, Level.RED),
    ],
)
def test_a_key_that_others_can_read_or_replace_is_wrong(mode: int, above: int, level: Level) -> None:
    """Unless a directory above keeps them out; its own group may be given it to read."""
    assert judge_secret(SecretFacts("key", KEY, chain(mode, above=above))).level is level


def test_a_key_that_is_not_there_is_wrong() -> None:
    found = judge_secret(SecretFacts("key", KEY, (), "No such file or directory"))

    assert (found.level, found.name) == (Level.RED, "key file")
    assert "No such file" in found.detail


def test_a_key_in_the_data_directory_or_the_repository_is_wrong() -> None:
    """By components: /srv/data2 is not in /srv/data."""
    data, copy = Path("/srv/data"), Path("/srv/repository")

    assert [f.level for f in judge_key_place(data / "key", data=data, copies=[copy])] == [Level.RED]
    assert [f.level for f in judge_key_place(copy / "x/key", data=data, copies=[copy])] == [Level.RED]
    assert list(judge_key_place(Path("/srv/data2/key"), data=data, copies=[copy])) == []


@pytest.mark.parametrize(("mode", "level"), [(0o644, Level.OK), (0o664, Level.WARN), (0o646, Level.RED)])
def test_a_configuration_that_others_can_write_is_told(mode: int, level: Level) -> None:
    """It names programs that are run."""
    assert judge_config_rights(FileFacts(Path("/etc/pgvault/pgvault.yaml"), 0, 0, FILE | mode)).level is level


@pytest.mark.parametrize(
    ("found", "stops_at"),
    [
        (chain(0o400), None),
        (chain(0o400, uid=0), KEY),
        (chain(0o440, uid=0, gid=110), None),
        (chain(0o440, uid=0, gid=111), KEY),
        (chain(0o004, uid=105), KEY),
        (chain(0o400, above=0o700), KEY.parent),
    ],
    ids=["own", "root's", "by a group", "another group", "own bits count first", "a directory above"],
)
def test_the_archiver_must_be_able_to_read_it(found: tuple[FileFacts, ...], stops_at: Path | None) -> None:
    """As the kernel decides: the owner's bits for the owner, else the group's, else those of others."""
    judged = judge_reading("key for the archiver", found, POSTGRES)

    if stops_at is None:
        assert judged is None
    else:
        assert judged is not None
        assert judged.level is Level.RED
        assert f"'{stops_at}'" in judged.detail


def test_root_reads_everything() -> None:
    assert judge_reading("key", chain(0o000, above=0o000), UserFacts("root", 0, (0,))) is None
