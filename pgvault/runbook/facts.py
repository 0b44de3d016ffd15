"""What a runbook is made of: the configuration, and what the repository tells where it answers.

Nothing of it is secret: references to keys, never keys. What could not be read is None, with the reason in `unread`,
and the runbook says that it is not known: a runbook is printed on quiet days for those that are not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pgvault.audit.chain import entry_at, next_number, signers
from pgvault.audit.entry import Entry
from pgvault.config import ClusterConfig, Config
from pgvault.errors import ObjectCorrupt, ObjectMissing, PgvaultError
from pgvault.keyring.listing import KeyListing, list_keys
from pgvault.recovery.systemwindow import read_windows
from pgvault.repository.catalog import Catalog, read_catalog
from pgvault.repository.drillreports import read_reports, report_ids
from pgvault.repository.keys import Credential
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

T = TypeVar("T")

DRILLS_MAX = 50  # newest ones, in which the last that passed is looked for
ENTRIES_MAX = 100  # at the end of each audit chain, in which exports of sheets are looked for
READERS = 8
EXPORT = "key export"


@dataclass(frozen=True, slots=True)
class Window:
    """What can be restored, of one stretch of WAL."""

    starts_at: datetime
    proven_until: datetime
    timeline: int


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """One cluster."""

    name: str
    config: ClusterConfig
    backup: Manifest | None = None  # the newest full one
    logical: str | None = None  # label of the newest logical one
    windows: tuple[Window, ...] = ()
    drill: Mapping[str, Any] | None = None  # report of the newest that passed
    unread: tuple[str, ...] = ()  # why something is not known
    is_read: bool = False  # whether the repository was asked, and told which backups there are

    @property
    def is_logical(self) -> bool:
        """Whether there are no files and no WAL of it."""
        return self.config.source == "logical"


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything."""

    made_at: datetime
    version: str
    config_file: Path
    config: Config
    clusters: tuple[ClusterFacts, ...]
    keys: KeyListing | None = None
    exported_at: tuple[datetime, ...] = ()  # escrow sheets, as far back as was looked, newest first
    unread: tuple[str, ...] = field(default=())


def with_repository(facts: Facts, repository: Repository, credential: Credential) -> Facts:
    """Return the facts with what the repository tells; what it does not is listed."""
    unread: list[str] = []
    keys = _attempt(lambda: list_keys(repository, credential), unread)
    exported = _attempt(lambda: read_exports(repository), unread)
    clusters = tuple(_read_cluster(repository, each) for each in facts.clusters)
    return replace(
        facts, clusters=clusters, keys=keys, exported_at=exported or (), unread=(*facts.unread, *dict.fromkeys(unread))
    )


def read_exports(repository: Repository) -> tuple[datetime, ...]:
    """Return when sheets were exported, newest first, as the newest entries of each chain tell."""
    wanted = []
    for signer in signers(repository):
        end = next_number(repository, signer)
        wanted += [(signer, number) for number in range(max(0, end - ENTRIES_MAX), end)]

    def read(place: tuple[str, int]) -> Entry | None:
        try:
            return entry_at(repository, *place)
        except (ObjectCorrupt, ObjectMissing):  # that is for `audit verify` to tell
            return None

    with ThreadPoolExecutor(READERS) as readers:
        entries = [entry for entry in readers.map(read, wanted) if entry is not None]
    done = [e.at for e in entries if (e.event.get("what"), e.event.get("result")) == (EXPORT, "ok")]
    return tuple(sorted(done, reverse=True))


def _read_cluster(repository: Repository, known: ClusterFacts) -> ClusterFacts:
    unread: list[str] = []
    catalog = _attempt(lambda: read_catalog(repository, known.name), unread)
    if catalog is not None:
        windows = _attempt(lambda: _windows(repository, catalog), unread)
        known = replace(
            known,
            backup=catalog.backups[-1] if catalog.backups else None,
            logical=catalog.logical[-1].label if catalog.logical else None,
            windows=windows or (),
            is_read=True,
        )
    drill = _attempt(lambda: _last_passed(repository, known.name), unread)
    return replace(known, drill=drill, unread=tuple(dict.fromkeys(unread)))


def _windows(repository: Repository, catalog: Catalog) -> tuple[Window, ...]:
    def pass_over(name: str, error: PgvaultError) -> None:
        logger.warning("%s does not open: %s", name, error)

    systems = read_windows(repository, catalog.cluster, catalog.backups, passed_over=pass_over)
    return tuple(
        Window(each.starts_at, each.proven_until, each.timeline) for system in systems for each in system.window.ranges
    )


def _last_passed(repository: Repository, cluster: str) -> Mapping[str, Any] | None:
    ids = report_ids(repository, cluster)
    reports = read_reports(repository, cluster, list(islice(ids, DRILLS_MAX)))
    return next((report for report in reports if report.get("passed")), None)


def _attempt(read: Callable[[], T], unread: list[str]) -> T | None:
    try:
        return read()
    except PgvaultError as error:
        unread.append(str(error))
        return None
