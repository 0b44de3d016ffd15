"""Logical backups of real servers, restored into others: all of them, or a part; nothing that is there is touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.errors import Refused, UsageError, VerifyFailed
from pgvault.logical.restore import restore_into
from pgvault.logical.restoreplan import LogicalOrder, plan_logical
from pgvault.logical.select import RankedClass, TablePattern
from pgvault.process import run
from pgvault.progress import NoProgress
from pgvault.repository.logical import LogicalManifest
from tests.archive import Archive, make_archive
from tests.logical.dumps import ENV, dump, dumped_text
from tests.logical.everything import make_everything
from tests.servers import NEWEST, NEWEST_OR_CI, Server, ServerFactory

ODD_TABLE = '"odd.schema ""x"""."Table\nwith ; -- all"'


class Place:
    """A full database, its backup, and a server with nothing in it."""

    def __init__(self, servers: ServerFactory, directory: Path, major: int) -> None:
        self.source = servers(major)
        make_everything(self.source)
        self.target = servers(NEWEST)
        self.archive: Archive = make_archive(directory)
        self.manifest: LogicalManifest = dump(self.archive.repository, self.source, directory)

    def order(self, database: str = "postgres", **more: object) -> LogicalOrder:
        return replace(LogicalOrder(dsn=self.target.dsn_of("postgres", database)), **more)  # type: ignore[arg-type]

    def restore(self, order: LogicalOrder) -> tuple[str, ...]:
        """Restore; return the notes."""
        return restore_into(self.archive.repository, self.manifest, order, progress=NoProgress()).notes


