"""A database of a server that stands for a scratch one, and what looks find there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pgvault.checks.result import CheckResult, NotTested
from pgvault.drill.restored import Restored, scratch_dsn
from pgvault.repository.repository import Repository
from tests.servers import Server


@dataclass(frozen=True, slots=True)
class Base:
    """One database that is looked at."""

    server: Server
    name: str

    def sql(self, *statements: str) -> None:
        """Run each in a transaction of its own."""
        for statement in statements:
            self.server.sql(statement, database=self.name)

    def restored(self, repository: Repository, as_of: datetime | None = None) -> Restored:
        """The database as a drill gives it to a look."""
        return Restored(
            repository=repository,
            cluster="main",
            instance=self.server.instance,
            dsn=scratch_dsn(self.server.instance, "postgres"),
            superuser="postgres",
            databases=(self.name,),
            database=self.name,
            manifest=None,
            as_of=as_of or datetime.now(UTC),
            jobs=2,
        )


Look = Callable[[Restored], Iterator[CheckResult | NotTested]]


def results(look: Look, restored: Restored) -> dict[str, CheckResult]:
    """What a look found, by name."""
    return {found.name: found for found in look(restored) if isinstance(found, CheckResult)}


def untested(look: Look, restored: Restored) -> list[str]:
    """What a look did not see."""
    return [found.what for found in look(restored) if isinstance(found, NotTested)]
