"""Every page leads where it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("helm/**/README.md"), *ROOT.glob("scripts/**/README.md")])


def anchors(page: Path) -> set[str]:
    """The places of a page that can be linked to, as GitHub names them."""
    text = page.read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """To a file of this checkout, to a heading of this page; other hosts are not asked."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    inside = [link for link in links if not link.startswith("http")]

    assert [link for link in inside if link.startswith("#") and link[1:] not in anchors(page)] == []
    assert [link for link in inside if not link.startswith("#") and not (page.parent / link).exists()] == []


def test_contents_name_every_section() -> None:
    """… of the README, but the contents themselves."""
    text = (ROOT / "README.md").read_text()
    contents = text[text.index("## Contents") :].partition("\n\n## ")[0]
    named = set(re.findall(r"\]\(#([^)]+)\)", contents))
    sections = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^## (.*)$", text, re.MULTILINE)
    }
    assert sections - {"contents"} == named
