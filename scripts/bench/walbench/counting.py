"""Count what is asked of a directory's store; as a program, what a pgvault command asks of it.

python -m walbench.counting COUNTS.json wal stream …        writes its counts anew every half second
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pgvault.stores.file
from pgvault.stores.base import Names, ObjectEntry
from pgvault.stores.file import FileStore

WRITE_SECONDS = 0.5
COUNTS: Counter[str] = Counter()
_sizes: dict[str, int] = {}  # of what was put
_lock = threading.Lock()


def count(**more: int) -> None:
    """Add to the counts."""
    with _lock:
        COUNTS.update(more)


class CountingStore(FileStore):
    """A file store that keeps count: requests as S3 would charge for them, a page of a listing as one."""

    def put_if_absent(self, key: str, body: bytes) -> None:
        super().put_if_absent(key, body)
        _sizes[key] = len(body)
        count(put=1, put_bytes=len(body))

    def get(self, key: str) -> bytes:
        count(get=1)
        return super().get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        count(get=1)
        return super().get_range(key, start, length)

    def size(self, key: str) -> int:
        count(head=1)
        return super().size(key)

    def children(self, prefix: str) -> Names:
        count(list=1)
        return super().children(prefix)

    def list(self, prefix: str) -> Iterator[ObjectEntry]:
        count(list=1)
        return super().list(prefix)

    def delete(self, key: str) -> None:
        super().delete(key)
        count(delete=1, deleted_bytes=_sizes.pop(key, 0))


def write_for_ever(path: Path) -> None:
    """Keep the counts in a file that is always whole."""
    while True:
        with _lock:
            text = json.dumps(COUNTS)
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").rename(path)
        time.sleep(WRITE_SECONDS)


def main() -> None:
    """Run pgvault with the counting store in the place of the plain one."""
    pgvault.stores.file.FileStore = CountingStore  # type: ignore[misc]
    path = Path(sys.argv.pop(1))
    threading.Thread(target=write_for_ever, args=(path,), daemon=True).start()
    from pgvault.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
