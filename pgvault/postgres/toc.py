"""Read the table of contents of a pg_dump archive: toc.dat of the directory format.

    "PGDMP" | version[3] | size of an integer | size of an offset | format | compression | 7 integers: when
    database | server version | pg_dump version | number of entries | entries

    integer    sign[1] | that many bytes, little endian          text    length (negative: none) | bytes

`pg_restore --list` prints the same, but cuts names at spaces and line ends; here they are exact, and so are the
dependencies between entries, which say what a table needs and what belongs to it. Versions 1.14 (PostgreSQL 12 to 15),
1.15 (16) and 1.16 (17, 18) are known. Names are decoded by the encoding of the dump; bytes that are no text survive
as surrogate escapes.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pgvault.errors import FormatUnsupported, ObjectCorrupt

MAGIC = b"PGDMP"
VERSIONS = ((1, 14), (1, 15), (1, 16))
TEXT_MAX = 1 << 30
DATE_FIELDS = 7
PLAIN = {"UTF8", "SQL_ASCII", "MULE_INTERNAL"}
# Where PostgreSQL's name is none that Python knows, too.
CODECS = {"EUC_JIS_2004": "euc_jis_2004", "UHC": "cp949", "KOI8R": "koi8_r", "KOI8U": "koi8_u", "WIN866": "cp866"}
ENCODING = re.compile(r"SET client_encoding = '([A-Za-z0-9_]+)';")


@dataclass(frozen=True, slots=True)
class TocEntry:
    """One object of the dump, or the rows of one."""

    dump_id: int
    catalog_oid: int  # of the catalog the object is in: 1259 for relations
    oid: int
    tag: str  # its name, as pg_dump shows it: "orders", "total(integer, text)", "orders orders_pkey"
    kind: str  # "TABLE", "TABLE DATA", "FK CONSTRAINT" …
    schema: str | None
    owner: str
    tablespace: str
    definition: str
    drop: str  # the statement that would remove it; empty where nothing has to
    needs: tuple[int, ...]  # dump ids
    file: str | None  # its data, beside toc.dat


@dataclass(frozen=True, slots=True)
class Toc:
    """A table of contents."""

    database: str
    server_version: str
    dump_version: str  # of pg_dump
    encoding: str
    entries: tuple[TocEntry, ...]  # in the order in which they are restored

    @property
    def by_id(self) -> Mapping[int, TocEntry]:
        """The entries by dump id."""
        return {entry.dump_id: entry for entry in self.entries}


def read_toc(content: bytes, *, where: str) -> Toc:
    """Read a toc.dat. Raises ObjectCorrupt, FormatUnsupported for an archive of another pg_dump than we know."""
    reader = _Reader(content, where)
    if reader.take(len(MAGIC)) != MAGIC:
        raise ObjectCorrupt(f"{where!r} is no table of contents of pg_dump")
    major, minor, _ = reader.take(3)
    if (major, minor) not in VERSIONS:
        raise FormatUnsupported(
            f"{where!r} is an archive of version {major}.{minor}; this pgvault knows 1.14 to 1.16",
            hint="Use a newer pgvault.",
        )
    reader.integer_bytes = reader.take(1)[0]
    reader.take(2)  # bytes of an offset, which this format does not hold; and the format
    if (major, minor) >= (1, 15):
        reader.take(1)
    else:
        reader.integer()
    for _ in range(DATE_FIELDS):
        reader.integer()
    database, server_version, dump_version = (reader.text() or b"" for _ in range(3))
    raw = [_read_entry(reader, has_relkind=(major, minor) >= (1, 16)) for _ in range(reader.integer())]
    encoding = _encoding(raw)
    decode = _decoder(encoding)
    return Toc(
        decode(database),
        decode(server_version),
        decode(dump_version),
        encoding,
        tuple(_entry(each, decode) for each in raw),
    )


@dataclass(frozen=True, slots=True)
class _RawEntry:
    """An entry before it is known how its text is encoded."""

    dump_id: int
    needs: tuple[int, ...]
    texts: Mapping[str, bytes | None]


class _Reader:
    """The bytes of a toc.dat, from front to end."""

    def __init__(self, content: bytes, where: str) -> None:
        self._content = content
        self._at = 0
        self._where = where
        self.integer_bytes = 4

    def take(self, count: int) -> bytes:
        piece = self._content[self._at : self._at + count]
        if len(piece) < count:
            raise ObjectCorrupt(f"{self._where!r} ends in the middle of an entry")
        self._at += count
        return piece

    def integer(self) -> int:
        sign = self.take(1)[0]
        value = int.from_bytes(self.take(self.integer_bytes), "little")
        return -value if sign else value

    def text(self) -> bytes | None:
        length = self.integer()
        if length > TEXT_MAX:
            raise ObjectCorrupt(f"{self._where!r} holds a text of {length} bytes")
        return None if length < 0 else self.take(length)

    def number(self) -> int:
        """An integer that is written as text."""
        digits = self.text() or b""
        if not digits.isdigit():
            raise ObjectCorrupt(f"{self._where!r} holds {digits!r} where a number belongs")
        return int(digits)


def _read_entry(reader: _Reader, *, has_relkind: bool) -> _RawEntry:
    dump_id = reader.integer()
    reader.integer()  # whether it has data; the file's name says so, too
    texts: dict[str, bytes | None] = {name: reader.text() for name in ("catalog_oid", "oid", "tag", "kind")}
    reader.integer()  # section
    for name in ("definition", "drop", "copy", "schema", "tablespace", "access_method"):
        texts[name] = reader.text()
    if has_relkind:
        reader.integer()
    texts["owner"] = reader.text()
    reader.text()  # "WITH OIDS" of old
    needs = []
    while (need := reader.text()) is not None:
        needs.append(_decimal(need))
    texts["file"] = reader.text()
    return _RawEntry(dump_id, tuple(needs), texts)


def _entry(raw: _RawEntry, decode: _Decoder) -> TocEntry:
    texts = {name: decode(value or b"") for name, value in raw.texts.items()}
    return TocEntry(
        dump_id=raw.dump_id,
        catalog_oid=_decimal(raw.texts["catalog_oid"]),
        oid=_decimal(raw.texts["oid"]),
        tag=texts["tag"],
        kind=texts["kind"],
        schema=texts["schema"] or None,
        owner=texts["owner"],
        tablespace=texts["tablespace"],
        definition=texts["definition"],
        drop=texts["drop"],
        needs=raw.needs,
        file=texts["file"] or None,
    )


def _decimal(digits: bytes | None) -> int:
    if not digits or not digits.isdigit():
        raise ObjectCorrupt(f"a table of contents holds {digits!r} where a number belongs")
    return int(digits)


def _encoding(entries: Iterable[_RawEntry]) -> str:
    for entry in entries:
        if entry.texts["kind"] == b"ENCODING":
            match = ENCODING.search((entry.texts["definition"] or b"").decode("ascii", "replace"))
            if match is not None:
                return match[1]
    return "UTF8"


class _Decoder:
    """Bytes to text, in one encoding."""

    def __init__(self, codec: str) -> None:
        self._codec = codec

    def __call__(self, value: bytes) -> str:
        return value.decode(self._codec, "surrogateescape")


def _decoder(encoding: str) -> _Decoder:
    name = encoding.upper()
    if name not in PLAIN:
        # PostgreSQL's LATIN1, WIN1252, ISO_8859_5, EUC_JP … are those of Python but for few.
        for candidate in (CODECS.get(name, name), name.replace("WIN", "cp")):
            try:
                return _Decoder(codecs.lookup(candidate).name)
            except LookupError:
                continue
    return _Decoder("utf-8")
