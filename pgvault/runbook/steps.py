"""The procedures of a runbook: one for each thing that happens, with the commands of this cluster.

Every command line here is parsed by a test with pgvault's own parser: what is renamed there breaks the build here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from pgvault.runbook.facts import ClusterFacts, Facts
from pgvault.runbook.words import block, command, is_one_place, naked, span

SHEET = "escrow.txt"
DAY = timedelta(days=1)
READ_AS = "without an offset it is read in {zone}; `latest` and `10 minutes ago` are moments, too"


def procedures(facts: Facts, cluster: ClusterFacts) -> list[str]:
    """Return all procedures of a cluster, numbered."""
    lines: list[str] = []
    for number, (title, write) in enumerate(PROCEDURES.items(), 1):
        lines += [f"### {cluster.name}.{number} {title}", "", *write(facts, cluster)]
    return lines


def _moment(facts: Facts) -> str:
    moment = facts.made_at.isoformat(timespec="minutes")
    return f"T='{moment}'    # change it: {READ_AS.format(zone=facts.config.timezone)}"


def _major(cluster: ClusterFacts) -> str:
    return "N" if cluster.backup is None else str(cluster.backup.postgres_major)


def _checks(cluster: ClusterFacts) -> list[str]:
    """What shows that the data are right, where anything was configured to."""
    is_checked = bool(cluster.config.checks)
    return [command("pgvault", "checks", "run", "--live", "--cluster", cluster.name)] if is_checked else []


def _data(cluster: ClusterFacts) -> str:
    configured = cluster.config.data_directory
    where = f"/var/lib/postgresql/{_major(cluster)}/main" if configured is None else str(configured)
    told = "" if configured is not None else "    # change it: the configuration does not say where it was"
    return f"DATA='{where}'{told}"


def _restored(cluster: ClusterFacts) -> str:
    """Where a restore goes; each procedure adds what makes it its own, since a directory that is taken is refused."""
    return f"/srv/restored/{cluster.name}"


def _lost_table(facts: Facts, cluster: ClusterFacts) -> list[str]:
    name, dsn = cluster.name, cluster.config.dsn
    if cluster.is_logical:
        return [
            "The newest logical backup that holds it; the table is written to files first, beside what is there.",
            "",
            *block(
                [
                    "TABLE=public.orders    # change it",
                    command("pgvault", "list", "--cluster", name, "--type", "logical"),
                    command(
                        "pgvault", "restore", "--cluster", name, "--logical", "latest", "--table", "$TABLE",
                        "--file", f"{_restored(cluster)}-table",
                    ),
                ]
            ),
            "The command says which `pg_restore` brings it back, and loads nothing itself.",
            "",
        ]  # fmt: skip
    words = ["pgvault", "extract", "--cluster", name, "--table", "$TABLE", "--to", "$T", "--into", dsn or "dbname=…"]
    return [
        (
            "The table comes back beside the one that was spoilt, as `…_restored`: nothing that exists is touched. "
            "The whole cluster is restored into a scratch server for it; what that takes is said first."
        ),
        "",
        *block(["TABLE=public.orders    # change it", _moment(facts), command(*words, "--dry-run"), command(*words)]),
        (
            "Compare the two, and move the rows or rename the tables. "
            f"{''.join(f'Then run the checks: `{each}`.' for each in _checks(cluster))}"
        ),
        "",
    ]


def _beside(facts: Facts, cluster: ClusterFacts) -> list[str]:
    name = cluster.name
    if cluster.is_logical:
        return _logical_restore(cluster)
    where = _restored(cluster)
    return [
        f"Into `{where}`, which must be empty or absent. It does not archive, so production's history is safe from it.",
        "",
        *block(
            [
                _moment(facts),
                command("pgvault", "restore", "--cluster", name, "--to", "$T", "--dry-run", where),
                command("pgvault", "restore", "--cluster", name, "--to", "$T", "--finish", where),
                f"pg_ctl -D {where} -o '-p 5433' start    # a port of its own",
            ]
        ),
    ]


def _logical_restore(cluster: ClusterFacts) -> list[str]:
    words = ["pgvault", "restore", "--cluster", cluster.name, "--logical", "latest", "--into", "$SERVER", "--create"]
    return [
        "Only the moments of its logical backups can be restored: there is no WAL of it.",
        "",
        *block(
            [
                "SERVER='host=db2 user=postgres'    # change it: an empty server of the same major, or a newer one",
                command("pgvault", "list", "--cluster", cluster.name, "--type", "logical"),
                command(*words, "--dry-run"),
                command(*words),
            ]
        ),
    ]


def _lost_server(facts: Facts, cluster: ClusterFacts) -> list[str]:
    name = cluster.name
    if cluster.is_logical:
        return _logical_restore(cluster)
    words = ["pgvault", "restore", "--cluster", name, "--to", "latest"]
    return [
        (
            f"1. On the new machine: PostgreSQL {_major(cluster)}, pgvault {facts.version}, `{facts.config_file}`, "
            f"and the key that it names (`{facts.config.repository.key}`); without these two: {name}.5."
        ),
        "2. Nobody may go on writing to the old server. If it still runs somewhere, stop it.",
        "3. As the user that runs PostgreSQL:",
        "",
        *block(
            [
                _data(cluster),
                command(*words, "--dry-run", "$DATA"),
                command(*words, "--adopt", "$DATA"),
                'pg_ctl -D "$DATA" start    # or the service that it belongs to',
                command("pgvault", "check", "--cluster", name),
                command("pgvault", "backup", "--cluster", name),
                *_checks(cluster),
                command("pgvault", "status", "--cluster", name),
            ]
        ),
        (
            "`--dry-run` says which is the last commit that comes back: tell it to those who decide before you go "
            "on. `status` stays red until the new backup is there."
        ),
        "",
    ]


def _lost_region(facts: Facts, cluster: ClusterFacts) -> list[str]:
    first, *others = facts.config.repository.copies
    if not others:
        return [
            (
                f"**There is one copy only (`{first}`). When it is lost, everything is lost.** Add a second one, "
                "elsewhere, to `repository.copies`, and fill it with `pgvault copy`."
            ),
            "",
        ]
    restore = ["pgvault", "restore", "--cluster", cluster.name]
    restore += ["--logical", "latest", "--file"] if cluster.is_logical else ["--to", "latest"]
    lines = [
        "Reading goes on by itself from the copies that answer. To be sure that one alone is enough, name it:",
        "",
        *block(
            [
                *(command(*restore, f"{_restored(cluster)}-from-{name}", "--only-copy", name) for name in others),
                command("pgvault", "list", "--cluster", cluster.name, "--only-copy", others[0]),
            ]
        ),
        (
            f"If `{first}` is lost for good: put another copy first in `{facts.config_file}` (what that one had not "
            "got yet is lost), remove the lost one, add a new one behind it, then:"
        ),
        "",
        *block(["pgvault init", "pgvault copy", command("pgvault", "verify", "--cluster", cluster.name)]),
    ]
    if not cluster.is_logical:
        lines += [f"Then a new backup: `{command('pgvault', 'backup', '--cluster', cluster.name)}`.", ""]
    return lines


def _lost_config(facts: Facts, cluster: ClusterFacts) -> list[str]:
    copies = list(facts.config.repository.copies.values())
    chosen = copies if is_one_place(copies) else copies[:1]
    options = [*naked(chosen), "--key", f"file:{SHEET}"]
    where = f"{_restored(cluster)}-without-configuration"
    target = ["--logical", "latest", "--file"] if cluster.is_logical else ["--to", "latest"]
    lines = [
        (
            f"On any machine with PostgreSQL {_major(cluster)} and pgvault, without configuration and without this "
            f"repository's key file: the escrow sheet as `{SHEET}` is enough, beside credentials for the store."
        ),
        "",
        *block(
            [
                command("pgvault", "list", *options, "--cluster", cluster.name),
                command("pgvault", "restore", *options, "--cluster", cluster.name, *target, where),
            ]
        ),
    ]
    if len(chosen) < len(copies):
        lines += ["If that copy is gone, one of the others:", ""]
        others = [[*naked([copy]), "--key", f"file:{SHEET}"] for copy in copies[1:]]
        lines += block(command("pgvault", "list", *words, "--cluster", cluster.name) for words in others)
    return [*lines, "Then write the configuration again (the appendix shows its copies), and go on as above.", ""]


def _incident(facts: Facts, cluster: ClusterFacts) -> list[str]:
    name = cluster.name
    hold = ["pgvault", "hold", "--cluster", name]
    lines = [
        (
            "1. **Keep the evidence.** Nothing of that range expires until the hold is released. Keys and store "
            "credentials that the attacker may have: change them at the provider; `pgvault key rotate` for what "
            "comes."
        ),
        "",
        *block(
            [
                f"FROM='{(facts.made_at - DAY).isoformat(timespec='minutes')}'    # change it: surely before it began",
                f"TO='{facts.made_at.isoformat(timespec='minutes')}'    # change it: now",
                command(*hold, "--from", "$FROM", "--to", "$TO", "--why", "incident"),
                command("pgvault", "holds", "--cluster", name),
                "pgvault audit verify    # what was done by whom; by keys that are pinned in the configuration",
                "pgvault audit list",
                command("pgvault", "verify", "--cluster", name),
            ]
        ),
    ]
    if cluster.is_logical:
        return [*lines, "2. Restore into a scratch server, compare, bring back:", "", *_logical_restore(cluster)]
    scratch = f"/srv/incident/{name}"
    return [
        *lines,
        (
            "2. **Find when it began.** A drill to a moment says by every check whether the data were right then. "
            "Halve the range until two moments are near enough; `last-good` is what earlier drills have proven "
            "already."
        ),
        "",
        *block(
            [
                _moment(facts),
                command("pgvault", "drill", "--cluster", name, "--to", "$T"),
                command("pgvault", "drills", "--cluster", name),
                command("pgvault", "restore", "--cluster", name, "--to", "last-good", "--dry-run", scratch),
            ]
        ),
        "3. **Restore to scratch, and look**, away from production and its network.",
        "",
        *block([command("pgvault", "restore", "--cluster", name, "--to", "$T", "--finish", scratch)]),
        (
            f'4. **Bring back** rows or tables ({name}.1), or the whole cluster ({name}.3 with `--to "$T"`). '
            "Every step can be done again: what exists is refused, never overwritten."
        ),
        "",
        "5. **Prove it by the same checks**, and keep the receipt.",
        "",
        *block(
            [
                *_checks(cluster),
                command("pgvault", "backup", "--cluster", name),
                command("pgvault", "drill", "--cluster", name, "--to", "latest"),
                "DRILL=20260117T050000Z-9c41    # change it: the id in the report",
                command("pgvault", "drills", "$DRILL", "--cluster", name, "--receipt", f"/srv/incident/{name}-receipt"),
            ]
        ),
        "6. When the evidence is not needed any more:",
        "",
        *block(
            [
                "HOLD=20260115T103000Z-f7c2    # change it: as pgvault holds prints it",
                command("pgvault", "release", "$HOLD", "--cluster", name, "--why", "incident closed"),
            ]
        ),
    ]


def _deleted(_facts: Facts, cluster: ClusterFacts) -> list[str]:
    name = cluster.name
    grace = "" if cluster.config.retention is None else f" ({span(cluster.config.retention.grace)})"
    return [
        f"`delete` and `expire` only mark; until the grace is over{grace} a backup that was marked is whole.",
        "",
        *block(
            [
                command("pgvault", "list", "--cluster", name),
                "LABEL=20260115T103000Z-f7c2    # change it",
                command("pgvault", "undelete", "$LABEL", "--cluster", name, "--why", "marked by mistake"),
                command("pgvault", "hold", "$LABEL", "--cluster", name, "--why", "marked by mistake"),
            ]
        ),
        (
            "If objects were removed from a store behind pgvault's back, what other copies and older versions have "
            "comes back:"
        ),
        "",
        *block([command("pgvault", "verify", "--cluster", name, "--repair")]),
        f"Rows or tables that were deleted: {name}.1.",
        "",
    ]


PROCEDURES: dict[str, Callable[[Facts, ClusterFacts], list[str]]] = {
    "A table is lost or spoilt": _lost_table,
    "A moment of the past, beside production": _beside,
    "The whole server is lost": _lost_server,
    "A region, or a copy, is lost": _lost_region,
    "The configuration and the key are lost": _lost_config,
    "Ransomware, or another incident": _incident,
    "A backup was deleted by mistake": _deleted,
}
