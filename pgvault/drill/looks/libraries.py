"""What the restored cluster wants to load is on this host: files of extensions, libraries of functions, preloaded ones.

Each library is loaded once, in a session of its own, by which what it depends on is found or missed as well. One that
loads only when it is preloaded is there. What is missing fails the drill where something in a database is made with it;
else it is told: the data can be read without.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from pgvault.checks.result import SAMPLE_ROWS, CheckResult, NotTested, Verdict, finding, unproven
from pgvault.drill.lacks import lack_of
from pgvault.drill.restored import Restored
from pgvault.postgres.fingerprint import said

# What initdb makes has fixed numbers below; plpgsql and the dictionaries of text search come after these.
FIRST_LOADED_OID = 12000
# How many things that are not the extension's own are made with its types, functions, operators.
USES = """
WITH uses AS (
    SELECT m.refobjid AS extension, count(*) AS count FROM pg_depend m
    JOIN pg_depend d ON d.refclassid = m.classid AND d.refobjid = m.objid AND d.deptype IN ('n', 'a')
    WHERE m.refclassid = 'pg_extension'::regclass AND m.deptype = 'e' AND NOT EXISTS (
        SELECT FROM pg_depend o WHERE o.classid = d.classid AND o.objid = d.objid AND o.deptype = 'e'
        AND o.refclassid = m.refclassid AND o.refobjid = m.refobjid)
    GROUP BY m.refobjid)
"""
MISSING_FILES = f"""{USES}
SELECT e.extname, u.count IS NOT NULL FROM pg_extension e LEFT JOIN uses u ON u.extension = e.oid
WHERE NOT EXISTS (SELECT FROM pg_available_extensions a WHERE a.name = e.extname) ORDER BY e.extname
"""
LIBRARIES = f"""{USES}
SELECT p.probin, bool_or(e.oid IS NULL OR u.count IS NOT NULL) FROM pg_proc p
LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    AND d.refclassid = 'pg_extension'::regclass
LEFT JOIN pg_extension e ON e.oid = d.refobjid
LEFT JOIN uses u ON u.extension = e.oid
WHERE p.probin IS NOT NULL AND p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'c') AND p.oid >= %s
GROUP BY p.probin ORDER BY p.probin
"""
PRELOADED = "preload"  # in the message of every library that wants to be
CONFIGURED = "with its own configuration the server would not start"


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that this host does not have."""

    what: str  # for people
    is_needed: bool  # something in a database is made with it


def libraries(restored: Restored) -> Iterator[CheckResult | NotTested]:
    """Look for every extension's files, and load every library that functions of the databases come from."""
    if restored.manifest is None:
        return  # loading a logical backup has made them all
    began = time.monotonic()
    preloaded = preloads(restored.manifest.postgres.settings.get("shared_preload_libraries", ""))
    if preloaded:
        yield NotTested(f"what the cluster preloads, and a drill does not: {', '.join(preloaded)}")
    try:
        wanted, lacks = _ask(restored)
        for library, is_needed in wanted.items():
            lacks += [Lack(lack, is_needed) for lack in _load(restored, library)]
        for library in preloaded:
            lacks += [Lack(f"{lack}: {CONFIGURED}", is_needed=False) for lack in _load(restored, library)]
    except psycopg.Error as error:
        yield unproven("libraries", f"the databases could not be asked: {said(error)}")
        return
    yield judge(len(wanted) + len(preloaded), lacks, seconds=time.monotonic() - began)


def _ask(restored: Restored) -> tuple[dict[str, bool], list[Lack]]:
    """Return the libraries that functions come from, whether each is needed, and the extensions without files."""
    wanted: dict[str, bool] = {}
    lacks: list[Lack] = []
    for database in restored.databases:
        with psycopg.connect(restored.dsn, dbname=database, autocommit=True) as connection:
            for name, is_needed in connection.execute(MISSING_FILES.encode()).fetchall():
                lacks.append(Lack(f"extension {name!r} of {database!r} is not installed here", is_needed))
            for library, is_needed in connection.execute(LIBRARIES.encode(), [FIRST_LOADED_OID]).fetchall():
                wanted[library] = wanted.get(library, False) or is_needed
    return wanted, lacks


def judge(count: int, lacks: list[Lack], *, seconds: float) -> CheckResult:
    """Say whether all is here; what is needed first."""
    if not lacks:
        return finding("libraries", None, seconds=seconds, detail=f"{count} libraries load, every extension is here")
    ordered = sorted(lacks, key=lambda lack: not lack.is_needed)
    severity = "critical" if ordered[0].is_needed else "warning"
    detail = "; ".join(lack.what for lack in ordered[:3])
    sample = tuple(lack.what[:500] for lack in ordered[:SAMPLE_ROWS])
    return CheckResult("libraries", Verdict.FAILED, len(lacks), 0, severity, detail, seconds, sample=sample)


def preloads(setting: str) -> list[str]:
    """Return the libraries that a setting like shared_preload_libraries names."""
    names = (name.strip().strip('"') for name in setting.split(","))
    return [name for name in names if name]


def _load(restored: Restored, library: str) -> list[str]:
    """Return what is wrong with a library here, if anything. Raises psycopg.Error when no session can be had."""
    connection = psycopg.connect(restored.dsn, autocommit=True)
    try:
        literal = library.replace("'", "''")
        connection.execute(f"LOAD '{literal}'".encode())
    except psycopg.Error as error:
        if PRELOADED in str(error):
            return []
        return [lack_of(str(error)) or f"library {library!r} can not be loaded here: {said(error)}"]
    finally:
        connection.close()
    return []
