"""Commands that read: by several URLs, with a copy gone, and never from a foreign one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.cli.opening import RepositorySource, make_source
from pgvault.cli.reading import IMPATIENCE, impatient, open_to_read
from pgvault.errors import Refused, RepositoryForeign, StoreUnreachable, UsageError
from pgvault.repository.catalog import read_catalog
from pgvault.repository.systems import System, record_system
from pgvault.stores.retry import Patience
from tests.archive import AT, SYSTEM, Archive, make_archive
from tests.cli.here import pgvault, pgvault_json


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = make_archive(tmp_path / "one")
    record_system(archive.repository, "main", System(SYSTEM, 18), follows=None, now=AT)
    return archive


@pytest.fixture
def dr(archive: Archive) -> Path:
    """A second copy, which no configuration knows."""
    return Path(shutil.copytree(archive.root, archive.root.with_name("dr")))


def by_urls(archive: Archive, *roots: Path) -> list[str]:
    words = [word for root in roots for word in ("--repository", root.as_uri())]
    return [*words, "--key", f"file:{archive.key}"]


def test_several_urls_are_several_copies(archive: Archive, dr: Path) -> None:
    """A machine that has lost everything names each copy that its sheet lists."""
    (archive.root / "pgvault.json").unlink()

    document = pgvault_json("list", *by_urls(archive, archive.root, dr))

    assert document["cluster"] == "main"
    assert document["copies"] == ["given", "given-2"]
    assert [(each["copy"], each["taken_from"]) for each in document["healed"]] == [("given", "given-2")]


def test_url_that_does_not_answer_is_passed_over(archive: Archive, dr: Path) -> None:
    """One line on stderr, and in the result."""
    shutil.rmtree(archive.root)

    finished = pgvault("list", *by_urls(archive, archive.root, dr))

    assert finished.status == 0
    assert "read without copy 'given'" in finished.output
    assert finished.errors.count("reading goes on without it") == 1


def test_foreign_url_is_an_error(archive: Archive, tmp_path: Path) -> None:
    """Two sheets were mixed up: nothing is read from a mixture."""
    other = make_archive(tmp_path / "two")

    assert pgvault("list", *by_urls(archive, archive.root, other.root)).status == RepositoryForeign.exit_code


def test_nothing_answers(archive: Archive, dr: Path) -> None:
    """Then it is an error, the first copy's."""
    urls = by_urls(archive, archive.root, dr)
    shutil.rmtree(archive.root)
    shutil.rmtree(dr)

    assert pgvault("list", *urls).status == StoreUnreachable.exit_code


def test_source_keeps_its_urls(archive: Archive, dr: Path) -> None:
    """`wal fetch` opens what the restore opened."""
    source = make_source(None, urls=[archive.root.as_uri(), dr.as_uri()], key=f"file:{archive.key}")

    assert RepositorySource.from_json(source.to_json()) == source
    assert "more_urls" not in replace(source, more_urls=()).to_json()
    with pytest.raises(UsageError, match="needs --key"):
        replace(source, key=None).load()


def test_order_of_copies_decides_nothing_about_writing(archive: Archive, dr: Path) -> None:
    """A plan may ask dr first; what dr says is absent counts there, and nothing is written to it."""
    config = make_source(None, urls=[archive.root.as_uri(), dr.as_uri()], key=f"file:{archive.key}").load()

    repository = open_to_read(config, only=["given-2", "given"])

    assert [copy.name for copy in repository.copies] == ["given-2", "given"]
    assert read_catalog(repository, "main").backups == ()
    with pytest.raises(Refused, match="only given-2 and given may be touched"):
        _ = repository.deciding
    assert open_to_read(config, only=["given", "given-2"]).deciding.name == "given"


def test_patience_is_short_where_there_is_another_copy() -> None:
    """Never longer than was asked for, either."""
    hurried = Patience(deadline_seconds=3, read_seconds=2, answer_seconds=3)

    assert impatient(None) == IMPATIENCE
    assert impatient(hurried) == hurried
    assert impatient(Patience()).deadline_seconds == IMPATIENCE.deadline_seconds
