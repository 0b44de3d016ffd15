"""As much of SQL's text as a check needs: where statements end, where `:as_of` stands, and what reads the wall clock.

PostgreSQL's own rules for what is a string, a comment or a name: '' and E'' strings, $tag$ … $tag$, nested comments.
Nothing is parsed beyond that. Where these rules are wrong about a text, the server refuses it: each statement is sent
by itself, in a way that takes one statement only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*)
    | (?P<comment>/\*)
    | (?P<text>[eE]'(?:[^'\\]|''|\\.)*'|(?:[nNbBxX]|[uU]&)?'(?:[^']|'')*')
    | (?P<dollar>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
    | (?P<name>(?:[uU]&)?"(?:[^"]|"")*")
    | (?P<cast>::)
    | (?P<as_of>:as_of(?![\w$]))
    | (?P<word>[^\W\d][\w$]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
CLOCK_WORDS = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
CLOCK_FUNCTIONS = frozenset({"now", "clock_timestamp", "statement_timestamp", "timeofday", "transaction_timestamp"})
# What date and timestamp take for a moment: 'now', 'today', 'yesterday 04:05'.
CLOCK_TEXT = re.compile(
    r"\s*(now|today|tomorrow|yesterday)(\s+(\d[\d:.]*|allballs|[+-]\d[\d:]*|[a-z]{1,4}|\w+(/[\w+-]+)+))*\s*",
    re.IGNORECASE,
)
TIME_TYPES = frozenset({"abstime", "cstring", "date", "time", "timestamp", "timestamptz", "timetz"})


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a string, a name in quotes or one other character."""

    kind: str  # a group of TOKEN
    text: str  # as it stands there
    start: int  # offset of its first character

    @property
    def bare(self) -> str:
        """A name as the server reads it; a string's content, escapes left as they are."""
        if self.kind == "name":
            return self.text[self.text.index('"') + 1 : -1].replace('""', '"')
        if self.kind == "text":
            return self.text[self.text.index("'") + 1 : -1].replace("''", "'")
        if self.kind == "dollar":
            return self.text.split("$", 2)[2].rpartition("$")[0].rpartition("$")[0]
        return self.text.lower()


def tokens(text: str) -> list[Token]:
    """Return what a text consists of, less space and comments."""
    found, at = [], 0
    while match := TOKEN.match(text, at):
        kind = str(match.lastgroup)
        at = match.end()
        if kind == "comment":
            at = _comment_end(text, at)
        elif kind != "space":
            found.append(Token(kind, match[0], match.start()))
    return found


def statements(text: str) -> list[str]:
    """Return the statements of a text, without the semicolons between; what is only a comment is none."""
    found: list[str] = []
    first: int | None = None
    for token in [*tokens(text), Token("other", ";", len(text))]:
        if token.text == ";":
            if first is not None:
                found.append(text[first : token.start].rstrip())
            first = None
        elif first is None:
            first = token.start
    return found


def with_as_of(text: str, at: datetime) -> str:
    """Return a text with each `:as_of` replaced by that instant."""
    literal = f"'{at.astimezone(UTC).isoformat(sep=' ')}'::timestamptz"
    for token in reversed(tokens(text)):
        if token.kind == "as_of":
            text = text[: token.start] + literal + text[token.start + len(token.text) :]
    return text


def has_as_of(text: str) -> bool:
    """Tell whether `:as_of` stands in a text, outside of strings and comments."""
    return any(token.kind == "as_of" for token in tokens(text))


def calls(text: str) -> set[str]:
    """Return the names, without schema, of what may be functions that a text calls."""
    found = tokens(text)
    return {a.bare for a, b in pairwise(found) if a.kind in ("word", "name") and b.text == "("}


def reads_clock(text: str) -> bool:
    """Tell whether a text names the wall clock by a function or a keyword."""
    found = tokens(text)
    for number, token in enumerate(found):
        before = found[number - 1].bare if number else ""
        after = found[number + 1].text if number + 1 < len(found) else ""
        if token.kind == "word" and token.bare in CLOCK_WORDS and before not in (".", "as"):
            return True
        if token.kind in ("word", "name") and token.bare in CLOCK_FUNCTIONS and after == "(":
            return True
    return False


def reads_clock_by_text(text: str, planned: Sequence[str]) -> bool:
    """Tell whether a string such as 'yesterday' is read as a moment; `planned` is what the plan shows of the query.

    The server turns such a string into a date before it plans. So one that the plan still shows as a text is a text,
    and one that it does not show counts as a moment.
    """
    written = sum(token.kind in ("text", "dollar") and bool(CLOCK_TEXT.fullmatch(token.bare)) for token in tokens(text))
    shown = [is_text for expression in planned for is_text in _clock_texts(tokens(expression))]
    return False in shown or written > len(shown)


def _clock_texts(found: Sequence[Token]) -> Iterator[bool]:
    """Yield for each such string of a plan whether it stays a text; an array's elements one by one."""
    for number, token in enumerate(found):
        if token.kind != "text":
            continue
        elements = token.bare[1:-1].split(",") if token.bare.startswith("{") else [token.bare]
        following = [each.bare for each in found[number + 1 : number + 5]]
        types = {following[1]} if following[:1] == ["::"] and len(following) > 1 else set()
        if following[2:4] == [")", "::"]:
            types |= {each.bare for each in found[number + 5 : number + 6]}
        for element in elements:
            if CLOCK_TEXT.fullmatch(element.strip('"')):
                yield not types & TIME_TYPES


def _comment_end(text: str, at: int) -> int:
    """Return where a comment ends that began before `at`; comments nest."""
    depth = 1
    for mark in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)
