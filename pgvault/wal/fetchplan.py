"""What a restore may fetch, fixed before it starts and stored beside it as JSON.

    {"pgvault_fetch_plan": 1, "restore_id", "cluster", "system_identifier": "7…", "segment_size": bytes,
     "segments": [["000000010000000000000002", "00000001000000000000002F"], …],        first and last of each range
     "tails": {"000000010000000000000030": {"spans": ["00000000-0004A6F0", …], "sha256": hex}},
     "histories": ["00000002.history", …], "taken": ["00000003.history", …], "copies": ["dr", …], "source": {…}}

What is listed exists and must be delivered; what is not listed is absent, and that is answered without asking
anybody: so a restore finds its end even where nothing can be reached any more. Histories are all that the
archive holds, also of timelines that the restore does not follow: the server looks for the highest to choose its
new timeline's number. Those that the archive holds damaged are `taken`: a stand-in is delivered, whose presence keeps
the number from being used twice. A segment with `tails` is put together from these; should they have gone, since the
segment is complete or a longer tail holds them, it is cut back to where they ended: `sha256` is that of what the plan
was made with, zeros included. `source` says how to open the repository (cli/opening.py) and holds no secret; `copies`
are those that are asked, in that order, since one that was gone when the restore began must not cost each segment a
wait; where none are named, all are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgvault.errors import ConfigInvalid, FormatUnsupported, UsageError
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import SegmentFile, TimelineHistoryFile, WalSegment, parse_wal_name
from pgvault.postgres.walrange import SegmentRange
from pgvault.repository.fields import read_digest

if TYPE_CHECKING:
    from pgvault.repository.tails import Span

VERSION_FIELD = "pgvault_fetch_plan"
VERSION = 1


@dataclass(frozen=True, slots=True)
class PlannedTail:
    """A segment of which only the beginning was there."""

    spans: tuple[Span, ...]  # what it is put together from
    sha256: bytes  # of the whole segment, zeros included

    @property
    def end(self) -> int:
        """The offset behind which all is zeros."""
        return max(span.end for span in self.spans)


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What one restore may fetch, from where."""

    restore_id: str
    cluster: str
    system_identifier: int
    segment_size: int  # bytes
    segments: tuple[SegmentRange, ...]  # those with tails included
    histories: tuple[str, ...]  # names of every history file in the archive
    source: Mapping[str, Any]  # how to open the repository; opaque here
    taken: tuple[str, ...] = ()  # names of history files that are there and can not be read
    tails: Mapping[str, PlannedTail] = field(default_factory=dict)  # by the segment's name
    copies: tuple[str, ...] = ()  # names of the copies to read, in order; none: all of the configuration

    def lists(self, name: str) -> bool:
        """Tell whether the plan promises the file `name`. Raises UsageError for what is no WAL file's name."""
        file = parse_wal_name(name)
        if isinstance(file, SegmentFile):
            segment = file.segment(self.segment_size)
            return any(segment in each for each in self.segments)
        return isinstance(file, TimelineHistoryFile) and (name in self.histories or name in self.taken)

    def cut_at(self, name: str) -> Lsn | None:
        """Where a segment ends that is put together from tails; None for any other."""
        tail = self.tails.get(name)
        return None if tail is None else WalSegment.parse(name, self.segment_size).start_lsn + tail.end

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            VERSION_FIELD: VERSION,
            "restore_id": self.restore_id,
            "cluster": self.cluster,
            "system_identifier": str(self.system_identifier),
            "segment_size": self.segment_size,
            "segments": [[each.first.name, each.last.name] for each in self.segments],
            "tails": {
                name: {"spans": [str(span) for span in tail.spans], "sha256": tail.sha256.hex()}
                for name, tail in self.tails.items()
            },
            "histories": list(self.histories),
            "taken": list(self.taken),
            "copies": list(self.copies),
            "source": dict(self.source),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> FetchPlan:
        """Read the JSON form. Raises FormatUnsupported, or KeyError, TypeError, ValueError, UsageError if malformed."""
        if document[VERSION_FIELD] != VERSION:
            raise FormatUnsupported(
                f"the fetch plan has version {document[VERSION_FIELD]!r}; this pgvault knows {VERSION}",
                hint="Finish the restore with the pgvault that began it, or a newer one.",
            )
        size = int(document["segment_size"])
        ranges = (SegmentRange(WalSegment.parse(a, size), WalSegment.parse(b, size)) for a, b in document["segments"])
        return cls(
            restore_id=str(document["restore_id"]),
            cluster=str(document["cluster"]),
            system_identifier=int(document["system_identifier"]),
            segment_size=size,
            segments=tuple(ranges),
            histories=tuple(str(name) for name in document["histories"]),
            source=dict(document["source"]),
            taken=tuple(str(name) for name in document.get("taken", ())),
            copies=tuple(str(name) for name in document.get("copies", ())),
            tails={str(name): _planned_tail(tail, size) for name, tail in document.get("tails", {}).items()},
        )

    def save(self, path: Path) -> None:
        """Write the plan to `path`, whole and durable or not at all, readable by the owner only."""
        temporary = path.with_name(f"{path.name}.tmp")
        with open(temporary, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump(self.to_json(), file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)

    @classmethod
    def load(cls, path: Path) -> FetchPlan:
        """Read the plan at `path`. Raises ConfigInvalid, FormatUnsupported."""
        try:
            return cls.from_json(json.loads(path.read_bytes()))
        except OSError as error:
            raise ConfigInvalid(f"fetch plan {str(path)!r} can not be read: {error.strerror}") from error
        except (AttributeError, KeyError, TypeError, ValueError, UsageError) as error:
            raise ConfigInvalid(
                f"fetch plan {str(path)!r} is damaged", hint="Restore again: pgvault restore makes a new one."
            ) from error


def _planned_tail(document: Mapping[str, Any], segment_size: int) -> PlannedTail:
    from pgvault.repository.tails import Span  # it can unseal: nothing to load with every plan

    spans = tuple(Span.parse(text, segment_size=segment_size) for text in document["spans"])
    return PlannedTail(spans, read_digest(document["sha256"]))


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
