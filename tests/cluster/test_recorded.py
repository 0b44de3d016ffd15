"""On a real server, every command that does something leaves its entry; the chain is whole, and holds no secret."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pgvault.audit.chain import entry_at, next_number, signers
from pgvault.audit.entry import Entry
from pgvault.audit.receipt import DOCUMENT, VERIFY
from pgvault.errors import CheckFailed, DirectoryNotEmpty, ObjectMissing, ServerUnreachable, UsageError
from pgvault.process import attempt
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import open_repository
from pgvault.stores.file import FileStore
from tests.archive import KEY
from tests.cli.here import pgvault, pgvault_json
from tests.cluster.drills import Stage, make_stage
from tests.servers import NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

CANARY = "canary0fb7e1"
GOOD = {"name": "orphans", "query": "SELECT count(*) FROM orders WHERE customer_id IS NULL", "severity": "critical"}
TELLING = {"name": "telling", "query": f"SELECT '{CANARY}' FROM orders LIMIT 2", "severity": "info", "show": "all"}
FAILING = {"name": "failing", "query": "SELECT count(*) FROM orders", "severity": "critical"}
DESTRUCTIVE = {"adopt", "delete", "expire", "key add", "key remove", "key rotate", "release"}


@dataclass
class Life:
    """A repository with a life behind it."""

    stage: Stage
    directory: Path
    drill: dict[str, Any] = field(default_factory=dict)
    blind: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.directory / "pgvault.yaml"

    def run(self, *words: str | Path, status: int = 0) -> str:
        finished = pgvault("--config", self.config, *words)
        assert finished.status == status, finished
        return finished.output

    def document(self, *words: str | Path, status: int = 0) -> dict[str, Any]:
        return pgvault_json("--config", self.config, *words, status=status)

    def configure(self, *checks: object, dsn: str | None = None) -> None:
        copies = {"primary": {"url": self.stage.archive.root.as_uri()}, "dr": {"url": f"file://{self.directory}/dr"}}
        cluster = {
            "dsn": dsn or self.stage.server.dsn,
            "checks": list(checks),
            "drill": {"scratch": str(self.stage.scratch)},
            "retention": {"full": 1, "days": 30},
        }
        key = f"file:{self.stage.archive.key}"
        document = {"repository": {"key": key, "copies": copies}, "clusters": {"main": cluster}}
        self.config.write_text(json.dumps(document))

    def entries(self) -> list[Entry]:
        """Every entry, in order."""
        copy = Copy("primary", FileStore(self.stage.archive.root))
        repository = open_repository([copy], Credential("raw", KEY))  # anew: the key was rotated
        (signer,) = signers(repository)
        return [entry_at(repository, signer, number) for number in range(next_number(repository, signer))]

    def told(self) -> list[tuple[str, str]]:
        return [(entry.event["what"], entry.event["result"]) for entry in self.entries()]


@pytest.fixture(scope="module")
def life(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """From init to the last key change."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        found = Life(make_stage(factory, NEWEST, tmp_path_factory.mktemp("life")), tmp_path_factory.mktemp("place"))
        live(found, factory)
        yield found
    finally:
        factory.clear()


def live(life: Life, factory: ServerFactory) -> None:
    stage = life.stage
    life.configure(GOOD, TELLING)
    life.run("init")
    (first,) = life.document("backup")["backups"]
    (second,) = life.document("backup")["backups"]
    stage.archive_all()
    life.run("checks", "run", "--live")
    life.drill = life.document("drill")
    life.blind = life.document("drill", "--only-copy", "dr")
    restored = factory.directory() / "data"
    life.run("restore", "--to", "latest", "--finish", restored)
    life.run("adopt", restored)
    life.run("extract", "--table", "public.orders", "--to", "latest", "--file", life.directory / "o.dump", status=0)
    life.run("hold", second["label"], "--why", "an incident")
    held = life.document("holds")["holds"]
    life.run("release", held[0]["id"])
    life.run("delete", first["label"], "--confirm", first["label"], "--shrink-window-to", second["stopped_at"])
    life.run("undelete", first["label"])
    life.run("expire")
    key = life.directory / "second.key"
    key.write_text("ab" * 32)
    life.run("key", "add", "--key", f"file:{key}", "--name", "second")
    life.run("key", "remove", "second")
    life.run("key", "rotate")
    life.run("key", "export", "--out", life.directory / "sheet.txt")
    life.run("verify")
    life.configure(FAILING)
    life.run("checks", "run", "--live", status=CheckFailed.exit_code)
    life.configure(dsn="host=127.0.0.1 port=1 connect_timeout=2")
    life.run("backup", status=ServerUnreachable.exit_code)


