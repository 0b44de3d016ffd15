"""The client of restore_command and the door it asks at, with every shell that is here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pgvault.drill import waldoor
from pgvault.drill.waldoor import TRIES, WalDoor, client_words
from pgvault.errors import WAL_ABSENT_EXIT
from pgvault.process import Finished, attempt, start
from pgvault.restore.guard import restore_command

CLIENT = Path(waldoor.__file__).with_name("walclient.sh")
NAME = "0000000100000016000000B3"
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
TOOLS = ("rm", "sleep", "mv")

shells = pytest.mark.parametrize(
    "shell",
    [
        pytest.param(words, id=name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"no {name}"))
        for name, words in SHELLS.items()
    ],
)


@contextmanager
def opened(door: WalDoor) -> Iterator[None]:
    door.open()
    try:
        yield
    finally:
        door.close()


@dataclass
class Door:
    """A door, what stands behind it, and a destination."""

    directory: Path
    destination: Path
    words: dict[str, str] = field(default_factory=dict)  # answers by name; others: ok, with a file
    asked: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    tries: int = TRIES

    @property
    def client(self) -> list[str]:
        return client_words(CLIENT, self.directory, tries=self.tries)

    def answer(self, name: str) -> str:
        self.asked.append(name)
        word = self.words.get(name, "ok")
        if word == "ok":
            (self.directory / name).write_text(name)
        return word

    def open(self, answer: Callable[[str], str] | None = None) -> AbstractContextManager[object]:
        return opened(WalDoor(self.directory, answer or self.answer, lambda path: self.given.append(path.name)))

    def served(self, tool: str) -> AbstractContextManager[object]:
        """Open, unless it is about a client that waits: one that is answered at once never sleeps."""
        return nullcontext() if tool == "sleep" else self.open()

    def fetch(self, shell: list[str], name: str = NAME) -> Finished:
        """Run the client by itself."""
        argv = [*shell, *self.client[1:], name, str(self.destination)]
        return attempt(argv, timeout=60, env={"PATH": os.environ["PATH"]})

    def guarded(self, shell: list[str], name: str = NAME, path: str | None = None) -> int:
        """Run the client as the server does, behind the guard, and return the status that PostgreSQL sees."""
        program = shutil.which(shell[0])
        assert program is not None
        command = restore_command([program, *shell[1:], *self.client[1:]])
        text = command.replace("%f", name).replace("%p", str(self.destination)).replace("%%", "%")
        return attempt(["sh", "-c", text], timeout=60, env={"PATH": path or os.environ["PATH"]}).status


@pytest.fixture
def door(tmp_path: Path) -> Door:
    (tmp_path / "spool").mkdir()
    return Door(tmp_path / "spool", tmp_path / "RECOVERYXLOG")


@pytest.fixture
def served(door: Door) -> Iterator[Door]:
    with door.open():
        yield door


@shells
def test_answers(served: Door, shell: list[str]) -> None:
    """Delivered whole, absent, or an error: each is what recovery has to be told."""
    served.words.update({"00000002.history": "absent", "broken": "error", "odd": "what"})

    assert served.guarded(shell) == 0
    assert served.destination.read_text() == NAME
    assert served.fetch(shell, "00000002.history").status == WAL_ABSENT_EXIT
    assert served.guarded(shell, "00000002.history") == 1
    assert served.guarded(shell, "broken") == 255
    assert served.guarded(shell, "odd") == 255
    assert served.asked == [NAME, "00000002.history", "00000002.history", "broken", "odd"]
    assert served.given[0] == f"begun.answer.{NAME}"


@shells
def test_a_service_that_is_gone_is_no_end_of_the_wal(door: Door, shell: list[str]) -> None:
    """After it left, and when its directory is no longer there."""
    with door.open():
        pass

    assert door.guarded(shell) == 255
    shutil.rmtree(door.directory)
    assert door.guarded(shell) == 255
    assert not door.destination.exists()


@shells
def test_a_service_that_was_killed_is_no_end_of_the_wal(door: Door, shell: list[str]) -> None:
    """It said nothing when it went: the client's patience ends by itself."""
    door.tries = 3

    assert door.guarded(shell) == 255
    assert not door.destination.exists()


@shells
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("tool", TOOLS)
def test_a_client_that_is_killed_has_said_nothing(
    door: Door, shell: list[str], tool: str, when: str, tmp_path: Path
) -> None:
    """At whatever step: recovery stops there, and the next client gets the file."""
    tools = tmp_path / "tools"
    tools.mkdir()
    real = f'{shutil.which(tool)} "$@"'
    kill = "kill -9 $PPID"
    lines = (real, kill) if when == "after" else (kill, real)
    (tools / tool).write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    (tools / tool).chmod(0o755)

    with door.served(tool):
        assert door.guarded(shell, path=f"{tools}:{os.environ['PATH']}") == 255
    door.destination.unlink(missing_ok=True)  # PostgreSQL does that before it asks
    (door.directory / "over").unlink(missing_ok=True)
    with door.open():
        assert door.guarded(shell) == 0

    assert door.destination.read_text() == NAME


@shells
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_that_fails_is_no_end_of_the_wal(door: Door, shell: list[str], tool: str, tmp_path: Path) -> None:
    """A full disk, a missing program: with whatever status."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for status in (1, 77, 127):
        (tools / tool).write_text(f"#!/bin/sh\nexit {status}\n")
        (tools / tool).chmod(0o755)
        with door.served(tool):
            assert door.guarded(shell, path=f"{tools}:{os.environ['PATH']}") == 255
        (door.directory / "over").unlink(missing_ok=True)


def test_an_answer_of_an_earlier_question_is_not_believed(served: Door) -> None:
    """An error that nobody fetched does not fail the next client; a word without its end is none."""
    (served.directory / f"answer.{NAME}").write_text("error\n")

    assert served.guarded(["sh"]) == 0
    assert served.destination.read_text() == NAME


def test_an_answer_that_can_not_be_written_is_none(door: Door) -> None:
    """The thread lives on; the question is answered when it is asked again."""
    obstacle = door.directory / f"begun.answer.{NAME}"

    def answer(name: str) -> str:
        obstacle.rmdir() if obstacle.exists() else obstacle.mkdir()
        return door.answer(name)

    with door.open(answer):
        words = [*door.client, NAME, str(door.destination)]
        client = start(words, env={"PATH": os.environ["PATH"]}, log=door.directory.with_name("log"))
        while not door.asked:
            assert client.poll() is None
        (door.directory / f"ask.{NAME}").touch()

        assert client.wait(60) == 0

    assert door.asked == [NAME, NAME]
