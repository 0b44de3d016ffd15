from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.errors import ProgramMissing
from pgvault.postgres import programs as module
from pgvault.postgres.programs import VERSION_TEXT, find_programs, installed_majors, newest_programs
from pgvault.process import run


def test_found_programs_are_of_that_major(major: int) -> None:
    """What is found for a major says so itself, and has what a server package has."""
    programs = find_programs(major)

    assert programs.major == major
    assert programs.minor_text.split(".")[0] == str(major)
    for name in ("initdb", "postgres", "pg_waldump", "pg_verifybackup", "pg_amcheck"):
        assert run([programs.path(name), "--version"], timeout=10).startswith(name)


def test_what_is_not_here_is_missing() -> None:
    """A major or a program that is not installed is one clear error with a hint."""
    with pytest.raises(ProgramMissing, match="no PostgreSQL 9 programs") as caught:
        find_programs(9)
    assert caught.value.hint is not None

    with pytest.raises(ProgramMissing, match="has no pg_nonsense"):
        newest_programs().path("pg_nonsense")


def test_the_system_comes_before_the_wheels() -> None:
    """The newest of the system is taken where there is one, even if a wheel is newer."""
    system = [programs for programs in module._on_the_system() if programs.major in installed_majors()]
    expected = max(system or module._in_wheels(), key=lambda programs: programs.major)

    assert newest_programs() == expected


def test_a_directory_on_the_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_config says where the rest is; a broken one hides nothing, a server that can not run is none."""
    real = find_programs(installed_majors()[-1])
    (tmp_path / "pg_config").write_text(f"#!/bin/sh\necho '{real.bin}'\n")
    (tmp_path / "pg_config").chmod(0o755)
    (tmp_path / "postgres").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "postgres").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert next(iter(module._on_the_system.__wrapped__())) == real

    (tmp_path / "pg_config").write_text("#!/bin/sh\nexit 1\n")
    assert tmp_path not in [programs.bin for programs in module._on_the_system.__wrapped__()]


@pytest.mark.parametrize(
    ("printed", "version", "major"),
    [
        ("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)", "15.20", "15"),
        ("postgres (PostgreSQL) 18beta1", "18beta1", "18"),
        ("postgres (PostgreSQL) 18rc1", "18rc1", "18"),
        ("postgres (PostgreSQL) 19devel", "19devel", "19"),
        ("postgres (PostgreSQL) 17.2 - Percona Server for PostgreSQL 17.2.1", "17.2", "17"),
    ],
)
def test_versions_are_read_as_vendors_print_them(printed: str, version: str, major: str) -> None:
    """The first number after the name is the major, whatever follows."""
    match = VERSION_TEXT.search(printed)

    assert match is not None
    assert (match[1], match[2]) == (version, major)
