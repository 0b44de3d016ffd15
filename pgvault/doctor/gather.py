"""What doctor asks, of whom: the looks of one run, each of which fails by itself.

Host and configuration are looked at first and at once; stores, servers and what `status` finds by looks of their own
(examine.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from pgvault.config import ClusterConfig, Config
from pgvault.doctor.examine import Look, Once
from pgvault.doctor.files import judge_config_rights, judge_key_place, judge_secret
from pgvault.doctor.host import ConfigFacts, HostFacts, judge_config_choice, judge_host, judge_installed, judge_zone
from pgvault.doctor.known import choose
from pgvault.doctor.places import judge_copies, judge_room
from pgvault.doctor.seeing import copy_places, key_file, secrets, see_chain
from pgvault.doctor.setup import judge_cluster, judge_config, judge_slots
from pgvault.doctor.stores import judge_guards
from pgvault.doctor.visiting import Visit
from pgvault.drill.isolation import Isolation, IsolationWish, isolate
from pgvault.errors import DrillNotRun, PgvaultError
from pgvault.instants import Clock
from pgvault.keyring.listing import KeyListing
from pgvault.monitor.finding import Finding, Level, ok, red, warn
from pgvault.monitor.keycheck import KeyFacts, check_keys
from pgvault.monitor.status import ClusterStatus
from pgvault.monitor.storecheck import clock_findings
from pgvault.postgres.programs import installed_majors, newest_programs
from pgvault.postgres.server import Session
from pgvault.repository.copies import Copy
from pgvault.repository.repository import Repository
from pgvault.stores.base import LockingStore

HOST, REPOSITORY = "host", "repository"


@dataclass(frozen=True, slots=True)
class Means:
    """How the world is reached: what the command line knows, and the library does not."""

    host: HostFacts
    choice: ConfigFacts
    config: Config | PgvaultError
    clusters: Mapping[str, ClusterConfig]  # the chosen ones
    stores: Callable[[], list[Copy]]
    repository: Once[Repository]
    keys: Callable[[Repository], tuple[KeyListing, str]]  # and the kind of the configured one
    connect: Callable[[ClusterConfig], Session]
    status: Callable[[str, ClusterConfig], ClusterStatus]
    wish: Callable[[ClusterConfig], IsolationWish]
    names: Collection[str]  # of findings
    clock: Clock


def looks(means: Means) -> Iterator[Look]:
    """Yield everything there is to look at, as far as the configuration can be read."""
    yield Look(HOST, HOST, lambda: judge_host(means.host))
    yield Look(HOST, "programs", lambda: [judge_installed(installed_majors())])
    yield Look(HOST, "configuration", lambda: _configuration(means))
    if isinstance(means.config, PgvaultError):
        return
    config = means.config
    yield Look(HOST, "time zone", lambda: [_zone(means.host, config)])
    yield Look(HOST, "files", lambda: _files(config))
    yield from _isolation(means)
    yield Look(REPOSITORY, "configuration", lambda: judge_config(config, names=means.names))
    yield Look(REPOSITORY, "second copy", lambda: _copies(config))
    for number, name in enumerate(config.repository.copies):
        yield Look(REPOSITORY, f"store {name}", partial(_store, means, number))
    yield Look(REPOSITORY, "key slots", lambda: _keys(means, config))
    for name, cluster in means.clusters.items():
        where, visit = f"cluster {name}", _visit(means, config, name, cluster)
        yield Look(where, "setup", partial(judge_cluster, cluster, has_copies=len(config.repository.copies) > 1))
        yield Look(where, "server", visit.look)
        yield Look(where, "status", partial(_known, means, name, cluster))


def _visit(means: Means, config: Config, name: str, cluster: ClusterConfig) -> Visit:
    return Visit(name, cluster, config, means.host, means.choice.used, means.connect)


def _known(means: Means, name: str, cluster: ClusterConfig) -> Iterator[Finding]:
    yield from choose(means.status(name, cluster).findings)


def _configuration(means: Means) -> Iterator[Finding]:
    choice = judge_config_choice(means.choice)
    if isinstance(means.config, PgvaultError):
        if choice.level is Level.WARN:
            yield choice
        yield red("configuration", str(means.config), hint=means.config.hint)
        return
    yield choice
    if means.choice.used is not None:
        yield judge_config_rights(see_chain(means.choice.used)[-1])


def _zone(host: HostFacts, config: Config) -> Finding:
    configured = datetime.now(UTC).astimezone(ZoneInfo(config.timezone)).utcoffset()
    has_schedule = any(cron for of in config.clusters.values() for cron in of.schedule.jobs.values())
    return judge_zone(
        host.offset, zone=config.timezone, configured=configured or host.offset, has_schedule=has_schedule
    )


def _files(config: Config) -> Iterator[Finding]:
    for secret in secrets(config):
        yield judge_secret(secret)
    key = key_file(config)
    if key is not None:
        places = [each.here.path for each in copy_places(config) if each.here is not None]
        yield from judge_key_place(key.resolve(), data=None, copies=places)


def _copies(config: Config) -> Iterator[Finding]:
    places = copy_places(config)
    yield from judge_copies(places)
    yield from judge_room({f"copy {each.name}": each.here for each in places if each.here is not None})


def _store(means: Means, number: int) -> Iterator[Finding]:
    """Look at a bucket; a directory of this host has this host's clock, and no versions."""
    copy = means.stores()[number]
    if not isinstance(copy.store, LockingStore):
        copy.store.children("")
        yield ok(f"store {copy.name}", f"answers ({copy.store.url})")
        return
    for found in clock_findings([copy], means.clock):
        yield warn(found.name, found.detail, hint=found.warning) if found.warning else ok(found.name, found.detail)
    try:
        guards = copy.store.guards()
    except PgvaultError as error:
        yield judge_guards(copy.name, error, is_locked=copy.store.lock is not None)
    else:
        yield judge_guards(copy.name, guards, is_locked=copy.store.lock is not None)


def _keys(means: Means, config: Config) -> Iterator[Finding]:
    listing, kind = means.keys(means.repository())
    yield judge_slots(listing.slots, listing.active)
    is_pushed = any(of.source != "logical" and of.stream is None for of in means.clusters.values())
    regions = {name: copy.region for name, copy in config.repository.copies.items()}
    for found in check_keys(KeyFacts(kind, is_pushed, listing.slots, listing.active, regions)):
        if found.warning is not None:
            yield warn("key" if found.name == "key" else "key and KMS", found.detail, hint=found.warning)


def _isolation(means: Means) -> Iterator[Look]:
    """One look for each way in which a cluster drills."""
    for wish in dict.fromkeys(means.wish(of) for of in means.clusters.values() if of.source != "logical"):
        yield Look(HOST, "isolation of drills", partial(_isolated, wish))


def _isolated(wish: IsolationWish) -> Iterator[Finding]:
    name = "isolation of drills"
    hint = "Install bubblewrap, and let user namespaces be made; or drill.isolation: container."
    with tempfile.TemporaryDirectory(prefix="pgvault-doctor-") as directory:
        (Path(directory) / "conf").mkdir()
        try:
            found = isolate(wish, Path(directory), newest_programs().major)
        except DrillNotRun as error:
            yield red(name, str(error), hint=error.hint or hint)
            return
    is_weak = found.kind is Isolation.PROCESS and not wish.is_in_pod
    yield warn(name, found.told, hint=hint) if is_weak else ok(name, found.told)
