"""`pgvault key …`, killed after each store operation: every copy opens alone and reads what is old and what is new."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgvault.pipeline.header import Kind
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.objects import put_plain, read_plain
from pgvault.repository.repository import Repository, init_repository, open_repository
from pgvault.stores.file import FileStore
from tests.cli.here import pgvault
from tests.crashpoints import Words, enumerate_crashes

pytestmark = pytest.mark.endurance

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
CONFIGURED, SECOND, THIRD = (Credential("raw", bytes([n]) * 32) for n in (1, 2, 3))
COPIES = ("primary", "dr", "far")


@dataclass(frozen=True, slots=True)
class Site:
    """Three copies in directories, two credentials that open them, one object."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "pgvault.yaml"

    def make(self) -> Site:
        self.directory.mkdir()
        for number in (1, 2, 3):
            (self.directory / f"key{number}").write_text(f"{number:02x}" * 32)
        copies = {name: {"url": f"file://{self.directory}/{name}"} for name in COPIES}
        document = {"repository": {"key": f"file:{self.directory}/key1", "copies": copies}, "clusters": {}}
        self.config.write_text(json.dumps(document))
        init_repository([self.copy(name) for name in COPIES], CONFIGURED, now=NOW)
        assert self.run("add", "--key", f"file:{self.directory}/key2", "--name", "second") == 0
        self.seal("old")
        return self

    def run(self, *words: str) -> int:
        return pgvault("--config", self.config, "key", *words).status

    def copy(self, name: str) -> Copy:
        return Copy(name, FileStore(self.directory / name))

    def open(self, name: str, credential: Credential) -> Repository:
        return open_repository([self.copy(name)], credential)

    def seal(self, what: str) -> None:
        """Put an object into the deciding copy, and bring it to the others."""
        path = f"clusters/main/drills/{what}"
        put_plain(self.open(COPIES[0], CONFIGURED), path, Kind.DRILL, plain=what.encode())
        for name in COPIES[1:]:
            self.copy(name).store.put_if_absent(path, self.copy(COPIES[0]).store.get(path))

    def require_readable(self, *objects: str, credentials: Sequence[Credential]) -> None:
        for name in COPIES:
            for credential in credentials:
                repository = self.open(name, credential)
                for what in objects:
                    plain = read_plain(repository, f"clusters/main/drills/{what}", Kind.DRILL)
                    assert plain == what.encode()


def rotating(site: Site) -> list[str]:
    return ["rotate", "--with", f"file:{site.directory}/key2"]


def adding(site: Site) -> list[str]:
    return ["add", "--key", f"file:{site.directory}/key3", "--name", "third"]


def removing(site: Site) -> list[str]:
    assert site.run(*adding(site)) == 0
    return ["remove", "third"]


@pytest.mark.parametrize(
    ("prepare", "points", "allowed"),
    [(rotating, 8, {0}), (adding, 5, {0}), (removing, 5, {0, 2})],  # two of them are entries of the audit chain
)
def test_key_command_killed_anywhere(
    tmp_path: Path, prepare: Callable[[Site], list[str]], points: int, allowed: set[int]
) -> None:
    """And the same command is done by the next run; a slot that went already is a usage error."""
    sites: dict[int, tuple[Site, list[str]]] = {}

    def command(k: int) -> Words:
        site = Site(tmp_path / str(k)).make()
        sites[k] = site, prepare(site)
        return ["pgvault", "--config", site.config, "key", *sites[k][1]]

    def invariant(k: int) -> None:
        site, words = sites[k]
        site.require_readable("old", credentials=(CONFIGURED, SECOND))
        site.seal("between")
        site.require_readable("old", "between", credentials=(CONFIGURED, SECOND))
        assert site.run(*words) in allowed
        site.seal("new")
        site.require_readable("old", "between", "new", credentials=(CONFIGURED, SECOND))
        keys = [sorted(path.name for path in (site.directory / name / "keys").iterdir()) for name in COPIES]
        assert keys[0] == keys[1] == keys[2]

    assert enumerate_crashes(command, invariant) == points


def test_export_killed_anywhere(tmp_path: Path) -> None:
    """A sheet that lies where it was asked for opens every copy; else there is none."""
    sites: dict[int, Site] = {}

    def command(k: int) -> Words:
        site = sites[k] = Site(tmp_path / str(k)).make()
        (site.directory / "words").write_text("correct horse")
        assert site.run("add", "--passphrase", f"file:{site.directory}/words") == 0
        text = site.config.read_text().replace(
            json.dumps(f"file:{site.directory}/key1"), json.dumps({"passphrase": f"file:{site.directory}/words"})
        )
        site.config.write_text(text)
        return ["pgvault", "--config", site.config, "key", "export", "--yes", "--out", site.directory / "sheet"]

    def invariant(k: int) -> None:
        site = sites[k]
        site.require_readable("old", credentials=(CONFIGURED, SECOND))
        if not (site.directory / "sheet").exists():
            assert site.run("export", "--yes", "--out", str(site.directory / "sheet")) == 0
        for name in COPIES:
            url = f"file://{site.directory}/{name}"
            listed = pgvault("list", "--repository", url, "--key", f"file:{site.directory}/sheet", "--cluster", "x")
            assert "holds no cluster" in listed.errors, listed

    assert enumerate_crashes(command, invariant) == 4  # one of them is the entry of the audit chain
