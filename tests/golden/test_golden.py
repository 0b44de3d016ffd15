"""The golden repository of format 1 (tests/golden/make.py) opens for ever.

A change that turns one of these tests red breaks every repository there is. It needs a new format version, and code
that goes on reading this one; never a new golden repository of format 1.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from pgvault.errors import WrongKey
from pgvault.pipeline.header import MAGIC, Kind
from pgvault.postgres.programs import find_programs
from pgvault.process import run
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository
from tests.archive import bare_environment, program
from tests.golden.describe import (
    CLUSTER,
    EXPECTED,
    GOLDEN,
    KEY,
    PASSPHRASE,
    REPOSITORY,
    RESTORE_POINT,
    TOTALS,
    describe,
    object_names,
    open_directory,
    raw_credential,
)
from tests.servers import MAJORS, ServerFactory

pytestmark = pytest.mark.skipif(not REPOSITORY.exists(), reason="tests/golden/make.py has not run yet")

MAJOR = 18


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(EXPECTED.read_text())
    return loaded


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: reading leaves no trace in the checkout."""
    copy = tmp_path_factory.mktemp("golden") / "repository"
    shutil.copytree(REPOSITORY, copy)
    return copy


@pytest.fixture(scope="module")
def repository(root: Path) -> Repository:
    return open_directory(root, raw_credential())


def test_everything_is_as_it_was(repository: Repository, root: Path, expected: dict[str, Any]) -> None:
    """Every object, the backup's root, every file put together, WAL, histories and watermarks."""
    found = json.loads(json.dumps(describe(repository, root)))

    assert found == {name: value for name, value in expected.items() if name != "rows"}


# They came when this repository was frozen already: test_golden_logical.py has them.
LATER_KINDS = {Kind.TAIL, Kind.GAP}
SINCE = {Kind.TOMBSTONE, Kind.VERIFIED, Kind.HOLD, Kind.INVENTORY, Kind.DRILLED, Kind.CHECKS}  # in no golden repository
SINCE |= {Kind.AUDIT, Kind.NOTICE}


def test_it_holds_an_object_of_every_kind(expected: dict[str, Any]) -> None:
    """Else this would prove less than it seems to."""
    kinds = {entry["kind"] for entry in expected["objects"].values()}

    assert kinds == {kind.name.lower() for kind in set(Kind) - LATER_KINDS - SINCE} | {"clear"}
    assert set(expected["files"]["kinds"]) == {"file", "directory", "symlink", "external"}
    assert expected["histories"]
    assert any(name.endswith(".partial") for name in expected["objects"])


def test_unseal_reads_it(root: Path, expected: dict[str, Any]) -> None:
    """So does the decoder that stands alone."""
    unseal = runpy.run_path(str(GOLDEN.parents[1] / "scripts" / "unseal.py"))
    opened = unseal["open_keys"](root, KEY, None)

    for name in object_names(root):
        body = (root / name).read_bytes()
        if body.startswith(MAGIC):
            plain = b"".join(unseal["unseal"](body, name, *opened))
            assert hashlib.sha256(plain).hexdigest() == expected["objects"][name]["plain_sha256"]


def test_passphrase_opens_it(root: Path, repository: Repository) -> None:
    """By the slot that was added later; another passphrase does not."""
    words = PASSPHRASE.read_bytes().removesuffix(b"\n")

    assert open_directory(root, Credential("passphrase", words)).id == repository.id
    with pytest.raises(WrongKey):
        open_directory(root, Credential("passphrase", words + b"!"))


def test_verify_finds_nothing(root: Path) -> None:
    """The command that reads everything back, on a machine without any configuration."""
    words = ["verify", "--repository", root.as_uri(), "--key", f"file:{KEY}", "--json"]
    said = json.loads(run([*program(), *words], timeout=60, env=bare_environment()))

    assert said["passed"] is True
    assert said["problems"] == []
    assert len(said["backups"]) == 1


@pytest.fixture
def scratch(server: ServerFactory) -> Path:
    """A directory that a server may reach."""
    return server.directory()


@pytest.mark.cluster
@pytest.mark.skipif(MAJOR not in MAJORS, reason=f"PostgreSQL {MAJOR} is not installed")
@pytest.mark.parametrize(
    ("target", "moment"),
    [
        pytest.param(["--to-name", RESTORE_POINT], "restore point", marks=pytest.mark.endurance),
        pytest.param(["--to", "latest", "--timeline", "1"], "timeline 1", marks=pytest.mark.endurance),
        (["--to", "latest"], "latest"),
    ],
)
def test_it_is_restored(
    root: Path, server: ServerFactory, scratch: Path, expected: dict[str, Any], target: list[str], moment: str
) -> None:
    """Each moment gives exactly its rows, on PostgreSQL 18, also across the change of timeline."""
    directory = scratch / "data"
    source = ["--repository", root.as_uri(), "--key", f"file:{KEY}", "--cluster", CLUSTER]
    words = ["restore", *source, *target, "--finish", "--yes", "--config-dir", str(scratch / "etc"), str(directory)]
    run([*program(), *words], timeout=120, env=bare_environment())

    restored = server.adopt(find_programs(MAJOR), directory)
    assert list(restored.sql(TOTALS)[0]) == expected["rows"][moment]
    assert restored.value("SELECT count(*) FROM forgotten") == 0
