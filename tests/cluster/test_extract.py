"""`pgvault extract`: a table as it was, beside the one that was spoilt, on the very server that is running."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgvault.errors import DrillNotRun, ObjectMissing, Refused, UsageError
from pgvault.process import run
from tests.archive import pgvault
from tests.cluster.drills import Stage, make_told_stage, scratch_processes
from tests.cluster.test_drill_command import configure
from tests.servers import NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A shop whose orders were spoilt after `moment`, at which there were `count`."""

    stage: Stage
    config: Path
    moment: str
    count: int

    @property
    def words(self) -> tuple[str, ...]:
        return ("--config", str(self.config), "extract", "--to", self.moment)

    @property
    def into(self) -> tuple[str, str]:
        return ("--into", self.stage.server.dsn)


@pytest.fixture(scope="module")
def spoilt(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoilt]:
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    directory = tmp_path_factory.mktemp("spoilt")
    try:
        stage = make_told_stage(factory, NEWEST, directory)
        server = stage.server
        count = int(str(server.value("SELECT count(*) FROM orders")))
        moment = str(server.value("SELECT now()"))
        server.sql("UPDATE orders SET total_amount = 0")
        stage.archive_all()
        yield Spoilt(stage, configure(stage, directory / "c.yaml"), moment, count)
    finally:
        factory.clear()


@pytest.fixture
def clean(spoilt: Spoilt) -> Iterator[Spoilt]:
    """Afterwards nothing is left, whatever happened."""
    try:
        yield spoilt
        assert list(spoilt.stage.scratch.iterdir()) == []
        assert scratch_processes(spoilt.stage.scratch) == []
    finally:
        for name in ("orders_restored", "order_items_restored", "old"):
            spoilt.stage.server.sql(f"DROP TABLE IF EXISTS {name}")


def test_tables_come_back_beside_those_that_are_there(clean: Spoilt) -> None:
    """As they were at the moment, under new names; the existing ones are as they are. What it costs is said before."""
    before = clean.stage.server.value("SELECT md5(string_agg(o::text, '' ORDER BY id)) FROM orders o")

    finished = pgvault(*clean.words, "--table", "orders,public.order_items", *clean.into, timeout=120)

    assert finished.status == 0, finished.errors
    assert "the whole cluster is restored into a scratch server" in finished.errors
    assert "to fetch" in finished.errors
    assert f"made public.orders_restored with {clean.count} rows, compared with what they come from" in finished.output
    server = clean.stage.server
    assert server.value("SELECT count(*) FROM orders_restored WHERE total_amount > 0") == clean.count
    assert server.value("SELECT count(*) FROM orders WHERE total_amount > 0") == 0
    assert server.value("SELECT md5(string_agg(o::text, '' ORDER BY id)) FROM orders o") == before
    assert server.value("SELECT count(*) FROM order_items_restored") == server.value("SELECT count(*) FROM order_items")


def test_a_file_that_pg_restore_reads(clean: Spoilt, tmp_path: Path) -> None:
    """In pg_dump's own format, readable by nobody else, and never in place of another."""
    path = tmp_path / "orders.dump"
    finished = pgvault(*clean.words, "--table", "public.orders", "--file", path, "--json", timeout=120)
    assert finished.status == 0, finished.errors
    assert json.loads(finished.output)["file_bytes"] == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    listed = run([clean.stage.server.programs.path("pg_restore"), "--list", path], timeout=60)
    assert "TABLE DATA public orders" in listed

    again = pgvault(*clean.words, "--table", "public.orders", "--file", path)
    assert again.status == Refused.exit_code
    assert f"'{path}' exists, and is left alone" in again.errors


def test_the_price_alone(clean: Spoilt) -> None:
    """--dry-run tells it and does nothing; a name that is taken is told before anything is paid."""
    dry = pgvault(*clean.words, "--table", "orders", *clean.into, "--dry-run", "--json")
    taken = pgvault(*clean.words, "--table", "orders", *clean.into, "--as", "customers")

    assert json.loads(dry.output)["fetch_bytes"] > 0
    assert taken.status == Refused.exit_code
    assert "'public.customers' exists in the target, and is left alone" in taken.errors
    assert clean.stage.server.value("SELECT to_regclass('orders_restored')") is None


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (("--table", "nowhere"), ObjectMissing.exit_code, "there is no table 'public.nowhere' at that moment"),
        (("--table", "orders", "--database", "no"), ObjectMissing.exit_code, "database 'no' can not be opened"),
        (("--table", "orders", "--as", "a", "--as", "b"), UsageError.exit_code, "1 tables are to be extracted, and 2"),
        ((), UsageError.exit_code, "no table is named"),
        (("--table", "orders", "--scratch", "/nowhere"), DrillNotRun.exit_code, "is no directory"),
    ],
)
def test_what_can_not_be(clean: Spoilt, words: tuple[str, ...], status: int, why: str) -> None:
    """One sentence each, and nothing is changed."""
    finished = pgvault(*clean.words, *clean.into, *words, timeout=120)

    assert (finished.status, why in finished.errors) == (status, True), finished.errors
    assert clean.stage.server.value("SELECT to_regclass('orders_restored')") is None


def test_a_plan_tells_what_the_next_commit_does(spoilt: Spoilt, tmp_path: Path) -> None:
    """Where people look for the moment before a mistake: when it was committed, and which table it touches."""
    words = ("--config", spoilt.config, "restore", "--to", spoilt.moment, tmp_path / "restored", "--dry-run", "--json")

    landing = json.loads(pgvault(*words).output)["landing"]

    assert "the last commit is of" in landing
    assert "s later, and touches public.orders" in landing
