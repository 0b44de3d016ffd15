"""Judge the host: who runs pgvault, with which libraries, in which zone, and by which configuration file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pgvault.monitor.finding import Finding, ok, red, warn

UTF8 = "utf-8"
ROOT = 0


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What this process is and found."""

    user: str
    uid: int
    python: str  # 3.11.2
    libpq: int  # as PQlibVersion says it: 170002
    encoding: str  # of file names and of what is printed
    offset: timedelta  # of this host's zone from UTC, now


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """Where a configuration was looked for."""

    used: Path | None  # None: none was found
    is_said: bool  # by --config
    from_environment: Path | None  # $PGVAULT_CONFIG
    present: Sequence[Path] = ()  # of the places where one is looked for, those that hold one


def judge_host(facts: HostFacts) -> Iterator[Finding]:
    """Yield what is to be said of the process itself."""
    if facts.uid == ROOT:
        yield warn(
            "user",
            "pgvault runs as root: what it makes, the server's user can not read",
            hint="Run it as the user that owns the data directory, from cron, systemd and by hand.",
        )
    else:
        yield ok("user", f"{facts.user} ({facts.uid})")
    yield ok("libraries", f"Python {facts.python}, libpq {say_libpq(facts.libpq)}")
    if facts.encoding.lower() != UTF8:
        yield warn(
            "locale",
            f"text is {facts.encoding}: names in other languages can not be printed",
            hint="Set LANG=C.UTF-8 for whatever starts pgvault.",
        )
    else:
        yield ok("locale", UTF8)


def judge_installed(majors: Sequence[int]) -> Finding:
    """Judge which majors can be restored, drilled and streamed here."""
    if not majors:
        return warn(
            "programs",
            "no PostgreSQL programs on this host: it can neither drill nor stream, nor restore to a moment",
            hint="Install the server package of your major, also where no server runs.",
        )
    return ok("programs", f"PostgreSQL {', '.join(map(str, majors))}")


def judge_zone(offset: timedelta, *, zone: str, configured: timedelta, has_schedule: bool) -> Finding:
    """Judge the zone that schedules and times without one are read in beside the one that cron has."""
    if offset != configured and has_schedule:
        return warn(
            "time zone",
            f"schedules are read in {zone}, and this host's clock shows another time: cron starts jobs by that",
            hint="Set `timezone:` in the configuration, or CRON_TZ where cron knows it, so that both are one.",
        )
    return ok("time zone", f"{zone}" + ("" if offset == configured else "; this host's own is another"))


def judge_config_choice(facts: ConfigFacts) -> Finding:
    """Judge whether another start of pgvault, by another user or from another directory, would read another file."""
    if facts.used is None:
        return red("configuration", "none was found", hint="Write /etc/pgvault/pgvault.yaml, or say --config FILE.")
    others = [path for path in facts.present if path.absolute() != facts.used.absolute()]
    if facts.from_environment is not None and facts.from_environment.absolute() != facts.used.absolute():
        others.insert(0, facts.from_environment)
    if others and not facts.is_said:
        named = " and ".join(map(str, others))
        return warn(
            "configuration",
            f"{facts.used} is read, and there is {named}, too: whoever starts elsewhere may read that",
            hint="Keep one, or say --config in every line of cron, systemd and archive_command.",
        )
    return ok("configuration", str(facts.used))


def judge_libpq(libpq: int, *, major: int) -> Finding:
    """Judge the client library beside a server's major."""
    if libpq // 10000 < major:
        return warn(
            "libpq",
            f"libpq {say_libpq(libpq)} is older than the server, PostgreSQL {major}",
            hint='Install a newer one: pip install --upgrade "psycopg[binary]".',
        )
    return ok("libpq", f"{say_libpq(libpq)}, as new as the server or newer")


def say_libpq(version: int) -> str:
    """Return 17.2 for 170002."""
    return f"{version // 10000}.{version % 10000}"
