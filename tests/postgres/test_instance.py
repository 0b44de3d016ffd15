from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pgvault.errors import ClusterRunning, ProgramFailed, RecoveryFailed, ServerUnfit
from pgvault.postgres.instance import Instance, ServerState, init_cluster, postmaster_pid
from pgvault.postgres.launcher import children
from pgvault.postgres.programs import find_programs
from tests.servers import NEWEST, ServerFactory, older_in_ci

pytestmark = pytest.mark.cluster


def test_a_server_lives_and_dies(server: ServerFactory, major: int) -> None:
    """It starts, answers through its socket alone, stops cleanly, and starts again with what was committed."""
    one = server(major)

    assert one.instance.state() is ServerState.READY
    assert str(one.value("SELECT current_setting('server_version')")).startswith(str(major))
    assert one.value("SELECT current_setting('listen_addresses')") == ""
    assert one.value("SELECT current_setting('full_page_writes')") == "on"
    assert one.value("SELECT current_setting('data_checksums')") == "on"
    assert len(os.fsencode(one.instance.socket_dir)) < 90

    one.sql("CREATE TABLE t AS SELECT 1 AS a")
    one.restart()
    assert one.value("SELECT a FROM t") == 1

    one.stop()
    assert one.instance.state() is ServerState.STOPPED
    assert postmaster_pid(one.data) is None
    one.instance.stop()  # a stopped one is fine


@older_in_ci
def test_a_killed_server_leaves_nobody_and_recovers(server: ServerFactory, major: int) -> None:
    """SIGKILL takes every process along, so that the next start finds the shared memory free, and loses no commit."""
    one = server(major)
    one.sql("CREATE TABLE t AS SELECT 1 AS a")
    pid = one.instance.pid
    assert pid is not None

    (segment,) = (one.data / "postmaster.pid").read_text().splitlines()[6].split()[1:]
    assert segment in shared_memory()
    mapped = {file for number in (pid, *children(pid)) for file in mapped_memory(number)}
    assert mapped

    one.kill()

    assert (one.data / "postmaster.pid").exists()
    assert segment not in shared_memory()
    assert not [file for file in mapped if file.exists()]
    assert postmaster_pid(one.data) is None
    one.start()
    assert one.value("SELECT a FROM t") == 1


def shared_memory() -> set[str]:
    """The ids of the System V segments of this machine."""
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def mapped_memory(pid: int) -> set[Path]:
    """The files in memory that a process shares with others."""
    try:
        words = Path(f"/proc/{pid}/maps").read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # a backend whose session is over
        return set()
    return {Path(word) for word in words if word.startswith("/dev/shm/")}


def test_the_pid_is_the_postmasters(server: ServerFactory) -> None:
    """Whatever wraps postgres execs, so that signals reach the server itself."""
    one = server(NEWEST)

    assert postmaster_pid(one.data) == one.instance.pid
    assert Path(f"/proc/{one.instance.pid}/exe").resolve() == one.programs.path("postgres").resolve()


def test_a_pid_file_of_a_dead_server_names_nobody(tmp_path: Path) -> None:
    """After a crash its number may belong to another process, which must be neither stopped nor feared."""
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n")

    assert postmaster_pid(tmp_path) is None


@pytest.mark.parametrize("content", ["", "\n", "garbage\n"])
def test_a_pid_file_without_a_number_names_nobody(tmp_path: Path, content: str) -> None:
    """A server killed while it wrote the file left this."""
    (tmp_path / "postmaster.pid").write_text(content)

    assert postmaster_pid(tmp_path) is None


def test_two_servers_do_not_share_a_directory(server: ServerFactory) -> None:
    """The second is refused before anything is touched, and the first runs on."""
    one = server(NEWEST)
    second = Instance(one.programs, one.data, server.directory(), server.directory() / "log")

    with pytest.raises(ClusterRunning, match=f"process id {one.instance.pid} runs on"):
        second.start()

    assert one.value("SELECT 1") == 1


@older_in_ci
def test_a_broken_start_says_why(server: ServerFactory, major: int) -> None:
    """The error carries the FATAL line of this start, not of an earlier one, and names the log."""
    one = server(major, running=False)
    one.instance.start({"shared_preload_libraries": "no_such_library"})
    with pytest.raises(RecoveryFailed, match="no_such_library"):
        one.instance.wait_ready(30)
    auto = one.data / "postgresql.auto.conf"
    auto.write_text("restore_command = 'exit 255'\n")
    (one.data / "recovery.signal").touch()

    one.instance.start({"recovery_target_timeline": "7"})
    with pytest.raises(RecoveryFailed) as caught:
        one.instance.wait_ready(30)

    assert "no_such_library" not in str(caught.value)
    assert "could not restore file" in str(caught.value)
    assert caught.value.hint is not None
    assert str(one.instance.log) in caught.value.hint


