"""Keep the last normal backup while those behind it look as if somebody had emptied or encrypted the database.

    normal  normal  N │ suspicious  suspicious …        N stays while this goes on: any later one is suspicious, too
    normal  normal  N │ suspicious  normal  normal …    N stays for `accept_after` behind the suspicious one

The second line is why: whoever encrypts what was incompressible already is seen once, by the share that changed. The
next backup holds the same encrypted tables and looks like the day before.

What a backup was compared with stands in its root, and so do the runs that were suspicious: the newest root of a kind
alone decides, and stays as long as it knows of any. So expiring does not change what is normal. Before them at most two
of a kind stay by this rule: the last normal ones before the first and before the newest such run; nobody who alternates
fills a store. Both end by themselves (judge.py: `accept_after`, 30 days), or by the operator's word, `normal_since`.

Where the last normal one was not verified, the newest verified one before it stays as well. Where it is gone, the
newest one before it that is left does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from pgvault.anomaly.judge import Taken, course_behind, judge
from pgvault.config.anomaly import AnomalyConfig
from pgvault.expire.facts import BackupFacts, LogicalBackup
from pgvault.repository.measures import Suspect


def last_normal(
    backups: Sequence[BackupFacts], config: AnomalyConfig, *, whole: Collection[str], now: datetime
) -> Iterator[tuple[str, str]]:
    """Yield the labels that stay, each with why; `backups` in their order, `whole` those that were verified."""
    for kind in dict.fromkeys(_kind(each) for each in backups):
        members = [each for each in backups if _kind(each) == kind]
        for suspect in _suspects(members, config, now):
            yield from _before(suspect, members, config, whole)
            yield members[-1].label, f"newest of its kind behind {suspect.label}, which is anomalous"


def _suspects(members: Sequence[BackupFacts], config: AnomalyConfig, now: datetime) -> tuple[Suspect, ...]:
    newest = members[-1]
    if newest.measures is None:
        return ()
    return course_behind(Taken(newest.label, newest.started_at, newest.measures), config, now=now).suspects


def _before(
    suspect: Suspect, members: Sequence[BackupFacts], config: AnomalyConfig, whole: Collection[str]
) -> Iterator[tuple[str, str]]:
    normal = [each for each in members if each.started_at <= suspect.normal_at and not _is_suspicious(each, config)]
    if not normal:
        return
    chosen = normal[-1]
    yield chosen.label, f"last normal one before {suspect.label}, which is anomalous"
    verified = [each for each in normal if each.label in whole]
    if chosen.label not in whole and verified:
        yield verified[-1].label, f"last normal one that was verified, before {suspect.label}, which is anomalous"


def _is_suspicious(backup: BackupFacts, config: AnomalyConfig) -> bool:
    return backup.measures is not None and judge(backup.measures, config).is_suspicious


def _kind(backup: BackupFacts) -> str:
    """Return what it is compared with; of an older pgvault's as near as it is known (measuring.py: kind_of)."""
    if backup.measures is not None:
        return backup.measures.kind
    if isinstance(backup, LogicalBackup):
        which = "schema" if backup.is_schema else "logical"
        return which + ("" if backup.class_name is None else f", class {backup.class_name}")
    return "full" if backup.is_full else "incremental"
