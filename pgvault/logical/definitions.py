r"""The definitions of a database as SQL text, and when two of them are equal.

What pg_dump adds to each dump is no part of the definitions: its comments (they hold versions), the settings of its
own session, the token of \restrict, blank lines. Nor is REFRESH, which `pg_restore --schema-only` has and `pg_dump
--schema-only` has not. What stands in quotes is kept to the byte: the body of a function may hold lines that look like
any of these.
"""

from __future__ import annotations

import hashlib
import re

# Quoted text comes first, so that nothing else is ever looked for in it.
TOKENS = re.compile(
    rb"""
      (?P<quoted> (?P<tag>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$) .*? (?P=tag)
                | \bE'(?:[^'\\]|\\.|'')*'
                | '(?:[^']|'')*'
                | "(?:[^"]|"")*" )
    | (?P<added>  ^SET\ (?!default_table)[^\n]*;$
                | ^SELECT\ pg_catalog\.set_config\('search_path',\ '',\ false\);$
                | ^\\(?:un)?restrict\ [^\n]*$
                | ^REFRESH\ MATERIALIZED\ VIEW\ (?:"(?:[^"]|"")*"|[^";])*;$
                | --[^\n]*$ )
    | (?P<breaks> \n[\n]+ )
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)


def normalised(sql: bytes) -> bytes:
    """Return the definitions without what changes from dump to dump."""
    # Twice: what is taken out in the first round leaves empty lines for the second.
    return _cleaned(_cleaned(sql)).strip(b"\n") + b"\n"


def schema_digest(sql: bytes) -> bytes:
    """Return the SHA-256 of what `pg_dump --schema-only` printed, normalised."""
    return hashlib.sha256(normalised(sql)).digest()


def _cleaned(sql: bytes) -> bytes:
    return TOKENS.sub(_kept, sql)


def _kept(match: re.Match[bytes]) -> bytes:
    if match["quoted"] is not None:
        return match["quoted"]
    return b"" if match["added"] is not None else b"\n"
