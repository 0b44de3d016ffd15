"""Watch the file system under a scratch: production may write to the same one.

How large a restored database gets is only known afterwards, so the estimate before it is no promise. When less than
half of the reserve is left, the scratch's server is ended at once: a drill that could not run costs less than a
production server without room for its WAL.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pgvault.errors import DiskFull
from pgvault.restore.place import Reserve

EVERY_SECONDS = 1.0


@contextmanager
def keeping_room(
    place: Path, reserve: Reserve, end: Callable[[], None], *, every: float = EVERY_SECONDS
) -> Iterator[None]:
    """Call `end` when the file system of `place` gets too full. Raises DiskFull then, come what may."""
    ended = threading.Event()  # by us, for want of room
    done = threading.Event()

    def watch() -> None:
        while not done.wait(every):
            usage = shutil.disk_usage(place)
            if usage.free < reserve.of(usage.total) // 2:
                ended.set()
                end()
                return

    watcher = threading.Thread(target=watch, name="room", daemon=True)
    watcher.start()
    try:
        yield
    except Exception as error:
        if ended.is_set():
            raise _full(place) from error
        raise
    finally:
        done.set()
        watcher.join()
    if ended.is_set():
        raise _full(place)


def _full(place: Path) -> DiskFull:
    return DiskFull(
        f"the file system of '{place}' had no more room beside its reserve: the scratch server was ended",
        hint="Set drill.scratch, or --scratch, to a larger place.",
    )
