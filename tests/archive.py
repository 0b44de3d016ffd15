"""A repository on disk with its configuration, and WAL made by hand, for tests of what PostgreSQL calls."""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pgvault.postgres.control import CONTROL_BYTES, CRC_OFFSETS, FLOAT_FORMAT, crc32c
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import MIB
from pgvault.postgres.walheader import WAL_MAGIC
from pgvault.postgres.walname import WalSegment
from pgvault.postgres.walrange import make_ranges
from pgvault.process import Finished, attempt
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository, init_repository, open_repository
from pgvault.stores.file import FileStore
from pgvault.wal.fetchplan import FetchPlan

ROOT = Path(__file__).resolve().parent.parent
KEY = bytes(range(32))
SYSTEM = 7301234567890123456
LONG = 0x0002
AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


class StillClock:
    """A clock that stands."""

    def now(self) -> datetime:
        return AT

    def monotonic(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Archive:
    """A repository in a directory, opened, and the files that name it."""

    root: Path
    config: Path
    key: Path
    repository: Repository

    def object_path(self, name: str, system_identifier: int) -> Path:
        """Where the file store keeps a WAL file."""
        return self.root / layout.wal_file("main", system_identifier, name)

    def names(self, system_identifier: int) -> list[str]:
        """Every archived WAL file of a system."""
        entries = self.repository.deciding.store.list(layout.wal("main", system_identifier))
        return [entry.key.rpartition("/")[2] for entry in entries]

    def plan(self, system_identifier: int, *, since: str = "", segment_size: int = 16 * MIB) -> FetchPlan:
        """A plan of everything that is archived from the segment `since` on."""
        names = self.names(system_identifier)
        segments = [WalSegment.parse(name, segment_size) for name in names if len(name) == 24 and name >= since]
        return FetchPlan(
            restore_id="20261121T080000Z-0001",
            cluster="main",
            system_identifier=system_identifier,
            segment_size=segment_size,
            segments=make_ranges(segments),
            histories=tuple(name for name in names if name.endswith(".history")),
            source={"config": str(self.config)},
        )


def make_archive(directory: Path, *, url: str | None = None) -> Archive:
    """Initialise a repository below `directory`; `url` makes the configuration name another store."""
    root, config, key = directory / "repository", directory / "pgvault.yaml", directory / "key"
    store = FileStore(root)
    store.create_root()
    repository, _ = init_repository([Copy("primary", store)], Credential("raw", KEY), now=AT)
    key.write_text(KEY.hex() + "\n")
    write_config(config, key, url or root.as_uri())
    return Archive(root, config, key, repository)


def copy_archive(archive: Archive, directory: Path) -> Archive:
    """The same repository below `directory`, with files of its own that name it."""
    root, config, key = directory / "repository", directory / "pgvault.yaml", directory / "key"
    shutil.copytree(archive.root, root)
    shutil.copy(archive.key, key)
    write_config(config, key, root.as_uri())
    repository = open_repository([Copy("primary", FileStore(root))], Credential("raw", KEY))
    return Archive(root, config, key, repository)


def write_config(config: Path, key: Path, url: str, *, endpoint: str | None = None) -> None:
    """Write the smallest configuration of one cluster."""
    extra = "" if endpoint is None else f", endpoint_url: {endpoint}, region: us-east-1"
    secret = config.with_name("s3-secret")
    secret.write_text("secret\n")
    if endpoint is not None:
        extra += f", access_key: 'file:{secret}', secret_key: 'file:{secret}'"
    config.write_text(
        f"repository:\n  key: file:{key}\n  copies:\n    primary: {{url: '{url}'{extra}}}\n"
        "clusters:\n  main: {dsn: ''}\n"
    )


def make_segment(
    segment: WalSegment,
    *,
    system_identifier: int = SYSTEM,
    major: int = 18,
    magic: int | None = None,
    fill: bytes = b"\x5a",
    timeline: int | None = None,
) -> bytes:
    """A segment with a true long header and no records."""
    header = struct.pack(
        "<HHIQI4xQII",
        WAL_MAGIC[major] if magic is None else magic,
        LONG,
        segment.timeline if timeline is None else timeline,
        segment.start_lsn.value,
        0,
        system_identifier,
        segment.size,
        8192,
    )
    return header + fill * (segment.size - len(header))


def make_control(system_identifier: int = SYSTEM, *, segment_size: int = MIB) -> bytes:
    """A pg_control of PostgreSQL 18 with an identity and not much more."""
    image = bytearray(CONTROL_BYTES)
    struct.pack_into("<Q2Ii", image, 0, system_identifier, 1800, 202506291, 6)
    struct.pack_into("<Id4I", image, 204, 8, FLOAT_FORMAT, 8192, 131072, 8192, segment_size)
    struct.pack_into("<I", image, CRC_OFFSETS[1800], crc32c(bytes(image[: CRC_OFFSETS[1800]])))
    return bytes(image)


def small(number: int, timeline: int = 1) -> WalSegment:
    """A segment of 1 MiB."""
    return WalSegment(timeline, number, MIB)


def history_text(history: TimelineHistory) -> bytes:
    """A history file as servers write it."""
    return b"".join(f"{e.timeline}\t{e.switch_lsn}\t{e.reason}\n\n".encode() for e in history.entries)


def program(*, python_path: str = str(ROOT), python: str = sys.executable) -> list[str]:
    """The words that run pgvault whatever the environment is, as archive_command needs them."""
    return ["/usr/bin/env", f"PYTHONPATH={python_path}", python, "-m", "pgvault"]


def archive_command(archive: Archive, *words: str) -> str:
    """The setting for a server that archives into `archive`."""
    return f"{shlex.join([*program(), '--config', str(archive.config), 'wal', 'push', *words])} %p"


def pgvault(*words: str | Path, cwd: Path | None = None, timeout: float = 60) -> Finished:
    """Run pgvault in an empty environment."""
    return attempt([*program(), *words], timeout=timeout, env=bare_environment(), cwd=cwd)


def bare_environment() -> dict[str, str]:
    """What a program gets that needs nothing: the place of this run's signing key is in it, to leave none behind."""
    return {name: os.environ[name] for name in ("PATH", "XDG_STATE_HOME")}
