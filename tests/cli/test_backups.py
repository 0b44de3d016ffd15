"""`check`, `backup`, `list`, `show` and `verify` on a real server: what they print, and how they end."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pgvault.errors import (
    ArchiveNotWorking,
    ConfigInvalid,
    ServerUnfit,
    ServerUnreachable,
    VerifyFailed,
)
from pgvault.process import start
from pgvault.repository import layout
from tests.archive import archive_command, bare_environment, program
from tests.cli.here import pgvault, pgvault_json
from tests.cluster.places import Place, make_place, set_archive_command
from tests.servers import NEWEST, ServerFactory

pytestmark = pytest.mark.cluster

CHECKS = [
    "repository",
    "put-if-absent",
    "store primary",
    "clock primary",
    "server",
    "grants",
    "inventory",
    "settings",
    "archive_timeout",
    "data directory",
    "system",
    "archiving",
    "adoption",
    "key slots",
    "audit",
]
BACKUP_FIELDS = {
    "label",
    "type",
    "cluster",
    "started_at",
    "stopped_at",
    "start_lsn",
    "stop_lsn",
    "timeline",
    "size_bytes",
    "stored_bytes",
    "page_errors",
    "system_identifier",
    "postgres_major",
}
WINDOW_FIELDS = {
    "system_identifier",
    "timeline",
    "starts_at",
    "proven_until",
    "last_write_at",
    "start_lsn",
    "own_start_lsn",
    "end_lsn",
    "labels",
    "branch",
    "standing",
    "is_tail",
    "has_gap_behind",
    "has_expired_behind",
}


@pytest.fixture(scope="module")
def place(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server that archives, and a configuration that names it."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        made = make_place(factory, tmp_path_factory.mktemp("place"), NEWEST, archive_timeout="60")
        configure(made)
        yield made
    finally:
        factory.clear()


@pytest.fixture(scope="module")
def backup(place: Place) -> dict[str, Any]:
    """A backup that the tests look at, as `backup --json` told of it."""
    (place.server.data / "caf\udce9\n\x1b[31m").write_bytes(b"odd")
    document = pgvault_json("--config", place.archive.config, "backup")
    (taken,) = document["backups"]
    assert isinstance(taken, dict)
    return taken


def configure(place: Place, *, clusters: str | None = None) -> None:
    """Write a configuration with the server's dsn."""
    chosen = clusters or f'main: {{dsn: "{place.server.dsn}", archive_wait: 20s}}'
    text = place.archive.config.read_text()
    place.archive.config.write_text(re.sub(r"clusters:\n.*", lambda _: f"clusters:\n  {chosen}\n", text, flags=re.S))


def test_check_says_what_it_tried(place: Place) -> None:
    """Every finding passed, a real segment among them; in JSON and for people."""
    document = pgvault_json("--config", place.archive.config, "check")

    assert document["passed"] is True
    assert document["cluster"] == "main"
    assert [finding["name"] for finding in document["checks"]] == CHECKS
    assert all(finding.keys() == {"name", "passed", "level", "detail", "hint"} for finding in document["checks"])
    (archiving,) = [finding for finding in document["checks"] if finding["name"] == "archiving"]
    assert re.match(r"[0-9A-F]{24} went through the server's archive_command", archiving["detail"])
    lines = pgvault("--config", place.archive.config, "check").output.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"ok    {name}" for name in CHECKS]


def test_a_backup_is_told_of_and_listed_alike(place: Place, backup: dict[str, Any]) -> None:
    """The fields that the README promises; times with their zone."""
    document = pgvault_json("--config", place.archive.config, "list")

    assert backup.keys() == BACKUP_FIELDS
    assert backup in document["backups"]
    assert backup["type"] == "full"
    assert backup["postgres_major"] == NEWEST
    assert backup["size_bytes"] > backup["stored_bytes"] > 0
    assert all(datetime.fromisoformat(backup[name]).tzinfo is not None for name in ("started_at", "stopped_at"))
    (window,) = document["recovery_window"]
    assert window.keys() == WINDOW_FIELDS
    assert backup["label"] in window["labels"]
    assert datetime.fromisoformat(window["proven_until"]) >= datetime.fromisoformat(backup["stopped_at"])


def test_a_list_for_people_names_it_in_full(place: Place, backup: dict[str, Any]) -> None:
    """On a pipe no column is cut."""
    finished = pgvault("--config", place.archive.config, "list")

    (line,) = [line for line in finished.output.splitlines() if line.startswith(backup["label"])]
    assert backup["stop_lsn"] in line
    assert "restorable: timeline 1" in finished.output
    assert finished.errors == ""


