"""Being told to end: by a terminal, by systemd, by a cron that was told to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def leaving_in_order(status: int) -> Iterator[None]:
    """Turn signals into an orderly end with `status`: what was begun is cleared away on the way out.

    A second signal does not cut that short; SIGKILL does.
    """

    def leave(_number: int, _frame: object) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(status)

    before = {each: signal.signal(each, leave) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
