"""The file store against file systems that fail, lack things or go away."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgvault.errors import (
    DiskFull,
    ObjectExists,
    ObjectMissing,
    StoreDenied,
    StoreUnfit,
    StoreUnreachable,
    UsageError,
)
from pgvault.stores.file import FileStore, Unsupported, publish_by_link, publish_by_rename

BODY = bytes(range(256)) * 64


def no_links(temporary: Path, final: Path) -> None:
    """A file system without this way."""
    raise Unsupported


def files_below(directory: Path) -> list[str]:
    """Every file, temporary ones included."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


class Recorder:
    """Writes down the calls that make an object durable, in their order, by path below the root."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.events: list[str] = []
        self.fail_sync_of: str | None = None
        self.fsync, self.link, self.mkdir = os.fsync, os.link, os.mkdir
        monkeypatch.setattr(os, "fsync", self.record_fsync)
        monkeypatch.setattr(os, "link", self.record_link)
        monkeypatch.setattr(os, "mkdir", self.record_mkdir)

    def name(self, path: str | Path) -> str:
        name = str(Path(path).relative_to(self.root))
        return "<temporary>" if ".tmp-" in name else name

    def record_fsync(self, descriptor: int) -> None:
        name = self.name(Path(f"/proc/self/fd/{descriptor}").readlink())
        self.events.append(f"sync {name}")
        if name == self.fail_sync_of:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.fsync(descriptor)

    def record_link(self, source: Path, target: Path) -> None:
        self.link(source, target)
        self.events.append(f"link {self.name(source)} {self.name(target)}")

    def record_mkdir(self, path: Path, mode: int = 0o777) -> None:
        self.mkdir(path, mode)
        self.events.append(f"mkdir {self.name(path)}")


@pytest.fixture
def recorder(file_store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A record of the store's calls."""
    return Recorder(tmp_path / "srv" / "copy", monkeypatch)


def test_data_is_on_disk_before_its_name_and_the_name_before_the_return(
    file_store: FileStore, recorder: Recorder
) -> None:
    """File, then link, then its directory; every new directory is synced in its parent before that."""
    file_store.put_if_absent("a/b/one", BODY)

    assert recorder.events == [
        "mkdir a",
        "sync .",
        "mkdir a/b",
        "sync a",
        "sync <temporary>",
        "link <temporary> a/b/one",
        "sync a/b",
    ]


def test_directories_that_another_process_made_are_synced_too(
    file_store: FileStore, recorder: Recorder, tmp_path: Path
) -> None:
    """Whoever made a directory may have died before syncing it; once per process is enough."""
    (tmp_path / "srv" / "copy" / "a" / "b").mkdir(parents=True)
    recorder.events.clear()

    file_store.put_if_absent("a/b/one", BODY)
    file_store.put_if_absent("a/b/two", BODY)

    assert recorder.events == [
        "sync .",
        "sync a",
        "sync <temporary>",
        "link <temporary> a/b/one",
        "sync a/b",
        "sync <temporary>",
        "link <temporary> a/b/two",
        "sync a/b",
    ]


def test_an_object_that_is_in_the_way_is_durable_when_we_say_so(file_store: FileStore, recorder: Recorder) -> None:
    """ObjectExists may be read as 'stored': the name that another put made is synced before."""
    file_store.put_if_absent("a/one", BODY)
    again = FileStore(recorder.root)
    recorder.events.clear()

    with pytest.raises(ObjectExists):
        again.put_if_absent("a/one", BODY)

    assert recorder.events == ["sync .", "sync a"]


@pytest.mark.parametrize("where", ["<temporary>", "a", "."])
def test_a_failed_sync_is_never_a_success(file_store: FileStore, recorder: Recorder, where: str) -> None:
    """What is not known to be on disk is not acknowledged, and no temporary file stays."""
    recorder.fail_sync_of = where

    with pytest.raises(StoreUnreachable):
        file_store.put_if_absent("a/one", BODY)

    assert [name for name in files_below(recorder.root) if ".tmp-" in name] == []
    if where != "a":
        assert files_below(recorder.root) == []


def test_deletion_is_durable(file_store: FileStore, recorder: Recorder) -> None:
    """An object that is gone does not come back after a crash."""
    file_store.put_if_absent("a/one", BODY)
    recorder.events.clear()

    file_store.delete("a/one")

    assert recorder.events == ["sync a"]


