"""`init`, and what every command says to a configuration or a repository that is not as it should be."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pgvault.cli import app
from pgvault.errors import (
    ConfigInvalid,
    ConfigUnknownKey,
    FormatUnsupported,
    KeyUnusable,
    ObjectCorrupt,
    ObjectMissing,
    PgvaultError,
    PlainSecret,
    Refused,
    RepositoryForeign,
    RepositoryMissing,
    ServerUnreachable,
    StoreUnreachable,
    UsageError,
    VerifyFailed,
    WrongKey,
)
from pgvault.repository import layout
from tests.archive import KEY
from tests.cli.here import pgvault, pgvault_json

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("check",),
    ("backup",),
    ("list",),
    ("show", "20260115T103000Z-f7c2"),
    ("verify",),
)
READERS = COMMANDS[2:]


class Site:
    """A configuration, a key and a directory for the repository, nothing done yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "repository"
        self.key = directory / "key"
        self.config = directory / "pgvault.yaml"
        self.write()

    def write(self, *, key: str | None = None, clusters: str = "main: {dsn: 'host=/nowhere'}", extra: str = "") -> None:
        self.config.write_text(
            f"repository:\n  key: {key or f'file:{self.key}'}\n  copies:\n    primary: {{url: 'file://{self.root}'}}\n"
            f"clusters:\n  {clusters}\n{extra}"
        )

    def run(self, *words: str | Path) -> tuple[int, str, str]:
        finished = pgvault("--config", self.config, *words)
        return finished.status, finished.output, finished.errors

    def tree(self) -> dict[str, bytes]:
        """Every file there is."""
        return {str(path): path.read_bytes() for path in self.directory.rglob("*") if path.is_file()}


@pytest.fixture
def bare(tmp_path: Path) -> Site:
    """Nothing but a configuration."""
    return Site(tmp_path)


@pytest.fixture
def site(bare: Site) -> Site:
    """Initialised."""
    bare.key.write_text(KEY.hex() + "\n")
    assert bare.run("init")[0] == 0
    return bare


def test_init_makes_key_and_repository(bare: Site) -> None:
    """The key is 0400 and never shown; the operator is reminded of a copy elsewhere."""
    status, output, errors = bare.run("init", "--generate-key", bare.key)

    assert status == 0
    assert errors == ""
    assert "primary: created" in output
    assert "outside this machine" in output
    assert stat.S_IMODE(bare.key.stat().st_mode) == 0o400
    assert bare.key.read_text().strip() not in output
    assert len(bytes.fromhex(bare.key.read_text())) == 32
    assert (bare.root / layout.IDENTITY).is_file()


def test_init_again_is_a_no_op(site: Site) -> None:
    """Nothing is written, and it says so."""
    before = site.tree()

    status, output, _ = site.run("init")

    assert status == 0
    assert "primary: unchanged" in output
    assert site.tree() == before


def test_init_says_in_json_what_it_did(site: Site) -> None:
    """One document."""
    document = pgvault_json("--config", site.config, "init")

    identity = json.loads((site.root / layout.IDENTITY).read_bytes())
    assert document == {
        "repository_id": identity["repository_id"],
        "copies": [{"name": "primary", "url": site.root.as_uri(), "outcome": "unchanged"}],
    }


def test_a_key_is_never_overwritten(site: Site) -> None:
    """It is the only thing that opens what is there."""
    before = site.tree()

    status, _, errors = site.run("init", "--generate-key", site.key)

    assert status == Refused.exit_code
    assert "is never overwritten" in errors
    assert site.tree() == before


