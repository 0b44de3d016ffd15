"""Two copies of a repository of which each object is damaged in one: cut, flipped, deleted or swapped."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.archive import Archive

WAYS = ("cut", "flip", "delete", "swap")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two copies on disk, and the configuration that names them."""

    primary: Path
    dr: Path
    config: Path

    def objects(self, root: Path) -> list[Path]:
        """Every object of a copy, relative to it."""
        return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())

    def harm_all(self, salt: str = "") -> dict[Path, tuple[str, str]]:
        """Damage every object in one of both copies, by turns; return where and how. Who comes first, hashes say."""
        done: dict[Path, tuple[str, str]] = {}
        waiting: dict[str, Path] = {}  # by copy: an object to swap with
        digests = {path: hashlib.sha256(f"{salt}{path}".encode()).digest() for path in self.objects(self.primary)}
        for turn, (path, digest) in enumerate(sorted(digests.items(), key=lambda each: each[1])):
            name, root = (("primary", self.primary), ("dr", self.dr))[turn // len(WAYS) % 2]
            way = WAYS[turn % len(WAYS)]
            done[path] = (name, way)
            if way != "swap":
                harm(root / path, way, at=digest[2])
            elif name in waiting:
                swap(root / path, root / waiting.pop(name))
            else:
                waiting[name] = path
        for name, path in waiting.items():  # nobody left to swap with
            done[path] = (name, "cut")
            harm((self.primary if name == "primary" else self.dr) / path, "cut", at=128)
        return done


def make_pair(archive: Archive, directory: Path, *, dsn: str = "", scratch: Path | None = None) -> Pair:
    """Copy a repository twice."""
    pair = Pair(directory / "primary", directory / "dr", directory / "pgvault.yaml")
    for root in (pair.primary, pair.dr):
        shutil.copytree(archive.root, root)
    cluster = {"dsn": dsn} | ({} if scratch is None else {"drill": {"scratch": str(scratch)}})
    document = {
        "repository": {
            "key": f"file:{archive.key}",
            "copies": {"primary": {"url": pair.primary.as_uri()}, "dr": {"url": pair.dr.as_uri()}},
        },
        "clusters": {"main": cluster},
    }
    pair.config.write_text(json.dumps(document))
    return pair


def harm(path: Path, way: str, *, at: int) -> None:
    """Damage one object; `at` is where, as so many 256ths of it."""
    body = bytearray(path.read_bytes())
    offset = len(body) * at // 256
    path.chmod(0o600)
    if way == "delete":
        path.unlink()
    elif way == "cut":
        path.write_bytes(body[:offset])
    else:
        body[offset] ^= 1 << at % 8
        path.write_bytes(body)


def swap(one: Path, other: Path) -> None:
    """Exchange two objects."""
    first, second = one.read_bytes(), other.read_bytes()
    for path, body in ((one, second), (other, first)):
        path.chmod(0o600)
        path.write_bytes(body)
