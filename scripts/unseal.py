#!/usr/bin/env python3
"""Decode one object of a pgvault repository, or all files of a logical backup, without pgvault.

    unseal.py --key FILE --repository DIR OBJECT            plaintext to stdout; FILE: the key, or a sheet
    unseal.py --passphrase FILE --repository DIR OBJECT     the same by a passphrase slot
    unseal.py --repository-key FILE --repository DIR OBJECT   what KMS decrypts `wrapped` of an aws-kms slot to
    unseal.py … --wal OBJECT                                a WAL file, or a tail, without our info frame
    unseal.py … --files TARGET MANIFEST                     the files of a logical or schema backup, for pg_restore
    unseal.py --check --repository DIR OBJECT               is the object whole? needs no key, prints what it is

OBJECT is its name relative to DIR: clusters/main/backups/20260115T103000Z-f7c2/manifest. Needs Python 3.9 with
`cryptography` and `zstandard`, and nothing of pgvault: it follows pgvault/repository/FORMAT.md. Nothing is written
before the whole object was checked. Objects in a bucket: copy it, or just its `keys` and the object, to a directory.

--files makes the directory TARGET, which must not exist; MANIFEST is the backup's root as above. Each object is held
against the digest in the root. Then, as FORMAT.md says: psql -f TARGET/globals.sql, and for every database
pg_restore --create -d postgres TARGET/<oid>.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

HEADER = struct.Struct(">8sHBBI32s16s32s32s")
FRAME_HEAD = struct.Struct(">IIBBH")
TAIL = struct.Struct(">IQQ8s")
DIGEST_BYTES = 32
KEY_BYTES = 32
FRAME_BYTES_MAX = 1 << 20
KINDS: tuple[str, ...] = ("", "manifest", "aborted", "part", "map", "pack", "wal", "system", "watermark", "drill")
KINDS += ("tail", "gap", "tombstone", "verified", "hold", "inventory", "drilled", "checks")
KINDS += ("audit", "notice")


class NotUnsealed(Exception):
    """Why an object does not open."""


def main() -> None:
    """Read the command line and write the plaintext."""
    parser = argparse.ArgumentParser(description="Decode one object of a pgvault repository, without pgvault.")
    parser.add_argument("--repository", type=Path, required=True, metavar="DIR")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the key: 32 bytes as hex or base64")
    parser.add_argument("--passphrase", type=Path, metavar="FILE", help="a file that holds the passphrase")
    parser.add_argument("--repository-key", type=Path, metavar="FILE", help="the repository key, as KMS decrypts it")
    parser.add_argument("--wal", action="store_true", help="leave out the info frame of a WAL object or tail")
    parser.add_argument("--files", type=Path, metavar="TARGET", help="write the files of a logical backup")
    parser.add_argument("--check", action="store_true", help="check lengths and SHA-256 only; needs no key")
    parser.add_argument("object", help="name of the object, relative to DIR")
    given = parser.parse_args()
    if not given.check and [given.key, given.passphrase, given.repository_key].count(None) != 2:
        parser.error("give one of --key, --passphrase and --repository-key")
    try:
        body = (given.repository / given.object).read_bytes()
        if given.check:
            print(check(body))
            return
        repository_id, keys = open_keys(given.repository, given.key, given.passphrase, given.repository_key)
        frames = unseal(body, given.object, repository_id, keys)
        if given.files is not None:
            extract(frames, Backup(given.repository, repository_id, keys), given.files)
            return
    except (NotUnsealed, OSError) as error:
        sys.exit(f"{given.object}: {error}")
    for frame in frames[1:] if given.wal else frames:
        sys.stdout.buffer.write(frame)


class Backup:
    """Where the objects that a root names are found."""

    def __init__(self, repository: Path, repository_id: bytes, keys: dict[int, bytes]) -> None:
        self.repository = repository
        self.repository_id = repository_id
        self.keys = keys

    def open(self, stored: dict[str, Any]) -> list[bytes]:
        """Return the frames of an object that a root names. Raises NotUnsealed, OSError."""
        body = (self.repository / stored["path"]).read_bytes()
        if len(body) != stored["length"] or hashlib.sha256(body).hexdigest() != stored["sha256"]:
            raise NotUnsealed(f"{stored['path']} is not the one that the backup was made with")
        try:
            return unseal(body, stored["path"], self.repository_id, self.keys)
        except NotUnsealed as error:
            raise NotUnsealed(f"{stored['path']}: {error}") from error


def extract(root_frames: list[bytes], backup: Backup, target: Path) -> None:
    """Write every file of a logical backup below `target`. Raises NotUnsealed, OSError; then it is not whole."""
    root = json.loads(b"".join(root_frames))
    if root.get("type") not in ("logical", "schema"):
        raise NotUnsealed("not the root of a logical backup: the files of a physical one are no use without its WAL")
    lists = [json.loads(line) for part in root["parts"] for line in b"".join(backup.open(part)).splitlines()]
    pieces: dict[int, list[tuple[Path, list[Any]]]] = {}
    target.mkdir(mode=0o700)
    for record in lists:
        names = record["path"].split("/")
        if record["kind"] != "file" or {"", ".", ".."} & set(names):
            raise NotUnsealed(f"the file list holds {record['path']!r}")
        path = target.joinpath(*names)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.truncate(record["size"])  # zeros lie in no pack
        for extent in record["extents"]:
            if extent[2] is not None:
                pieces.setdefault(extent[2], []).append((path, extent))
    for number, placed in sorted(pieces.items()):
        frames = backup.open(root["packs"][number])
        for path, extent in placed:
            with path.open("r+b") as file:
                file.seek(extent[0])
                file.write(cut(frames, extent))


def cut(frames: list[bytes], extent: list[Any]) -> bytes:
    """Return an extent's bytes from a pack's frames. Raises NotUnsealed."""
    _, length, _, frame, offset, _ = extent
    content = b""
    for number in range(frame, len(frames)):
        content += frames[number][offset : offset + length - len(content)]
        offset = 0
        if len(content) == length:
            return content
    raise NotUnsealed("a pack ends before what the file list places in it")


def check(body: bytes) -> str:
    """Say what an object is once its trailer fits it. Raises NotUnsealed."""
    fields = read_header(body)
    lengths, plain_length = read_trailer(body)
    digest = hashlib.sha256(body).hexdigest()
    return f"{KINDS[fields[2]]} key={fields[4]} frames={len(lengths)} plain={plain_length} sha256={digest}"


def unseal(body: bytes, path: str, repository_id: bytes, keys: dict[int, bytes]) -> list[bytes]:
    """Return the plaintext of every frame. Raises NotUnsealed."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    fields = read_header(body)
    lengths, plain_length = read_trailer(body)
    key_id, salt = fields[4], fields[5]
    if key_id not in keys:
        raise NotUnsealed(f"sealed with key {key_id}, which none of the key slots gave")
    cipher = AESGCM(hkdf(keys[key_id], salt, b"pgvault 1 object"))
    bound = hashlib.sha256(repository_id + path.encode() + body[: HEADER.size]).digest()
    frames = []
    offset = HEADER.size
    for number, length in enumerate(lengths):
        head = body[offset : offset + FRAME_HEAD.size]
        sealed = body[offset + FRAME_HEAD.size : offset + length]
        offset += length
        if len(head) < FRAME_HEAD.size:
            raise NotUnsealed(f"frame {number} is cut")
        stored, plain, codec, last, zero = FRAME_HEAD.unpack(head)
        if stored != len(sealed) or last != (number == len(lengths) - 1) or zero or plain > FRAME_BYTES_MAX:
            raise NotUnsealed(f"frame {number} does not fit its index")
        try:
            payload = cipher.decrypt(number.to_bytes(12, "big"), sealed, bound + struct.pack(">Q", number) + head)
        except InvalidTag:
            raise NotUnsealed(f"frame {number} does not open: changed, moved, or another key") from None
        frames.append(expand(payload, codec, plain, number))
    if sum(map(len, frames)) != plain_length:
        raise NotUnsealed("the frames do not add up to the length in the trailer")
    return frames