@pytest.fixture(scope="module", params=NEWEST_OR_CI)
def place(request: pytest.FixtureRequest, servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Restored into the newest server, whole, once."""
    made = Place(servers, tmp_path_factory.mktemp("logical"), request.param)
    done = restore_into(
        made.archive.repository,
        made.manifest,
        made.order(is_created=True, spool_limit=20_000),  # so that large tables go through FIFOs
        progress=NoProgress(),
    )
    assert done.databases[0].compared_count == made.manifest.databases[0].table_count + 1
    assert set(done.roles) == {"staff", 'odd "role; --'}
    return made


@pytest.fixture(scope="module")
def reference(place: Place, servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The same database, taken to the newest server by PostgreSQL's own programs alone, if it is not there already."""
    if place.source.programs.major == NEWEST:
        return place.source
    server = servers(NEWEST)
    directory = tmp_path_factory.mktemp("reference")
    _psql(server, run([place.source.programs.path("pg_dumpall"), "-g", "-d", place.source.dsn], timeout=60))
    words: list[str | Path] = ["-Fd", "-f", directory / "d", "-d", place.source.dsn_of("postgres", "shop")]
    run([place.source.programs.path("pg_dump"), *words], timeout=120)
    words = ["--exit-on-error", "--create", "-d", server.dsn, directory / "d"]
    run([server.programs.path("pg_restore"), *words], timeout=120)
    return server


def _psql(server: Server, text: str) -> None:
    run([server.programs.path("psql"), "-X", "-q", "-d", server.dsn], timeout=60, input=text, env=ENV)


def test_every_kind_of_object_comes_back(place: Place, reference: Server) -> None:
    """Definitions, grants, comments and settings are those that PostgreSQL's own way brings, to the letter."""
    assert dumped_text(place.target, "shop", "--create", "-s") == dumped_text(reference, "shop", "--create", "-s")


def test_every_row_comes_back(place: Place, reference: Server) -> None:
    """As text, and large objects with them; the fingerprints were compared by the restore itself."""
    assert dumped_text(place.target, "shop", "--data-only", "-b") == dumped_text(reference, "shop", "--data-only", "-b")


def test_roles_come_back_with_their_passwords(place: Place, reference: Server) -> None:
    """And memberships, settings and comments."""

    def roles(server: Server) -> list[str]:
        text = run([server.programs.path("pg_dumpall"), "-g", "-d", server.dsn], timeout=60)
        return [line for line in text.splitlines() if "restrict" not in line]

    assert roles(place.target) == roles(reference)
    assert "SCRAM-SHA-256" in "".join(roles(place.target))


def test_what_is_there_is_refused_and_untouched(place: Place) -> None:
    """Named, before anything is done: nothing of the database changes, no role is made."""
    before = dumped_text(place.target, "shop")

    with pytest.raises(Refused, match="already"):
        place.restore(place.order("shop"))

    assert dumped_text(place.target, "shop") == before


def test_a_large_object_that_is_there_is_refused(place: Place) -> None:
    """It has no name but its number: lo_create would fail in the middle else."""
    place.target.sql("CREATE DATABASE objects")
    place.target.sql("SELECT lo_create(70002)", database="objects")

    with pytest.raises(Refused, match=r"blob|70001"):
        place.restore(place.order("objects"))


def test_one_table_goes_into_another_database(place: Place) -> None:
    """With what belongs to it and what supports it; the key to a table that stays behind is left out and named."""
    place.target.sql("CREATE DATABASE part")

    notes = place.restore(place.order("part", tables=(ODD_TABLE,)))

    assert place.target.value(f"SELECT count(*) FROM {ODD_TABLE}", database="part") == 500
    assert place.target.value(f"INSERT INTO {ODD_TABLE} DEFAULT VALUES RETURNING id", database="part") == 501
    assert [note for note in notes if note.startswith("foreign key ") and "table public.customers" in note]


def test_a_partitioned_table_with_its_rows(place: Place) -> None:
    """Chosen by its name alone, two levels deep."""
    place.target.sql("CREATE DATABASE parts")

    place.restore(place.order("parts", tables=("public.events",)))

    rows = place.target.sql("SELECT tableoid::regclass::text, count(*) FROM events GROUP BY 1", database="parts")
    assert sorted(rows) == [("events_1_a", 11), ("events_1_rest", 20), ("events_rest", 69)]


@pytest.mark.endurance
def test_types_and_functions_that_are_there_are_left_alone(place: Place) -> None:
    """A table back into its own database, after somebody dropped it."""
    place.target.sql("CREATE DATABASE again")
    place.restore(place.order("again", has_globals=False))
    place.target.sql("DROP TABLE customers CASCADE", database="again")

    place.restore(place.order("again", tables=("customers",)))

    assert place.target.value("SELECT count(*) FROM customers", database="again") == 500


@pytest.mark.endurance
def test_clean_replaces_what_is_in_the_way(place: Place) -> None:
    """All of it; and a drop that others depend on is refused with nothing dropped."""
    place.target.sql("CREATE DATABASE cleaned")
    place.restore(place.order("cleaned", has_globals=False))
    place.target.sql("DELETE FROM customers; TRUNCATE wide", database="cleaned")
    place.target.sql("CREATE VIEW mine AS SELECT * FROM wide", database="cleaned")

    with pytest.raises(Refused, match="wide"):
        place.restore(place.order("cleaned", is_cleaned=True))
    assert place.target.value("SELECT count(*) FROM events", database="cleaned") == 100
    place.target.sql("DROP VIEW mine", database="cleaned")
    place.restore(place.order("cleaned", is_cleaned=True))

    assert dumped_text(place.target, "cleaned") == dumped_text(place.target, "shop")


def test_a_difference_is_an_error(place: Place) -> None:
    """Rows that are not what was dumped: here a trigger of the target's own changes them."""
    place.target.sql("CREATE DATABASE changed")
    place.target.sql(
        "CREATE FUNCTION spoil() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN"
        " IF to_regclass('public.quick') IS NOT NULL AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 's') THEN"
        " CREATE TRIGGER s BEFORE INSERT ON public.quick FOR EACH ROW EXECUTE FUNCTION public.less(); END IF; END$$;"
        "CREATE FUNCTION less() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF new.id = 2 THEN RETURN NULL; END IF;"
        " RETURN new; END';"
        "CREATE EVENT TRIGGER spoil ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION spoil()",
        database="changed",
    )

    with pytest.raises(VerifyFailed, match="quick has 1 row, not 2"):
        place.restore(place.order("changed", tables=("quick",)))


def test_a_missing_database_is_refused_without_create(place: Place) -> None:
    with pytest.raises(Refused, match="'nowhere' is not on the server"):
        place.restore(place.order("nowhere"))


def test_a_name_that_is_in_no_database_is_an_error(place: Place) -> None:
    """And nothing is restored of the others."""
    place.target.sql("CREATE DATABASE empty")

    with pytest.raises(UsageError, match="'nothing'"):
        place.restore(place.order("empty", tables=("wide", "nothing")))

    assert place.target.value("SELECT count(*) FROM pg_class WHERE relname = 'wide'", database="empty") == 0


@pytest.mark.endurance
def test_classes_come_in_their_order(place: Place) -> None:
    """One run of pg_restore for each; together they make the whole."""
    place.target.sql("CREATE DATABASE classes")
    classes = (
        RankedClass("second", 2, (TablePattern.parse("public.*"),)),
        RankedClass("first", 1, (TablePattern.parse("events"), TablePattern.parse("wide"))),
    )
    order = place.order("classes", classes=classes, has_globals=False)

    (plan,) = plan_logical(place.archive.repository, place.manifest, order).databases
    place.restore(order)

    assert len(plan.runs) == 4
    assert dumped_text(place.target, "classes") == dumped_text(place.target, "shop")
