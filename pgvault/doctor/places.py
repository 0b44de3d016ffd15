"""Judge what lies where: what a disk, a bucket or a region takes with it when it is lost, and what a full one stops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from pgvault.amounts import say_bytes
from pgvault.monitor.finding import Finding, ok, red, warn

FULL = 0.95  # of a disk


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system, at one moment."""

    device: int
    total_bytes: int
    free_bytes: int  # for us

    @property
    def used(self) -> float:
        """The part that is used, 0 to 1."""
        return 1 - self.free_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """A directory of this host, resolved, that is there or will be made."""

    path: Path
    disk: Disk


@dataclass(frozen=True, slots=True)
class CopyPlace:
    """Where a copy of the repository lies."""

    name: str
    url: str
    here: Place | None  # of a directory on this host
    bucket: tuple[str | None, str] | None = None  # endpoint, name
    region: str | None = None  # as configured


def judge_repository_places(data: Place | None, copies: Sequence[CopyPlace]) -> Iterator[Finding]:
    """Yield how far the copies are from the data they are there to replace."""
    if data is None:
        return
    inside = [each.name for each in copies if each.here and each.here.path.is_relative_to(data.path)]
    if inside:
        said = f"copy {', '.join(inside)} lies in the data directory '{data.path}': each backup would hold the others"
        yield red("repository place", said, hint="Move it to another disk, better to another site.")
    beside = [each.name for each in copies if each.here and each.here.disk.device == data.disk.device]
    named = ", ".join(beside)
    if not beside:
        yield ok("repository place", "no copy lies on the disk of the data directory")
    elif len(beside) == len(copies):
        yield red(
            "repository place",
            f"every copy ({named}) lies on the disk of the data directory: what takes the disk takes the backups",
            hint="Add a copy elsewhere under repository.copies, then: pgvault copy.",
        )
    else:
        yield warn(
            "repository place",
            f"copy {named} lies on the disk of the data directory",
            hint="As long as the others are up to date that costs time only: see copy_lag in pgvault status.",
        )


def judge_copies(copies: Sequence[CopyPlace]) -> Iterator[Finding]:
    """Yield whether the copies are further from each other than one accident reaches."""
    if len(copies) == 1:
        yield warn(
            "second copy",
            f"there is one copy, {copies[0].name} ({copies[0].url}): what takes it takes every backup",
            hint="Add one in another region under repository.copies, then: pgvault copy.",
        )
        return
    together = [said for one, other in combinations(copies, 2) if (said := _together(one, other)) is not None]
    for said in together:
        yield warn("second copy", said, hint="Put one of them elsewhere: another disk, bucket and region.")
    if not together:
        yield ok("second copy", f"{len(copies)} copies, none in the place of another, as far as their addresses tell")


def _together(one: CopyPlace, other: CopyPlace) -> str | None:
    both = f"copies {one.name} and {other.name}"
    if one.here and other.here and one.here.disk.device == other.here.disk.device:
        return f"{both} are on one disk"
    if one.bucket is None or other.bucket is None or one.bucket[0] != other.bucket[0]:
        return None
    if one.bucket == other.bucket:
        return f"{both} are in one bucket, {one.bucket[1]}"
    if one.region == other.region:
        where = "the same region, whichever that is" if one.region is None else f"one region, {one.region}"
        return f"{both} are in {where}"
    return None


def judge_room(places: Mapping[str, Place]) -> Iterator[Finding]:
    """Yield how full each disk is, told once with all that lies there."""
    by_device: dict[int, list[str]] = {}
    for name, place in places.items():
        by_device.setdefault(place.disk.device, []).append(name)
    for names in by_device.values():
        disk = places[names[0]].disk
        said = f"{', '.join(names)}: {disk.used:.0%} used, {say_bytes(disk.free_bytes)} left"
        figures = {"used": disk.used, "free_bytes": disk.free_bytes}
        if disk.used >= FULL:
            yield red("disk", said, figures, hint="Make room: a full disk stops backups, archiving and the server.")
        else:
            yield ok("disk", said, figures)


def judge_spool(spool: Place, wal: Place) -> Finding:
    """Judge whether a stream that falls behind fills the disk that the server writes to."""
    if spool.disk.device == wal.disk.device:
        return warn(
            "spool place",
            f"the stream's spool '{spool.path}' is on the disk of pg_wal: it pauses when a third of the room is taken",
            hint="Give it a disk of its own: stream: {spool: DIR}.",
        )
    return ok("spool place", f"'{spool.path}' has another disk than pg_wal")
