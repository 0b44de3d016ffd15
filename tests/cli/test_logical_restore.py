"""`pgvault restore --logical`: into a server or a directory, and which options go with which kind of restore."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvault.errors import ObjectMissing, Refused, UsageError
from tests.archive import Archive, make_archive
from tests.cli.here import pgvault, pgvault_json
from tests.logical.dumps import dump
from tests.servers import NEWEST, Server, ServerFactory


class Place:
    """A server with a database and its logical backup."""

    def __init__(self, factory: ServerFactory, directory: Path) -> None:
        self.server: Server = factory(NEWEST)
        self.server.sql("CREATE DATABASE shop")
        self.server.sql("CREATE TABLE orders AS SELECT g FROM generate_series(1, 50) g", database="shop")
        self.server.sql("CREATE TABLE other AS SELECT 1 AS a", database="shop")
        self.archive: Archive = make_archive(directory)
        text = self.archive.config.read_text().replace("main: {dsn: ''}", "main:\n    dsn: ''\n    classes: CLASSES")
        self.archive.config.write_text(text.replace("CLASSES", "{vital: {priority: 1, tables: [public.orders]}}"))
        self.manifest = dump(self.archive.repository, self.server, directory)

    def words(self, *words: str | Path) -> tuple[str | Path, ...]:
        return ("restore", "--config", self.archive.config, *words)


@pytest.fixture(scope="module")
def place(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    factory = ServerFactory(templates)
    try:
        yield Place(factory, tmp_path_factory.mktemp("logical"))
    finally:
        factory.clear()


def test_into_another_database(place: Place) -> None:
    """The document says what was made and compared."""
    place.server.sql("CREATE DATABASE one")
    into = place.server.dsn_of("postgres", "one")

    plan = pgvault_json(*place.words("--logical", "latest", "--into", into, "--class", "vital", "--dry-run"))
    assert (plan["databases"][0]["tables"], place.server.value("SELECT to_regclass('orders')", database="one")) == (
        1,
        None,
    )
    done = pgvault_json(*place.words("--logical", "latest", "--into", into, "--class", "vital"))

    assert [(each["into"], each["compared"], each["rows"]) for each in done["databases"]] == [("one", 1, 50)]
    assert place.server.value("SELECT count(*) FROM orders", database="one") == 50


def test_what_is_there_is_refused(place: Place) -> None:
    """With its own exit code and a way out."""
    finished = pgvault(*place.words("--logical", "latest", "--into", place.server.dsn_of("postgres", "shop")))

    assert finished.status == Refused.exit_code
    assert "table public.orders" in finished.errors
    assert "--clean" in finished.errors


def test_into_a_directory(place: Place, tmp_path: Path) -> None:
    """And the line that restores it from there."""
    finished = pgvault(*place.words("--logical", place.manifest.label, "--file", tmp_path / "out"))

    assert (tmp_path / "out" / str(place.manifest.databases[0].oid) / "toc.dat").is_file()
    assert "pg_restore --create" in finished.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--logical", "latest"), "--into or --file"),
        (("--logical", "latest", "--into", "dbname=x", "--file", "y"), "--into or --file"),
        (("--logical", "latest", "--into", "dbname=x", "--to", "latest"), "--to is of physical restores"),
        (("--logical", "latest", "--into", "dbname=x", "somewhere"), "DIRECTORY is of physical restores"),
        (("--logical", "latest", "--into", "host=h password=secret"), "holds a password"),
        (("--logical", "latest", "--into", "dbname=x", "--class", "none"), "class 'none' is not configured"),
        (("--into", "dbname=x"), "--into goes with --logical"),
        (("--table", "x", "somewhere"), "--table goes with --logical"),
    ],
)
def test_options_that_do_not_go_together_are_refused(place: Place, words: tuple[str, ...], said: str) -> None:
    """Before anything is asked of any server; a password is not repeated."""
    finished = pgvault(*place.words(*words))

    assert finished.status == UsageError.exit_code
    assert said in finished.errors
    assert "secret" not in finished.errors


def test_a_label_that_is_not_there(place: Place) -> None:
    finished = pgvault(*place.words("--logical", "20200101T000000Z-0000", "--into", "dbname=x"))

    assert finished.status == ObjectMissing.exit_code
