"""`pgvault list` and `pgvault show`: what there is, from the repository alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import typer

from pgvault.cli import render
from pgvault.cli.completing import complete_label
from pgvault.cli.documents import backup_document, gap_document, logical_document, window_document, window_lines
from pgvault.cli.drills import mark_document, mark_lines, proof_words
from pgvault.cli.expiring import Standing, read_standing
from pgvault.cli.logicalcatalog import file_document, show_logical, write_files, write_logical
from pgvault.cli.opening import OpenedCluster
from pgvault.cli.options import (
    ClusterOption,
    ConfigOption,
    EndpointOption,
    JsonOption,
    KeyOption,
    OnlyCopyOption,
    RegionOption,
    RepositoryOption,
    source_of,
)
from pgvault.cli.reading import open_cluster_to_read
from pgvault.errors import PgvaultError, VerifyFailed
from pgvault.instants import SystemClock, iso
from pgvault.recovery.systemwindow import SystemWindow, read_windows
from pgvault.repository.catalog import Catalog, read_catalog
from pgvault.repository.drilled import Drilled, marks_of, read_drilled
from pgvault.repository.filelist import read_records
from pgvault.repository.logical import LogicalManifest, LogicalType
from pgvault.repository.manifest import Manifest
from pgvault.repository.presence import copies_holding
from pgvault.repository.telling import reading_document, reading_lines
from pgvault.repository.verified import Verified, read_verified


class ListedType(StrEnum):
    """Which backups to list."""

    PHYSICAL = "physical"
    FULL = "full"
    LOGICAL = "logical"
    SCHEMA = "schema"


@dataclass(frozen=True, slots=True)
class Listing:
    """The catalog and what can be reached from it."""

    catalog: Catalog
    systems: tuple[SystemWindow, ...]  # those with a backup
    passed_over: tuple[tuple[str, PgvaultError], ...]  # history files that do not open; their timelines are missing
    only: ListedType | None = None  # None: all
    held_in: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # the copies that a backup is in, by label
    copies: tuple[str, ...] = ()  # all that were looked at
    standing: Standing = field(default_factory=Standing)
    marks: Mapping[tuple[str, str], Verified] = field(default_factory=dict)  # by label and copy
    drilled: Mapping[str, tuple[Drilled, ...]] = field(default_factory=dict)  # by label, newest first to the last proof

    @property
    def physical(self) -> tuple[Manifest, ...]:
        """The physical backups to show."""
        if self.only is None or self.only is ListedType.PHYSICAL:
            return self.catalog.backups
        return tuple(backup for backup in self.catalog.backups if backup.type == self.only)

    @property
    def logical(self) -> tuple[LogicalManifest, ...]:
        """The logical and schema backups to show."""
        if self.only is None:
            return self.catalog.logical
        return tuple(backup for backup in self.catalog.logical if backup.type.value == self.only.value)

    @property
    def shows_window(self) -> bool:
        """Whether what WAL can reach is of interest."""
        return self.only is None or self.only.value not in tuple(LogicalType)


def list_backups(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    only: Annotated[ListedType | None, typer.Option("--type", help="Only backups of this type.")] = None,
    only_copy: OnlyCopyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the backups, and the moments that can be restored.

    Example: pgvault list --repository s3://bucket/prefix --key file:escrow.txt
    """
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    opened = open_cluster_to_read(source, cluster, only_copy=only_copy)
    listing = read_listing(opened, only)
    if as_json:
        render.write_json(_listing_document(listing) | reading_document(opened.repository))
    else:
        _write_listing(listing)
        render.write_lines(reading_lines(opened.repository))
    broken = [(entry.label, entry.error) for entry in listing.catalog.unreadable] + list(listing.passed_over)
    if broken:
        raise VerifyFailed(
            f"{len(broken)} backups or timelines are left out, since what names them does not open: "
            + ", ".join(f"{name} ({error})" for name, error in broken),
            hint="pgvault verify says what is damaged, and --repair brings it from another copy.",
        )


def read_listing(opened: OpenedCluster, only: ListedType | None = None) -> Listing:
    """Read the catalog and compute the recovery window of each of its systems."""
    catalog = read_catalog(opened.repository, opened.name)
    passed_over: list[tuple[str, PgvaultError]] = []
    systems = read_windows(
        opened.repository,
        opened.name,
        catalog.backups,
        passed_over=lambda name, error: passed_over.append((name, error)),
    )
    standing = read_standing(opened, catalog, passed_over=lambda name, error: passed_over.append((name, error)))
    held_in = copies_holding(opened.repository, opened.name, [root.label for root in catalog.roots])
    copies = tuple(copy.name for copy in opened.repository.copies if copy.name not in opened.repository.unread)
    marks = read_verified(opened.repository, opened.name)
    drilled = read_drilled(opened.repository, opened.name)
    return Listing(catalog, systems, tuple(passed_over), only, held_in, copies, standing, marks, drilled)


def copies_lines(listing: Listing) -> list[str]:
    """What each copy lacks, where there are several."""
    lines = []
    for copy in listing.copies if len(listing.copies) > 1 else ():
        lacking = [root.label for root in listing.catalog.roots if copy not in listing.held_in.get(root.label, ())]
        said = f"all of the {len(listing.catalog.roots)}" if not lacking else f"all but {', '.join(lacking)}"
        lines.append(f"copy {copy}: {said}")
    return lines


