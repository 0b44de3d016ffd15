"""Backups by processes of their own, which can be stopped: run as `python -m tests.cluster.sleeper`.

… by_hand REPOSITORY LABEL              a lease, one pack, refs; then `committing` on stdout, a line from stdin, root
… backup REPOSITORY DSN                 a real one; `copying` on stdout when it copies, then a line from stdin
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from pgvault.backup.committing import commit_checked
from pgvault.backup.take import BackupRequest, take_backup
from pgvault.errors import PgvaultError
from pgvault.instants import SystemClock
from pgvault.pipeline.header import Kind
from pgvault.postgres.server import Session
from pgvault.progress import NoProgress
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import Terms, acquire
from pgvault.repository.objects import put_plain
from pgvault.repository.refs import put_refs
from pgvault.repository.repository import Repository, open_repository
from pgvault.stores.file import FileStore
from tests.archive import KEY
from tests.repository.samples import make_manifest

TTL_SECONDS = 1.0


class Halting(NoProgress):
    """Waits for a line when the backup begins to copy."""

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        if name == "copying":
            halt(name)


def halt(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()
    sys.stdin.readline()


def by_hand(repository: Repository, label: str) -> None:
    terms = Terms(TTL_SECONDS)
    with acquire(repository, "backup-main", Claim("main", label), command="backup", terms=terms) as lease:
        pack = put_plain(repository, layout.pack("main", label, 0), Kind.PACK, plain=b"pages")
        refs = put_refs(repository, layout.refs("main", label), (pack,))
        manifest = make_manifest(label=label, packs=(pack,), parts=(), maps=(), wal=(), refs=refs)
        halt("committing")
        commit_checked(repository, manifest, lease=lease)


def backup(repository: Repository, dsn: str) -> None:
    request = BackupRequest("main", None, 2, timedelta(seconds=60), terms=Terms(TTL_SECONDS))
    with Session(dsn) as session:
        take_backup(repository, session, request, clock=SystemClock(), progress=Halting())


def main() -> None:
    what, root, rest = sys.argv[1:]
    repository = open_repository([Copy("primary", FileStore(Path(root)))], Credential("raw", KEY))
    try:
        {"by_hand": by_hand, "backup": backup}[what](repository, rest)
    except PgvaultError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
