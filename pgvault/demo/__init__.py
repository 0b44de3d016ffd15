"""The whole main job on an embedded PostgreSQL, in a minute: back up, lose a table, restore, prove."""
