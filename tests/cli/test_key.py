"""`pgvault key`, and what opens by what it made."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
from pathlib import Path

import pytest

from pgvault.errors import KeyUnusable, PgvaultError, PlainSecret, Refused, StoreUnreachable, UsageError, WrongKey
from pgvault.process import Finished
from tests.cli.here import pgvault, pgvault_json

RAW, SECOND = "11" * 32, "22" * 32


class Site:
    """Two copies in directories, opened by what `key` says; a passphrase and a second key lie beside."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "pgvault.yaml"
        for name, content in (("key", RAW), ("second", SECOND), ("words", "correct horse battery")):
            (directory / name).write_text(content + "\n")
        self.use(f"file:{directory}/key")

    def use(self, key: object) -> None:
        copies = {name: {"url": f"file://{self.directory}/{name}"} for name in ("primary", "dr")}
        repository = {"key": key, "copies": copies}
        self.config.write_text(json.dumps({"repository": repository, "clusters": {"main": {"dsn": "host=/nowhere"}}}))

    def run(self, *words: str | Path) -> Finished:
        return pgvault("--config", self.config, *words)

    def json(self, *words: str | Path) -> dict[str, object]:
        return pgvault_json("--config", self.config, *words)

    def refused(self, error: type[PgvaultError], *words: str | Path) -> str:
        finished = self.run(*words)
        assert finished.status == error.exit_code, finished
        return finished.errors

    def slots(self) -> dict[str, dict[str, object]]:
        listed = self.json("key", "list")["slots"]
        assert isinstance(listed, list)
        return {slot["name"]: slot for slot in listed}

    def opens(self, key: str, copy: str = "primary") -> Finished:
        """List by URL and key alone; a repository without clusters opens, and says that it has none."""
        return pgvault("list", "--repository", f"file://{self.directory}/{copy}", "--key", key, "--cluster", "main")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    assert site.run("init").status == 0
    return site


def opened(finished: Finished) -> bool:
    """Whether the key opened the repository: no backup was ever made in it."""
    return "holds no cluster" in finished.errors


def test_list_shows_keys_slots_and_copies(site: Site) -> None:
    """Right after init: one key, one slot, both copies with the same document."""
    document = site.json("key", "list")

    assert document["copies"] == [
        {"name": name, "newest": 1, "missing": [], "error": None} for name in ("primary", "dr")
    ]
    keys = document["keys"]
    assert isinstance(keys, list)
    assert [(each["id"], each["active"]) for each in keys] == [(1, True)]
    slot = site.slots()["raw-1"]
    assert (slot["kind"], slot["keys"], slot["configured"]) == ("raw", [1], True)
    text = site.run("key", "list").output
    assert all(word in text for word in ("repository keys", "raw-1", "configured", "keys/00000001", "up to date"))


def test_copy_that_is_away_is_listed_as_such(site: Site) -> None:
    """And no key command changes anything meanwhile."""
    (site.directory / "dr").rename(site.directory / "elsewhere")

    copies = site.json("key", "list")["copies"]
    assert copies[1]["newest"] is None  # type: ignore[index]
    assert "dr" in copies[1]["error"]  # type: ignore[index]
    for words in (("rotate",), ("add", "--key", f"file:{site.directory}/second"), ("remove", "raw-1")):
        finished = site.run("key", *words)
        assert finished.status in (StoreUnreachable.exit_code, 15), finished
        assert "nothing was changed" in finished.errors


def test_passphrase_is_added_and_removed(site: Site) -> None:
    """It opens each copy while it has a slot, and nothing afterwards."""
    words = f"passphrase:file:{site.directory}/words"
    assert site.opens(words).status == WrongKey.exit_code

    assert (
        "slot team opens repository key 1"
        in site.run("key", "add", "--passphrase", f"file:{site.directory}/words", "--name", "team").output
    )
    assert opened(site.opens(words))
    assert opened(site.opens(words, "dr"))
    assert site.json("key", "add", "--passphrase", f"file:{site.directory}/words") == {
        "slot": "team",
        "keys": [1],
        "added": False,
    }
    removed = site.run("key", "remove", "team")
    assert "whoever copied" in removed.output
    assert site.opens(words).status == WrongKey.exit_code
    assert site.opens(words, "dr").status == WrongKey.exit_code


