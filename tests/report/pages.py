"""A page as a browser reads it: elements that say where in the document they come from, and what they show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = frozenset({"meta", "link", "br", "hr", "img", "input"})
OUTSIDE = ("src", "href", "xlink:href", "action", "data", "poster", "srcset", "background", "formaction")


@dataclass(slots=True)
class Element:
    """An element with what it shows; `text` has also what its children show."""

    tag: str
    attributes: dict[str, str]
    text: str = ""

    @property
    def pointer(self) -> str | None:
        return self.attributes.get("data-at")

    @property
    def value(self) -> Any:
        return json.loads(self.attributes["data-value"])


@dataclass(slots=True)
class Page(HTMLParser):
    """All elements, in their order."""

    elements: list[Element] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self, convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    @property
    def text(self) -> str:
        return next(element.text for element in self.elements if element.tag == "body")

    def at(self, pointer: str) -> list[Element]:
        """The elements that come from a place."""
        return [element for element in self.elements if element.pointer == pointer]

    def outside(self) -> list[str]:
        """Addresses that are asked for, or could be."""
        return [
            value
            for element in self.elements
            for name, value in element.attributes.items()
            if name in OUTSIDE and not value.startswith("#") and value != "data:,"
        ]


def read_page(html: str) -> Page:
    """Parse a page."""
    page = Page()
    page.feed(html)
    return page


def resolve(document: Any, pointer: str) -> Any:
    """Return what stands at a JSON pointer (RFC 6901)."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


def numbers(document: Any, pointer: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of a document, and where it stands."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from numbers(value, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from numbers(value, f"{pointer}/{number}")
    elif isinstance(document, int | float) and not isinstance(document, bool):
        yield pointer, document