@pytest.mark.parametrize("key", [None, "env:PGVAULT_TEST_KEY", "{passphrase: 'env:PGVAULT_TEST_KEY'}"])
def test_a_key_that_nothing_would_be_sealed_with_is_not_made(
    bare: Site, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    """Somebody would put the wrong key into the safe."""
    bare.write(key=key)
    bare.key.write_text(KEY.hex())
    monkeypatch.setenv("PGVAULT_TEST_KEY", KEY.hex())
    before = bare.tree()

    status, _, errors = bare.run("init", "--generate-key", bare.directory / "other")

    assert status == UsageError.exit_code
    assert "takes its key from" in errors
    assert bare.tree() == before


def test_a_key_is_known_by_any_spelling_of_its_path(bare: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path, and one through '..'."""
    monkeypatch.chdir(bare.directory)

    assert bare.run("init", "--generate-key", "../" + bare.directory.name + "/key")[0] == 0


def test_a_directory_with_something_else_in_it_is_refused(bare: Site) -> None:
    """A typo in the url must not mix backups into somebody's files."""
    bare.key.write_text(KEY.hex())
    bare.root.mkdir()
    (bare.root / "thesis.tex").write_text("…")
    before = bare.tree()

    status, _, errors = bare.run("init")

    assert status == RepositoryForeign.exit_code
    assert "thesis.tex" in errors
    assert bare.tree() == before


class TestEveryCommandSaysWhatIsWrong:
    """One sentence, a hint, a code of its own, and nothing changed."""

    @staticmethod
    def refused(site: Site, words: tuple[str, ...], error: type[PgvaultError], said: str) -> None:
        before = site.tree()
        status, output, errors = site.run(*words)
        assert status == error.exit_code, errors
        assert said in output + errors
        assert "Traceback" not in errors
        assert KEY.hex() not in output + errors
        assert site.tree() == before

    @pytest.mark.parametrize("words", [("init",), *COMMANDS])
    @pytest.mark.parametrize(
        ("break_it", "error", "said"),
        [
            (lambda s: s.config.unlink(), ConfigInvalid, "can not be read"),
            (lambda s: s.config.write_text(""), ConfigInvalid, "is empty or not a mapping"),
            (lambda s: s.config.write_text("a: [1"), ConfigInvalid, "is not YAML"),
            (lambda s: s.write(extra="retention: 7\n"), ConfigUnknownKey, "unknown key 'retention'"),
            (lambda s: s.write(key=KEY.hex()), PlainSecret, "is written into the configuration"),
            (lambda s: s.write(clusters="main: {dsn: 'password=hunter2'}"), PlainSecret, "dsn holds a password"),
            (lambda s: s.key.unlink(), KeyUnusable, "can not be read"),
            (lambda s: s.key.write_text("short"), KeyUnusable, "is not 32 bytes"),
            (lambda s: s.key.write_text(""), KeyUnusable, "is empty"),
        ],
    )
    def test_configuration_and_key(
        self,
        site: Site,
        words: tuple[str, ...],
        break_it: Callable[[Site], object],
        error: type[PgvaultError],
        said: str,
    ) -> None:
        """Before the store is asked anything."""
        break_it(site)

        self.refused(site, words, error, said)

    @pytest.mark.parametrize("words", [("init",), *COMMANDS])
    def test_wrong_key(self, site: Site, words: tuple[str, ...]) -> None:
        """Well formed, and not this repository's."""
        site.key.write_text("ab" * 32)

        self.refused(site, words, WrongKey, "does not open the repository")

    @pytest.mark.parametrize("words", COMMANDS)
    @pytest.mark.parametrize(
        ("break_it", "error", "said"),
        [
            (lambda s: move_away(s.root), StoreUnreachable, "does not exist"),
            (lambda s: empty(s.root), RepositoryMissing, "pgvault init"),
            (
                lambda s: change(s.root / layout.IDENTITY, b'"created_at": "2', b'"created_at": "1'),
                ObjectCorrupt,
                "changed",
            ),
            (lambda s: change(s.root / layout.IDENTITY, b'"pgvault": 1', b'"pgvault": 2'), FormatUnsupported, "newer"),
            (lambda s: (s.root / layout.IDENTITY).write_bytes(b"\0"), ObjectCorrupt, layout.IDENTITY),
        ],
    )
    def test_repository(
        self,
        site: Site,
        words: tuple[str, ...],
        break_it: Callable[[Site], object],
        error: type[PgvaultError],
        said: str,
    ) -> None:
        """Absent, empty, changed, of a version to come."""
        break_it(site)

        self.refused(site, words, error, said)

    @pytest.mark.parametrize("words", [("check",), ("backup",)])
    def test_server(self, site: Site, words: tuple[str, ...]) -> None:
        """There is none."""
        status, output, errors = site.run(*words)

        assert status == ServerUnreachable.exit_code
        assert "PostgreSQL can not be reached" in output + errors

    @pytest.mark.parametrize("words", COMMANDS)
    def test_which_cluster(self, site: Site, words: tuple[str, ...]) -> None:
        """Several are configured and none is named; one is named that is not configured."""
        site.write(clusters="{main: {dsn: 'host=/nowhere'}, other: {dsn: 'host=/nowhere'}}")

        self.refused(site, words, ConfigInvalid, "Name one with --cluster: main, other")
        self.refused(site, (*words, "--cluster", "nobody"), ConfigInvalid, "'nobody' is not configured")

    def test_labels(self, site: Site) -> None:
        """One that does not exist, and things that are no labels."""
        for label in ("20260115T103000Z-f7c2", "../../pgvault.json", "", "x\ny"):
            self.refused(site, ("show", label), ObjectMissing, "there is no backup")

    @pytest.mark.parametrize(
        "words",
        [
            ("backup", "--all", "--cluster", "main"),
            ("list", "--repository", "file:///tmp"),
            ("verify", "--nonsense"),
            ("show",),
            ("nonsense",),
        ],
    )
    def test_usage(self, site: Site, words: tuple[str, ...]) -> None:
        """The command line makes no sense."""
        status, _, errors = site.run(*words)

        assert status == UsageError.exit_code
        assert errors


def move_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def empty(path: Path) -> None:
    move_away(path)
    path.mkdir()


def change(path: Path, old: bytes, new: bytes) -> None:
    body = path.read_bytes()
    assert old in body, body
    path.chmod(0o600)
    path.write_bytes(body.replace(old, new))


class TestConfigLost:
    """On a machine that has never seen the cluster: a URL and the key from the safe."""

    @pytest.mark.parametrize("words", READERS)
    def test_a_wrong_key(self, site: Site, words: tuple[str, ...]) -> None:
        """Told apart from a broken repository."""
        other = site.directory / "escrow.txt"
        other.write_text("ab" * 32)

        finished = pgvault(*words, "--repository", site.root.as_uri(), "--key", f"file:{other}")

        assert finished.status == WrongKey.exit_code

    @pytest.mark.parametrize("words", READERS)
    def test_a_repository_without_clusters(self, site: Site, words: tuple[str, ...]) -> None:
        """Nothing was ever backed up into it: there is no cluster to look at."""
        finished = pgvault(*words, "--repository", site.root.as_uri(), "--key", f"file:{site.key}")

        assert finished.status == ConfigInvalid.exit_code
        assert "the repository holds 0 clusters" in finished.errors


def test_an_empty_repository_lists_nothing_and_does_not_verify(site: Site) -> None:
    """No backup is a fact for `list`, and a failure for whoever counts on one."""
    assert pgvault_json("--config", site.config, "list") == {
        "cluster": "main",
        "backups": [],
        "logical": [],
        "recovery_window": [],
        "gaps": [],
        "not_restorable": [],
        "unreadable": [],
        "unreadable_wal": [],
        "unfinished": [],
        "aborted": [],
        "expiring": [],
        "held_in": {},
        "verified": [],
        "drilled": [],
        "holds": [],
        "copies": ["primary"],
        "unread_copies": [],
        "healed": [],
        "key": {"slot": "raw-1", "kind": "raw", "is_escrow_sheet": False},
    }
    assert "cluster main has no backup" in site.run("list")[1]
    document = pgvault_json("--config", site.config, "verify", status=VerifyFailed.exit_code)
    assert document["passed"] is False
    assert [problem["what"] for problem in document["problems"]] == ["catalog"]


def test_grants_are_printed_without_any_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a superuser to read and run; a role's name is quoted."""
    monkeypatch.chdir(tmp_path)

    finished = pgvault("check", "--print-grants", "--role", 'odd"role')

    assert finished.status == 0
    lines = finished.output.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("GRANT ") and line.endswith(' TO "odd""role";') for line in lines)


def test_help_names_every_command() -> None:
    """A command without its name before its line can not be found."""
    shown = [line.strip("│ ").split(" ")[0] for line in pgvault("--help").output.splitlines()]

    assert set(app.COMMANDS) <= set(shown)
