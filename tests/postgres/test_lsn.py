from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import UsageError
from pgvault.postgres.lsn import Lsn

positions = st.integers(0, 2**64 - 1)


@given(positions)
def test_printed_lsn_reads_back(value: int) -> None:
    """Every position survives printing and parsing, in either case and with a padded low half."""
    lsn = Lsn(value)

    assert Lsn.parse(str(lsn)) == lsn
    assert Lsn.parse(str(lsn).lower()) == lsn
    assert Lsn.parse(f"{value >> 32:X}/{value & 0xFFFFFFFF:08X}") == lsn


@pytest.mark.parametrize(
    ("text", "value"),
    [("0/0", 0), ("16/B374D848", 0x16B374D848), ("1/0", 2**32), ("0/FFFFFFFF", 2**32 - 1)],
)
def test_lsn_is_printed_as_postgresql_prints_it(text: str, value: int) -> None:
    """The halves are hexadecimal capitals without padding."""
    assert str(Lsn(value)) == text
    assert Lsn.parse(text).value == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "/",
        "0/",
        "/0",
        "0/0/0",
        "0x1/0",
        "G/0",
        "100000000/0",
        "0/100000000",
        " 0/0",
        "0/0\n",
        "-1/0",
        "٣/0",
    ],
)
def test_what_is_no_lsn_is_refused(text: str) -> None:
    """Anything but two hexadecimal halves of at most eight digits is a UsageError."""
    with pytest.raises(UsageError):
        Lsn.parse(text)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_position_outside_64_bits_is_refused(value: int) -> None:
    """There is no position before 0 or past 64 bits."""
    with pytest.raises(UsageError):
        Lsn(value)


@given(positions, positions)
def test_lsns_order_and_subtract_as_their_positions(left: int, right: int) -> None:
    """Order is numeric, not textual (0/9 < 0/10), and the difference is in bytes."""
    assert (Lsn(left) < Lsn(right)) == (left < right)
    assert Lsn(left) - Lsn(right) == left - right
    assert Lsn(right) + (Lsn(left) - Lsn(right)) == Lsn(left)