def _listing_document(listing: Listing) -> dict[str, Any]:
    catalog = listing.catalog
    return {
        "cluster": catalog.cluster,
        "backups": [backup_document(backup) for backup in listing.physical],
        "logical": [logical_document(backup) for backup in listing.logical],
        "held_in": {label: list(names) for label, names in listing.held_in.items()},
        "verified": [
            {"label": label, "copy": copy, "at": iso(mark.at)} for (label, copy), mark in sorted(listing.marks.items())
        ],
        "drilled": [mark_document(mark) for _, marks in sorted(listing.drilled.items()) for mark in marks],
        "recovery_window": [
            window_document(found, each.system_identifier) for each in listing.systems for found in each.window.ranges
        ],
        "gaps": [gap_document(gap, each.system_identifier) for each in listing.systems for gap in each.window.gaps],
        "not_restorable": [
            {"label": lost.label, "reason": lost.reason} for each in listing.systems for lost in each.window.lost
        ],
        "unreadable": [{"label": entry.label, "error": str(entry.error)} for entry in catalog.unreadable],
        "unreadable_wal": [{"name": name, "error": str(error)} for name, error in listing.passed_over],
        "unfinished": _unfinished(listing),
        "aborted": list(catalog.aborted),
        **listing.standing.to_json(),
    }


def _write_listing(listing: Listing) -> None:
    catalog, now = listing.catalog, SystemClock().now()
    proven = {root.label: proof_words(listing.drilled.get(root.label, ()), now) for root in catalog.roots}
    if not listing.physical and not listing.logical:
        kind = "" if listing.only is None else f" of type {listing.only}"
        render.write_lines([f"cluster {catalog.cluster} has no backup{kind}"])
    if listing.physical:
        columns = ("label", "type", "stopped at", "took", "size", "stored", "timeline", "stop LSN", "bad pages")
        rows = [
            (
                backup.label,
                backup.type,
                render.instant(backup.stopped_at),
                render.duration(backup.stopped_at - backup.started_at),
                render.size(backup.total_bytes),
                render.size(backup.stored_bytes),
                str(backup.timeline),
                str(backup.stop_lsn),
                str(backup.page_errors.count or "-"),
                _verified(listing, backup.label),
                proven[backup.label],
            )
            for backup in listing.physical
        ]
        render.write_table(f"backups of {catalog.cluster}", (*columns, "verified", "drilled"), rows)
    if listing.logical:
        write_logical(catalog.cluster, listing.logical, proven)
    render.write_lines(copies_lines(listing))
    for each in listing.systems if listing.shows_window else ():
        if len(listing.systems) > 1:
            render.write_lines([f"system {each.system_identifier}"])
        render.write_lines(window_lines(each.window))
    render.write_lines(listing.standing.lines())
    for label in _unfinished(listing):
        render.write_lines([f"unfinished: {label} (running, or killed)"])


def _verified(listing: Listing, label: str) -> str:
    """When the backup was last read back whole: the oldest of all copies' dates, or those there are."""
    marks = {copy: mark.at for (of, copy), mark in listing.marks.items() if of == label}
    if not marks:
        return "-"
    if set(listing.copies) <= set(marks):
        return f"{min(marks[copy] for copy in listing.copies):%Y-%m-%d}"
    return ", ".join(f"{at:%Y-%m-%d} in {copy}" for copy, at in marks.items())


def _unfinished(listing: Listing) -> list[str]:
    """Labels without a root, but not those that are being removed."""
    return [label for label in listing.catalog.unfinished if label not in listing.standing.tombstones]


def show(
    ctx: typer.Context,
    label: Annotated[
        str, typer.Argument(help="A backup's label, as `pgvault list` prints it.", autocompletion=complete_label)
    ],
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one backup: files, sizes, WAL range, page errors; of a logical one, its databases and tables.

    Example: pgvault show 20260115T103000Z-f7c2
    """
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    opened = open_cluster_to_read(source, cluster)
    manifest = read_catalog(opened.repository, opened.name).find_any(label)
    drilled = list(marks_of(opened.repository, opened.name, label))
    if isinstance(manifest, LogicalManifest):
        show_logical(opened.repository, manifest, drilled, as_json=as_json)
        return
    records = read_records(opened.repository, manifest)
    if as_json:
        drills = [mark_document(mark) for mark in drilled]
        files = [file_document(record) for record in records]
        render.write_json({**_details(manifest), "drilled": drills, "files": files})
        return
    render.write_lines([f"{name.replace('_', ' ')}: {value}" for name, value in _details(manifest).items()])
    render.write_lines(list(mark_lines(drilled)))
    write_files(records)


def _details(manifest: Manifest) -> dict[str, Any]:
    return {
        **backup_document(manifest),
        "source": manifest.source,
        "databases": {str(oid): name for oid, name in manifest.databases.items()},
        "tablespaces": {str(oid): path for oid, path in manifest.tablespaces.items()},
        "file_count": manifest.file_count,
        "pages_with_errors": list(manifest.page_errors.first),
        "wal": [stored.path.rpartition("/")[2] for stored in manifest.wal],
        "time_zone": manifest.time_zone,
        "log_time_zone": manifest.log_time_zone,
        "server_version": manifest.postgres.settings.get("server_version", str(manifest.postgres.version_num)),
        "data_checksums": manifest.postgres.data_checksums,
        "written_by": manifest.written_by,
    }
