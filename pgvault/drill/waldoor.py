"""The WAL service's door: questions and answers are files of one directory.

    ask.NAME       made by walclient.sh; taken away when it is taken up
    NAME           the WAL file, whole, before the answer says so; the client renames it to its destination
    answer.NAME    one word: ok, absent, error; there as a whole or not at all
    over           nobody answers any more

A name that was asked for twice is answered twice with the same file: what a client that was killed has left is never
wrong, and a client removes an old answer before it asks. One that gets no answer in 15 minutes fails, which is not the
end of the WAL. A client needs no more than a shell: an image may have no Python, and no other
user of this host may run ours.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

QUESTION = "ask."
ANSWER = "answer."
OVER = "over"
POLL_SECONDS = 0.01
TRIES = 45000  # of a client, 20 ms apart
JOIN_SECONDS = 30


def client_words(client: Path, directory: Path, *, tries: int = TRIES) -> list[str]:
    """Return what asks there, as restore_command runs it; the file's name and its destination go behind."""
    return ["/bin/sh", str(client), str(directory), str(tries)]


class WalDoor:
    """Answers questions in a directory while it is open, one at a time."""

    def __init__(self, directory: Path, answer: Callable[[str], str], give: Callable[[Path], None]) -> None:
        """`directory` exists; `answer` puts the file there and returns the word; `give` hands a file to the client."""
        self._directory = directory
        self._answer = answer
        self._give = give
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="wal-door", daemon=True)

    def open(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and say so. What is being answered may go on for longer, for a client that is gone."""
        self._closed.set()
        self._thread.join(JOIN_SECONDS)
        with contextlib.suppress(OSError):  # a full disk: then the client's time runs out
            _write_new(self._directory / OVER, "")

    def _serve(self) -> None:
        while not self._closed.wait(POLL_SECONDS):
            for question in self._directory.glob(f"{QUESTION}*"):
                # No answer at all is an answer, too: an error on this side must not end the thread.
                with contextlib.suppress(OSError):
                    question.unlink()
                    self._tell(question.name.removeprefix(QUESTION))

    def _tell(self, name: str) -> None:
        word = self._answer(name)
        begun = self._directory / f"begun.{ANSWER}{name}"
        begun.unlink(missing_ok=True)
        _write_new(begun, f"{word}\n")
        self._give(begun)
        begun.rename(self._directory / f"{ANSWER}{name}")


def _write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet: what runs inside may put links here, and we write outside of its sandbox."""
    with path.open("x") as file:
        file.write(text)