def test_each_left_its_entry(life: Life) -> None:
    """What was done, and how it ended; what can not be taken back was written down before, too."""
    told = life.told()

    ended = [what for what, result in told if result == "ok"]
    assert ended == [
        "init",
        "backup",
        "backup",
        "checks run",
        "drill",
        "restore",
        "adopt",
        "extract",
        "hold",
        "release",
        "delete",
        "undelete",
        "expire",
        "key add",
        "key remove",
        "key rotate",
        "key export",
        "verify",
    ]
    assert {what for what, result in told if result == "began"} == DESTRUCTIVE
    assert told[-2:] == [("checks run", "failed"), ("backup", "failed")]


def test_failure_is_told_with_its_reason(life: Life) -> None:
    """A backup that found no server."""
    event = life.entries()[-1].event

    assert event["exit_code"] == ServerUnreachable.exit_code
    assert event["error"]
    assert event["cluster"] == "main"
    assert event["by"]["host"]


def test_the_chain_is_whole(life: Life) -> None:
    """As `audit verify` reads it; what it says of keys that are not pinned is not our matter here."""
    entries = life.entries()

    assert entries[0].place.previous is None
    assert all(late.place.previous == early.head.sha256 for early, late in pairwise(entries))
    assert len({entry.key for entry in entries}) == 1


def test_nothing_secret_is_in_it(life: Life) -> None:
    """No row, no key, in no form; the report of the drill has the rows."""
    said = b"\n".join(entry.document for entry in life.entries())
    key = life.stage.archive.key.read_bytes().strip()

    assert CANARY in json.dumps(life.drill["checks"])
    assert CANARY.encode() not in said
    assert key not in said
    assert b"abababab" not in said


def test_a_blind_drill_touches_nothing_else(life: Life) -> None:
    """Nothing but the one copy: so no entry, and its report says so."""
    drills = [entry.event["details"]["report"]["id"] for entry in life.entries() if entry.event["what"] == "drill"]

    assert drills == [life.drill["id"]]
    assert any(
        note.startswith("no receipt: nothing can be written without copy 'primary'") for note in life.blind["notes"]
    )


def test_its_receipt_is_checked_by_plain_openssl(life: Life, tmp_path: Path) -> None:
    """By the line that is printed; it holds plan, versions, checks, what was not tested."""
    life.configure(GOOD)
    output = life.run("drills", life.drill["id"], "--receipt", tmp_path)
    line = next(line for line in output.splitlines() if line.startswith("verify it: "))
    good = attempt(["sh", "-c", line.removeprefix("verify it: ")], timeout=60)
    details = json.loads((tmp_path / DOCUMENT).read_bytes())["event"]["details"]
    (tmp_path / DOCUMENT).write_bytes((tmp_path / DOCUMENT).read_bytes().replace(b'"passed": true', b'"passed": True'))
    bad = attempt(["sh", "-c", f"cd {shlex.quote(str(tmp_path))} && {VERIFY}"], timeout=60)

    assert good.status == 0, good
    assert bad.status != 0
    report = details["report"]
    assert report["wal"]["segments"]
    assert report["wal"]["to_lsn"]
    assert report["copies"] == ["primary", "dr"]
    assert report["not_tested"]
    assert details["versions"]["postgresql"].startswith(str(NEWEST))
    assert {check["name"] for check in report["checks"]} >= {"orphans", "telling"}


def test_no_receipt(life: Life, tmp_path: Path) -> None:
    """A drill that there is none of, one without an id, a place that is taken."""
    life.configure(GOOD)
    life.run("drills", "20200101T000000Z-0000", "--receipt", tmp_path, status=ObjectMissing.exit_code)
    life.run("drills", "--receipt", tmp_path, status=UsageError.exit_code)
    life.run("drills", life.drill["id"], "--receipt", tmp_path)
    life.run("drills", life.drill["id"], "--receipt", tmp_path, status=DirectoryNotEmpty.exit_code)
