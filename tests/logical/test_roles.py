"""Roles out of a dump, one statement after the other; those that are there are left alone."""

from __future__ import annotations

from pgvault.logical.roles import about, created_roles, granted_roles, restore_roles, statements

TEXT = r"""--
-- Roles; with a semicolon
--
\restrict abc;def

SET client_encoding = 'UTF8';
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER;
CREATE ROLE "a;""b --";
ALTER ROLE "a;""b --" WITH NOSUPERUSER INHERIT LOGIN NOREPLICATION NOBYPASSRLS PASSWORD 'x;''y --';
COMMENT ON ROLE "a;""b --" IS 'two
\restrict lines; -- no comment';
CREATE TABLESPACE fast OWNER postgres LOCATION '/srv/fast';
GRANT CREATE ON TABLESPACE fast TO "a;""b --";
GRANT "a;""b --" TO postgres WITH ADMIN OPTION GRANTED BY postgres;
GRANT pg_monitor TO "a;""b --" WITH INHERIT TRUE GRANTED BY postgres;
\unrestrict abc;def
"""


def test_statements_end_where_sql_says() -> None:
    """Not inside of quotes, and no comment or psql command is one."""
    found = list(statements(TEXT))

    assert len(found) == 10
    assert found[0] == "SET client_encoding = 'UTF8'"
    assert found[5].endswith("IS 'two\n\\restrict lines; -- no comment'")


def test_each_statement_is_about_one_role_or_none() -> None:
    """Grants are about who gets them; tablespaces are no business of ours."""
    assert [about(each) for each in statements(TEXT)] == [
        None,
        ("create", "postgres"),
        ("alter", "postgres"),
        ("create", 'a;"b --'),
        ("alter", 'a;"b --'),
        ("alter", 'a;"b --'),
        None,
        None,
        ("grant", "postgres"),
        ("grant", 'a;"b --'),
    ]
    assert created_roles(TEXT) == ["postgres", 'a;"b --']


def test_a_role_that_is_there_is_left_alone() -> None:
    """Its attributes, its password and its memberships; a new one gets all of its own."""
    said: list[str] = []

    done = restore_roles(TEXT, {"postgres"}, said.append, is_superuser=True)

    assert done.created == ['a;"b --']
    assert [each.split()[0] for each in said] == ["CREATE", "ALTER", "COMMENT", "GRANT"]
    assert not any("postgres WITH" in each or "TO postgres" in each for each in said)


def test_what_only_a_superuser_may_name_is_not_named() -> None:
    """NOSUPERUSER is what a new role is without it; who granted may not be allowed to here."""
    said: list[str] = []

    def execute(statement: str) -> str | None:
        said.append(statement)
        return "permission denied" if "GRANTED BY" in statement else None

    done = restore_roles(TEXT, {"postgres"}, execute, is_superuser=False)

    assert "NOSUPERUSER" not in said[1]
    assert "LOGIN" in said[1]
    assert said[-1] == 'GRANT pg_monitor TO "a;""b --" WITH INHERIT TRUE'
    assert done.notes == []


def test_a_role_that_is_refused_is_told_and_left_out() -> None:
    """Nothing more of it is tried, and the others come."""
    done = restore_roles(
        TEXT, (), lambda each: "no" if each.startswith("CREATE ROLE post") else None, is_superuser=True
    )

    assert done.created == ['a;"b --']
    assert done.notes == ["role 'postgres': create was refused: no"]


def test_grants_name_their_roles() -> None:
    """PUBLIC is none; one that is called so is."""
    text = 'GRANT SELECT ON TABLE public."TO x" TO bob;\nREVOKE ALL ON TABLE t FROM PUBLIC;GRANT ALL ON t TO "PUBLIC";'

    assert granted_roles(text) == {"bob", "PUBLIC"}
    assert granted_roles("ALTER DEFAULT PRIVILEGES FOR ROLE ann GRANT SELECT ON TABLES TO eve;") == {"ann", "eve"}
