"""Progress of the real commands, on a real terminal and without one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvault.postgres.server import Session
from pgvault.postgres.sizes import databases_bytes
from tests.archive import bare_environment, program
from tests.cli.here import pgvault
from tests.cluster.places import Place, make_place
from tests.servers import NEWEST, ServerFactory
from tests.terminals import Seen, on_a_terminal

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

# 45 % 1.2 GiB of 2.7 GiB 110.0 MiB/s 14 s left
DRAWN = r"[^\r\n]*━[^\r\n]*? \d+ % [\d.]+ [KMG]?i?B of ([\d.]+ [KMG]?i?B) [\d.]+ [KMG]?i?B/s (\d+ s|\d+ min) left"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3|4|9)\d(?:;\d+)*m")
MOVES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def place(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server with some rows, and two copies of the repository, backed up once."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    servers = ServerFactory(templates)
    directory = tmp_path_factory.mktemp("terminal")
    try:
        place = make_place(servers, directory, NEWEST, archive_timeout="60s")
        place.server.sql("CREATE TABLE rows AS SELECT n, repeat('x', 500) FROM generate_series(1, 40000) AS n")
        copies = {"primary": place.archive.root, "second": directory / "second"}
        place.archive.config.write_text(
            f"repository:\n  key: file:{place.archive.key}\n  copies:\n"
            + "".join(f"    {name}: {{url: '{root.as_uri()}'}}\n" for name, root in copies.items())
            + f'clusters:\n  main: {{dsn: "{place.server.dsn}"}}\n'
        )
        for command in ("init", "backup"):
            assert pgvault("--config", place.archive.config, command).status == 0
        yield place
    finally:
        servers.clear()


def shown(place: Place, *words: str | Path, interrupt_at: str | None = None, **env: str) -> Seen:
    argv = [*program(), "--config", place.archive.config, *words]
    return on_a_terminal(argv, env=bare_environment() | env, interrupt_at=interrupt_at)


def drawn(seen: Seen, phase: str) -> list[str]:
    """The totals that stood behind the bar of a phase."""
    text = MOVES.sub("", seen.screen)
    return [found[1] for found in re.finditer(rf"{phase} {DRAWN}", text)]


def is_clean(seen: Seen) -> bool:
    """Nothing of a bar in the result; the terminal is as it was, the bar's line empty."""
    return "━" not in seen.output and "\x1b" not in seen.output and seen.is_sane and seen.has_cursor


def test_each_command_shows_how_far_it_is(place: Place, tmp_path: Path) -> None:
    """Backup, copy, verify, restore, drill: a bar with a share, an amount, a rate, what is left; on stderr alone."""
    took = shown(place, "backup", "--json")
    assert (took.status, is_clean(took)) == (0, True), took
    assert drawn(took, "copying")
    assert json.loads(took.output)
    label = place.labels()[-1]

    second = place.archive.root.with_name("second")
    shutil.rmtree(second)  # a disk that was replaced
    second.mkdir()
    copied = shown(place, "copy", "--json")
    assert (copied.status, is_clean(copied)) == (0, True), copied
    assert drawn(copied, "second: wal")
    assert drawn(copied, "second: backups")
    assert json.loads(copied.output)["copies"][0]["error"] is None

    verified = shown(place, "verify", "--json", NO_COLOR="1")
    assert (verified.status, is_clean(verified)) == (0, True), verified
    assert drawn(verified, f"primary: backup {label}")
    assert drawn(verified, f"second: backup {label}")
    assert drawn(verified, "second: WAL")
    assert not COLOUR.search(verified.screen)

    restored = shown(place, "restore", "--to", "latest", "--finish", "--json", tmp_path / "restored")
    assert (restored.status, is_clean(restored)) == (0, True), restored
    assert drawn(restored, "restoring files")
    assert drawn(restored, "replaying WAL")
    assert COLOUR.search(restored.screen)

    drilled = shown(place, "drill", "--json")
    assert (drilled.status, is_clean(drilled)) == (0, True), drilled
    assert drawn(drilled, "restoring files")
    assert drawn(drilled, "replay")
    assert json.loads(drilled.output)["passed"]


def test_ctrl_c_leaves_the_terminal_as_it_was(place: Place) -> None:
    """In the middle of a bar; and no backup is there that was not before."""
    before = place.labels()
    seen = shown(place, "backup", interrupt_at="copying")

    assert seen.status != 0
    assert is_clean(seen), seen
    assert place.labels() == before


def test_a_dumb_terminal_is_not_drawn_upon(place: Place) -> None:
    seen = shown(place, "verify", TERM="dumb")

    assert (seen.status, is_clean(seen)) == (0, True), seen
    assert seen.screen == ""


def test_without_a_terminal_nothing_is_said_but_with_verbose(place: Place) -> None:
    """Lines for phases then, and no character that moves a cursor."""
    quiet = pgvault("--config", place.archive.config, "verify")
    told = pgvault("--verbose", "--config", place.archive.config, "verify")

    assert (quiet.status, quiet.errors) == (0, "")
    assert told.status == 0
    assert re.search(r"INFO primary: backup \S+: 0 %, 0 B of [\d.]+ MiB$", told.errors, re.MULTILINE), told.errors
    assert "\x1b" not in told.errors


def test_the_size_of_what_a_role_may_not_see_is_not_guessed(place: Place) -> None:
    """All databases or nothing: a bar of a part would be at its end too early."""
    place.server.sql("CREATE ROLE looker LOGIN")
    place.server.sql("CREATE DATABASE hidden")
    place.server.sql("REVOKE CONNECT ON DATABASE hidden FROM public")
    with Session(place.server.dsn) as session:
        known = databases_bytes(session)
    with Session(place.server.dsn_of("looker")) as session:
        assert databases_bytes(session) is None
    place.server.sql("GRANT pg_read_all_stats TO looker")
    with Session(place.server.dsn_of("looker")) as session:
        assert databases_bytes(session) == known
    assert known is not None
    assert known > 20 << 20
