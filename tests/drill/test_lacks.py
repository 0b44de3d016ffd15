from __future__ import annotations

import pytest

from pgvault.drill.lacks import lack_of


@pytest.mark.parametrize(
    ("said", "lack"),
    [
        (
            'pg_restore: error: could not execute query: ERROR:  extension "postgis" is not available\nDETAIL: …',
            "extension 'postgis' is not installed here",
        ),
        (
            'ERROR:  could not open extension control file "/usr/share/extension/odd-name.control": No such file',
            "extension 'odd-name' is not installed here",
        ),
        (
            'ERROR:  could not access file "$libdir/parcels": No such file or directory',
            "library '$libdir/parcels' is not installed here",
        ),
        ('ERROR:  could not load library "/usr/lib/x.so": undefined symbol: f', "library '/usr/lib/x.so' can not be"),
        ("ERROR:  pg_cron can only be loaded via shared_preload_libraries", "'pg_cron' wants to be preloaded"),
        ('ERROR:  invalid LC_COLLATE locale name: "de_DE.utf8"', "locale 'de_DE.utf8' is not installed here"),
        ('ERROR:  invalid locale name: "sv_SE"', "locale 'sv_SE' is not installed here"),
        ('ERROR:  could not create locale "nl_NL": No such file', "locale 'nl_NL' is not installed here"),
        ("ERROR:  ICU is not supported in this build", "the PostgreSQL here is built without ICU"),
        ("ERROR:  could not establish connection\nDETAIL:  invalid SSL protocol version range", "asks no other server"),
        ("ERROR:  access to non-system foreign table is restricted\nCONTEXT: …", "a drill asks no other server"),
    ],
)
def test_what_this_host_lacks_is_named(said: str, lack: str) -> None:
    """An operator reads what to install."""
    assert lack in (lack_of(said) or "")


@pytest.mark.parametrize(
    "said",
    [
        'ERROR:  relation "orders" does not exist',
        'ERROR:  duplicate key value violates unique constraint "orders_pkey"',
        "ERROR:  invalid byte sequence for encoding",
        "ERROR:  function app.total(integer) does not exist\nHINT:  No function matches the given name",
        'ERROR:  could not read file "base/5/1259": read only 0 of 8192 bytes',
        'ERROR:  permission denied to create extension "dblink"',
        "",
    ],
)
def test_what_is_about_the_backup_is_no_excuse(said: str) -> None:
    """Everything else is a finding."""
    assert lack_of(said) is None
