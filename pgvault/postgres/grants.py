"""The rights that pgvault needs in a cluster, for a role that is no superuser.

Found by trying on 15, 17 and 18: without any of them something that a Session does is refused, with all of them
nothing is. What else it asks (pg_control_*, pg_locks, pg_stat_archiver, pg_logical_emit_message) is everybody's.
Function grants live in one database: they are for the database that the dsn names.
"""

from __future__ import annotations

SETTINGS_ROLE = "pg_read_all_settings"  # data_directory, config_file, shared_preload_libraries are hidden else
GRANTED_FUNCTIONS = (
    "pg_backup_start(text, boolean)",
    "pg_backup_stop(boolean)",
    "pg_create_restore_point(text)",
    "pg_switch_wal()",
)
GRANTS = (
    f"GRANT {SETTINGS_ROLE} TO {{role}}",
    *(f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {{role}}" for function in GRANTED_FUNCTIONS),
)


def grants_for(role: str) -> tuple[str, ...]:
    """Return the statements that let `role` do all that a Session does."""
    quoted = '"' + role.replace('"', '""') + '"'
    return tuple(grant.format(role=quoted) for grant in GRANTS)
