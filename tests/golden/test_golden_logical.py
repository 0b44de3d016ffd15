"""The golden repository of logical backups (tests/golden/make_logical.py) opens for ever, like the first one."""

from __future__ import annotations

import hashlib
import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from pgvault.pipeline.header import MAGIC, Kind
from pgvault.process import run
from pgvault.repository.catalog import read_catalog
from pgvault.repository.repository import Repository
from tests.archive import program
from tests.golden.describe import (
    CLUSTER,
    GOLDEN,
    KEY,
    LOGICAL_EXPECTED,
    LOGICAL_REPOSITORY,
    TOTALS,
    describe_logical,
    digest,
    object_names,
    open_directory,
    raw_credential,
)
from tests.golden.make_logical import ODD
from tests.golden.test_golden import LATER_KINDS
from tests.servers import MAJORS, ServerFactory

NOWHERE = {"PATH": "/usr/bin:/bin"}  # a machine without any configuration


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(LOGICAL_EXPECTED.read_text())
    return loaded


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: reading leaves no trace in the checkout."""
    copy = tmp_path_factory.mktemp("golden") / "repository"
    shutil.copytree(LOGICAL_REPOSITORY, copy)
    return copy


@pytest.fixture(scope="module")
def repository(root: Path) -> Repository:
    return open_directory(root, raw_credential())


def test_everything_is_as_it_was(repository: Repository, root: Path, expected: dict[str, Any]) -> None:
    """Every object, every root, every file put together, every fingerprint."""
    assert json.loads(json.dumps(describe_logical(repository, root))) == expected


def test_it_holds_what_the_first_one_does_not(expected: dict[str, Any]) -> None:
    """Else the two would prove less than they seem to."""
    kinds = {entry["kind"] for entry in expected["objects"].values()}
    shapes = [(each["root"]["type"], each["root"]["class"]) for each in expected["backups"]]

    assert {kind.name.lower() for kind in LATER_KINDS} <= kinds
    assert shapes == [("logical", None), ("logical", "critical"), ("schema", None)]
    assert Kind.MANIFEST.name.lower() in kinds
    assert "5/blob_4711.dat" in expected["backups"][0]["files"]


def test_unseal_brings_it_out(root: Path, tmp_path: Path, expected: dict[str, Any]) -> None:
    """The decoder that stands alone opens every object, and puts every file together."""
    unseal = runpy.run_path(str(GOLDEN.parents[1] / "scripts" / "unseal.py"))
    opened = unseal["open_keys"](root, KEY, None)

    for name in object_names(root):
        body = (root / name).read_bytes()
        if body.startswith(MAGIC):
            plain = b"".join(unseal["unseal"](body, name, *opened))
            assert hashlib.sha256(plain).hexdigest() == expected["objects"][name]["plain_sha256"]
    for each in expected["backups"]:
        label = each["root"]["label"]
        manifest = f"clusters/{CLUSTER}/backups/{label}/manifest"
        frames = unseal["unseal"]((root / manifest).read_bytes(), manifest, *opened)
        unseal["extract"](frames, unseal["Backup"](root, *opened), tmp_path / label)
        found = {path.relative_to(tmp_path / label).as_posix(): path for path in (tmp_path / label).rglob("*.*")}
        assert {name: digest(path.read_bytes()) for name, path in found.items()} == each["files"]


def test_verify_finds_nothing(root: Path) -> None:
    """Without any WAL; the tail is nobody's, since no physical backup is there."""
    words = ["verify", "--repository", root.as_uri(), "--key", f"file:{KEY}", "--json"]
    said = json.loads(run([*program(), *words], timeout=60, env=NOWHERE))

    assert (said["passed"], said["problems"]) == (True, [])
    assert len(said["backups"]) == 3


@pytest.mark.cluster
@pytest.mark.skipif(18 not in MAJORS, reason="PostgreSQL 18 is not installed")
@pytest.mark.endurance
def test_it_is_restored(root: Path, repository: Repository, server: ServerFactory, expected: dict[str, Any]) -> None:
    """Into an empty server, and what is there then has the fingerprints of that day."""
    target = server(18, fresh=True)
    label = read_catalog(repository, CLUSTER).logical[0].label
    source = ["--repository", root.as_uri(), "--key", f"file:{KEY}", "--cluster", CLUSTER]
    words = ["restore", "--logical", label, *source, "--into", target.dsn, "--create", "--json"]

    said = json.loads(run([*program(), *words], timeout=120, env=NOWHERE))

    assert said
    assert target.sql(TOTALS)[0][0] == 100
    assert target.value("SELECT count(*) FROM pg_database WHERE datname = '" + ODD + "'") == 1
    assert target.value("SELECT length(lo_get(4711))") == 10_000
