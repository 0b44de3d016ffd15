"""The rights that pgvault needs in a cluster, for a role that is no superuser.

Found by trying on 15, 17 and 18: without any of them something that a Session does is refused, with all of them
nothing is. What else it asks (pg_control_*, pg_locks, pg_stat_archiver, pg_logical_emit_message) is everybody's.
Function grants live in one database: they are for the database that the dsn names. A cluster whose files or WAL are
streamed wants REPLICATION besides, and pg_hba.conf a line for it.
"""

from __future__ import annotations

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
TLS_MODES = ("require", "verify-ca", "verify-full")
SETTINGS_ROLE = "pg_read_all_settings"  # data_directory, config_file, shared_preload_libraries are hidden else
WAL_FUNCTIONS = ("pg_create_restore_point(text)", "pg_switch_wal()")
GRANTED_FUNCTIONS = ("pg_backup_start(text, boolean)", "pg_backup_stop(boolean)", *WAL_FUNCTIONS)
# Read by `source: stream` where the configuration lies outside the data directory; it goes without, and says so.
FILES_ROLE = "pg_read_server_files"
FILE_FUNCTIONS = ("pg_read_binary_file(text, bigint, bigint, boolean)", "pg_ls_dir(text, boolean, boolean)")
GRANTS = (
    f"GRANT {SETTINGS_ROLE} TO {{role}}",
    *(f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {{role}}" for function in GRANTED_FUNCTIONS),
)


def grants_for(role: str, *, is_remote: bool = False) -> tuple[str, ...]:
    """Return the statements that let `role` do all that a Session does; where files are streamed, that is less."""
    grants = GRANTS if not is_remote else tuple(each for each in GRANTS if "pg_backup_" not in each)
    return tuple(grant.format(role=quoted_name(role)) for grant in grants)


def file_grants(role: str) -> tuple[str, ...]:
    """Return the statements that let `role` read configuration outside the data directory, and every other file."""
    functions = (f"GRANT EXECUTE ON FUNCTION pg_catalog.{each} TO {quoted_name(role)}" for each in FILE_FUNCTIONS)
    return (f"GRANT {FILES_ROLE} TO {quoted_name(role)}", *functions)


def replication_grant(role: str) -> str:
    """Return the statement that lets `role` stream: it makes the slot, and receives from it."""
    return f"ALTER ROLE {quoted_name(role)} REPLICATION"


def replication_line(role: str, *, host: str = "", sslmode: str = "", has_password: bool = False) -> str:
    """Return a line of pg_hba.conf that admits `role` for replication, which `all` does not include.

    `host` and `sslmode` are the dsn's. From another host the line says ADDRESS where that host's belongs.
    """
    hosts = [each for each in host.split(",") if each and not each.startswith(("/", "@"))]
    if not hosts:
        return f"local replication {quoted_name(role)} {'scram-sha-256' if has_password else 'peer'}"
    kind = "hostssl" if sslmode in TLS_MODES else "host"
    address = "samehost" if set(hosts) <= LOOPBACK else "ADDRESS"
    return f"{kind} replication {quoted_name(role)} {address} scram-sha-256"


def quoted_name(name: str) -> str:
    """Return a name as SQL and pg_hba.conf read it to the letter."""
    return '"' + name.replace('"', '""') + '"'
