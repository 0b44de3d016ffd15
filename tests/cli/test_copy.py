from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pgvault.process import Finished
from pgvault.repository import layout
from tests.cli.here import pgvault, pgvault_json
from tests.mirror.vaults import LABELS, Vault, wal_path


@dataclass(frozen=True, slots=True)
class Site:
    """Two copies in directories, the second of them empty, and their configuration."""

    config: Path
    primary: Path
    dr: Path


@pytest.fixture
def site(tmp_path: Path) -> Site:
    vault = Vault()
    vault.fill()
    primary, dr, config = tmp_path / "primary", tmp_path / "dr", tmp_path / "pgvault.yaml"
    dr.mkdir()
    for path, body in vault.primary.objects.items():
        (primary / path).parent.mkdir(parents=True, exist_ok=True)
        (primary / path).write_bytes(body)
    config.write_text(
        f"repository:\n  key: file:{tmp_path}/key\n  copies:\n    primary: {{url: '{primary.as_uri()}'}}\n"
        f"    dr: {{url: '{dr.as_uri()}'}}\nclusters:\n  main: {{dsn: ''}}\n"
    )
    return Site(config, primary, dr)


def test_a_copy_is_brought_up_to_date_without_the_key(site: Site) -> None:
    """What would be done is said first, then done; there is no key on this machine."""
    ahead = pgvault_json("--config", site.config, "copy", "--dry-run")["copies"]
    assert list(site.dr.iterdir()) == []
    done = pgvault_json("--config", site.config, "copy")["copies"]

    identity = {layout.IDENTITY, layout.key_document(1)}
    files = {path.relative_to(site.dr).as_posix() for path in site.dr.rglob("*") if path.is_file()}
    assert {each["path"] for each in ahead[0]["objects"]} == files - identity
    assert done == [
        {"name": "dr", "objects": len(files), "bytes": ahead[0]["bytes"], "removed": 0, "problems": [], "error": None}
    ]
    assert "dr: up to date" in pgvault("-v", "--config", site.config, "copy", "--copy", "dr").output
    assert pgvault("--config", site.config, "copy") == Finished(0, "", "")  # cron would mail it


def test_damage_in_the_source_ends_with_34(site: Site) -> None:
    """After everything else has been brought."""
    path = site.primary / wal_path(5)
    path.write_bytes(path.read_bytes()[:-1])

    finished = pgvault("--config", site.config, "copy")

    assert finished.status == 34
    assert "dr: NOT up to date" in finished.output
    assert wal_path(5) in finished.errors
    assert (site.dr / layout.manifest("main", LABELS[1])).exists()
    assert not (site.dr / wal_path(5)).exists()


def test_a_copy_that_is_not_there_is_named(site: Site) -> None:
    """With the exit code of what it said; a directory that is missing is no empty copy."""
    site.dr.rmdir()

    finished = pgvault("--config", site.config, "copy")

    assert finished.status == 30
    assert "copy 'dr' is not up to date" in finished.errors
    assert not site.dr.exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--copy", "primary"), "is the deciding one"),
        (("--copy", "moon"), "not configured"),
        (("--watch", "--json"), "--watch goes with neither"),
        (("--watch", "--dry-run"), "--watch goes with neither"),
    ],
)
def test_what_means_nothing_is_refused(site: Site, words: tuple[str, ...], reason: str) -> None:
    """Before any store is asked."""
    finished = pgvault("--config", site.config, "copy", *words)

    assert finished.status == 2
    assert reason in finished.errors


def test_list_says_which_copy_has_what(site: Site) -> None:
    """By its root: in one of them a backup is missing."""
    (site.config.parent / "key").write_text(bytes(32).hex())
    pgvault("--config", site.config, "copy")
    (site.dr / layout.manifest("main", LABELS[1])).unlink()

    document = pgvault_json("--config", site.config, "list")

    assert document["held_in"] == {LABELS[0]: ["primary", "dr"], LABELS[1]: ["primary"]}
    told = pgvault("--config", site.config, "list").output
    assert "copy primary: all of the 2" in told
    assert f"copy dr: all but {LABELS[1]}" in told
