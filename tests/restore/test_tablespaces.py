from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import ObjectCorrupt, Refused, UsageError
from pgvault.restore.tablespaces import parse_mapping, place_tablespaces, render_map
from tests.repository.samples import make_manifest

NOWHERE = "/nonexistent/pgvault/fast"


def test_a_mapping_is_two_absolute_paths() -> None:
    """Slashes too many mean nothing, and = in a path is written with a backslash."""
    assert parse_mapping(["/srv//fast/=/srv/copy", r"/a\=b=/c\=d"]) == {
        "/srv/fast": Path("/srv/copy"),
        "/a=b": Path("/c=d"),
    }


@pytest.mark.parametrize("text", ["", "/srv/fast", "=/new", "/old=", "old=/new", "/old=new", "/a=/b=/c"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    """Half of one, relative paths, one = too many."""
    with pytest.raises(UsageError):
        parse_mapping([text])


def test_an_original_path_that_exists_has_to_be_mapped(tmp_path: Path) -> None:
    """It may be production's; whoever means it says so."""
    manifest = make_manifest(tablespaces={16388: str(tmp_path)})

    with pytest.raises(Refused, match="exists on this machine"):
        place_tablespaces(manifest, {})
    assert place_tablespaces(manifest, {str(tmp_path): tmp_path}) == {16388: tmp_path}


def test_tablespaces_go_back_where_they_were_on_an_empty_machine() -> None:
    """Where nothing is, nothing can be hurt; those inside the data directory need no place."""
    manifest = make_manifest(tablespaces={16388: NOWHERE, 16389: "pg_tblspc/16389"})

    assert place_tablespaces(manifest, {}) == {16388: Path(NOWHERE)}


def test_a_mapping_of_something_else_is_refused() -> None:
    """A typo must not send a tablespace to its old place."""
    with pytest.raises(UsageError, match="is no tablespace"):
        place_tablespaces(make_manifest(tablespaces={16388: NOWHERE}), {"/srv/fats": Path("/new")})


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1))
def test_every_path_of_the_map_is_replaced(name: str) -> None:
    """Line feeds and backslashes are escaped as PostgreSQL reads them."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\\n").replace("\r", "\\\r")
    original = f"16388 /old/{escaped}\n16389 /other\n".encode()

    mapped = render_map(original, {16388: Path("/new"), 16389: Path(f"/x{name}/y")})

    assert mapped.startswith(b"16388 /new\n16389 /x")
    assert render_map(mapped, {16388: Path("/a"), 16389: Path("/b")}) == b"16388 /a\n16389 /b\n"


@pytest.mark.parametrize("content", [b"16388 /srv", b"/srv\n", b"99 /srv\n", b"16388\n"])
def test_a_map_we_do_not_understand_is_refused(content: bytes) -> None:
    """Left as it was it would lead to the original directories."""
    with pytest.raises(ObjectCorrupt):
        render_map(content, {16388: Path("/new")})
