"""Run work in a pool of threads without ever having much of it under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_bounded(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], *, ahead: int = 8) -> Iterator[R]:
    """Yield `work(item)` in the order of `items`, at most `ahead` of them submitted and not yet yielded.

    The first exception is raised when its turn comes; what has not begun by then is cancelled.
    """
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
