from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.errors import SourceUnreadable
from pgvault.postgres.conffiles import ConfigurationFile, FileRole, find_configuration_files
from pgvault.postgres.server import Session
from tests.servers import ServerFactory, older_in_ci


def found(directory: Path) -> list[str]:
    """Names, relative to the directory, of what is found from the usual three."""
    files = find_configuration_files(
        directory / "postgresql.conf", directory / "pg_hba.conf", directory / "pg_ident.conf"
    )
    return [str(file.path.relative_to(directory)) for file in files]


def write(directory: Path, **contents: str) -> None:
    for name, text in contents.items():
        (directory / f"{name}.conf").write_text(text)


def test_the_three_have_roles_and_includes_have_none(tmp_path: Path) -> None:
    """Restore must know which file is which setting."""
    write(tmp_path, postgresql="include 'more.conf'\n", pg_hba="", pg_ident="", more="")

    files = find_configuration_files(tmp_path / "postgresql.conf", tmp_path / "pg_hba.conf", tmp_path / "pg_ident.conf")

    assert files == (
        ConfigurationFile(FileRole.CONFIG, tmp_path / "postgresql.conf"),
        ConfigurationFile(FileRole.INCLUDED, tmp_path / "more.conf"),
        ConfigurationFile(FileRole.HBA, tmp_path / "pg_hba.conf"),
        ConfigurationFile(FileRole.IDENT, tmp_path / "pg_ident.conf"),
    )


@pytest.mark.parametrize(
    "line",
    [
        "include 'a.conf'",
        "include a.conf",
        "include='a.conf'",
        "  INCLUDE   =  'a.conf'  # why",
        "include_if_exists 'a.conf'",
        "include_if_exists 'absent.conf'\ninclude 'a.conf'",
        "include './a.conf'",
    ],
)
def test_settings_files_include_in_many_spellings(tmp_path: Path, line: str) -> None:
    """Quotes and the equals sign are optional, case does not matter."""
    write(tmp_path, postgresql=f"port = 1\n{line}\n", a="")

    assert found(tmp_path) == ["postgresql.conf", "a.conf"]


@pytest.mark.parametrize(
    "line", ["# include 'a.conf'", "includes = 'a.conf'", "search_path = 'include a.conf'", "include_dir 'absent'"]
)
def test_what_only_looks_like_an_include_is_none(tmp_path: Path, line: str) -> None:
    """Comments and other settings name no files."""
    write(tmp_path, postgresql=line, a="")

    assert found(tmp_path) == ["postgresql.conf"]


def test_a_name_with_a_quote_is_unquoted(tmp_path: Path) -> None:
    """Doubled in the file, single on disk; other letters are bytes."""
    (tmp_path / "it's é.conf").touch()
    write(tmp_path, postgresql="include 'it''s é.conf'\n")

    assert found(tmp_path) == ["postgresql.conf", "it's é.conf"]


def test_a_directory_is_read_as_postgresql_does(tmp_path: Path) -> None:
    """Only *.conf, not hidden, sorted; and what they include is relative to them."""
    (tmp_path / "conf.d").mkdir()
    for name in ("20.conf", "10.conf", ".hidden.conf", "30.conf.bak"):
        (tmp_path / "conf.d" / name).touch()
    (tmp_path / "conf.d" / "20.conf").write_text("include 'deep.inc'\n")
    (tmp_path / "conf.d" / "deep.inc").touch()
    write(tmp_path, postgresql="include_dir = 'conf.d'\n")

    assert found(tmp_path) == ["postgresql.conf", "conf.d/10.conf", "conf.d/20.conf", "conf.d/deep.inc"]


def test_a_circle_of_includes_ends(tmp_path: Path) -> None:
    """PostgreSQL refuses it; we must not hang on it."""
    write(tmp_path, postgresql="include 'a.conf'\n", a="include 'postgresql.conf'\n")

    assert found(tmp_path) == ["postgresql.conf", "a.conf"]


def test_access_rules_name_files_in_two_ways(tmp_path: Path) -> None:
    """Included rules (16+), and lists of databases or users in a file of their own."""
    write(
        tmp_path,
        pg_hba='include "a.conf"\nlocal @dbs.conf,x +y,@"my users.conf" trust # @no.conf\nlocal "@odd" all trust\n',
        pg_ident="include_if_exists b.conf\n",
        a="local all all \\\n peer\n",
        b="",
        dbs="@deeper.conf\n",
        deeper="",
        no="",
        odd="",
    )
    (tmp_path / "my users.conf").touch()

    assert found(tmp_path) == [
        "pg_hba.conf",
        "a.conf",
        "dbs.conf",
        "deeper.conf",
        "my users.conf",
        "pg_ident.conf",
        "b.conf",
    ]


def test_what_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    """A configuration that can not be saved must not be missing silently."""
    (tmp_path / "postgresql.conf").mkdir()

    with pytest.raises(SourceUnreadable, match=r"postgresql\.conf' can not be read"):
        found(tmp_path)


@pytest.mark.cluster
def test_files_outside_the_data_directory_are_listed(server: ServerFactory, major: int) -> None:
    """As on Debian: everything in another directory; at least what the server itself says it read."""
    one = server(major, running=False)
    etc = server.directory()
    (one.data / "postgresql.conf").rename(etc / "postgresql.conf")
    with (etc / "postgresql.conf").open("a") as file:
        file.write("include_dir 'conf.d'\ninclude 'empty.conf'\n")
    (etc / "conf.d").mkdir()
    (etc / "conf.d" / "work.conf").write_text("work_mem = '7MB'\n")
    (etc / "empty.conf").touch()
    (one.data / "pg_hba.conf").rename(etc / "hba.conf")
    (one.data / "pg_hba.conf").symlink_to(etc / "hba.conf")
    (etc / "dbs").write_text("postgres\n")
    (etc / "hba.conf").write_text(f"local @{etc}/dbs postgres trust\n")
    one.instance.config_file = etc / "postgresql.conf"
    one.start()

    with Session(one.dsn) as session:
        files = session.configuration_files()

    by_role = {(file.role, file.path) for file in files}
    assert by_role == {
        (FileRole.CONFIG, etc / "postgresql.conf"),
        (FileRole.INCLUDED, etc / "conf.d" / "work.conf"),
        (FileRole.INCLUDED, etc / "empty.conf"),
        (FileRole.HBA, one.data / "pg_hba.conf"),
        (FileRole.INCLUDED, etc / "dbs"),
    }
    read = {str(path) for (path,) in one.sql("SELECT DISTINCT sourcefile FROM pg_file_settings")}
    assert read - {str(file.path) for file in files} == {f"{one.data}/postgresql.auto.conf"} & read


@pytest.mark.cluster
@older_in_ci
def test_a_usual_directory_has_none_outside(server: ServerFactory, major: int) -> None:
    """initdb's own layout keeps all of them in the data directory, where the backup takes them anyway."""
    with Session(server(major).dsn) as session:
        assert session.configuration_files() == ()
