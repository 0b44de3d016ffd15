"""Choose what of a dump is restored, and in which order: judgement only, nothing is asked of any server.

    chosen       what was asked for and all that belongs to it: of a table its rows, indexes, constraints, defaults,
                 triggers, policies, the sequences it owns, comments, grants, its partitions and theirs
    supporting   what the chosen can not be made without, and may well be there: schemas, types, functions,
                 extensions; it is made only where it is absent
    required     relations that the chosen can not be made without, and that were not asked for: have to be there
    left out     what would belong to the chosen, but leads to a table that is not: foreign keys, rules, policies …

A pattern names tables as `schema.table` or `table`; `*` and `?` stand for any characters, and a part in double quotes
is taken to the letter. Names are compared exactly, never folded to lower case.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase, translate

from pgvault.errors import UsageError
from pgvault.postgres.toc import Toc, TocEntry

RELATIONS = frozenset({"TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE"})
# What belongs to something else and comes and goes with it.
BELONGING = frozenset(
    {
        "ACL",
        "CHECK CONSTRAINT",
        "COMMENT",
        "CONSTRAINT",
        "DEFAULT",
        "FK CONSTRAINT",
        "INDEX",
        "INDEX ATTACH",
        "MATERIALIZED VIEW DATA",
        "POLICY",
        "ROW SECURITY",
        "RULE",
        "SECURITY LABEL",
        "SEQUENCE OWNED BY",
        "SEQUENCE SET",
        "STATISTICS",
        "STATISTICS DATA",
        "TABLE ATTACH",
        "TABLE DATA",
        "TRIGGER",
    }
)
PUBLISHED = frozenset({"PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA"})
SETTINGS = frozenset({"ENCODING", "STDSTRINGS", "SEARCHPATH"})  # pg_restore heeds them, chosen or not
OF_DATABASE = frozenset({"DATABASE", "DATABASE PROPERTIES"})
TIES = {"FK CONSTRAINT": "foreign key", "TABLE ATTACH": "partition of", "INDEX ATTACH": "index of a partition"}
LAST = frozenset({"ACL", "EVENT TRIGGER", "MATERIALIZED VIEW DATA"})  # pg_restore makes them after all else, too
DATA = frozenset({"TABLE DATA", "BLOBS", "SEQUENCE SET"})


@dataclass(frozen=True, slots=True)
class TablePattern:
    """Tables, by name."""

    schema: str | None  # a regular expression; None: any
    table: str  # a regular expression
    text: str  # as it was given

    @classmethod
    def parse(cls, text: str) -> TablePattern:
        """Read `schema.table`, `table`, `app.*`, `"odd.schema"."Table"`. Raises UsageError."""
        parts = PART.findall(text)
        if not 1 <= len(parts) <= 2 or ".".join(parts) != text:
            raise UsageError(
                f"{text!r} names no table",
                hint='Write schema.table; put names that hold dots in double quotes: "a.b".c',
            )
        expressions = [_expression(part) for part in parts]
        return cls(expressions[0] if len(parts) == 2 else None, expressions[-1], text)

    def matches(self, schema: str | None, table: str) -> bool:
        """Tell whether a table is meant."""
        is_there = self.schema is None or re.fullmatch(self.schema, schema or "", re.DOTALL) is not None
        return is_there and re.fullmatch(self.table, table, re.DOTALL) is not None


PART = re.compile(r'"(?:[^"]|"")+"|[^".]+')


def _expression(part: str) -> str:
    if part.startswith('"'):
        return re.escape(part[1:-1].replace('""', '"'))
    return translate(part)


@dataclass(frozen=True, slots=True)
class RankedClass:
    """A data class of the configuration, and how early its rows are restored."""

    name: str
    priority: int  # 1 is restored first
    tables: tuple[TablePattern, ...]
    databases: tuple[str, ...] | None = None  # patterns; None: all

    def holds(self, database: str, schema: str | None, table: str) -> bool:
        """Tell whether a table belongs to it."""
        if self.databases is not None and not any(fnmatchcase(database, each) for each in self.databases):
            return False
        return any(pattern.matches(schema, table) for pattern in self.tables)


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a database was asked for; nothing named is everything."""

    schemas: tuple[str, ...] = ()
    tables: tuple[TablePattern, ...] = ()
    of_class: RankedClass | None = None

    @property
    def is_whole(self) -> bool:
        """Whether everything was asked for."""
        return not (self.schemas or self.tables or self.of_class)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a selection means for one dump; dump ids."""

    toc: Toc
    entries: frozenset[int]
    supporting: frozenset[int] = frozenset()
    required: frozenset[int] = frozenset()
    left_out: tuple[str, ...] = ()  # sentences for people
    matched: frozenset[str] = field(default_factory=frozenset)  # texts of what was asked for and found

    def listed(self, absent: Collection[int] = ()) -> list[TocEntry]:
        """The entries to restore, in the dump's order: the chosen, and of the supporting those that are absent."""
        made = self.entries | (self.supporting & frozenset(absent))
        extra = _belonging(self.toc, made, self.supporting & frozenset(absent)) if absent else frozenset()
        return [entry for entry in self.toc.entries if entry.dump_id in made | extra]


