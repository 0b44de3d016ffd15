"""Configuration of a restored server: what the backup held outside its data directory, and the least it needs.

Debian keeps postgresql.conf, pg_hba.conf and pg_ident.conf in /etc; without them a restored directory does not start.
Where the data directory lacks one, a minimal one is written into it, so that `postgres -D DIR` works. The originals go
to --config-dir as they were, includes and all: they name paths of the old host, and only their owner can judge that.
A generated postgresql.conf has the archive settings of the source; postgresql.auto.conf switches them off until the
server is adopted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pgvault.errors import ObjectCorrupt
from pgvault.postgres.server import STANDBY_MINIMA
from pgvault.repository.manifest import Manifest
from pgvault.restore.durable import unwritable, write_file
from pgvault.restore.files import HeldFile
from pgvault.restore.settings import assignment

CONFIG, HBA, IDENT = b"postgresql.conf", b"pg_hba.conf", b"pg_ident.conf"
NEEDED = (CONFIG, HBA, IDENT)

HBA_TEXT = """\
# Written by pgvault: the backup holds no pg_hba.conf in its data directory.
local  all  all                peer
host   all  all  127.0.0.1/32  scram-sha-256
host   all  all  ::1/128       scram-sha-256
"""
# Behind a private directory: whoever reaches the socket is who started the server.
PRIVATE_HBA_TEXT = "local all all trust\n"
IDENT_TEXT = "# Written by pgvault: the backup holds no pg_ident.conf in its data directory.\n"


def standby_minima(manifest: Manifest) -> dict[str, int]:
    """Return the settings that recovery needs at least as high as at the source."""
    settings = manifest.postgres.settings
    return {name: int(settings[name]) for name in STANDBY_MINIMA if settings.get(name, "").isdigit()}


def generate(manifest: Manifest, present: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return the files that the data directory lacks, by name."""
    texts = {CONFIG: _config_text(manifest), HBA: HBA_TEXT, IDENT: IDENT_TEXT}
    return {name: texts[name].encode("utf-8", "surrogateescape") for name in NEEDED if name not in set(present)}


def private_files(manifest: Manifest) -> dict[bytes, bytes]:
    """Return the three files for a server that only we reach, whatever the cluster's own say."""
    lines = [assignment(name, str(value)) for name, value in standby_minima(manifest).items()]
    return {CONFIG: "".join(f"{line}\n" for line in lines).encode(), HBA: PRIVATE_HBA_TEXT.encode(), IDENT: b""}


def write_external(directory: Path, files: Mapping[bytes, HeldFile]) -> dict[str, Path]:
    """Write files from outside the data directory below `directory`; return where each went, by its old path.

    Their layout is kept from the directory that is common to all. Raises DiskFull, ObjectCorrupt.
    """
    if not files:
        return {}
    common = os.path.commonpath([os.path.dirname(path) for path in files])  # noqa: PTH120  bytes
    written = {}
    for path, file in sorted(files.items()):
        place = directory / os.fsdecode(os.path.relpath(path, common))
        if ".." in place.relative_to(directory).parts:
            raise ObjectCorrupt(f"external file {path!r} would leave '{directory}'")
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(place, file.content, mode=file.record.mode & 0o777)
        except OSError as error:
            raise unwritable(place, error) from error
        written[os.fsdecode(path)] = place
    return written


def _config_text(manifest: Manifest) -> str:
    settings = manifest.postgres.settings
    lines = [
        f"# Written by pgvault: backup {manifest.label} holds no postgresql.conf in its data directory.",
        "# The server's own lay outside; see the files that pgvault restore --config-dir writes.",
        *(assignment(name, str(value)) for name, value in standby_minima(manifest).items()),
    ]
    if settings.get("wal_level") in ("replica", "logical"):
        lines.append(assignment("wal_level", settings["wal_level"]))
    if settings.get("archive_command"):
        lines += [assignment("archive_mode", "on"), assignment("archive_command", settings["archive_command"])]
    if settings.get("shared_preload_libraries"):
        # A library that is not on this machine would keep the server from starting.
        lines.append(f"# {assignment('shared_preload_libraries', settings['shared_preload_libraries'])}")
    return "".join(f"{line}\n" for line in lines)