@pytest.mark.parametrize("publisher", [publish_by_link, publish_by_rename])
def test_either_way_of_naming_is_exclusive(tmp_path: Path, publisher: object) -> None:
    """By link or by rename, a taken name is kept and no temporary file stays."""
    assert callable(publisher)
    store = FileStore(tmp_path, publishers=[no_links, publisher])

    store.put_if_absent("a/one", BODY)
    with pytest.raises(ObjectExists):
        store.put_if_absent("a/one", b"other")
    temporary = tmp_path / "t"
    temporary.write_bytes(b"other")
    with pytest.raises(FileExistsError):
        publisher(temporary, tmp_path / "a" / "one")

    temporary.unlink()
    assert store.get("a/one") == BODY
    assert files_below(tmp_path) == ["a/one"]


def test_a_file_system_without_either_way_is_unfit(tmp_path: Path) -> None:
    """Without an atomic way to take a name nothing is written."""
    store = FileStore(tmp_path, publishers=[no_links])

    with pytest.raises(StoreUnfit):
        store.put_if_absent("a/one", BODY)

    assert files_below(tmp_path) == []


def test_a_link_that_met_itself_is_a_success(tmp_path: Path) -> None:
    """Over NFS the answer to a link can be lost; the repeated call then says that the name exists."""

    def link_twice(temporary: Path, final: Path) -> None:
        os.link(temporary, final)
        os.link(temporary, final)

    store = FileStore(tmp_path, publishers=[link_twice])

    store.put_if_absent("a/one", BODY)

    assert store.get("a/one") == BODY


def test_what_a_crash_left_is_neither_listed_nor_in_the_way(file_store: FileStore, tmp_path: Path) -> None:
    """A temporary file is no object, whatever it holds."""
    directory = tmp_path / "srv" / "copy" / "wal"
    directory.mkdir()
    (directory / ".tmp-0123456789abcdef").write_bytes(BODY[:100])

    assert file_store.children("") == []
    assert list(file_store.list("wal")) == []
    file_store.put_if_absent("wal/one", BODY)
    assert [entry.key for entry in file_store.list("wal")] == ["wal/one"]


@pytest.mark.parametrize("place", ["before", "within"])
def test_a_put_that_fails_leaves_nothing(tmp_path: Path, place: str) -> None:
    """An exception at any point of a put leaves neither the object nor a temporary file."""

    def fail(temporary: Path, final: Path) -> None:
        if place == "within":
            raise KeyboardInterrupt
        raise OSError(errno.EIO, "told to")

    store = FileStore(tmp_path, publishers=[fail])

    with pytest.raises((KeyboardInterrupt, StoreUnreachable)):
        store.put_if_absent("a/one", BODY)

    assert files_below(tmp_path) == []
    with pytest.raises(ObjectMissing):
        store.get("a/one")


def test_a_missing_root_is_not_an_empty_store(tmp_path: Path) -> None:
    """An unmounted disk makes every verb fail; nothing on it is 'absent', and no put makes a new one."""
    store = FileStore(tmp_path / "mnt" / "copy")
    verbs = (
        lambda: store.get("a"),
        lambda: store.get_range("a", 0, 1),
        lambda: store.size("a"),
        lambda: store.children(""),
        lambda: store.children("a"),
        lambda: store.list("a"),
        lambda: store.put_if_absent("a", b""),
        lambda: store.delete("a"),
    )

    for verb in verbs:
        with pytest.raises(StoreUnreachable):
            verb()

    assert not (tmp_path / "mnt").exists()


def test_a_root_that_goes_away_is_noticed(file_store: FileStore, tmp_path: Path) -> None:
    """A disk unmounted in the middle: a listing does not end as if it were complete, a read is not 'absent'."""
    root = tmp_path / "srv" / "copy"
    for key in ("wal/a/1", "wal/b/1"):
        file_store.put_if_absent(key, b"x")
    listing = file_store.list("wal")
    assert next(listing).key == "wal/a/1"

    root.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnreachable):
        list(listing)
    root.mkdir()  # the bare mount point

    with pytest.raises(StoreUnreachable):
        file_store.get("wal/a/1")
    with pytest.raises(StoreUnreachable):
        file_store.put_if_absent("wal/a/2", b"")