def test_recovery_is_told_from_being_ready(server: ServerFactory, major: int) -> None:
    """A standby answers but is not ready; waiting for more ends in time with how far it is."""
    one = server(major, running=False)
    (one.data / "standby.signal").touch()
    one.instance.start(one.settings)

    assert one.instance.wait_ready(30, accept_standby=True) is ServerState.STANDBY
    with pytest.raises(RecoveryFailed, match=r"is not ready after 0.2 s, still in recovery: consistent recovery state"):
        one.instance.wait_ready(0.2)
    with pytest.raises(RecoveryFailed, match=r"still runs after 0.2 s"):
        one.instance.wait_exit(0.2)

    one.sql("SELECT pg_promote()")
    assert one.instance.wait_ready(30) is ServerState.READY


@older_in_ci
def test_recovery_without_answers_is_still_starting(server: ServerFactory, major: int) -> None:
    """With hot_standby = off nobody can connect before recovery is over."""
    one = server(major, running=False, settings={"hot_standby": "off"})
    (one.data / "standby.signal").touch()
    one.instance.start(one.settings)

    with pytest.raises(RecoveryFailed, match=r"is not ready after 1 s, still in recovery"):
        one.instance.wait_ready(1, accept_standby=True)

    assert one.instance.state() is ServerState.STARTING


@older_in_ci
def test_the_detail_of_a_failure_is_kept(server: ServerFactory, major: int) -> None:
    """Which setting is too small for recovery stands in the DETAIL, and only there."""
    one = server(major, running=False, settings={"max_connections": "5"})
    (one.data / "standby.signal").touch()

    with pytest.raises(RecoveryFailed, match=r"insufficient parameter settings: max_connections = 5 is a lower"):
        one.start()


def test_a_server_that_ends_by_itself_is_waited_for(server: ServerFactory) -> None:
    """recovery_target_action = shutdown ends in an exit status."""
    one = server(NEWEST)
    pid = one.instance.pid
    assert pid is not None

    os.kill(pid, signal.SIGTERM)

    assert one.instance.wait_exit(30) == 0


@older_in_ci
def test_its_own_configuration_files_are_used(server: ServerFactory, major: int) -> None:
    """A directory without postgresql.conf starts with files from elsewhere, and what is ours wins over them."""
    one = server(major, running=False)
    elsewhere = server.directory()
    for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
        (one.data / name).unlink()
    (elsewhere / "my.conf").write_text("work_mem = '7MB'\nport = 1\nlisten_addresses = '*'\n")
    (elsewhere / "hba.conf").write_text("local all all trust\n")
    (elsewhere / "ident.conf").touch()
    one.instance.config_file = elsewhere / "my.conf"
    one.instance.hba_file = elsewhere / "hba.conf"
    one.instance.ident_file = elsewhere / "ident.conf"

    one.start()

    assert one.value("SELECT current_setting('work_mem')") == "7MB"
    assert one.value("SELECT current_setting('hba_file')") == str(elsewhere / "hba.conf")
    assert one.value("SELECT current_setting('listen_addresses')") == ""


@older_in_ci
def test_a_broken_configuration_file_says_where(server: ServerFactory, major: int) -> None:
    """PostgreSQL's FATAL line only says that there are errors; the error says which."""
    one = server(major, running=False)
    (one.data / "postgresql.conf").write_text("no_such_setting = on\n")

    with pytest.raises(RecoveryFailed, match=r'contains errors; .*"no_such_setting" in file .* line 1'):
        one.start()


def test_odd_names_of_directories_are_fine(server: ServerFactory) -> None:
    """Quotes, blanks and backslashes in paths reach postgres and libpq unharmed."""
    made = server(NEWEST, running=False)
    odd = server.directory() / 'it\'s a\\ "b" é'
    odd.mkdir(mode=0o700)
    data = made.data.rename(odd / "data")
    instance = Instance(made.programs, data, odd, odd / "log")

    instance.start(made.settings)
    try:
        instance.wait_ready(30)
        made.instance = instance
        assert made.value("SELECT 1") == 1
    finally:
        instance.kill()


def test_a_long_socket_path_is_refused(server: ServerFactory) -> None:
    """Linux takes 107 bytes; beyond, the server would say so only in its log."""
    one = server(NEWEST, running=False)
    one.instance.socket_dir = one.instance.socket_dir / ("x" * 90)

    with pytest.raises(ServerUnfit, match="107 are allowed"):
        one.instance.start()


def test_initdb_refuses_a_full_directory(tmp_path: Path) -> None:
    """What initdb says reaches the operator."""
    (tmp_path / "something").touch()

    with pytest.raises(ProgramFailed, match=r"^initdb failed .*not empty"):
        init_cluster(find_programs(NEWEST), tmp_path)


@pytest.mark.parametrize("mib", [1, 64])
def test_segment_size_is_chosen(server: ServerFactory, mib: int) -> None:
    """Initdb is told, and the server knows."""
    one = server(NEWEST, wal_segsize_mib=mib)

    assert one.value("SELECT setting::int FROM pg_settings WHERE name = 'wal_segment_size'") == mib * 2**20