def test_show_tells_all_of_one_backup(place: Place, backup: dict[str, Any]) -> None:
    """What `list` says, and files, sizes, WAL range, databases, page errors."""
    document = pgvault_json("--config", place.archive.config, "show", backup["label"])

    assert document.items() >= backup.items()
    assert document["pages_with_errors"] == []
    assert document["data_checksums"] is True
    assert set(document["databases"].values()) == {"postgres", "template0", "template1"}
    assert all(re.fullmatch(r"[0-9A-F]{24}", name) for name in document["wal"])
    files = {file["path"]: file for file in document["files"]}
    assert files["PG_VERSION"] == {"path": "PG_VERSION", "kind": "file", "size_bytes": 3, "mode": "0600"}
    assert files["pg_wal"]["kind"] == "directory"
    assert sum(file["size_bytes"] for file in files.values()) == document["size_bytes"]
    assert document["files"][-1]["path"] == "global/pg_control"
    assert "caf\\udce9\n\x1b[31m" in files


def test_names_do_not_write_on_the_terminal(place: Place, backup: dict[str, Any]) -> None:
    """A file's name may hold a line end and an escape sequence; for people both are spelt out."""
    finished = pgvault("--config", place.archive.config, "show", backup["label"])

    assert finished.status == 0
    assert "\x1b" not in finished.output
    assert "caf\\udce9\\n\\x1b[31m" in finished.output


def test_verify_says_what_it_read(place: Place, backup: dict[str, Any]) -> None:
    """Counts, and no problem."""
    document = pgvault_json("--config", place.archive.config, "verify")

    assert document.keys() == {
        "cluster",
        "passed",
        "backups",
        "objects",
        "stored_bytes",
        "wal_segments",
        "wal_tails",
        "notes",
        "problems",
        "copies",
        "sample",
        "seed",
        "since",
        "repairs",
    }
    assert document["passed"] is True
    assert backup["label"] in document["backups"]
    assert document["stored_bytes"] >= backup["stored_bytes"]
    assert "0 problems" in pgvault("-v", "--config", place.archive.config, "verify").output


