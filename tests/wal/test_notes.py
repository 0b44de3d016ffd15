from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from pgvault.wal import notes as notes_module
from pgvault.wal.notes import MAX_AGE_SECONDS, Notes, find_state, open_notes

NAME = "000000010000000000000005"
CONTENT = b"\x5a" * 300_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pgvault.yaml"
    path.write_text("clusters: {}\n")
    return path


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(CONTENT)
    return path


def opened(config: Path, *picks: str) -> Notes:
    notes = open_notes(find_state(str(config.parent / "state")), str(config), picks=picks)
    assert notes is not None
    return notes


def noted(config: Path, *picks: str) -> Path:
    """Leave a note; return its file."""
    opened(config, *picks).leave(NAME, digest=blake3(CONTENT).digest(), length=len(CONTENT))
    (found,) = (config.parent / "state").rglob(NAME)
    return found


def test_a_note_vouches_for_its_content_until_it_is_dropped(config: Path, segment: Path) -> None:
    """Whoever opens the notes of the same configuration and cluster finds it."""
    assert not opened(config).vouch_for(str(segment))
    noted(config)

    assert opened(config).cover(NAME)
    assert opened(config).vouch_for(str(segment))

    opened(config).drop(NAME)
    opened(config).drop(NAME)
    assert not opened(config).vouch_for(str(segment))


@pytest.mark.parametrize(
    "content", [CONTENT[:-1] + b"\x5b", b"\x5b" + CONTENT[1:], CONTENT[:-1], CONTENT + b"\x5a", b""]
)
def test_other_content_is_not_vouched_for(config: Path, segment: Path, content: bytes) -> None:
    """One byte, at either end, or another length."""
    noted(config)
    segment.write_bytes(content)

    assert not opened(config).vouch_for(str(segment))


def test_another_name_cluster_or_store_is_not_vouched_for(config: Path, segment: Path, tmp_path: Path) -> None:
    """A note under another name says nothing, also when somebody renames it; nor for another cluster."""
    found = noted(config, "cluster=one")
    other = segment.with_name("000000010000000000000006")
    other.write_bytes(CONTENT)
    found.with_name(other.name).write_bytes(found.read_bytes())

    assert opened(config, "cluster=one").vouch_for(str(segment))
    assert not opened(config, "cluster=one").vouch_for(str(other))
    assert not opened(config, "cluster=two").vouch_for(str(segment))
    stranger = opened(config, "cluster=two")
    stranger.leave(other.name, digest=bytes(32), length=1)
    (theirs,) = (path.parent for path in (tmp_path / "state").rglob(other.name) if path.parent != found.parent)
    (theirs / NAME).write_bytes(found.read_bytes())
    assert not stranger.vouch_for(str(segment))


def edited(config: Path) -> None:
    config.write_text("clusters: []\n")  # as long as before


def touched(config: Path) -> None:
    config.touch()


def replaced(config: Path) -> None:
    other = config.with_name("other")
    other.write_bytes(config.read_bytes())
    os.utime(other, ns=(config.stat().st_atime_ns, config.stat().st_mtime_ns))
    other.rename(config)


@pytest.mark.parametrize("change", [edited, touched, replaced])
def test_a_changed_configuration_voids_the_notes(config: Path, segment: Path, change: Callable[[Path], None]) -> None:
    """It may name another repository now."""
    noted(config)
    change(config)

    assert not opened(config).vouch_for(str(segment))


def test_a_configuration_may_be_named_by_a_link(config: Path, segment: Path) -> None:
    """The same file is the same configuration; a link to another one is not."""
    noted(config)
    link = config.with_name("link.yaml")
    link.symlink_to(config)
    assert opened(link).vouch_for(str(segment))

    link.unlink()
    config.with_name("second.yaml").write_bytes(config.read_bytes())
    link.symlink_to("second.yaml")
    assert not opened(link).vouch_for(str(segment))


@pytest.mark.parametrize(
    ("seconds", "valid"), [(0, True), (MAX_AGE_SECONDS - 5, True), (MAX_AGE_SECONDS + 5, False), (-5, False)]
)
def test_a_note_is_believed_for_a_while(
    config: Path, segment: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, valid: bool
) -> None:
    """An old one is void, and so is one from the future: the clock was set back."""
    noted(config)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)

    assert opened(config).vouch_for(str(segment)) is valid


def test_a_torn_note_is_void(config: Path, segment: Path) -> None:
    """Cut anywhere, with a byte changed anywhere, or with something behind it; never an error."""
    found = noted(config)
    whole = found.read_bytes()

    for length in range(len(whole)):
        found.write_bytes(whole[:length])
        assert not opened(config).vouch_for(str(segment)), length
    for place in range(len(whole) - len("made 1795250000\n")):
        found.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        assert not opened(config).vouch_for(str(segment)), place
    for odd in (whole + b"\n", whole + b"x", whole.replace(b"made ", b"made -"), bytes(len(whole)), bytes(5000)):
        found.write_bytes(odd)
        assert not opened(config).vouch_for(str(segment)), odd
    found.write_bytes(whole)
    assert opened(config).vouch_for(str(segment))


def test_old_notes_are_swept(config: Path) -> None:
    """Also those of other configurations, what crashes left, and the directories that are empty then."""
    old = noted(config, "cluster=one")
    (old.parent / f".{NAME}.1").write_text("half")
    for path in (*old.parent.iterdir(), old.parent):
        os.utime(path, (1, 1))
    fresh = opened(config, "cluster=two")
    fresh.leave(NAME, digest=bytes(32), length=1)

    fresh.sweep()
    os.utime(old.parent, (1, 1))
    fresh.sweep()

    assert not old.parent.exists()
    assert fresh.cover(NAME)


def test_notes_are_kept_only_where_nobody_else_can_write(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not through a link, not in a file, not in a directory that is another user's or open to others."""
    assert find_state(str(tmp_path / "made")) == str(tmp_path / "made")
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "made")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o770)

    for odd in ("link", "open", "pgvault.yaml", "absent/below"):
        assert find_state(str(tmp_path / odd)) is None
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert find_state(str(tmp_path / "made")) is None
    assert open_notes(None, str(config), picks=()) is None
    assert open_notes("/", str(tmp_path / "absent.yaml"), picks=()) is None


def test_the_state_directory_has_an_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked for, else the system's where it is ours, else one under /var/tmp by the user's number."""
    monkeypatch.setattr(notes_module, "SYSTEM_STATE", str(tmp_path))
    assert find_state(None) == str(tmp_path)
    assert find_state(str(tmp_path / "wanted")) == str(tmp_path / "wanted")

    monkeypatch.setattr(notes_module, "SYSTEM_STATE", str(tmp_path / "absent"))
    assert find_state(None) == f"/var/tmp/pgvault-{os.geteuid()}"
