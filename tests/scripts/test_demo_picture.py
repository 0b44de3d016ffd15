"""The picture in the README is what the demo prints, and of no host and no run."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest

from tests.archive import ROOT

RECORDING = """\
   1.2 s  start a PostgreSQL that archives through pgvault: PostgreSQL 18.1 in /home/me/pgvault-demo-6da745/x
   3.2 s  back up: 20261122T052325Z-3a67: 34.7 MiB, stored 4.2 MiB
 0.093 s  DROP TABLE orders: 26000 orders gone right after 2026-11-22T05:23:29.960527+00:00
          ok   page_checksums: passed
          ok   host: PostgreSQL 18.1, machine x86_64, as production
          ?    relations: not proven: public.orders
          FAIL sequences:postgres: 1 is behind its column
          ok   orphaned_orders: returned 0
          ok   pg_checksums: 4820 pages in 992 files
PASSED · RTO 6.4 s (promised 4 h 00 min) · RPO at most 2.6 s (promised 15 min)
"""


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    """The program, loaded from its place."""
    spec = importlib.util.spec_from_file_location("demo_picture", ROOT / "scripts" / "demo_picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(svg: str) -> str:
    """The text of a picture."""
    return re.sub(r"<[^>]+>", "", svg.partition("</style>")[2]).replace("&#160;", " ")


def test_it_shows_the_steps_and_the_verdict(picture: ModuleType) -> None:
    """Checks that passed may be left out, and are counted; one that did not is shown."""
    shown = words(picture.render(RECORDING))

    for word in ("$ scripts/demo", "DROP TABLE orders", "PASSED · RTO 6.4 s", "relations", "FAIL", "orphaned_orders"):
        assert word in shown, word
    assert "and 2 more" in shown
    assert "x86_64" not in shown


def test_it_is_of_no_host_and_no_run(picture: ModuleType) -> None:
    """No directory of whoever ran it, and the same for the same lines; it asks nobody for a font."""
    svg = picture.render(RECORDING)

    assert svg == picture.render(
        RECORDING.replace("6da745", "000000").replace("20261122T052325Z-3a67", "20261123T052325Z-0001")
    )
    assert "/home/me" not in svg
    assert not re.search(r"url\(.?http", svg)


def test_the_one_in_the_readme_is_there(picture: ModuleType) -> None:
    """As this program draws it: with its verdict, and without a path of the host that drew it."""
    shown = words((ROOT / "scripts" / "demo.svg").read_text())

    assert "](scripts/demo.svg)" in (ROOT / "README.md").read_text()
    assert "PASSED" in shown
    assert set(re.findall(r"/tmp/\w+", shown)) == {"/tmp/demo"}
    assert picture.LABEL in shown
