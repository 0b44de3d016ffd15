from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.errors import DirectoryNotEmpty, DiskFull, Refused
from pgvault.restore.place import Reserve, make_directory, require_apart, require_free_place, require_room


@pytest.mark.parametrize("name", ["new", "deep/er/new", "empty"])
def test_absent_and_empty_directories_are_free(tmp_path: Path, name: str) -> None:
    """And are private once made."""
    (tmp_path / "empty").mkdir(mode=0o755)

    require_free_place(tmp_path / name, forbidden={"another place": tmp_path / "other"})
    make_directory(tmp_path / name)

    assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


def test_what_holds_anything_is_not_free(tmp_path: Path) -> None:
    """A file, a hidden file, a mount point's lost+found, a link to nowhere, a plain file."""
    for number, name in enumerate(["file", ".hidden", "lost+found"]):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / name).touch()
        with pytest.raises(DirectoryNotEmpty):
            require_free_place(directory, forbidden={})
    with pytest.raises(DirectoryNotEmpty):
        require_free_place(tmp_path / "0" / "file", forbidden={})
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Refused):
        require_free_place(tmp_path / "link", forbidden={})


def test_no_place_inside_a_cluster_or_a_repository(tmp_path: Path) -> None:
    """Under any name: links are looked through."""
    cluster, repository = tmp_path / "cluster", tmp_path / "repository"
    (cluster / "global").mkdir(parents=True)
    (cluster / "global" / "pg_control").touch()
    repository.mkdir()
    (repository / "pgvault.json").touch()
    for real in (cluster, repository):
        alias = tmp_path / f"alias-of-{real.name}"
        alias.symlink_to(real)
        for place in (real / "x", real / "a" / "b", alias / "x"):
            with pytest.raises(Refused, match="lies inside"):
                require_free_place(place, forbidden={})


def test_forbidden_places_are_neither_entered_nor_enclosed(tmp_path: Path) -> None:
    """Equal, inside and around are all refused; a neighbour with a longer name is fine."""
    other = tmp_path / "srv" / "other"
    for place in (other, other / "in", other.parent):
        with pytest.raises(Refused, match="inside the other"):
            require_free_place(place, forbidden={"the other": other})
    require_free_place(tmp_path / "srv" / "other1", forbidden={"the other": other})


def test_directories_of_one_restore_stay_apart(tmp_path: Path) -> None:
    """A tablespace inside the data directory would be restored twice, or not at all."""
    require_apart([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(Refused):
        require_apart([tmp_path / "a", tmp_path / "b", tmp_path / "a" / "c"])


def test_room_is_added_up_per_file_system(tmp_path: Path) -> None:
    """Two directories that fit one by one must fit together; those that do not exist yet count where they will be."""
    import shutil

    free = shutil.disk_usage(tmp_path).free
    require_room({tmp_path / "a": 1000})

    with pytest.raises(DiskFull):
        require_room({tmp_path / "a": free * 2 // 3, tmp_path / "b" / "c": free * 2 // 3})


def test_a_reserve_stays_free(tmp_path: Path) -> None:
    """The larger of a number of bytes and a share of the whole."""
    import shutil

    usage = shutil.disk_usage(tmp_path)
    free_share = usage.free / usage.total

    require_room({tmp_path / "a": 1000}, reserve=Reserve(1000, free_share / 2))
    for reserve in (Reserve(0, free_share * 1.1), Reserve(usage.free)):
        with pytest.raises(DiskFull, match="must stay free"):
            require_room({tmp_path / "a": 1000}, reserve=reserve)
