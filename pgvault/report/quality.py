"""Data quality: what every check found, live and in drills, out of documents that were stored; pure.

A check is judged by its newest result in each place. One that never had a result is not good, whatever else is green,
and results of a check that is not configured any more are shown as long as they are among the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

from pgvault.checks.result import NOT_BLOCKING
from pgvault.config import AnyCheck
from pgvault.report.document import Check, Failure, Quality, Result, Standing
from pgvault.report.words import counted
from pgvault.repository.fields import read_instant

RESULTS = 30  # of each check, in each place
LIVE, DRILL = "live", "drill"
PLACES = (LIVE, DRILL)
ORIGINS = ("configured", "derived", "built-in")
ROWS = 20
TEXT = 400  # characters of a row or a detail: an operator's query may return anything


@dataclass(slots=True)
class _Seen:
    """A check as its results come in, newest first."""

    severity: str
    origin: str
    threshold: float | None
    results: dict[str, list[Result]] = field(default_factory=lambda: {place: [] for place in PLACES})
    failures: dict[str, Failure] = field(default_factory=dict)


class Results:
    """Collects the results of documents, which are given newest first; keeps little of each."""

    def __init__(self, configured: Sequence[AnyCheck]) -> None:
        self._seen = {check.name: _Seen(check.severity, "configured", check.threshold) for check in configured}

    def add(self, document: Mapping[str, Any], *, where: str) -> None:
        """Take the results of one drill, or of one run on the live server."""
        at, run = read_instant(document["started_at"]), str(document.get("id"))
        for found in document.get("results" if where == LIVE else "checks") or ():
            self._take(found, where, at, run)

    def _take(self, found: Mapping[str, Any], where: str, at: datetime, run: str) -> None:
        name = str(found.get("name"))
        origin = "configured" if where == LIVE else str(found.get("origin") or ORIGINS[-1])
        seen = self._seen.setdefault(name, _Seen(str(found.get("severity")), origin, _number(found.get("threshold"))))
        results = seen.results[where]
        if len(results) >= RESULTS:
            return
        verdict = verdict_of(found)
        if verdict == "failed" and where not in seen.failures:
            is_over = any(result.verdict == "passed" for result in results)
            rows = tuple(_cut(str(row)) for row in (found.get("sample") or ())[:ROWS])
            seen.failures[where] = Failure(where, at, run, _cut(str(found.get("detail"))), rows, is_over)
        results.append(Result(at, run, verdict, _number(found.get("measured"))))

    def quality(self, *, limit: int) -> tuple[Quality, int]:
        """Return what all checks say, at most `limit` of them, and how many are left out; never one that is bad."""
        checks = sorted((_check(name, seen) for name, seen in self._seen.items()), key=_order)
        shown = [check for number, check in enumerate(checks) if number < limit or check.standing is Standing.BAD]
        return _summary(checks, tuple(shown)), len(checks) - len(shown)


def verdict_of(found: Mapping[str, Any]) -> str:
    """Return how a check ended; an older pgvault said only whether it passed."""
    return str(found.get("verdict") or ("passed" if found.get("passed") else "failed"))


def is_blocking(found: Mapping[str, Any]) -> bool:
    """Tell whether its failure says that the data can not be used."""
    return found.get("severity") not in NOT_BLOCKING


def _check(name: str, seen: _Seen) -> Check:
    blocking = seen.severity not in NOT_BLOCKING
    newest = [results[0].verdict for results in seen.results.values() if results]
    return Check(
        name=name,
        severity=seen.severity,
        origin=seen.origin,
        is_blocking=blocking,
        threshold=seen.threshold,
        standing=_standing(newest, is_blocking=blocking),
        live=tuple(reversed(seen.results[LIVE])),
        drill=tuple(reversed(seen.results[DRILL])),
        failures=tuple(seen.failures[place] for place in PLACES if place in seen.failures),
    )


def _standing(newest: Sequence[str], *, is_blocking: bool) -> Standing:
    if "failed" in newest:
        return Standing.BAD if is_blocking else Standing.WATCH
    if not newest or "passed" not in newest:
        return Standing.UNKNOWN
    return Standing.GOOD if set(newest) == {"passed"} else Standing.WATCH


def _order(check: Check) -> tuple[int, bool]:
    """The operator's own come first, in the order of the configuration (the sort is stable), what fails before that."""
    origin = ORIGINS.index(check.origin) if check.origin in ORIGINS else len(ORIGINS)
    return origin, check.standing is not Standing.BAD


def _summary(checks: Sequence[Check], kept: tuple[Check, ...]) -> Quality:
    bad = [check for check in checks if check.standing is Standing.BAD]
    silent = [check for check in checks if check.standing is Standing.UNKNOWN]
    good = [check for check in checks if check.standing is Standing.GOOD]
    told = [check for check in checks if check.standing is Standing.WATCH]
    standing, sentence = _words(checks, bad, silent, told)
    return Quality(standing, sentence, len(checks), len(good), len(bad), len(silent), kept)


def _words(
    checks: Sequence[Check], bad: Sequence[Check], silent: Sequence[Check], told: Sequence[Check]
) -> tuple[Standing, str]:
    if bad:
        first = ", ".join(f"'{check.name}'" for check in bad[:3])
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        return Standing.BAD, f"{len(bad)} of {len(checks)} checks failed when they last ran: {first}{more}."
    if not checks:
        return Standing.UNKNOWN, "No check is configured, and none has run: nothing is known of the data."
    if len(silent) == len(checks):
        return Standing.UNKNOWN, f"None of {counted(len(checks), 'check')} has said anything yet."
    if silent or told:
        parts = [f"{counted(len(silent), 'check')} that proved nothing"] if silent else []
        parts += [f"{counted(len(told), 'check')} with a warning"] if told else []
        return Standing.WATCH, f"No check that stops something failed; {' and '.join(parts)}."
    return Standing.GOOD, f"All {counted(len(checks), 'check')} passed when they last ran."


def collect(configured: Sequence[AnyCheck], live: Iterable[Mapping[str, Any]]) -> Results:
    """Begin with what is configured, and the runs on the live server."""
    results = Results(configured)
    for document in live:
        results.add(document, where=LIVE)
    return results


def failures_of(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the results of a drill that stop something and failed."""
    yield from (found for found in document.get("checks") or () if verdict_of(found) == "failed" and is_blocking(found))


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if isfinite(value) else None  # JSON knows no NaN


def _cut(text: str) -> str:
    return text if len(text) <= TEXT else text[:TEXT] + "…"
