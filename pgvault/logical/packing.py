"""Pack what pg_dump writes while it writes it, and hold it back when the spool is full.

    pg_dump ──► spool ──pieces──► batches ──► threads: read, compress, seal, put ──► free the room
       ▲                                                            │
       └── stopped above the limit, continued below half of it ◄────┘

Pieces of several files interleave in a pack; the extents of each file come in its order, since batches are accepted in
the order in which they were made. The first error ends it all.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from types import TracebackType
from typing import Self

from pgvault.backup.batches import BATCH_BYTES, PIECES_MAX, Batch, Piece, make_batches
from pgvault.backup.copying import BatchResult, Copier, CopyResult
from pgvault.errors import SourceUnreadable
from pgvault.logical.spool import free_range
from pgvault.logical.watching import DumpDirectory, SpooledFile, make_entry
from pgvault.process import Leashed

POLL_SECONDS = 0.02  # pg_dump writes 10 MiB in that time, at most
BATCHES_AHEAD = 2  # for each thread


class Packer:
    """All packs of one logical backup; its threads end with the `with`."""

    def __init__(self, copier: Copier, *, jobs: int, limit: int) -> None:
        self._copier = copier
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="pack")
        self._ahead = jobs * BATCHES_AHEAD
        self._limit = limit
        self._growing_bytes = max(1 << 16, min(BATCH_BYTES, limit // (4 * jobs)))
        self._pending: list[Piece] = []
        self._files: dict[bytes, SpooledFile] = {}  # of which pieces are pending or under way
        self._running: deque[Future[BatchResult]] = deque()
        self._batch_count = 0
        self._lock = Lock()
        self.peak_bytes = 0  # in the spool at one time
        self.stopped_seconds = 0.0  # pg_dump stood still

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, name: bytes, content: bytes) -> None:
        """Add a file that is no file yet."""
        self._pending.append(Piece(make_entry(name, b"", len(content)), content=content, length=len(content)))

    def add_files(self, files: Iterable[SpooledFile]) -> None:
        """Add files of the spool that nobody writes any more."""
        for each in files:
            each.is_closed = True
            self._take((each, piece) for piece in list(each.take(at_least=0)))

    def follow(self, source: DumpDirectory, process: Leashed, *, look: Callable[[], None]) -> None:
        """Pack what a program writes, until it has ended, well or not; `look` is called all the time.

        Raises what `look` raises, and what reading and storing raise: the program runs on then, or stands still.
        """
        while True:
            is_over = process.poll() is not None
            at_least = 1 if process.is_stopped else self._growing_bytes
            self._take(source.look(is_over=is_over, at_least=at_least))
            self._submit(everything=process.is_stopped)
            held = source.held() + self._held()
            self.peak_bytes = max(self.peak_bytes, held)
            if not process.is_stopped and held > self._limit:
                process.stop()
            elif process.is_stopped and (held < self._limit // 2 or not (self._pending or self._running)):
                process.go_on()  # or else nothing more can be stored: what is left are ends of files, to be seen yet
            look()
            if is_over:
                return
            self.pause()
            self.stopped_seconds += POLL_SECONDS if process.is_stopped else 0

    def pause(self) -> None:
        """Wait a moment, and accept what was stored meanwhile. Raises what went wrong there."""
        begun = time.monotonic()
        if self._running:
            wait([self._running[0]], timeout=POLL_SECONDS)
        self._accept()
        time.sleep(max(0.0, POLL_SECONDS / 4 - (time.monotonic() - begun)) if self._running else POLL_SECONDS)

    def finish(self) -> CopyResult:
        """Store what is left, and the file list."""
        while self._pending or self._running:
            self._submit(everything=True)
            if self._running:
                wait([self._running[0]])
            self._accept()
        return self._copier.finish()

    def _take(self, pieces: Iterable[tuple[SpooledFile, Piece]]) -> None:
        for file, piece in pieces:
            with self._lock:
                self._files[file.name] = file
            self._pending.append(piece)

    def _held(self) -> int:
        """Bytes of finished files that are not stored yet."""
        with self._lock:
            return sum(each.held for each in self._files.values() if each.is_finished)

    def _submit(self, *, everything: bool) -> None:
        """Start batches; one that is not full waits for more, unless `everything` has to go."""
        if not self._pending or len(self._running) >= self._ahead:
            return
        size = sum(piece.length or 0 for piece in self._pending)
        if not everything and size < BATCH_BYTES and len(self._pending) < PIECES_MAX:
            return
        batches = list(make_batches(self._pending, first=self._batch_count))
        startable = batches if everything or len(batches) == 1 else batches[:-1]
        startable = startable[: self._ahead - len(self._running)]
        for batch in startable:
            self._running.append(self._pool.submit(self._copy, batch))
        self._batch_count += len(startable)
        self._pending = [piece for batch in batches[len(startable) :] for piece in batch.pieces]

    def _copy(self, batch: Batch) -> BatchResult:
        result = self._copier.copy_batch(batch)
        for piece in result.pieces:
            if piece.is_vanished or piece.length != piece.piece.length:
                raise SourceUnreadable(f"'{os.fsdecode(piece.piece.entry.source)}' changed while it was read")
        for each in batch.pieces:
            if each.content is None:
                self._free(each)
        return result

    def _free(self, piece: Piece) -> None:
        """Give back the room of what is stored."""
        source = piece.entry.source
        with self._lock:
            file = self._files[piece.entry.path]
        try:
            if piece.is_first and piece.is_last:
                os.unlink(source)  # noqa: PTH108  a name is bytes
            else:
                free_range(source, piece.offset, piece.length or 0)
        except OSError as error:
            raise SourceUnreadable(f"'{os.fsdecode(source)}' can not be freed: {error.strerror}") from error
        with self._lock:
            file.freed += piece.length or 0

    def _accept(self) -> None:
        while self._running and self._running[0].done():
            result = self._running.popleft().result()
            self._copier.accept(result)
            for piece in result.pieces:
                if piece.piece.is_last and piece.piece.entry.source:  # of `add` there is no file
                    self._forget(piece.piece)

    def _forget(self, piece: Piece) -> None:
        """All of a file is stored: batches before this one were accepted before it."""
        with self._lock:
            del self._files[piece.entry.path]
        if not piece.is_first:
            os.unlink(piece.entry.source)  # noqa: PTH108  a name is bytes
