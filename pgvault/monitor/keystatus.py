"""Judge when the key's escrow was proven last: by a drill that passed and was opened by the escrow sheet alone.

A sheet that nobody ever restored with may have a typo, or be that of a key which is no longer in use: a proof from
before the present key was made counts for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from pgvault.errors import ObjectCorrupt
from pgvault.instants import iso
from pgvault.monitor.finding import Figures, Finding, ok, span, warn
from pgvault.repository import layout
from pgvault.repository.fields import read_instant
from pgvault.repository.repository import Repository

NAME = "escrow"
HINT = "Print the sheet: pgvault key export --out FILE; prove it: pgvault drill --key file:FILE"


def look_at_escrow(repository: Repository, reports: Iterable[Mapping[str, Any]], *, now: datetime) -> Iterator[Finding]:
    """Judge the newest proof of the key by drills, whose reports come newest first. Raises what reading raises."""
    yield judge_escrow(reports, key_made_at=read_key_made_at(repository), now=now)


def judge_escrow(reports: Iterable[Mapping[str, Any]], *, key_made_at: datetime | None, now: datetime) -> Finding:
    """Judge reports, newest first; no more are read than it takes to find the proof."""
    proof = next((report for report in reports if _is_proof(report)), None)
    if proof is None:
        return warn(NAME, "no drill was ever opened by the escrow sheet alone", {"count": 0}, hint=HINT)
    at = read_instant(proof["started_at"])
    figures: Figures = {"count": 1, "proven_at": iso(at), "drill": str(proof["id"]), "slot": str(proof["key"]["slot"])}
    if key_made_at is not None and at < key_made_at:
        said = f"the sheet was proven {span(now - at)} ago, and the key is newer than that"
        return warn(NAME, said, {**figures, "count": 0, "proven_at": None}, hint=HINT)
    return ok(NAME, f"a drill passed {span(now - at)} ago, opened by the escrow sheet alone", figures)


def read_key_made_at(repository: Repository) -> datetime | None:
    """Return when the key that seals was made; None where its document does not say. Raises what reading raises."""
    numbers = [name for name in repository.reader.names(layout.KEYS) if layout.is_number(name)]
    if not numbers:
        return None
    path = f"{layout.KEYS}/{max(numbers)}"

    def made_at(body: bytes) -> datetime | None:
        try:
            entries = json.loads(body)["keys"]
            said = next((each.get("created_at") for each in entries if each["id"] == repository.keys.active.id), None)
            return None if said is None else read_instant(said)
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise ObjectCorrupt(f"key document {path!r} is malformed") from error

    return repository.reader.read(path, made_at)


def _is_proof(report: Mapping[str, Any]) -> bool:
    key = report.get("key")
    return report.get("passed") is True and isinstance(key, Mapping) and key.get("is_escrow_sheet") is True
