"""What PostgreSQL says: LSNs, WAL names, pg_control, pages, programs, servers. No repository here."""
