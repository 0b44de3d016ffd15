"""What this host remembers of alerts, for while the repository does not answer: an outage is told once, too.

    {"alerts": 1, "unrecorded": [key, …], "state": {…}}

A file of this host alone, mode 600; nothing about health is ever read from it. `unrecorded` are the alerts that changed
since the repository last took what was told: by them it catches up. A file that can not be written is replaced by this
process's memory, which serves `alert watch`; then a look that cron starts tells an outage each time, and says why.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from pgvault.alerts.state import State
from pgvault.errors import ObjectCorrupt

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was known at the end of the last look."""

    state: State = field(default_factory=State)
    unrecorded: frozenset[str] = frozenset()  # keys of alerts


@dataclass(slots=True)
class Memory:
    """Keeps what was known, in a file and in this process."""

    path: Path
    _last: Remembered | None = None  # where the file does not keep it

    def read(self) -> Remembered:
        """Return what was known; nothing, where that can not be read."""
        if self._last is not None:
            return self._last
        try:
            document = json.loads(self.path.read_text())
            state = State.from_json(document["state"], where=str(self.path))
            return Remembered(state, frozenset(map(str, document["unrecorded"])))
        except FileNotFoundError:
            return Remembered()
        except (OSError, ObjectCorrupt, KeyError, TypeError, ValueError) as error:
            logger.warning("what was told before is not known, '%s' can not be read: %s", self.path, error)
            return Remembered()

    def write(self, remembered: Remembered) -> None:
        """Keep what is known, whole or not at all; what hinders that is only logged."""
        document = {"alerts": 1, "unrecorded": sorted(remembered.unrecorded), "state": remembered.state.to_json()}
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, prefix=".alerts-", delete=False) as file:
                try:
                    json.dump(document, file)
                    file.flush()
                    os.fsync(file.fileno())
                    Path(file.name).replace(self.path)
                except BaseException:
                    Path(file.name).unlink()
                    raise
            self._last = None
        except OSError as error:
            self._last = remembered
            logger.warning(
                "'%s' can not be written: %s. While the repository does not answer, each look tells what the last told",
                self.path,
                error.strerror,
            )
