"""Two processes, as on two hosts, that race for every kind of name with content of their own: one wins, both know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.objects import read_plain
from tests.archive import ROOT, SYSTEM, make_archive, small
from tests.repository.samples import LABEL

NAMES = {
    layout.manifest("main", LABEL): Kind.MANIFEST,
    layout.refs("main", LABEL): None,
    layout.part("main", LABEL, 0): Kind.PART,
    layout.block_map("main", LABEL, 0): Kind.MAP,
    layout.pack("main", LABEL, 0): Kind.PACK,
    layout.tombstone("main", LABEL, 0): Kind.TOMBSTONE,
    layout.first_system("main"): Kind.SYSTEM,
    layout.system("main", SYSTEM): Kind.SYSTEM,
    layout.hold("main", "x", 0): Kind.HOLD,
    layout.wal_file("main", SYSTEM, small(2).name): Kind.WAL,
    layout.wal_file("main", SYSTEM, "00000002.history"): Kind.WAL,
    layout.tail("main", SYSTEM, small(2).name, start=0, end=8192): Kind.TAIL,
    layout.lease("backup-main", 0): None,
    layout.key_document(2): None,
}
RACER = """
import sys
from pathlib import Path
from pgvault.errors import ObjectExists
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.objects import put_plain
from pgvault.repository.repository import open_repository
from pgvault.repository.writing import put
from pgvault.stores.file import FileStore
from tests.archive import KEY
from tests.crashes.test_races import NAMES
repository = open_repository([Copy("primary", FileStore(Path(sys.argv[1])))], Credential("raw", KEY))
me = sys.argv[2].encode()
print("ready", flush=True)
sys.stdin.readline()
for path, kind in NAMES.items():
    try:
        put(repository, path, me) if kind is None else put_plain(repository, path, kind, plain=me)
    except ObjectExists:
        print("lost", flush=True)
    else:
        print("won", flush=True)
    sys.stdin.readline()
"""


def start(root: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RACER, root, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )


def test_exactly_one_wins_each_name_and_both_know(tmp_path: Path) -> None:
    """What is stored is the winner's, whole; the loser was told so, whichever kind of object it is."""
    archive = make_archive(tmp_path)
    racers = {name: start(archive.root, name) for name in ("one", "two")}
    try:
        for racer in racers.values():
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for path, kind in NAMES.items():
            said = {}
            for racer in racers.values():
                assert racer.stdin is not None
                racer.stdin.write("go\n")
                racer.stdin.flush()
            for name, racer in racers.items():
                assert racer.stdout is not None
                said[name] = racer.stdout.readline().strip()
            assert sorted(said.values()) == ["lost", "won"], path
            winner = next(name for name, word in said.items() if word == "won")
            found = (
                archive.repository.deciding.store.get(path)
                if kind is None
                else read_plain(archive.repository, path, kind)
            )
            assert found == winner.encode(), path
    finally:
        for racer in racers.values():
            racer.kill()
            racer.communicate()
