from __future__ import annotations

from collections.abc import Callable

import pytest

from pgvault.repository.fields import read_count, read_decimal, read_digest, read_instant, read_text


def test_fields_are_read() -> None:
    """What is well formed comes back as its type; instants come back in UTC."""
    assert read_count(2**64) == 2**64
    assert read_decimal("7501234567890123456") == 7501234567890123456
    assert read_text("") == ""
    assert read_digest("0f" * 32) == b"\x0f" * 32
    assert read_instant("2026-01-15T11:30:00.5+01:00").isoformat() == "2026-01-15T10:30:00.500000+00:00"


NEAR_MISSES: list[tuple[Callable[[object], object], list[object]]] = [
    (read_count, [None, True, 1.0, "1", -1, [], {}]),
    (read_decimal, [None, 1, "", "-1", "+1", " 1", "1_0", "\u0663", "0x1"]),
    (read_text, [None, 1, [], {}, b""]),
    (read_digest, [None, "", "0f" * 31, "0f" * 33, "xy" * 32, 7]),
    (read_instant, [None, 7, "", "2026-01-15T11:30:00", "yesterday", "2026-13-01T00:00Z"]),
]


@pytest.mark.parametrize(("read", "value"), [(read, value) for read, values in NEAR_MISSES for value in values])
def test_what_is_not_exactly_that_is_refused(read: Callable[[object], object], value: object) -> None:
    """JSON's near misses are no values: true is no count, a time without zone no instant."""
    with pytest.raises(ValueError, match=r"."):
        read(value)
