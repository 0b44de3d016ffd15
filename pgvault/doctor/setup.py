"""Judge what the configuration leaves out: what never runs, what grows for ever, and whom nobody tells."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pgvault.config import AlertsConfig, ClusterConfig, Config
from pgvault.errors import did_you_mean
from pgvault.hosts.jobs import jobs_of
from pgvault.keyring.documents import SlotSummary
from pgvault.monitor.finding import Finding, Level, ok, warn
from pgvault.monitor.schedulestatus import protecting_job

SEVERITIES = ("critical", "high", "medium", "low", "warning", "info")  # usual words: a check may say any


def judge_config(config: Config, *, names: Collection[str] = ()) -> Iterator[Finding]:
    """Yield what counts for all clusters; `names` are those that findings have, which routes may name."""
    if config.alerts is None:
        yield warn(
            "alerts",
            "nobody is told when something is red",
            hint="Add `alerts:`, or let Prometheus scrape `pgvault metrics serve`: see README, Alerts and Metrics.",
        )
    else:
        yield ok("alerts", f"receivers: {', '.join(config.alerts.receivers)}")
        yield from judge_routes(config.alerts, config, names)
    if not config.clusters:
        yield warn("clusters", "none is configured", hint="Add one below `clusters:`.")


def judge_routes(alerts: AlertsConfig, config: Config, names: Collection[str]) -> Iterator[Finding]:
    """Yield the routes that look misspelt; one that names nothing we know may be there for what is to come."""
    checks = [check for of in config.clusters.values() for check in of.checks]
    known = {*names, *(level.value for level in Level), *SEVERITIES, *(check.severity for check in checks)}
    known |= {check.action for check in checks if check.action is not None}
    for route in alerts.routes:
        if route not in known and (meant := did_you_mean(route, known)):
            yield warn(
                "alert routes", f"route {route!r} is of no finding, severity, level or action", hint=meant.strip()
            )


def judge_cluster(config: ClusterConfig, *, has_copies: bool) -> Iterator[Finding]:
    """Yield what one cluster's section leaves out."""
    if config.retention is None:
        yield warn(
            "retention",
            "there is none: nothing expires, and the repository grows for ever",
            hint="Add `retention: {full: 7}` or what you need, and look: pgvault expire --dry-run.",
        )
    else:
        yield ok("retention", "configured")
    yield _schedule(config, has_copies=has_copies)
    if not config.checks:
        yield warn(
            "integrity checks",
            "none is configured: a drill proves that the server starts, and little of what is in it",
            hint="Let pgvault propose some: pgvault checks generate > checks.yaml",
        )
    else:
        yield ok("integrity checks", f"{len(config.checks)} configured")


def _schedule(config: ClusterConfig, *, has_copies: bool) -> Finding:
    wanted = [job.name for job in jobs_of(config, has_copies=has_copies) if job.name not in ("logical", "schema")]
    if config.source == "logical":
        wanted.append(protecting_job(config))
    missing = [name for name in wanted if config.schedule.jobs[name] is None]
    hint = "Say when under `schedule:`, and let a host do it: pgvault schedule systemd, or cron."
    if missing == wanted:
        return warn("scheduled jobs", "nothing is scheduled: a missed backup is not noticed as one", hint=hint)
    if missing:
        return warn("scheduled jobs", f"not scheduled: {', '.join(missing)}", hint=hint)
    return ok("scheduled jobs", ", ".join(wanted))


def judge_slots(slots: Sequence[SlotSummary], active: int) -> Finding:
    """Judge in how many ways the key that seals can be reached."""
    opening = [slot.name for slot in slots if active in slot.key_ids]
    if len(opening) <= 1:
        return warn(
            "key slots",
            f"one key slot opens the repository, {', '.join(opening)}: without that key no backup opens",
            hint="Print a sheet: pgvault key export --out FILE; or add a second one: pgvault key add.",
        )
    return ok("key slots", ", ".join(opening))
