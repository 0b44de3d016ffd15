"""Dump one database into the packs of a backup that is under way.

    snapshot, locks ─► pg_dump ║ fingerprints ─► table of contents ─► .list, .tables

What pg_dump wrote is believed when it exited with 0, the end of every file was seen, and its table of contents names
exactly the files that were stored (pitfall 98).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pgvault.errors import DiskFull, ProgramFailed, ServerUnfit, SourceUnreadable
from pgvault.logical.databases import FoundDatabase
from pgvault.logical.definitions import schema_digest
from pgvault.logical.packing import Packer
from pgvault.logical.select import RankedClass
from pgvault.logical.server import LogicalServer
from pgvault.logical.snapshot import Fingerprints, Snapshot, taking_snapshot
from pgvault.logical.spool import Spool
from pgvault.logical.watching import DumpDirectory, SpooledFile
from pgvault.postgres.dumping import DISK_FULL, DumpTarget, excluding_rows
from pgvault.postgres.fingerprint import TableName, ask
from pgvault.postgres.toc import read_toc
from pgvault.process import Leashed, leashed, run
from pgvault.repository.logical import LogicalDatabase
from pgvault.repository.tables import TableKind, TableRecord, encode_tables

GLOBALS_SECONDS = 600.0
NAMES = """
SELECT convert_to(concat('"', replace(n.nspname::text, '"', '""'), '"."', replace(c.relname::text, '"', '""'), '"'),
                  getdatabaseencoding())
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid IN ({oids})
"""
LIST_SECONDS = 1800.0  # a table of contents of a million entries


@dataclass(frozen=True, slots=True)
class Dumping:
    """What the dumps of one backup share."""

    server: LogicalServer
    spool: Spool
    packer: Packer


def dump_globals(dumping: Dumping) -> bytes:
    """Return roles, tablespaces and grants as SQL; with passwords where our role may read them."""
    server = dumping.server
    dsn_database = server.target(_own_database(server))
    words = dsn_database.globals(with_passwords=server.sees_passwords)
    return _output_of(dumping, dsn_database, words, name="globals")


def dump_definitions(dumping: Dumping, database: FoundDatabase) -> tuple[LogicalDatabase, bytes]:
    """Return a database's definitions as SQL, and what the root says of it; no rows are read."""
    target, request = dumping.server.target(database.name), dumping.server.request
    with taking_snapshot(target, lock_wait=request.lock_wait, with_locks=False) as snapshot:
        _require_same(database, snapshot)
        words = target.definitions(snapshot=snapshot.id, lock_wait=request.lock_wait)
        words.append(f"--encoding={database.encoding}")  # whatever is set for the role
        sql = _output_of(dumping, target, words, name=str(database.oid))
    return _described(database, snapshot, (), schema_digest(sql)), sql


def dump_database(dumping: Dumping, database: FoundDatabase) -> LogicalDatabase:
    """Dump one database whole, or the rows of a class; all of it is in the packs, or pending, at the return.

    Raises ServerUnreachable, ServerUnfit, ProgramFailed, DiskFull, SourceUnreadable.
    """
    request = dumping.server.request
    target = dumping.server.target(database.name)
    directory = dumping.spool.directory(database.oid)
    log = dumping.spool.log(str(database.oid))
    with taking_snapshot(target, lock_wait=request.lock_wait) as snapshot:
        _require_same(database, snapshot)
        chosen, others = split_tables(snapshot, request.data_class, database.name)
        words = target.pg_dump(directory, jobs=request.jobs, snapshot=snapshot.id, lock_wait=request.lock_wait)
        words += [f"--encoding={database.encoding}", *excluding_rows(_stored_names(snapshot, others))]
        with Fingerprints(snapshot, chosen) as fingerprints, leashed(words, env=target.env, log=log) as process:
            source = DumpDirectory(directory, prefix=str(database.oid).encode(), leader=process.pid)
            dumping.packer.follow(source, process, look=fingerprints.check)
            _require_good_end(dumping, process)
            if source.unfinished:
                raise SourceUnreadable(f"pg_dump did not end '{os.fsdecode(source.unfinished[0])}'")
            while not fingerprints.is_done:
                dumping.packer.pause()
            records = fingerprints.records()
    sql = _add_contents(dumping, target, source, database)
    dumping.packer.add(str(database.oid).encode() + b".tables", encode_tables(records))
    return _described(database, snapshot, records, schema_digest(sql))


