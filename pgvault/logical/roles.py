r"""Restore roles from globals.sql, statement by statement, and leave alone those that are there.

What pg_dumpall prints are statements of few kinds: CREATE ROLE, ALTER ROLE, COMMENT ON ROLE, GRANT … TO a role. Each is
about one role, and is carried out only where that role was made here: an existing role keeps its password, its
attributes and its memberships. Tablespaces are never made: their statements name directories of another host, or worse,
those of production on this one. What a server refuses is told, and does not end the restore.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

# A statement ends at a semicolon that is outside of quotes; pg_dumpall doubles quotes inside of quotes, always.
PIECE = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|;|[^'";-]+|.""", re.DOTALL)
TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")+"|[^\s"',();=]+|[,();=]""", re.DOTALL)
# Attributes that only a superuser may name, even to say no; no is what a new role has.
NEGATIVE = re.compile(r" (?:NOSUPERUSER|NOREPLICATION|NOBYPASSRLS)\b")
GRANTOR = re.compile(r""" GRANTED BY (?:"(?:[^"]|"")+"|\S+?)(?=;|$)""")
NOBODY = frozenset({"PUBLIC", "CURRENT_USER", "CURRENT_ROLE", "SESSION_USER"})  # unquoted


@dataclass(slots=True)
class RolesRestored:
    """What became of the roles."""

    created: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def statements(text: str) -> Iterator[str]:
    """Yield the statements of a dump of roles, without comments and psql's own commands."""
    pieces: list[str] = []
    for match in PIECE.finditer(_without_commands(text)):
        piece = match[0]
        if piece.startswith("--"):
            continue
        if piece == ";":
            if statement := "".join(pieces).strip():
                yield statement
            pieces = []
        else:
            pieces.append(piece)


def _without_commands(text: str) -> str:
    r"""Without the lines \restrict and \unrestrict, the first and the last that are no comments."""
    lines = text.split("\n")
    for order in (range(len(lines)), range(len(lines) - 1, -1, -1)):
        for number in order:
            if lines[number].startswith(("\\restrict ", "\\unrestrict ")):
                lines[number] = ""
            elif lines[number] and not lines[number].startswith("--"):
                break
    return "\n".join(lines)


def about(statement: str) -> tuple[str, str] | None:
    """Return (verb, role) of a statement about a role: `create`, `alter` or `grant`; None for all others."""
    words = TOKEN.findall(statement)
    upper = [word.upper() for word in words]
    if upper[:2] in (["CREATE", "ROLE"], ["ALTER", "ROLE"]):
        return upper[0].lower(), unquote(words[2])
    if upper[:1] == ["COMMENT"] and upper[2:3] == ["ROLE"]:
        return "alter", unquote(words[3])
    if upper[:2] == ["SECURITY", "LABEL"] and "ROLE" in upper:
        return "alter", unquote(words[upper.index("ROLE") + 1])
    if upper[:1] == ["GRANT"] and "TABLESPACE" not in upper and "TO" in upper:
        return "grant", unquote(words[len(upper) - upper[::-1].index("TO")])
    return None


def created_roles(text: str) -> list[str]:
    """Return the roles that a dump of roles would create."""
    found = (about(statement) for statement in statements(text))
    return [each[1] for each in found if each is not None and each[0] == "create"]


def granted_roles(definition: str) -> set[str]:
    """Return the roles that the definition of grants, of default grants or of a policy names."""
    found: set[str] = set()
    for statement in statements(definition):
        words = TOKEN.findall(statement)
        upper = [word.upper() for word in words]
        for number, word in enumerate(upper[:-1]):
            before = upper[number - 1] if number else ""
            is_role = word in ("TO", "FROM") or (word, before) in (("ROLE", "FOR"), ("AUTHORIZATION", "SESSION"))
            if is_role and not words[number + 1].startswith("'") and upper[number + 1] not in NOBODY:
                found.add(unquote(words[number + 1]))
    return found


def restore_roles(
    text: str, existing: Collection[str], execute: Callable[[str], str | None], *, is_superuser: bool
) -> RolesRestored:
    """Carry out what is about roles that are not there. `execute` returns what the server said against it."""
    done = RolesRestored()
    fresh: set[str] = set()
    for statement in statements(text):
        found = about(statement)
        if found is None:
            continue
        verb, role = found
        if role in existing if verb == "create" else role not in fresh:
            continue
        if verb == "create":
            fresh.add(role)
        refused = execute(statement if is_superuser else NEGATIVE.sub("", statement))
        if refused is not None and verb == "grant" and GRANTOR.search(statement):
            refused = execute(GRANTOR.sub("", statement))  # who granted it there may not be allowed to here
        if refused is None:
            done.created += [role] if verb == "create" else []
        else:
            fresh -= {role} if verb == "create" else set()
            done.notes.append(f"role {role!r}: {verb} was refused: {refused}")
    return done


def unquote(word: str) -> str:
    """The name that a word of SQL stands for."""
    return word[1:-1].replace('""', '"') if word.startswith('"') else word