def expand(payload: bytes, codec: int, plain_length: int, number: int) -> bytes:
    """Undo one frame's codec: 0 raw, 1 zstd. Raises NotUnsealed."""
    import zstandard

    if codec == 1:
        try:
            promised = zstandard.get_frame_parameters(payload)
            if promised.content_size != plain_length or not promised.has_checksum:
                raise NotUnsealed(f"frame {number} is not one zstd frame with its length and a checksum")
            decompressor = zstandard.ZstdDecompressor().decompressobj()
            plain = decompressor.decompress(payload)
        except zstandard.ZstdError as error:
            raise NotUnsealed(f"frame {number}: {error}") from error
        if not decompressor.eof or decompressor.unused_data:
            raise NotUnsealed(f"frame {number}: a zstd frame is cut or has a tail")
    elif codec == 0:
        plain = payload
    else:
        raise NotUnsealed(f"frame {number} has codec {codec}")
    if len(plain) != plain_length:
        raise NotUnsealed(f"frame {number} has the wrong length")
    return plain


def read_header(body: bytes) -> tuple[bytes, int, int, int, int, bytes, bytes, bytes, bytes]:
    """Return the fields of the header. Raises NotUnsealed."""
    if body[:8] != b"PGVAULT\n" or len(body) < HEADER.size:
        raise NotUnsealed("not a sealed object (pgvault.json, keys/… and refs are clear text)")
    fields = HEADER.unpack_from(body)
    _, version, kind, cipher, _, _, _, _, zero = fields
    if version != 1 or cipher != 1 or not 1 <= kind < len(KINDS) or zero != bytes(32):
        raise NotUnsealed(f"not format 1: version {version}, cipher {cipher}, kind {kind}")
    return fields


