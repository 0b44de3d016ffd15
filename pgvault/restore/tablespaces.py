r"""Where the tablespaces of a backup go, and the tablespace_map that says so.

    --tablespace-mapping /srv/fast=/srv/copy/fast        '=' in a path is written '\='
    tablespace_map       16388 /srv/copy/fast\n          oid, path; in it '\n', '\r' and '\\' have a backslash before

At its first start PostgreSQL makes the links anew from tablespace_map. Left as it was, it would point a restored
server at the original directories: on the same host at those of production (pitfall 20). So the map and our links
always say the same, and an original path that exists is used only by someone who wrote it down.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pgvault.errors import ObjectCorrupt, Refused, UsageError
from pgvault.repository.manifest import Manifest

MAPPING = re.compile(r"(?P<old>(?:[^=\\]|\\.)+)=(?P<new>(?:[^=\\]|\\.)+)", re.DOTALL)
MAP_LINE = re.compile(rb"([0-9]+) ((?:[^\n\r\\]|\\.)+)\n", re.DOTALL)


def parse_mapping(texts: Sequence[str]) -> dict[str, Path]:
    """Read OLD=NEW, both absolute. Raises UsageError, also when a path is mapped twice."""
    mapping: dict[str, Path] = {}
    for text in texts:
        match = MAPPING.fullmatch(text)
        old, new = (re.sub(r"\\(.)", r"\1", match[name]) for name in ("old", "new")) if match else ("", "")
        if not (old.startswith("/") and new.startswith("/")):
            raise UsageError(
                f"{text!r} is no tablespace mapping", hint="Write OLD=NEW, two absolute paths; = in a path as \\=."
            )
        old = _plain(old)
        if old in mapping:
            raise UsageError(f"tablespace {old!r} is mapped twice")
        mapping[old] = Path(_plain(new))
    return mapping


def place_tablespaces(manifest: Manifest, mapping: Mapping[str, Path]) -> dict[int, Path]:
    """Return where the files of each tablespace go; those inside the data directory are left out.

    Raises UsageError for a mapping of a path that is no tablespace of this backup, Refused for an original path
    that exists and is not mapped.
    """
    outside = {oid: _plain(path) for oid, path in manifest.tablespaces.items() if path.startswith("/")}
    for old in mapping:
        if old not in outside.values():
            known = ", ".join(map(repr, sorted(outside.values()))) or "none"
            raise UsageError(f"{old!r} is no tablespace of backup {manifest.label!r}", hint=f"Tablespaces: {known}.")
    places = {}
    for oid, path in sorted(outside.items()):
        if path not in mapping and os.path.lexists(path):
            raise Refused(
                f"tablespace {oid} was at {path!r}, and that exists on this machine",
                hint=f"Say where it goes: --tablespace-mapping {path}=/another/directory",
            )
        places[oid] = mapping.get(path, Path(path))
    return places


def render_map(original: bytes, places: Mapping[int, Path]) -> bytes:
    """Return tablespace_map with every path replaced. Raises ObjectCorrupt for a line or an oid that is unknown."""
    lines = []
    position = 0
    while position < len(original):
        match = MAP_LINE.match(original, position)
        if match is None or int(match[1]) not in places:
            raise ObjectCorrupt(f"tablespace_map of the backup has a line we do not understand at byte {position}")
        path = re.sub(rb"([\n\r\\])", rb"\\\1", os.fsencode(places[int(match[1])]))
        lines.append(match[1] + b" " + path + b"\n")
        position = match.end()
    return b"".join(lines)


def _plain(path: str) -> str:
    """Drop what does not change a path's meaning: doubled and trailing slashes."""
    return "/" + "/".join(part for part in path.split("/") if part)