@pytest.mark.parametrize("words", [("list",), ("show",), ("verify",)])
def test_the_config_may_be_lost(
    place: Place, backup: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """A machine that knows nothing but the URL and the key from the safe, in an empty HOME."""
    escrow = tmp_path / "escrow.txt"
    escrow.write_bytes(place.archive.key.read_bytes())
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")
    if words == ("show",):
        words = ("show", str(backup["label"]))

    finished = pgvault(*words, "--repository", place.archive.root.as_uri(), "--key", f"file:{escrow}")

    assert finished.status == 0, finished.errors
    assert words[0] == "verify" or backup["label"] in finished.output
    assert list((tmp_path / "home").iterdir()) == []


def test_a_root_that_does_not_open_is_listed_as_that(place: Place, backup: dict[str, Any]) -> None:
    """The others are listed all the same, and the status is not 0."""
    path = place.archive.root / layout.manifest("main", str(backup["label"]))
    body = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(body[:-1])
    try:
        document = pgvault_json("--config", place.archive.config, "list", status=VerifyFailed.exit_code)
        shown = pgvault("--config", place.archive.config, "show", str(backup["label"]))
    finally:
        path.write_bytes(body)

    assert [entry["label"] for entry in document["unreadable"]] == [backup["label"]]
    assert backup["label"] not in [entry["label"] for entry in document["backups"]]
    assert shown.status == 34


def test_a_history_that_does_not_open_hides_no_backup(place: Place, backup: dict[str, Any]) -> None:
    """Its timeline is missing from the window, and that is said."""
    system = int(backup["system_identifier"])
    path = place.archive.root / layout.wal_file("main", system, "00000002.history")
    path.write_bytes(b"junk")
    try:
        document = pgvault_json("--config", place.archive.config, "list", status=VerifyFailed.exit_code)
        finished = pgvault("--config", place.archive.config, "list")
    finally:
        path.unlink()

    assert backup in document["backups"]
    assert document["recovery_window"]
    assert [entry["name"] for entry in document["unreadable_wal"]] == ["00000002.history"]
    assert "00000002.history" in finished.errors


@pytest.mark.endurance
def test_a_backup_that_is_told_to_end_leaves_word(server: ServerFactory, tmp_path: Path) -> None:
    """Ctrl-C, or a machine that shuts down: nothing is listed, and the label is marked as aborted."""
    place = make_place(server, tmp_path, NEWEST)
    configure(place)
    (place.server.data / "large").write_bytes(os.urandom(128 << 20))
    words = [*program(), "--config", str(place.archive.config), "backup"]
    running = start(words, env=bare_environment(), log=tmp_path / "log")
    packs = place.archive.root / layout.backups("main")
    deadline = time.monotonic() + 60
    while not list(packs.glob("*/packs/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.signal(signal.SIGTERM)

    status = running.wait(60)

    assert status == 1, (tmp_path / "log").read_text()
    document = pgvault_json("--config", place.archive.config, "list")
    assert document["backups"] == []
    assert len(document["aborted"]) == 1
    assert place.backup_sessions() == 0


def test_all_backs_up_what_it_can(server: ServerFactory, tmp_path: Path) -> None:
    """One cluster fails, before or behind the others: these are backed up, and the status tells of the failure."""
    place = make_place(server, tmp_path, NEWEST)
    set_archive_command(place, archive_command(place.archive, "--cluster", "main"))
    down = 'dsn: "host=/nowhere"'
    configure(place, clusters=f'{{adown: {{{down}}}, main: {{dsn: "{place.server.dsn}"}}, zdown: {{{down}}}}}')

    document = pgvault_json("--config", place.archive.config, "backup", "--all", status=ServerUnreachable.exit_code)
    finished = pgvault("--config", place.archive.config, "list", "--cluster", "main")

    assert [taken["cluster"] for taken in document["backups"]] == ["main"]
    assert document["backups"][0]["label"] in finished.output
    configure(place, clusters=f"{{adown: {{{down}}}, zdown: {{{down}}}}}")
    errors = pgvault("--config", place.archive.config, "backup", "--all").errors
    assert "cluster adown: PostgreSQL can not be reached" in errors
    assert "cluster zdown: PostgreSQL can not be reached" in errors


class TestNotFit:
    """What keeps a cluster from being protected is red in `check`, with its own status and a hint."""

    def test_archiving(self, server: ServerFactory, tmp_path: Path) -> None:
        """An archive_command that archives nothing; archive_timeout left at 0; both are told at once."""
        place = make_place(server, tmp_path, NEWEST)
        configure(place, clusters=f'main: {{dsn: "{place.server.dsn}", archive_wait: 1s}}')
        set_archive_command(place, "/bin/true")

        document = pgvault_json("--config", place.archive.config, "check", status=ServerUnfit.exit_code)
        taken = pgvault("--config", place.archive.config, "backup")

        red = {finding["name"]: finding for finding in document["checks"] if not finding["passed"]}
        assert red.keys() == {"archive_timeout", "archiving"}
        assert all(finding["hint"] for finding in red.values())
        assert document["passed"] is False
        assert taken.status == ArchiveNotWorking.exit_code
        assert taken.output == ""
        assert taken.errors.startswith("error: WAL segment ")
        assert taken.errors.count("\n") == 2

    def test_archive_mode_and_grants(self, server: ServerFactory, tmp_path: Path) -> None:
        """No archiving at all, for a role that may not even look."""
        place = make_place(server, tmp_path, NEWEST, archive_mode="off")
        configure(place)
        finished = pgvault("--config", place.archive.config, "check")
        assert finished.status == ServerUnfit.exit_code
        assert "FAIL  settings: the server does not archive WAL" in finished.output
        place.server.sql("CREATE ROLE nobody LOGIN")
        configure(place, clusters=f'main: {{dsn: "{place.server.dsn_of("nobody")}"}}')

        finished = pgvault("--config", place.archive.config, "check")

        assert finished.status == ServerUnfit.exit_code
        assert "As a superuser" in finished.output
        assert 'GRANT pg_read_all_settings TO "nobody"' in finished.output

    def test_damage_is_told_by_backup_and_show(self, server: ServerFactory, tmp_path: Path) -> None:
        """A backup of a damaged cluster is a backup, and says so wherever it is looked at."""
        place = make_place(server, tmp_path, NEWEST)
        configure(place)
        place.server.sql("CREATE TABLE victim AS SELECT repeat('x', 100) AS t FROM generate_series(1, 1000)")
        file = place.server.data / str(place.server.value("SELECT pg_relation_filepath('victim')"))
        place.server.stop()
        content = bytearray(file.read_bytes())
        content[8192 + 4000] ^= 1
        file.write_bytes(content)
        place.server.start()

        finished = pgvault("--config", place.archive.config, "backup")

        assert finished.status == 0
        assert "1 pages have wrong checksums: base/" in finished.errors
        (listed,) = pgvault_json("--config", place.archive.config, "list")["backups"]
        assert listed["page_errors"] == 1
        shown = pgvault_json("--config", place.archive.config, "show", listed["label"])
        assert shown["pages_with_errors"] == [f"{file.relative_to(place.server.data)} block 1"]


def test_a_cluster_that_the_repository_does_not_know(place: Place, backup: dict[str, Any]) -> None:
    """Named by its URL, it says which clusters it holds."""
    where = ("--repository", place.archive.root.as_uri(), "--key", f"file:{place.archive.key}")

    finished = pgvault("list", *where, "--cluster", "other")

    assert finished.status == ConfigInvalid.exit_code
    assert "Name one with --cluster: main" in finished.errors