def test_rotation_keeps_everybody_who_is_named(site: Site) -> None:
    """A slot whose credential is not given refuses it."""
    second = f"file:{site.directory}/second"
    site.json("key", "add", "--key", second, "--name", "second")

    assert "second" in site.refused(Refused, "key", "rotate")
    assert site.json("key", "rotate", "--with", second) == {
        "active": 2,
        "slots": ["raw-1", "second"],
        "left_behind": [],
    }
    assert opened(site.opens(second, "dr"))
    rotated = site.run("key", "rotate", "--leave-behind", "second")
    assert "repository key 3 seals from now on; it opens by: raw-1" in rotated.output
    assert "older keys only are opened by: second" in rotated.output
    assert "since a rotation" in site.opens(second).errors
    assert [copy["newest"] for copy in site.json("key", "list")["copies"]] == [6, 6]  # type: ignore[attr-defined]


def contents(directory: Path) -> dict[Path, bytes]:
    """What is stored, less the audit chain."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and "audit" not in path.parts}


def test_what_protects_is_refused(site: Site) -> None:
    """With an exit code of its own, and nothing written but that it was tried."""
    before = contents(site.directory)

    assert "last one" in site.refused(Refused, "key", "remove", "raw-1")
    assert "raw-1" in site.refused(UsageError, "key", "remove", "nonsense")
    site.refused(UsageError, "key", "add")
    site.refused(UsageError, "key", "add", "--key", "env:X", "--kms", "alias/x")
    site.refused(PlainSecret, "key", "add", "--key", SECOND)
    site.refused(PlainSecret, "key", "add", "--passphrase", "correct horse")
    site.refused(UsageError, "key", "export")
    site.refused(UsageError, "key", "export", "--show", "--out", site.directory / "x")
    assert contents(site.directory) == before


class TestExport:
    """The sheet in the safe."""

    def test_sheet_of_a_raw_key_opens_each_copy(self, site: Site) -> None:
        """The repository is as before; the file is its owner's alone, and is never overwritten."""
        sheet = site.directory / "escrow.txt"
        exported = site.json("key", "export", "--out", sheet)

        assert exported == {"file": str(sheet), "slot": "raw-1", "new_slot": False}
        assert stat.S_IMODE(sheet.stat().st_mode) == 0o400
        assert site.json("key", "list")["copies"][0]["newest"] == 1  # type: ignore[index]
        assert all(opened(site.opens(f"file:{sheet}", copy)) for copy in ("primary", "dr"))
        assert "never overwritten" in site.refused(Refused, "key", "export", "--out", sheet)

    @pytest.mark.parametrize("is_shown", [False, True])
    def test_passphrase_gets_a_raw_slot_of_its_own(self, site: Site, is_shown: bool) -> None:
        """Only when that is wanted; the sheet then opens without the passphrase, which is not on it."""
        site.json("key", "add", "--passphrase", f"file:{site.directory}/words", "--name", "team")
        site.use({"passphrase": f"file:{site.directory}/words"})
        sheet = site.directory / "escrow.txt"
        way = ("--show",) if is_shown else ("--out", str(sheet))

        assert "--yes" in site.refused(Refused, "key", "export", *way)
        assert not sheet.exists()
        finished = site.run("key", "export", *way, "--yes")

        assert finished.status == 0, finished
        if is_shown:
            sheet.write_text(finished.output)
        text = sheet.read_text()
        assert "correct horse" not in text
        assert re.sub(r"\s", "", text).count(RAW) == 0
        (slot,) = (name for name in site.slots() if name.startswith("escrow-"))
        assert slot in text
        assert all(opened(site.opens(f"file:{sheet}", copy)) for copy in ("primary", "dr"))
        assert sorted(path.name for path in site.directory.iterdir() if "escrow" in path.name) == ["escrow.txt"]

    def test_key_is_shown_only_where_that_was_asked(self, site: Site) -> None:
        """Not with --out, whatever the verbosity."""
        quiet = site.run("-v", "key", "export", "--out", site.directory / "escrow.txt")

        assert RAW[:4] * 2 not in re.sub(r"\s", "", quiet.output + quiet.errors)

    def test_both_commands_on_the_sheet_work(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """As they stand there, beside the file that was typed from it; there is nothing to restore yet."""
        text = site.run("key", "export", "--show").output
        monkeypatch.chdir(site.directory)
        typed = [line for line in text.splitlines() if line.split(" ")[0] in ("repository", "key", "check")]
        Path("escrow.txt").write_text("\n".join(typed))

        commands = [line.strip() for line in text.splitlines() if line.startswith("    pgvault ")]
        assert [shlex.split(line)[1] for line in commands] == ["list", "restore", "list", "restore"]
        for line in commands:
            finished = pgvault(*shlex.split(line)[1:])
            assert "holds 0 clusters" in finished.errors, finished

    def test_typo_in_the_sheet_is_no_wrong_key(self, site: Site) -> None:
        """It is said in which line it is."""
        sheet = site.directory / "escrow.txt"
        site.run("key", "export", "--out", sheet)
        (site.directory / "typed").write_text(sheet.read_text().replace("1111 1111", "1111 1112", 1))

        finished = site.opens(f"file:{site.directory}/typed")
        assert finished.status == KeyUnusable.exit_code
        assert "typo in line key 1/4" in finished.errors

    @pytest.mark.endurance  # each scrypt costs a third of a second
    def test_place_that_can_not_be_written_adds_no_slot(self, site: Site) -> None:
        """A sheet that nobody has must not open anything."""
        site.json("key", "add", "--passphrase", f"file:{site.directory}/words", "--name", "team")
        site.use({"passphrase": f"file:{site.directory}/words"})

        site.refused(KeyUnusable, "key", "export", "--yes", "--out", site.directory / "absent" / "escrow.txt")
        assert sorted(site.slots()) == ["raw-1", "team"]

    @pytest.mark.endurance  # each scrypt costs a third of a second
    def test_slot_that_can_not_be_added_leaves_no_sheet(self, site: Site) -> None:
        """A sheet that opens nothing would be believed for years."""
        site.json("key", "add", "--passphrase", f"file:{site.directory}/words", "--name", "team")
        site.use({"passphrase": f"file:{site.directory}/words"})
        (site.directory / "dr" / "pgvault.json").unlink()

        assert site.run("key", "export", "--yes", "--out", site.directory / "escrow.txt").status != 0
        assert [path.name for path in site.directory.iterdir() if "escrow" in path.name] == []


def test_given_key_stands_for_the_configured_one(site: Site) -> None:
    """So a drill, a list or a restore proves the sheet; a bare path will do."""
    sheet = site.directory / "escrow.txt"
    site.run("key", "export", "--out", sheet)
    site.use(f"file:{site.directory}/gone")
    assert site.run("list").status == KeyUnusable.exit_code

    for key in (str(sheet), f"file:{sheet}", os.path.relpath(sheet)):
        listed = site.run("list", "--key", key).output
        assert "has no backup" in listed
        assert "opened by the escrow sheet (slot raw-1)" in listed
    assert site.json("list", "--key", str(sheet), "--only-copy", "dr")["key"] == {
        "slot": "raw-1",
        "kind": "raw",
        "is_escrow_sheet": True,
    }
    assert site.refused(WrongKey, "list", "--key", f"file:{site.directory}/second")
