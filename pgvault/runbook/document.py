"""The runbook as Markdown: a pure function of its facts.

what is where ─► who opens it ─► each cluster: promised, measured, procedures ─► whom to tell ─► appendix
"""

from __future__ import annotations

from collections.abc import Iterator

from pgvault.config import CopyConfig, Objectives
from pgvault.instants import iso
from pgvault.runbook.facts import ClusterFacts, Facts
from pgvault.runbook.steps import SHEET, procedures
from pgvault.runbook.words import UNKNOWN, at, block, command, naked, span, table

PROMISES = {
    "rto": "back in operation within (RTO)",
    "rpo": "lost at most the last (RPO)",
    "backup_age": "newest backup not older than",
    "backup_duration": "a backup takes at most",
    "archive_lag": "WAL stored within",
    "copy_lag": "further copies behind at most",
    "drill_age": "last passed drill not older than",
}


def write_runbook(facts: Facts) -> str:
    """Return the runbook."""
    lines = [
        "# Disaster recovery runbook",
        "",
        (
            f"Made by pgvault {facts.version} at {at(facts.made_at)}, from `{facts.config_file}` and from what the "
            "repository told then. Print it, and keep it where neither the server nor the repository is. Make it "
            "again after each change of the configuration or the keys: `pgvault runbook --out FILE`."
        ),
        "",
        *_unread(facts),
        "Commands are run as the user that PostgreSQL runs as, with:",
        "",
        *block([command("export", f"PGVAULT_CONFIG={facts.config_file}"), "pgvault status"]),
        *_places(facts),
        *_keys(facts),
    ]
    for cluster in facts.clusters:
        lines += [
            f"## Cluster {cluster.name}",
            "",
            *_promised(cluster),
            *_measured(cluster),
            *procedures(facts, cluster),
        ]
    lines += [*_telling(facts), *_appendix(facts)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _unread(facts: Facts) -> Iterator[str]:
    reasons = [*facts.unread, *(f"{each.name}: {why}" for each in facts.clusters for why in each.unread)]
    if reasons:
        yield f"**Not everything could be read; what is missing stands as “{UNKNOWN}”:**"
        yield ""
        yield from (f"* {reason}" for reason in dict.fromkeys(reasons))
        yield ""


def _places(facts: Facts) -> list[str]:
    copies = facts.config.repository.copies
    rows = [
        (
            name,
            f"`{copy.url}`",
            ", ".join(filter(None, (copy.region, copy.endpoint_url))),
            "decides what exists" if number == 0 else _mode(copy),
            _lock(copy),
        )
        for number, (name, copy) in enumerate(copies.items())
    ]
    clusters = [(each.name, f"`{each.config.dsn}`", each.config.source, _schedule(each)) for each in facts.clusters]
    return [
        "## What is where",
        "",
        *table(("copy", "URL", "where", "written", "guarded"), rows),
        *table(("cluster", "server", "source", "scheduled"), clusters),
    ]


def _mode(copy: CopyConfig) -> str:
    backups, wal = ("sync" if each else "async" for each in (copy.is_sync_for_backups, copy.is_sync_for_wal))
    return f"backups {backups}, WAL {wal}"


def _lock(copy: CopyConfig) -> str:
    return "" if copy.object_lock is None else f"{copy.object_lock.mode}, {copy.object_lock.days} days"


def _schedule(cluster: ClusterFacts) -> str:
    jobs = {name: cron for name, cron in cluster.config.schedule.jobs.items() if cron is not None}
    return ", ".join(f"{name}: `{cron}`" for name, cron in jobs.items()) or "nothing"


def _keys(facts: Facts) -> list[str]:
    lines = [
        "## Who opens it",
        "",
        (
            f"This configuration opens the repository by `{facts.config.repository.key}`. Any one slot opens all of "
            "it; without any, nobody ever does. The keys themselves are not in this document."
        ),
        "",
    ]
    if facts.keys is None:
        return [*lines, f"Slots: {UNKNOWN}; `pgvault key list` tells them.", "", *_sheet(facts)]
    rows = [
        (
            slot.name,
            slot.kind,
            slot.created_at or UNKNOWN,
            "this configuration" if slot.name in facts.keys.configured else slot.detail or "fill in: who, where",
        )
        for slot in facts.keys.slots
    ]
    return [*lines, *table(("slot", "kind", "made", "held by"), rows), *_sheet(facts)]


def _sheet(facts: Facts) -> list[str]:
    if facts.exported_at:
        told = f"An escrow sheet was last exported at {at(facts.exported_at[0])}."
    elif facts.keys is None:
        told = f"When an escrow sheet was exported is {UNKNOWN}."
    else:
        told = "**No export of an escrow sheet is on record.** Make one: `pgvault key export --out FILE`."
    proofs = [
        f"It was proven for {each.name} by drill {each.drill['id']}."
        for each in facts.clusters
        if each.drill is not None and (each.drill.get("key") or {}).get("escrow")
    ]
    return [
        " ".join([told, *proofs]),
        "",
        "Where the sheets lie, and who may fetch them: ______________________________",
        "",
    ]


def _promised(cluster: ClusterFacts) -> list[str]:
    rows = [(words, _promise(cluster.config.objectives, name)) for name, words in PROMISES.items()]
    if cluster.config.objectives.success_rate is not None:
        rows.append(("scheduled backups that succeed", f"{cluster.config.objectives.success_rate:.2%}"))
    rows = [row for row in rows if row[1]]
    lines = ["**Promised**", "", *(table(("objective", ""), rows) if rows else ["Nothing was promised.", ""])]
    classes = sorted(cluster.config.classes.items(), key=lambda item: item[1].priority)
    if classes:
        lines += table(
            ("class", "comes back as number", "RTO", "RPO", "tables"),
            (
                (name, str(each.priority), _span(each.rto), _span(each.rpo), ", ".join(each.tables))
                for name, each in classes
            ),
        )
    return lines


def _promise(objectives: Objectives, name: str) -> str:
    value = getattr(objectives, name)
    return "" if value is None else span(value)


def _span(value: object) -> str:
    return "" if value is None else span(value)  # type: ignore[arg-type]


def _measured(cluster: ClusterFacts) -> list[str]:
    lines = ["**Measured**", ""]
    if cluster.drill is None:
        lines += [
            (
                "No drill that passed is known: how long a restore takes, and whether it works, nobody has shown. "
                f"`{command('pgvault', 'drill', '--cluster', cluster.name)}` shows it."
            ),
            "",
        ]
    else:
        drill = cluster.drill
        lines += table(
            ("", ""),
            (
                ("last drill that passed", f"{drill['started_at']}, `{drill['id']}`, {drill.get('target')}"),
                ("RTO", span(drill.get("rto_seconds"))),
                ("RPO at most", span(drill.get("rpo_seconds"))),
                ("phases", ", ".join(f"{name} {span(took)}" for name, took in drill.get("phases", {}).items())),
                ("from backup", f"{drill.get('backup')}"),
            ),
        )
    return [*lines, *_holdings(cluster)]


def _holdings(cluster: ClusterFacts) -> list[str]:
    unknown = "**none**" if cluster.is_read else UNKNOWN
    if cluster.is_logical:
        return [f"Newest logical backup: {cluster.logical or unknown}.", ""]
    backup = unknown if cluster.backup is None else f"{cluster.backup.label}, {at(cluster.backup.stopped_at)}"
    lines = [f"Newest full backup: {backup}."]
    if not cluster.windows:
        lines.append(f"What can be restored: {unknown}.")
    lines += [
        f"Restorable then: timeline {each.timeline}, {at(each.starts_at)} to at least {at(each.proven_until)}."
        for each in cluster.windows
    ]
    return ["  \n".join(lines), ""]


def _telling(facts: Facts) -> list[str]:
    names = ", ".join(each.name for each in facts.clusters) or "…"
    return [
        "## Whom to tell what",
        "",
        *table(
            ("when", "whom", "what"),
            (
                ("at once", "whoever is on call: ______", "what is lost, since when, who leads"),
                (
                    "before a restore over production",
                    "who decides: ______",
                    "what comes back, up to when, what is lost",
                ),
                ("every hour", "management: ______", "the phase of the restore, when it is expected to end"),
                ("when personal data are concerned", "data protection: ______", "within 72 hours (GDPR article 33)"),
                ("afterwards", "customers: ______", "what happened, what is back, what is not"),
            ),
        ),
        "To management:",
        "",
        (
            f"> Since [TIME] the database [{names}] is not available, because [CAUSE]. We are restoring it from the "
            f"backup of [TIME]. By the last drill that takes {_usual(facts)}; what was written after [LAST COMMIT, "
            "from restore --dry-run] is lost, that is [SPAN]. The next report is at [TIME]."
        ),
        "",
        "To customers:",
        "",
        (
            "> From [TIME] to [TIME] our service was not available. All data up to [TIME] are back and were checked. "
            "What you entered between [TIME] and [TIME] is not: please enter it again. We are sorry."
        ),
        "",
    ]


def _usual(facts: Facts) -> str:
    """What the newest drills say of how long it takes."""
    drilled = ((each.name, each.drill) for each in facts.clusters if each.drill is not None)
    known = [f"{span(drill['rto_seconds'])} ({name})" for name, drill in drilled if drill.get("rto_seconds")]
    return ", ".join(known) or "[SPAN]"


def _appendix(facts: Facts) -> list[str]:
    """What whoever has lost the configuration needs of it."""
    lines = ["## Appendix: each copy on a bare machine", ""]
    for name, copy in facts.config.repository.copies.items():
        lines += [f"Copy {name}:", ""]
        lines += block([command("pgvault", "list", *naked([copy]), "--key", f"file:{SHEET}", *_first(facts))])
    return [*lines, f"Made at {iso(facts.made_at)}."]


def _first(facts: Facts) -> list[str]:
    return ["--cluster", facts.clusters[0].name] if facts.clusters else []
