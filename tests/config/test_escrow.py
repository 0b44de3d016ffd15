from __future__ import annotations

import pytest

from pgvault.config.escrow import decode_key_lines, encode_key_lines, is_sheet
from pgvault.errors import KeyUnusable

ID = b"repository id 16"
KEY = bytes(range(32))
LINES = encode_key_lines(ID, KEY)


def test_sheet_gives_back_its_key() -> None:
    """However it was typed: among other words, in capitals, with other spaces and line ends."""
    text = "\n".join(LINES)

    for typed in (text, text.upper(), text.replace("\n", "\r\n"), text.replace(" ", "  "), f"Escrow!\n\n{text}\n\nbye"):
        assert is_sheet(typed)
        assert decode_key_lines(typed, where="x") == (ID, KEY)
    assert decode_key_lines("\n".join("   " + line.replace("0011 ", "0011") for line in LINES), where="x") == (ID, KEY)


def test_no_line_shows_more_than_its_share() -> None:
    """The checks are short enough to say nothing of the key, and long enough to find a typo."""
    assert [len(line.split("check")[-1].replace(" ", "")) for line in LINES[1:]] == [4, 4, 4, 4, 8]


def test_every_typo_is_found_and_said() -> None:
    """One digit changed anywhere, two swapped: never another key."""
    text = "\n".join(LINES)
    digits = [position for position, letter in enumerate(text) if letter in "0123456789abcdef"]
    start = text.index("\n")

    for position in digits:
        if position > start and text[position - 1 : position + 1] == "ke":
            continue
        for other in "0f":
            if text[position] == other or not _is_digit(text, position):
                continue
            with pytest.raises(KeyUnusable):
                decode_key_lines(text[:position] + other + text[position + 1 :], where="x")
    swapped = text.replace("key 1/4", "key x/4").replace("key 2/4", "key 1/4").replace("key x/4", "key 2/4")
    with pytest.raises(KeyUnusable, match="key 1/4"):
        decode_key_lines(swapped, where="x")


def _is_digit(text: str, position: int) -> bool:
    """Whether this is part of a number, not of a word."""
    word_start = max(text.rfind(" ", 0, position), text.rfind("\n", 0, position)) + 1
    word = text[word_start:].split(maxsplit=1)[0]
    return set(word) <= set("0123456789abcdef")


@pytest.mark.parametrize("missing", range(len(LINES)))
def test_sheet_without_one_of_its_lines_is_refused(missing: int) -> None:
    """Also with one given twice."""
    lines = [line for number, line in enumerate(LINES) if number != missing]

    with pytest.raises(KeyUnusable):
        decode_key_lines("\n".join(lines), where="x")


def test_sheet_of_two_sheets_is_refused() -> None:
    """Each line may be right and the whole wrong."""
    other = encode_key_lines(ID, KEY[::-1])

    with pytest.raises(KeyUnusable, match="last check"):
        decode_key_lines("\n".join([*LINES[:2], *other[2:5], LINES[5]]), where="x")
    with pytest.raises(KeyUnusable, match="last check"):
        decode_key_lines("\n".join([encode_key_lines(b"x" * 16, KEY)[0], *LINES[1:]]), where="x")


def test_typo_is_named_by_its_line_and_the_key_is_not_shown() -> None:
    """Whoever types finds the place."""
    text = "\n".join(LINES).replace("1011 1213", "1011 1214")

    with pytest.raises(KeyUnusable, match="typo in line key 3/4") as caught:
        decode_key_lines(text, where="sheet")
    assert "1011" not in str(caught.value)


def test_what_is_no_sheet_is_none() -> None:
    """Hex and base64 are read as before."""
    assert not is_sheet(KEY.hex())
    assert not is_sheet("")