def choose(toc: Toc, selection: Selection, *, database: str, is_partial: bool = False) -> Chosen:
    """Return what a selection needs. `is_partial`: the dump has rows of some tables only (a class's backup).

    What was asked for and not found is missing from `matched`: it may be in another database.
    """
    if selection.is_whole:
        entries = frozenset(e.dump_id for e in toc.entries if e.kind not in SETTINGS and not is_of_database(e))
        chosen = Chosen(toc, entries)
    else:
        chosen = _choose_part(toc, selection, database)
    return _without_dangling_keys(chosen) if is_partial else chosen


def is_of_database(entry: TocEntry) -> bool:
    """Tell whether an entry makes or describes the database itself: those go with --create."""
    return entry.kind in OF_DATABASE or (
        entry.kind in ("ACL", "COMMENT", "SECURITY LABEL")
        and entry.schema is None
        and entry.tag.startswith("DATABASE ")
    )


def require_matches(selection: Selection, matched: Collection[str]) -> None:
    """Raise UsageError when something that was asked for is in no database."""
    wanted = [("schema", name) for name in selection.schemas] + [("table", each.text) for each in selection.tables]
    if selection.of_class is not None:
        wanted.append(("class", selection.of_class.name))
    for kind, name in wanted:
        if f"{kind} {name}" not in matched:
            raise UsageError(
                f"the backup has no {kind} {name!r}" if kind != "class" else f"no table is of class {name!r}",
                hint="Names are exact, also in their case: see `pgvault show`, or the .list files of --file.",
            )


def ranks(chosen: Chosen, listed: Sequence[TocEntry], classes: Sequence[RankedClass], database: str) -> list[list[int]]:
    """Cut what is restored into runs, one after the other: definitions, then class by class, then the rest.

    Without classes it is one run. A class's indexes and constraints are made right after its rows, so that it can be
    used while others are still loading; what leads to a table of a later run waits for that.
    """
    priorities = sorted({each.priority for each in classes})
    by_id = chosen.toc.by_id
    last = len(priorities) + 1
    known: dict[int, int] = {}

    def of_table(entry: TocEntry) -> int:
        found = [each.priority for each in classes if each.holds(database, entry.schema, entry.tag)]
        if found:
            return priorities.index(min(found)) + 1
        parents = [need for need in entry.needs if need in by_id and by_id[need].kind == "TABLE"]
        return min((rank(parent) for parent in parents), default=last)  # a partition goes with its table

    def rank(dump_id: int) -> int:
        if dump_id in known:
            return known[dump_id]
        known[dump_id] = 0  # a circle ends here
        entry = by_id.get(dump_id)
        if entry is not None:
            below = max((rank(need) for need in entry.needs), default=0)
            known[dump_id] = of_table(entry) if entry.kind in ("TABLE", "FOREIGN TABLE") else below
        return known[dump_id]

    if not priorities:
        return [[entry.dump_id for entry in listed]]
    runs: list[list[int]] = [[] for _ in range(last + 1)]
    is_behind = False  # the first rows stand behind all definitions
    for entry in listed:
        is_behind = is_behind or entry.kind in DATA
        late = entry.kind in LAST or entry.kind in PUBLISHED
        runs[last if late else (rank(entry.dump_id) or last) if is_behind else 0].append(entry.dump_id)
    return [run for run in runs if run]


