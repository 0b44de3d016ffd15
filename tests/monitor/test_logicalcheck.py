"""`check` where nothing but CONNECT and SELECT is given, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pgvault.errors import ConfigInvalid, DiskFull, ProgramMissing, ServerUnreachable, StoreUnreachable
from pgvault.logical.request import LogicalRequest
from pgvault.monitor import logicalcheck
from pgvault.monitor.finding import Level
from pgvault.monitor.logicalcheck import LogicalCluster, check_logical
from pgvault.monitor.tried import Finding
from pgvault.process import attempt
from pgvault.repository.repository import Repository
from tests.archive import make_archive
from tests.servers import NEWEST, Server, ServerFactory

pytestmark = pytest.mark.cluster

ODD = 'shop "quoted" – Käse'
NAMES = ["repository", "put-if-absent", "store primary", "clock primary", "point in time"]
NAMES += ["server", "pg_dump", "roles", "databases"]
TABLES = """
CREATE TABLE orders (id serial PRIMARY KEY, customer int);
CREATE SCHEMA app;
CREATE TABLE app.events (id int, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE app.events_2026 PARTITION OF app.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return make_archive(tmp_path_factory.mktemp("repository")).repository


@pytest.fixture(scope="module")
def managed(templates: Path) -> Iterator[Server]:
    """A server on which the role `dumper` has no grants but what each test gives it, and two databases with tables."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        server = factory(NEWEST)
        server.sql("CREATE ROLE dumper LOGIN")
        server.sql(f'CREATE DATABASE "{ODD.replace(chr(34), chr(34) * 2)}"')
        server.sql("CREATE DATABASE shop")
        server.sql(TABLES, database="shop")
        server.sql("GRANT pg_read_all_data TO dumper")
        yield server
    finally:
        factory.clear()


def cluster_of(server: Server, *, role: str = "dumper", **changes: object) -> LogicalCluster:
    request = LogicalRequest("main", server.dsn_of(role), None)
    return replace(LogicalCluster(request, None, None), **changes)  # type: ignore[arg-type]


def check(cluster: LogicalCluster, repository: Repository) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_logical(cluster, open_repository=lambda: repository)}


def test_all_that_a_dump_needs_is_tried(managed: Server, repository: Repository) -> None:
    """Every database, also one of an odd name; what this kind of backup can not do is said, and fails nothing."""
    cluster = cluster_of(managed, schedule="0 1 * * *", rpo=timedelta(minutes=15))

    found = check(cluster, repository)

    databases = [f"database {name}" for name in ("postgres", ODD, "shop")]
    assert list(found) == [*NAMES, *databases, "spool"]
    assert {name for name, finding in found.items() if finding.level is not Level.OK} == {"point in time"}
    assert all(finding.error is None for finding in found.values())
    assert "scheduled '0 1 * * *'; the objective is 15 min" in found["point in time"].detail
    assert "only the moment of a backup" in found["point in time"].detail
    assert found["pg_dump"].detail.startswith(f"{NEWEST}.")
    assert found["database shop"].detail == "all 3 tables can be read"
    assert found["databases"].detail.startswith("3 to dump: ")


def test_roles_may_come_without_passwords(managed: Server, repository: Repository) -> None:
    """Managed servers show pg_authid to nobody."""
    managed.sql("REVOKE pg_read_all_data FROM dumper")
    try:
        finding = check(cluster_of(managed), repository)["roles"]
    finally:
        managed.sql("GRANT pg_read_all_data TO dumper")

    assert finding.level is Level.WARN
    assert "without their passwords" in finding.detail


def test_large_objects_want_grants_of_their_own(managed: Server, repository: Repository) -> None:
    """pg_read_all_data leaves them out, and pg_dump would stop at them."""
    managed.sql("SELECT lo_from_bytea(77, 'mine'), lo_from_bytea(78, 'yours')", database="shop")
    managed.sql("GRANT SELECT ON LARGE OBJECT 78 TO PUBLIC", database="shop")
    argv: list[str | Path] = [
        managed.programs.path("pg_dump"),
        "--data-only",
        f"--dbname={managed.dsn_of('dumper', 'shop')}",
    ]
    try:
        finding = check(cluster_of(managed), repository)["database shop"]
        refused = attempt(argv, timeout=60)
        managed.sql("GRANT SELECT ON LARGE OBJECT 77 TO pg_read_all_data", database="shop")
        granted = check(cluster_of(managed), repository)["database shop"]
        done = attempt(argv, timeout=60)
    finally:
        managed.sql("SELECT lo_unlink(77), lo_unlink(78)", database="shop")

    assert str(finding.error) == "role 'dumper' can not read 1 large objects of database 'shop', such as 77"
    assert "permission denied for large object 77" in refused.errors
    assert (granted.error, done.status) == (None, 0)


@pytest.mark.parametrize(
    ("hide", "show", "said"),
    [
        (
            "REVOKE pg_read_all_data FROM dumper",
            "GRANT pg_read_all_data TO dumper",
            "3 tables and 1 sequences of database 'shop': app.events, app.events_2026, public.orders and 1 more",
        ),
        (
            "REVOKE pg_read_all_data FROM dumper; GRANT SELECT ON ALL TABLES IN SCHEMA public, app TO dumper",
            "GRANT pg_read_all_data TO dumper; REVOKE ALL ON ALL TABLES IN SCHEMA public, app FROM dumper",
            "2 tables and 1 sequences of database 'shop': app.events, app.events_2026, public.orders_id_seq",
        ),
    ],
)
def test_what_can_not_be_read_is_counted(
    managed: Server, repository: Repository, hide: str, show: str, said: str
) -> None:
    """A dump would fail at the first of them, in the middle of the night. The hint is what cures it."""
    managed.sql(hide, database="shop")
    try:
        finding = check(cluster_of(managed), repository)["database shop"]
        assert finding.level is Level.RED
        assert said in str(finding.error)
        assert finding.error is not None
        assert finding.error.hint is not None
        assert 'GRANT pg_read_all_data TO "dumper"' in finding.error.hint
    finally:
        managed.sql(show, database="shop")
    assert check(cluster_of(managed), repository)["database shop"].level is Level.OK


def test_row_security_keeps_rows_from_us(managed: Server, repository: Repository) -> None:
    """The table can be read, and a policy hides rows: pg_dump refuses that, and so do we, in time."""
    managed.sql("ALTER TABLE orders ENABLE ROW LEVEL SECURITY", database="shop")
    try:
        error = check(cluster_of(managed), repository)["database shop"].error
        assert error is not None
        assert "1 tables and 0 sequences of database 'shop', 1 of them for row security: public.orders" in str(error)
        assert error.hint is not None
        assert 'ALTER ROLE "dumper" BYPASSRLS' in error.hint
        managed.sql('ALTER ROLE "dumper" BYPASSRLS')
        assert check(cluster_of(managed), repository)["database shop"].level is Level.OK
    finally:
        managed.sql("ALTER ROLE dumper NOBYPASSRLS; ALTER TABLE orders DISABLE ROW LEVEL SECURITY", database="shop")


def test_a_database_we_may_not_connect_to_is_named(managed: Server, repository: Repository) -> None:
    """Left out in silence it would be missing on the day; said to be left out, it is."""
    managed.sql("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
    try:
        found = check(cluster_of(managed), repository)
        assert "'shop'" in str(found["databases"].error)
        assert "database postgres" not in found
        request = replace(cluster_of(managed).request, exclude=("shop",))
        excluded = check(cluster_of(managed, request=request), repository)
        assert excluded["databases"].level is Level.OK
        assert excluded["databases"].detail.endswith("; not: shop")
    finally:
        managed.sql("GRANT CONNECT ON DATABASE shop TO PUBLIC")


def test_room_for_the_spool_is_looked_at(managed: Server, repository: Repository, tmp_path: Path) -> None:
    """In the place that is configured, by making one."""
    request = cluster_of(managed).request
    absent = replace(request, spool=tmp_path / "nowhere")
    narrow = replace(request, spool=tmp_path, spool_limit=1 << 60)

    assert isinstance(check(cluster_of(managed, request=absent), repository)["spool"].error, ConfigInvalid)
    assert isinstance(check(cluster_of(managed, request=narrow), repository)["spool"].error, DiskFull)
    assert list(tmp_path.iterdir()) == []


def test_the_first_thing_that_the_rest_needs_ends_it(managed: Server, repository: Repository) -> None:
    """Without a repository, or a server, nothing else can be said."""

    def gone() -> Repository:
        raise StoreUnreachable("gone")

    cluster = cluster_of(managed)
    (finding,) = check_logical(cluster, open_repository=gone)
    assert (finding.name, finding.level) == ("repository", Level.RED)
    nowhere = replace(cluster, request=replace(cluster.request, dsn="host=/nowhere"))
    found = check(nowhere, repository)
    assert list(found) == [*NAMES[:6]]
    assert isinstance(found["server"].error, ServerUnreachable)


def test_a_server_that_no_pg_dump_here_can_dump_is_told() -> None:
    """By its major, with those that are here."""
    with pytest.raises(ProgramMissing, match=r"PostgreSQL 99 .*there is: .*\d"):
        logicalcheck._programs(99)
