from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from pgvault.errors import ServerUnfit
from pgvault.postgres import owner
from pgvault.postgres.instance import Instance, init_cluster
from pgvault.postgres.owner import as_server_user, hand_over, may_unshare
from pgvault.postgres.programs import Programs, find_programs, installed_majors
from pgvault.process import run
from tests.servers import ServerFactory

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@pytest.fixture
def without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that denies user namespaces."""
    monkeypatch.setattr(owner, "may_unshare", lambda: False)


def anybody() -> pwd.struct_passwd:
    for name in owner.FALLBACK_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("there is no other user")


def local_programs() -> Programs:
    """Programs that another user can reach: not those of a virtual environment in somebody's home."""
    for major in installed_majors():
        programs = find_programs(major)
        if programs.bin.is_relative_to("/usr"):
            return programs
    pytest.skip("no PostgreSQL is installed on the system")


def test_a_program_is_never_run_as_root() -> None:
    """Whoever we are, what the program sees is not uid 0."""
    assert run(as_server_user(["id", "-u"]), timeout=10).strip() != "0"


@as_root
def test_files_made_in_a_namespace_stay_ours(tmp_path: Path) -> None:
    """The program believes to be another user; on disk it is us, so every path stays reachable."""
    if not may_unshare():
        pytest.skip("user namespaces are denied")

    run(as_server_user(["touch", tmp_path / "made"]), timeout=10)

    assert (tmp_path / "made").stat().st_uid == 0


@as_root
def test_a_directory_of_another_user_is_served_by_that_user(tmp_path: Path) -> None:
    """The owner of an existing data directory runs its server, namespaces or not."""
    user = anybody()
    os.chown(tmp_path, user.pw_uid, user.pw_gid)

    assert run(as_server_user(["id", "-u"], data=tmp_path), timeout=10).strip() == str(user.pw_uid)


@as_root
@pytest.mark.cluster
def test_a_server_runs_without_namespaces(server: ServerFactory, without_namespaces: None) -> None:
    """Where namespaces are denied, directories are handed to another user, who runs initdb and the server."""
    user = anybody()
    directory = server.directory()
    directory.chmod(0o711)
    sockets = directory / "s"
    sockets.mkdir(mode=0o700)
    programs = local_programs()

    init_cluster(programs, directory / "data", options=("--no-sync",))
    instance = Instance(programs, directory / "data", sockets, directory / "log")
    instance.start({"fsync": "off"})
    try:
        instance.wait_ready(30)
        assert Path(f"/proc/{instance.pid}").stat().st_uid == user.pw_uid
    finally:
        instance.kill()

    assert {path.stat().st_uid for path in (directory / "data").rglob("*")} == {user.pw_uid}


@as_root
def test_handing_over_takes_links_for_what_they_are(tmp_path: Path, without_namespaces: None) -> None:
    """A tablespace's link is given away, what it points to is not."""
    user = anybody()
    (tmp_path / "target").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "target")

    hand_over(tmp_path / "data")

    assert (tmp_path / "data" / "link").lstat().st_uid == user.pw_uid
    assert (tmp_path / "target").stat().st_uid == 0


@as_root
def test_root_without_anybody_else_is_told(monkeypatch: pytest.MonkeyPatch, without_namespaces: None) -> None:
    """No namespace and no user: one sentence instead of initdb's."""
    monkeypatch.setattr(owner, "FALLBACK_USERS", ("no-such-user",))
    owner._fallback_user.cache_clear()

    with pytest.raises(ServerUnfit, match="does not run as root"):
        as_server_user(["initdb"])
