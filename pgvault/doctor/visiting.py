"""Ask one cluster's server, and look at what it has on this host: data directory, spools, programs of its major."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pgvault.backup.local import check_directory
from pgvault.config import ClusterConfig, Config
from pgvault.doctor.files import judge_key_place, judge_reading
from pgvault.doctor.host import HostFacts, judge_libpq
from pgvault.doctor.places import Place, judge_repository_places, judge_room, judge_spool
from pgvault.doctor.seeing import copy_places, exists, key_file, see_chain, see_owner, see_place
from pgvault.doctor.server import WRITES, AskedServer, RoleFacts, judge_programs, judge_server
from pgvault.errors import PgvaultError
from pgvault.monitor.finding import Finding, ok, red
from pgvault.monitor.streamcheck import check_kept
from pgvault.postgres.connection import read_number, read_text
from pgvault.postgres.dumping import find_dump_programs
from pgvault.postgres.programs import find_programs
from pgvault.postgres.server import ServerFacts, Session
from pgvault.wal.streaming.supervise import find_receiver

SPOOLS = Path("/var/lib/pgvault")  # as `wal stream` has it, where the configuration names none; held by a test
FOR_DRILLS = ("postgres", "initdb", "pg_waldump", "pg_amcheck", "psql")


@dataclass(frozen=True, slots=True)
class Visit:
    """One cluster, and how it is reached."""

    name: str
    cluster: ClusterConfig
    config: Config
    host: HostFacts
    used: Path | None  # the configuration file
    connect: Callable[[ClusterConfig], Session]

    def look(self) -> Iterator[Finding]:
        """Yield everything about the cluster; a server that does not answer keeps nothing else from being seen."""
        facts: ServerFacts | None = None
        try:
            asked = self._ask()
        except PgvaultError as error:
            yield red("server", str(error), hint=error.hint)
        else:
            facts = asked.facts
            yield from judge_server(asked, self.cluster)
            yield judge_libpq(self.host.libpq, major=facts.major)
            yield from judge_programs(facts.major, self._programs(facts.major))
        data = self.cluster.data_directory or (facts.data_directory if facts is not None else None)
        if self.cluster.source == "local" and data is not None:
            yield from self._directory(facts, data)
        places = self._places(data if self.cluster.source == "local" else None)
        yield from judge_room({name: place for name, place in places.items() if place is not None})

    def _ask(self) -> AskedServer:
        with self.connect(self.cluster) as session:
            facts = session.facts()
            is_remote = self.cluster.source == "stream"
            data = self.cluster.data_directory or facts.data_directory
            kept = None if self.cluster.stream is None else check_kept(session, None if is_remote else data)
            return AskedServer(facts, session.missing_grants(), kept, self._role())

    def _role(self) -> RoleFacts | PgvaultError | None:
        """Ask who asks the checks, of the server and the database where they are asked."""
        of = self.cluster
        if not of.checks:
            return None
        if of.checks_dsn is not None:
            of = of.model_copy(update={"dsn": of.checks_dsn, "password": of.checks_password})
        try:
            with self.connect(of) as session:
                name, is_superuser, count = session.row(WRITES)
        except PgvaultError as error:
            return error
        return RoleFacts(read_text(name), bool(is_superuser), read_number(count))

    def _programs(self, major: int) -> dict[str, PgvaultError | str]:
        wanted: dict[str, Callable[[], str]] = {"dumps": lambda: str(find_dump_programs(major).bin)}
        if self.cluster.source != "logical" and self.cluster.drill.isolation != "container":
            wanted["drills"] = lambda: _all_of(major)
        if self.cluster.stream is not None:
            wanted["the stream"] = lambda: str(find_receiver(major))
        return {purpose: _tried(find) for purpose, find in wanted.items()}

    def _directory(self, facts: ServerFacts | None, data: Path) -> Iterator[Finding]:
        """Look at the data directory, at what must not be beside it, and at what its owner must be able to read."""
        if facts is not None:
            try:
                yield ok(
                    "data directory", f"'{data}' is the server's ({check_directory(facts, data).version_directory})"
                )
            except PgvaultError as error:
                yield red("data directory", str(error), hint=error.hint or "Run pgvault as the user that owns it.")
                return
        place, wal = see_place(data), see_place(data / "pg_wal")
        yield from judge_repository_places(place, copy_places(self.config))
        key = key_file(self.config)
        if key is not None:
            yield from judge_key_place(key.resolve(), data=data.resolve(), copies=())
        spool = self._spool()
        if spool is not None and wal is not None:
            yield judge_spool(spool, wal)
        if self.cluster.stream is None:
            yield from self._readable(data, key)

    def _readable(self, data: Path, key: Path | None) -> Iterator[Finding]:
        """The server runs archive_command as the user that owns its directory."""
        owner = see_owner(data)
        wanted = {"configuration for the archiver": self.used, "key for the archiver": key}
        for name, path in wanted.items():
            if owner is None or path is None:
                continue
            try:
                found = judge_reading(name, see_chain(path), owner)
            except OSError:
                continue  # who may not see it is told so by the look at files
            yield ok(name, f"user {owner.name} may read '{path}'") if found is None else found

    def _spool(self) -> Place | None:
        stream = self.cluster.stream
        return None if stream is None else see_place(stream.spool or SPOOLS / self.name / "stream")

    def _places(self, data: Path | None) -> dict[str, Place | None]:
        of = self.cluster
        temporary = Path(tempfile.gettempdir())
        found = {"drill scratch": see_place(of.drill.scratch or temporary), "stream spool": self._spool()}
        if data is not None and exists(data):
            found |= {"data directory": see_place(data), "pg_wal": see_place(data / "pg_wal")}
        return found | {"dump spool": see_place(of.logical.spool or temporary)}


def _all_of(major: int) -> str:
    """Return where the programs of a drill are. Raises ProgramMissing."""
    programs = find_programs(major)
    for name in FOR_DRILLS:
        programs.path(name)
    return f"PostgreSQL {programs.minor_text} in {programs.bin}"


def _tried(find: Callable[[], str]) -> PgvaultError | str:
    try:
        return find()
    except PgvaultError as error:
        return error
