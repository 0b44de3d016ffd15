from __future__ import annotations

import pytest

from pgvault.drill.looks.libraries import Lack, judge, preloads


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("", []),
        ("pg_cron", ["pg_cron"]),
        ('pg_stat_statements, "$libdir/pg_cron" ,', ["pg_stat_statements", "$libdir/pg_cron"]),
    ],
)
def test_preloaded_libraries_are_read_as_postgresql_reads_them(setting: str, names: list[str]) -> None:
    """Separated by commas, quoted or not."""
    assert preloads(setting) == names


def test_what_is_needed_fails_and_what_is_not_is_told() -> None:
    """An extension that nothing is made with keeps nobody from reading the data."""
    spare, needed = Lack("library 'pg_cron' is not installed here", False), Lack("extension 'postgis' …", True)

    assert judge(7, [], seconds=0).passed
    assert not judge(7, [spare], seconds=0).is_blocking
    both = judge(7, [spare, needed], seconds=0)
    assert both.failed
    assert both.is_blocking
    assert both.detail.startswith("extension 'postgis'")
