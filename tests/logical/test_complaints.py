"""A pg_restore that is newer than the server: the one setting it stumbles over, and everything else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from pgvault.errors import ProgramFailed
from pgvault.logical import restoreplan
from pgvault.logical.complaints import Complaints, is_setting_unknown
from pgvault.logical.restore import restore_into
from pgvault.logical.restoreplan import LogicalOrder
from pgvault.postgres.programs import client_programs
from pgvault.progress import NoProgress
from tests.archive import make_archive
from tests.logical.dumps import dump
from tests.servers import MAJORS, ServerFactory

UNKNOWN = (
    'pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter "transaction_timeout"\n'
    "Command was: SET transaction_timeout = 0;\n"
)
OTHER = 'pg_restore: error: could not execute query: FEHLER:  gibt es nicht\nCommand was: COPY "error: " FROM stdin;\n'
IGNORED = "pg_restore: warning: errors ignored on restore: {}\n"


@dataclass
class Ended:
    """A program that has ended."""

    status: int

    def poll(self) -> int:
        return self.status

    def check(self) -> None:
        if self.status != 0:
            raise ProgramFailed("failed")

    def words(self) -> str:
        return ": its words"


@pytest.mark.parametrize(
    ("text", "status", "is_well"),
    [
        ("", 0, True),
        (UNKNOWN + UNKNOWN + IGNORED.format(1), 1, True),
        ("pg_restore: pg_restore: error: error: " + "x\nCommand was: SET transaction_timeout = 0;\n" * 2, 0, True),
        (UNKNOWN + OTHER + IGNORED.format(2), 1, False),
        (UNKNOWN + IGNORED.format(2), 1, False),
        (UNKNOWN + OTHER, 0, False),
        (UNKNOWN, 1, False),
        (UNKNOWN + IGNORED.format(1), -9, False),
        ("", 1, False),
    ],
)
def test_only_what_means_nothing_is_passed_over(tmp_path: Path, text: str, status: int, is_well: bool) -> None:
    log = tmp_path / "log"
    log.write_text("pg_restore: error: of a run before\n" + text)
    complaints = Complaints(log, start=len("pg_restore: error: of a run before\n"))
    program = cast("Any", Ended(status))

    if is_well:
        complaints.check(program)
    else:
        with pytest.raises(ProgramFailed):
            complaints.check(program)


def test_another_complaint_ends_it_at_once(tmp_path: Path) -> None:
    """Once it is certain that it is not half a line."""
    log = tmp_path / "log"
    log.write_text(UNKNOWN + "pg_restore: error: ")
    complaints = Complaints(log)
    program = cast("Any", Ended(0))

    complaints.require_meaningless(program)
    log.write_text(UNKNOWN + UNKNOWN)
    complaints.require_meaningless(program)
    log.write_text(UNKNOWN + OTHER)
    complaints.require_meaningless(program)
    with pytest.raises(ProgramFailed, match="gibt es nicht"):
        complaints.require_meaningless(program)


def test_it_is_asked_for_only_where_needed() -> None:
    assert is_setting_unknown(18, 15)
    assert not is_setting_unknown(16, 15)
    assert not is_setting_unknown(18, 17)


@pytest.mark.endurance
@pytest.mark.skipif(len(MAJORS) < 2 or MAJORS[0] >= 17, reason="no PostgreSQL before 17 here")
def test_programs_of_18_restore_into_an_older_server(
    servers: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows, through FIFOs; and a real error is still one."""
    server = servers(MAJORS[0])
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE big AS SELECT g, md5(g::text) FROM generate_series(1, 20000) g", database="shop")
    server.sql("CREATE TABLE small AS SELECT 1 AS a", database="shop")
    archive = make_archive(tmp_path)
    manifest = dump(archive.repository, server, tmp_path)
    newest = tuple(each for each in client_programs() if each.major == MAJORS[-1])
    monkeypatch.setattr(restoreplan, "client_programs", lambda: newest)
    server.sql("CREATE DATABASE copy")
    server.sql("CREATE DATABASE refusing")
    server.sql(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN"
        " IF to_regclass('public.small') IS NOT NULL THEN RAISE 'no room for small'; END IF; END$$;"
        "CREATE EVENT TRIGGER refuse ON ddl_command_end EXECUTE FUNCTION refuse()",
        database="refusing",
    )

    def order(database: str) -> LogicalOrder:
        return LogicalOrder(server.dsn_of("postgres", database), has_globals=False, spool_limit=0)

    done = restore_into(archive.repository, manifest, order("copy"), progress=NoProgress())
    with pytest.raises(ProgramFailed, match="no room for small"):
        restore_into(archive.repository, manifest, order("refusing"), progress=NoProgress())

    assert (done.databases[0].compared_count, done.databases[0].row_count) == (2, 20001)