def read_trailer(body: bytes) -> tuple[tuple[int, ...], int]:
    """Return the stored length of each frame, and the plaintext's. Raises NotUnsealed."""
    end = len(body) - DIGEST_BYTES
    if end < HEADER.size + TAIL.size:
        raise NotUnsealed("cut")
    count, plain_length, stored_length, magic = TAIL.unpack_from(body, end - TAIL.size)
    index_at = end - TAIL.size - 4 * count
    if magic != b"PGVEND1\n" or stored_length != len(body) or count < 1 or index_at < HEADER.size:
        raise NotUnsealed("no valid trailer: cut, or something is behind it")
    if hashlib.sha256(body[:end]).digest() != body[end:]:
        raise NotUnsealed("fails its own SHA-256")
    lengths = struct.unpack_from(f">{count}I", body, index_at)
    if HEADER.size + sum(lengths) != index_at:
        raise NotUnsealed("the frame index does not fit")
    return lengths, plain_length


def open_keys(
    repository: Path, key: Path | None, passphrase: Path | None, repository_key: Path | None = None
) -> tuple[bytes, dict[int, bytes]]:
    """Return the repository id and every repository key that a slot gives, or the one given. Raises NotUnsealed."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    numbers = [path for path in (repository / "keys").iterdir() if len(path.name) == 8 and path.name.isdigit()]
    if not numbers:
        raise NotUnsealed(f"no key document in {repository / 'keys'}")
    document = json.loads(max(numbers, key=lambda path: path.name).read_bytes())
    repository_id = bytes.fromhex(document["repository_id"])
    if repository_key is not None:  # which of them it is, its objects tell
        return repository_id, {entry["id"]: read_key(repository_key) for entry in document["keys"]}
    keys = {}
    for entry in document["keys"]:
        bound = b"pgvault 1 slot" + repository_id + entry["id"].to_bytes(4, "big")
        for slot in entry["slots"]:
            if slot["kind"] == "raw" and key is not None:
                wrapping = hkdf(read_key(key), repository_id, b"pgvault 1 raw slot")
            elif slot["kind"] == "passphrase" and passphrase is not None:
                wrapping = stretch(read_line(passphrase), slot["scrypt"])
            else:
                continue
            wrapped = base64.b64decode(slot["wrapped"])
            try:
                keys[entry["id"]] = AESGCM(wrapping).decrypt(wrapped[:12], wrapped[12:], bound)
            except InvalidTag:
                continue
    if not keys:
        raise NotUnsealed("the key or passphrase opens no key slot of this repository")
    return repository_id, keys


def stretch(passphrase: bytes, cost: dict[str, Any]) -> bytes:
    """Return scrypt of a passphrase."""
    salt = base64.b64decode(cost["salt"])
    memory = 256 * cost["n"] * cost["r"]
    return hashlib.scrypt(passphrase, salt=salt, n=cost["n"], r=cost["r"], p=cost["p"], maxmem=memory, dklen=KEY_BYTES)


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA-256 (RFC 5869) with 32 bytes of output."""
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\x01", "sha256")


def read_line(path: Path) -> bytes:
    """Return a file's content less one line end."""
    return path.read_bytes().removesuffix(b"\n").removesuffix(b"\r")


def read_key(path: Path) -> bytes:
    """Return 32 bytes from hex or base64 text, or from the four key lines of an escrow sheet. Raises NotUnsealed."""
    text = path.read_text().strip()
    lines = re.findall(r"^\s*key [1-4]/4\s+([0-9a-f ]+?)\s+check", text, re.I | re.M)
    text = "".join(lines).replace(" ", "") if lines else text
    try:
        secret = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise NotUnsealed(f"{path} does not hold 32 bytes as hex or base64, or a whole sheet")
    return secret


if __name__ == "__main__":
    main()