def split_tables(
    snapshot: Snapshot, data_class: RankedClass | None, database: str
) -> tuple[tuple[TableName, ...], tuple[TableName, ...]]:
    """Return the tables whose rows are dumped, and the others. A partitioned table means its partitions."""
    if data_class is None:
        return snapshot.tables, ()
    chosen = [
        each
        for each in snapshot.tables
        if any(
            data_class.holds(database, schema, table)
            for schema, table in ((each.schema, each.table), *snapshot.parents.get(each.oid, ()))
        )
    ]
    oids = {each.oid for each in chosen}
    return tuple(chosen), tuple(each for each in snapshot.tables if each.oid not in oids)


def _stored_names(snapshot: Snapshot, tables: Sequence[TableName]) -> list[str]:
    """Quoted names in the bytes of the database's encoding, which is pg_dump's: it would match no others."""
    if not tables:
        return []
    rows = ask(snapshot.connection, NAMES.format(oids=",".join(str(each.oid) for each in tables)))
    return [os.fsdecode(name) for (name,) in rows if isinstance(name, bytes)]


def require_complete(directory: Path, contents: Sequence[SpooledFile], seen: set[bytes]) -> None:
    """Compare what was stored with what the tables of contents name. Raises SourceUnreadable."""
    toc = read_toc((directory / "toc.dat").read_bytes(), where=str(directory / "toc.dat"))
    named = {os.fsencode(entry.file) for entry in toc.entries if entry.file is not None}
    for each in contents:
        if each.source.endswith(b".toc"):  # of large objects: their oid, and their file
            lines = Path(os.fsdecode(each.source)).read_bytes().splitlines()
            named |= {line.rpartition(b" ")[2] for line in lines}
    stored = seen | {os.path.basename(each.source) for each in contents} - {b"toc.dat"}  # noqa: PTH119  bytes
    if stored != named:
        first = os.fsdecode(min(stored ^ named))
        told = "is not in pg_dump's table of contents" if first.encode() in stored else "was never written"
        raise SourceUnreadable(f"the dump is not whole: '{first}' {told}")


def _add_contents(dumping: Dumping, target: DumpTarget, source: DumpDirectory, database: FoundDatabase) -> bytes:
    """Check the tables of contents and store them; return the definitions as SQL."""
    directory = dumping.spool.directory(database.oid)
    contents = source.contents()
    require_complete(directory, contents, source.seen)
    program = target.programs.path("pg_restore")
    listed = run([program, "--list", directory], timeout=LIST_SECONDS, env=target.env)
    sql = run([program, "--schema-only", "--file=-", directory], timeout=LIST_SECONDS, env=target.env)
    dumping.packer.add(str(database.oid).encode() + b".list", listed.encode("utf-8", "surrogateescape"))
    dumping.packer.add_files(contents)
    return sql.encode("utf-8", "surrogateescape")


def _require_same(database: FoundDatabase, snapshot: Snapshot) -> None:
    """Refuse a database that took the place and the name of the one that was found. Raises ServerUnfit."""
    if snapshot.database_oid != database.oid:
        raise ServerUnfit(
            f"database {database.name!r} was replaced by another one of that name", hint="Take the backup again."
        )


def _described(
    database: FoundDatabase, snapshot: Snapshot, records: Sequence[TableRecord], digest: bytes
) -> LogicalDatabase:
    tables = [each for each in records if each.kind is TableKind.TABLE]
    return LogicalDatabase(
        oid=database.oid,
        name=database.name,
        encoding=database.encoding,
        snapshot_at=snapshot.taken_at,
        lsn=snapshot.lsn,
        table_count=len(tables),
        row_count=sum(each.rows or 0 for each in tables),
        schema_sha256=digest,
    )


def _output_of(dumping: Dumping, target: DumpTarget, words: Sequence[str | Path], *, name: str) -> bytes:
    """Run a program to its end and return what it printed."""
    output = dumping.spool.output(name)
    with leashed(words, env=target.env, log=dumping.spool.log(name), output=output) as process:
        process.finish(GLOBALS_SECONDS)
        _require_good_end(dumping, process)
    content = output.read_bytes()
    output.unlink()
    return content


def _require_good_end(dumping: Dumping, process: Leashed) -> None:
    """Raise for a program that did not exit with 0, in the words of what was its reason."""
    try:
        process.check()
    except ProgramFailed as error:
        dumping.server.session.ping()  # where the server is gone, that is what there is to say
        if DISK_FULL in str(error):
            raise DiskFull(
                f"no room in the spool '{dumping.spool.root.parent}': {error}",
                hint="Set logical.spool to another place, or logical.spool_limit to less.",
            ) from error
        raise


def _own_database(server: LogicalServer) -> str:
    """The database that the dsn names."""
    raw = server.session.raw.pgconn.db
    return raw.decode("utf-8", "surrogateescape")