def list_file(entries: Iterable[int]) -> str:
    """The file for `pg_restore --use-list`: pg_restore reads the number and nothing else."""
    return "".join(f"{dump_id};\n" for dump_id in entries)


def described(entry: TocEntry) -> str:
    """An entry for people: table public.orders."""
    return f"{entry.kind.lower()} {printable(_named(entry))}"


def printable(name: str) -> str:
    """A name in one line: no line ends, no control characters."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)


def _named(entry: TocEntry) -> str:
    return entry.tag if entry.schema is None else f"{entry.schema}.{entry.tag}"


def _choose_part(toc: Toc, selection: Selection, database: str) -> Chosen:
    matched: set[str] = set()
    roots = {e.dump_id for e in toc.entries if _is_asked_for(e, selection, database, matched)}
    roots |= _partitions(toc, roots)
    entries = _belonging(toc, roots, roots)
    supporting, required = _needed(toc, entries)
    return Chosen(toc, entries, supporting, required, tuple(_left_out(toc, entries)), frozenset(matched))


def _is_asked_for(entry: TocEntry, selection: Selection, database: str, matched: set[str]) -> bool:
    if entry.kind == "SCHEMA" and entry.tag in selection.schemas:
        matched.add(f"schema {entry.tag}")
        return False  # made where it is absent, like all that is needed
    if entry.kind in BELONGING | SETTINGS | PUBLISHED or is_of_database(entry):
        return False
    found = [f"schema {entry.schema}"] if entry.schema in selection.schemas else []
    if entry.kind in RELATIONS | {"SEQUENCE"}:
        found += [f"table {each.text}" for each in selection.tables if each.matches(entry.schema, entry.tag)]
        of_class = selection.of_class
        if entry.kind in RELATIONS and of_class and of_class.holds(database, entry.schema, entry.tag):
            found.append(f"class {of_class.name}")
    matched.update(found)
    return bool(found)


def _partitions(toc: Toc, roots: Collection[int]) -> set[int]:
    """Return the partitions of what is chosen, and theirs."""
    children = _children(toc)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        fresh = children.get(waiting.pop(), set()) - found
        found |= fresh
        waiting += fresh
    return found


def _children(toc: Toc) -> dict[int, set[int]]:
    """Return the partitions of each partitioned table."""
    children: dict[int, set[int]] = {}
    by_id = toc.by_id
    for entry in toc.entries:
        if entry.kind == "TABLE ATTACH":
            tables = {need for need in entry.needs if need in by_id and by_id[need].kind in RELATIONS}
            own = {need for need in tables if (by_id[need].schema, by_id[need].tag) == (entry.schema, entry.tag)}
            for parent in tables - own:
                children.setdefault(parent, set()).update(own)
    return children


def _belonging(toc: Toc, chosen: Collection[int], roots: Collection[int]) -> frozenset[int]:
    """Return `roots` and what belongs to them, as far as it leads to nothing that is not in `chosen`."""
    by_id = toc.by_id
    taken, all_chosen = set(roots), set(chosen)
    is_growing = True
    while is_growing:  # a comment on an index of a table: two rounds; seldom more
        is_growing = False
        for entry in toc.entries:
            if entry.dump_id in taken or not _belongs(entry, taken):
                continue
            if not any(_is_strange(by_id.get(need), all_chosen) for need in entry.needs):
                taken.add(entry.dump_id)
                all_chosen.add(entry.dump_id)
                is_growing = True
    return frozenset(taken)


def _belongs(entry: TocEntry, taken: Collection[int]) -> bool:
    if entry.kind == "SEQUENCE":  # one that stands behind a column needs the column's table
        return any(need in taken for need in entry.needs)
    return entry.kind in BELONGING and any(need in taken for need in entry.needs)


def _is_strange(need: TocEntry | None, chosen: Collection[int]) -> bool:
    return need is not None and need.kind in RELATIONS and need.dump_id not in chosen


def _needed(toc: Toc, entries: Collection[int]) -> tuple[frozenset[int], frozenset[int]]:
    """Return what chosen entries need besides each other: what supports them, and relations."""
    by_id = toc.by_id
    children = _children(toc)
    schemas = {entry.tag: entry.dump_id for entry in toc.entries if entry.kind == "SCHEMA"}
    supporting: set[int] = set()
    required: set[int] = set()
    waiting = list(entries)
    while waiting:
        entry = by_id[waiting.pop()]
        needs = [*entry.needs, *([schemas[entry.schema]] if entry.schema in schemas else [])]
        for need in needs:
            if need in entries or need not in by_id or need in supporting | required:
                continue
            if by_id[need].kind in RELATIONS:
                if entry.dump_id not in children.get(need, ()):  # a partition is a table of its own, until attached
                    required.add(need)
            elif by_id[need].kind not in BELONGING:
                supporting.add(need)
                waiting.append(need)
    return frozenset(supporting), frozenset(required)


def _left_out(toc: Toc, entries: Collection[int]) -> Iterator[str]:
    """Say what belongs to the chosen and is not restored."""
    by_id = toc.by_id
    for entry in toc.entries:
        if entry.dump_id in entries or not any(need in entries for need in entry.needs):
            continue
        if entry.kind in PUBLISHED:
            yield f"{described(entry)} is left out: publications are restored with their whole database only"
        elif entry.kind in BELONGING and entry.kind != "INDEX ATTACH":
            strange = [need for need in map(by_id.get, entry.needs) if _is_strange(need, entries)]
            if strange and strange[0] is not None:
                kind = TIES.get(entry.kind, entry.kind.lower())
                yield f"{kind} {printable(_named(entry))} is left out: {described(strange[0])} is not restored"


def _without_dangling_keys(chosen: Chosen) -> Chosen:
    """Leave out foreign keys from rows that are in the dump to tables whose rows are not."""
    toc, by_id = chosen.toc, chosen.toc.by_id
    children = _children(toc)
    filled = {need for entry in toc.entries if entry.kind == "TABLE DATA" for need in entry.needs}
    for entry in reversed(toc.entries):  # a partitioned table has the rows of its partitions, made behind it
        if entry.dump_id in children and children[entry.dump_id] <= filled:
            filled.add(entry.dump_id)
    dropped: dict[int, str] = {}
    for entry in toc.entries:
        if entry.dump_id in chosen.entries and entry.kind == "FK CONSTRAINT":
            tables = {n for n in entry.needs if n in by_id and by_id[n].kind in RELATIONS}
            empty = sorted(tables - filled)
            if empty and tables & filled:
                name = described(by_id[empty[0]])
                dropped[entry.dump_id] = (
                    f"foreign key {printable(_named(entry))} is left out: the backup has no rows of {name}"
                )
    entries = chosen.entries - dropped.keys() - _comments_on(toc, dropped)
    notes = (*chosen.left_out, *dropped.values())
    return Chosen(toc, entries, chosen.supporting, chosen.required, notes, chosen.matched)


def _comments_on(toc: Toc, entries: Mapping[int, str]) -> set[int]:
    return {entry.dump_id for entry in toc.entries if entry.kind == "COMMENT" and set(entry.needs) & entries.keys()}
