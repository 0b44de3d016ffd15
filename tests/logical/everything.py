"""A database with an object of every kind that pg_dump knows, under odd names too."""

from __future__ import annotations

from tests.servers import Server

ROLES = (
    'CREATE ROLE "odd ""role; --" LOGIN PASSWORD \'pass;word\'',
    "CREATE ROLE staff NOLOGIN CONNECTION LIMIT 3",
    'GRANT staff TO "odd ""role; --" WITH ADMIN OPTION',
    "COMMENT ON ROLE staff IS 'who; works\n-- here'",
    "ALTER ROLE staff SET work_mem = '5MB'",
)
STATEMENTS = (
    'CREATE SCHEMA "odd.schema ""x"""',
    "CREATE EXTENSION pg_trgm",
    "CREATE EXTENSION postgres_fdw",
    "CREATE EXTENSION hstore SCHEMA public",
    "CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy')",
    "CREATE DOMAIN posint AS int CHECK (VALUE > 0)",
    "CREATE TYPE span AS RANGE (subtype = float8)",
    "CREATE TYPE pair AS (a int, b text)",
    "CREATE COLLATION german (provider = libc, locale = 'C')",
    "CREATE SEQUENCE alone START 7 INCREMENT 3",
    "SELECT nextval('alone')",
    "CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN new; END$$",
    "CREATE FUNCTION total(a int, VARIADIC b int[]) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b[1]'",
    "CREATE PROCEDURE nothing(INOUT a posint) LANGUAGE sql AS 'SELECT 1'",
    "CREATE AGGREGATE summed(int) (sfunc = int4pl, stype = int, initcond = '0')",
    "CREATE AGGREGATE counted(*) (sfunc = int8inc, stype = int8, initcond = '0')",
    "CREATE FUNCTION same(mood, text) RETURNS bool LANGUAGE sql AS 'SELECT $1::text = $2'",
    "CREATE OPERATOR === (FUNCTION = same, LEFTARG = mood, RIGHTARG = text)",
    "CREATE FUNCTION as_int(pair) RETURNS int LANGUAGE sql AS 'SELECT $1.a'",
    "CREATE CAST (pair AS int) WITH FUNCTION as_int(pair)",
    "CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple)",
    """CREATE TABLE customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE german,
       m mood DEFAULT 'sad', n posint, s span, p pair, twice int GENERATED ALWAYS AS (n * 2) STORED, h hstore,
       CHECK (n < 100000))""",
    r"""INSERT INTO customers (name, m, n, s, p, h)
        SELECT E'käse\t\\ \n' || g, 'happy', g, '[1,2)', ROW(g, 'x')::pair, 'a=>b' FROM generate_series(1, 500) g""",
    '''CREATE TABLE "odd.schema ""x"""."Table\nwith ; -- all" (id serial PRIMARY KEY,
       "col ""um;n" text DEFAULT ';--', customer int REFERENCES customers ON DELETE CASCADE DEFERRABLE)''',
    'INSERT INTO "odd.schema ""x"""."Table\nwith ; -- all" (customer) SELECT id FROM customers',
    "CREATE TABLE wide (id int, t text)",
    "ALTER TABLE wide ALTER t SET STORAGE EXTERNAL",
    "INSERT INTO wide SELECT g, repeat(md5(g::text), 4000) FROM generate_series(1, 40) g",
    "CREATE TABLE events (at date NOT NULL, kind text, id int, PRIMARY KEY (at, kind, id)) PARTITION BY RANGE (at)",
    """CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')
       PARTITION BY LIST (kind)""",
    "CREATE TABLE events_1_a PARTITION OF events_1 FOR VALUES IN ('a')",
    "CREATE TABLE events_1_rest PARTITION OF events_1 DEFAULT",
    "CREATE TABLE events_rest PARTITION OF events DEFAULT",
    "INSERT INTO events SELECT date '2026-01-01' + g, chr(97 + g % 3), g FROM generate_series(0, 99) g",
    "CREATE TABLE parent (id int, t tsvector, g int[], x box, j jsonb)",
    "CREATE TABLE child (more text) INHERITS (parent)",
    """INSERT INTO child SELECT g, 'a b', ARRAY[g], box(point(g, g), point(0, 0)), '{"a": 1}', 'm'
       FROM generate_series(1, 9) g""",
    "INSERT INTO parent SELECT 1",
    "CREATE INDEX by_text ON child USING gin (t)",
    "CREATE INDEX by_json ON child USING gin (j jsonb_path_ops)",
    "CREATE INDEX by_box ON child USING gist (x)",
    "CREATE INDEX by_hash ON child USING hash (more)",
    "CREATE INDEX by_block ON child USING brin (id)",
    "CREATE INDEX by_space ON child USING spgist (x)",
    "CREATE UNIQUE INDEX by_part ON customers (lower(name)) INCLUDE (m) WHERE n > 3",
    "CREATE INDEX by_likeness ON customers USING gin (name gin_trgm_ops)",
    "ALTER TABLE child ADD CONSTRAINT no_two EXCLUDE USING gist (x WITH &&) WHERE (id > 8)",
    "CREATE STATISTICS together (dependencies) ON m, n FROM customers",
    "ALTER TABLE customers ALTER name SET STATISTICS 500",
    "CREATE UNLOGGED TABLE quick (id int)",
    "INSERT INTO quick VALUES (1), (2)",
    "CREATE VIEW happy AS SELECT id, name FROM customers WHERE m = 'happy' WITH CHECK OPTION",
    "CREATE MATERIALIZED VIEW counts AS SELECT kind, count(*) FROM events GROUP BY kind",
    "CREATE UNIQUE INDEX ON counts (kind)",
    "CREATE RULE quiet AS ON DELETE TO quick DO INSTEAD NOTHING",
    "CREATE TRIGGER touch BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touched()",
    "ALTER TABLE customers DISABLE TRIGGER touch",
    "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE customers FORCE ROW LEVEL SECURITY",
    "CREATE POLICY own ON customers FOR SELECT TO staff USING (id > 3)",
    "CREATE FUNCTION watched() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION watched()",
    """CREATE PUBLICATION parts FOR TABLE customers (id, name), events WHERE (at > '2026-01-05')
       WITH (publish_via_partition_root)""",
    "CREATE PUBLICATION schemas FOR TABLES IN SCHEMA public",
    "CREATE SUBSCRIPTION far CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p WITH (connect = false)",
    "CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere')",
    "CREATE USER MAPPING FOR staff SERVER other OPTIONS (user 'x', password 'y')",
    "CREATE FOREIGN TABLE outside (id int) SERVER other",
    "SELECT lo_from_bytea(70001, decode(repeat('00ff', 3000), 'hex'))",
    "SELECT lo_from_bytea(70002, 'text')",
    "SELECT lo_create(70003)",
    "GRANT SELECT ON LARGE OBJECT 70001 TO staff",
    "COMMENT ON LARGE OBJECT 70002 IS 'large'",
    "ALTER LARGE OBJECT 70002 OWNER TO staff",
    "GRANT SELECT (id), UPDATE ON customers TO staff WITH GRANT OPTION",
    'ALTER DEFAULT PRIVILEGES FOR ROLE staff IN SCHEMA public GRANT SELECT ON TABLES TO "odd ""role; --"',
    'ALTER TABLE wide OWNER TO "odd ""role; --"',
    "COMMENT ON COLUMN customers.name IS E'two\nlines; --'",
    "COMMENT ON SCHEMA public IS 'ours'",
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    "ALTER DATABASE shop SET work_mem = '6MB'",
)


def make_everything(server: Server, database: str = "shop") -> None:
    """Fill a new database."""
    for statement in ROLES:
        server.sql(statement)
    server.sql(f"CREATE DATABASE {database} TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8'")
    for statement in STATEMENTS:
        server.sql(statement, database=database)