def test_a_root_that_is_a_file_is_no_store(tmp_path: Path) -> None:
    """A file where the directory should be is named."""
    (tmp_path / "copy").write_bytes(b"")
    store = FileStore(tmp_path / "copy")

    with pytest.raises(StoreUnreachable, match="not a directory"):
        store.children("")
    with pytest.raises(StoreUnreachable):
        store.create_root()


def test_no_object_lies_under_another(file_store: FileStore) -> None:
    """A layout that would need a file to be a directory is a mistake of ours, and says so."""
    file_store.put_if_absent("a/b", b"")

    for key in ("a/b/c", "a/b/c/d"):
        with pytest.raises(UsageError):
            file_store.put_if_absent(key, b"")
    with pytest.raises(ObjectExists):
        file_store.put_if_absent("a", b"")


def test_things_that_are_not_objects_are_passed_over(file_store: FileStore, tmp_path: Path) -> None:
    """Sockets, pipes, dangling links, empty directories and odd names do not appear, and reading one does not hang."""
    directory = tmp_path / "srv" / "copy" / "wal"
    file_store.put_if_absent("wal/one", b"1")
    os.mkfifo(directory / "pipe")
    (directory / "dangling").symlink_to("nowhere")
    (directory / "a b").write_bytes(b"")
    (directory / "empty" / "emptier").mkdir(parents=True)

    assert [entry.key for entry in file_store.list("wal")] == ["wal/one"]
    assert file_store.children("wal") == ["one"]
    with pytest.raises(ObjectMissing):
        file_store.get("wal/pipe")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes what others own")
def test_what_root_puts_belongs_to_whom_the_store_belongs(file_store: FileStore, tmp_path: Path) -> None:
    """A drill by root in the repository of the server's user: that user reads, lists and verifies as before."""
    root = tmp_path / "srv/copy"
    os.chown(root, 1234, 1235)

    file_store.put_if_absent("clusters/main/drills/one", BODY)

    made = [root / "clusters", root / "clusters/main/drills", root / "clusters/main/drills/one"]
    assert [(each.stat().st_uid, each.stat().st_gid) for each in made] == [(1234, 1235)] * 3


def test_objects_are_not_for_everybody(file_store: FileStore, tmp_path: Path) -> None:
    """Files and directories give nothing to others, whatever the umask allows."""
    previous = os.umask(0)
    try:
        file_store.put_if_absent("a/one", b"1")
    finally:
        os.umask(previous)

    root = tmp_path / "srv" / "copy"
    assert [path.stat().st_mode & 0o7777 for path in (root, root / "a", root / "a" / "one")] == [0o750, 0o750, 0o640]


FILL = """
import sys
from pathlib import Path
from pgvault.errors import DiskFull
from pgvault.stores.file import FileStore

store = FileStore(Path(sys.argv[1]))
stored, refused = {}, 0
for number, size in enumerate([200_000, 300_000, 400_000, 250_000, 100_000, 4_096, 90_000, 4_096, 1]):
    body = bytes([number]) * size
    try:
        store.put_if_absent(f"packs/{number}", body)
        stored[f"packs/{number}"] = body
    except DiskFull:
        refused += 1
held = {entry.key: store.get(entry.key) for entry in store.list("packs")}
assert held == stored, (held.keys(), stored.keys())
assert refused and stored
assert not list(Path(sys.argv[1]).rglob(".tmp-*"))
print("refused", refused, "of", refused + len(stored))
"""


def test_a_full_disk_refuses_cleanly(tmp_path: Path) -> None:
    """On a small tmpfs each put is whole or refused as DiskFull, and leaves no rest that takes up room."""
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    argv = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    try:
        subprocess.run([*argv[:4], "mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no user namespaces here")

    done = subprocess.run(
        [*argv, tmp_path, sys.executable, FILL], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "refused" in done.stdout


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EACCES, StoreDenied),
        (errno.EROFS, StoreDenied),
        (errno.EIO, StoreUnreachable),
        (errno.ESTALE, StoreUnreachable),
    ],
)
def test_errors_of_the_system_become_ours(tmp_path: Path, number: int, expected: type[Exception]) -> None:
    """The operator hears what to do, not an errno."""

    def fail(temporary: Path, final: Path) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(expected, match=os.strerror(number)):
        FileStore(tmp_path, publishers=[fail]).put_if_absent("a/one", b"")
