"""Judge what was restored against what the server said it held when it was backed up. Pure: facts in, results out.

A thing that is missing is proven to be lost only where nothing can have taken it away since: it is *settled* (it was
there before pg_backup_stop and after), and recovery ended no later than it was seen, or no transaction has ended since.
Else a replayed DROP may be the reason, and the result says that it is not proven.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pgvault.amounts import say_bytes
from pgvault.checks.result import SAMPLE_ROWS, CheckResult, NotTested, Verdict, finding, unproven
from pgvault.postgres.inventory import ExtensionEntry, RelationEntry, RoleEntry, ServerEntry
from pgvault.postgres.lsn import Lsn

LIKELY_ROWS = 1000  # a table of so many at the backup that has none now is told
SIZE_FACTOR = 2
SIZE_SLACK = 64 << 20  # bytes of which no factor is told: WAL of a minute doubles a small cluster
MACHINE = re.compile(r" on ([^-\s,]+)")
STORED_KINDS = frozenset("rm")  # tables and materialized views: what has rows of its own
NAMED = 3


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that is not as it was at the backup."""

    what: str  # for people
    is_settled: bool


@dataclass(frozen=True, slots=True)
class Compared:
    """How many things were looked at, and which of them are not as they were."""

    count: int
    losses: Sequence[Loss]


@dataclass(frozen=True, slots=True)
class Since:
    """What can have changed between the inventory and the moment that was restored to."""

    is_idle: bool  # no transaction has ended since
    is_within: bool  # … or recovery ended before the inventory was taken: what is settled must be there

    @classmethod
    def of(cls, server: ServerEntry, reached_lsn: Lsn | None, next_xid: int) -> Since:
        """Tell from the inventory's own moment, and where recovery ended."""
        is_idle = next_xid == server.next_xid
        return cls(is_idle, is_idle or (reached_lsn is not None and reached_lsn <= server.lsn))


UNKNOWN = Since(is_idle=False, is_within=False)


def compare_roles(expected: Iterable[RoleEntry], found: Iterable[RoleEntry]) -> Compared:
    """Return the roles that are missing, or have other attributes or memberships."""
    here = {role.name: role for role in found}
    losses, count = [], 0
    for role in expected:
        count += 1
        if (other := here.get(role.name)) is None:
            losses.append(Loss(f"{role.name!r} is not there", role.is_settled))
        elif changes := list(_role_changes(role, other)):
            losses.append(Loss(f"{role.name!r} {' and '.join(changes)}", role.is_settled))
    return Compared(count, losses)


def _role_changes(role: RoleEntry, other: RoleEntry) -> Iterable[str]:
    for word, was, is_ in (
        ("attributes", role.attributes, other.attributes),
        ("memberships", role.member_of, other.member_of),
    ):
        if was != is_:
            gone, new = sorted({*was} - {*is_}), sorted({*is_} - {*was})
            yield f"has other {word} ({', '.join([f'not {name}' for name in gone] + new)})"
    if role.connection_limit != other.connection_limit:
        yield f"has the connection limit {other.connection_limit}, not {role.connection_limit}"


def compare_extensions(database: str, expected: Iterable[ExtensionEntry], found: Iterable[ExtensionEntry]) -> Compared:
    """Return the extensions that are missing, or are there in another version."""
    here = {extension.name: extension for extension in found}
    losses, count = [], 0
    for extension in expected:
        count += 1
        other = here.get(extension.name)
        if other is None:
            losses.append(Loss(f"{extension.name!r} is not there, in {database!r}", extension.is_settled))
        elif other.version != extension.version:
            versions = f"{other.version}, not {extension.version}"
            losses.append(Loss(f"{extension.name!r} is there as {versions}, in {database!r}", extension.is_settled))
    return Compared(count, losses)


def compare_relations(database: str, expected: Iterable[RelationEntry], found: Mapping[int, RelationEntry]) -> Compared:
    """Return the relations that are missing; tables first. `found` is by oid: a renamed one is there."""
    missing, count = [], 0
    for relation in expected:
        count += 1
        if relation.oid not in found:
            missing.append(relation)
    missing.sort(key=lambda relation: relation.kind not in STORED_KINDS)
    return Compared(count, [Loss(f"{relation}, in {database!r}", relation.is_settled) for relation in missing])


def should_have_rows(relation: RelationEntry, found: Mapping[int, RelationEntry]) -> bool:
    """Whether a relation that is still there had so many rows that being empty is worth a word."""
    other = found.get(relation.oid)
    is_stored = relation.kind in STORED_KINDS and relation.is_logged
    return is_stored and other is not None and relation.likely_rows > LIKELY_ROWS


def judge(name: str, noun: str, compared: Compared, *, is_certain: bool, seconds: float) -> CheckResult | NotTested:
    """Say what a comparison found: passed, lost for certain, or not proven."""
    if not compared.count:
        return NotTested(f"{noun} against the backup: it had none")
    if not compared.losses:
        return finding(name, None, seconds=seconds, detail=f"{compared.count} {noun} are as at the backup")
    certain = [loss for loss in compared.losses if is_certain and loss.is_settled]
    told = certain or compared.losses
    what = "; ".join(loss.what for loss in told[:NAMED])
    what += f" (and {len(told) - NAMED} more)" if len(told) > NAMED else ""
    if not certain:
        return unproven(name, f"{what}: changed in the WAL since the backup, or lost", seconds=seconds)
    return CheckResult(
        name,
        Verdict.FAILED,
        len(certain),
        0,
        "critical",
        f"{len(certain)} of {compared.count} {noun} are not as at the backup: {what}",
        seconds,
        sample=tuple(loss.what[:500] for loss in certain[:SAMPLE_ROWS]),
    )


def judge_size(expected_bytes: int, found_bytes: int, *, is_idle: bool, seconds: float) -> CheckResult:
    """Hold the size of all databases against that of the backup's files."""
    smaller, larger = sorted((expected_bytes, found_bytes))
    what = f"the databases take {say_bytes(found_bytes)}, the backup's files {say_bytes(expected_bytes)}"
    if larger <= SIZE_FACTOR * smaller or larger - smaller <= SIZE_SLACK:
        return finding("size", None, seconds=seconds, detail=what)
    if is_idle:  # a table that was dropped while it was copied is in the backup's files all the same
        return finding("size", what, seconds=seconds, severity="warning")
    return unproven("size", f"{what}: changed in the WAL since the backup, or lost", seconds=seconds)


def judge_host(expected: ServerEntry, found: ServerEntry, *, seconds: float) -> CheckResult:
    """Say in what this host differs from production: told, and no fault of the backup."""
    there, here = _host(expected), _host(found)
    differences = [
        f"{name} {there[name] or 'unknown'} there, {here[name] or 'unknown'} here"
        for name in there
        if there[name] != here[name]
    ]
    said = f"this host is not as production: {'; '.join(differences)}" if differences else None
    detail = ", ".join(f"{name} {value}" for name, value in here.items() if value) + ", as production"
    return finding("host", said, seconds=seconds, severity="info", detail=detail)


def _host(server: ServerEntry) -> dict[str, str | None]:
    machine = MACHINE.search(server.version)
    return {
        "PostgreSQL": " ".join(server.version.split(" ")[1:2]),
        "machine": machine[1] if machine else None,
        "libc collations": server.libc,
        "ICU collations": server.icu,
    }
