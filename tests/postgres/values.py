"""Values of every built-in type, and groups that a careless comparison takes for the same."""

from __future__ import annotations

# Statements that run from 15 to 18, a blank line between two. XML is left out: not every build has it.
EVERY_TYPE = r"""
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"')

CREATE DOMAIN positive AS numeric CHECK (VALUE > 0)

CREATE TYPE pair AS (z int, a text, m mood)

CREATE TABLE every_type (a_bool bool, a_int2 int2, a_int4 int4, a_int8 int8, a_float4 float4,
a_float8 float8, a_numeric numeric, a_money money, a_text text, a_varchar varchar(9),
a_char char(4), a_name name, a_char1 "char", a_bytea bytea, a_date date, a_time time,
a_timetz timetz, a_timestamp timestamp, a_timestamptz timestamptz, an_interval interval,
a_uuid uuid, an_inet inet, a_cidr cidr, a_mac macaddr, a_mac8 macaddr8, a_bit bit(5),
a_varbit varbit, a_json json, a_jsonb jsonb, a_path jsonpath, an_array int[], a_texts text[][],
a_range int4range, a_tsrange tstzrange, a_multi nummultirange, an_enum mood, a_domain positive,
a_pair pair, pairs pair[], a_vector tsvector, a_query tsquery, a_point point, a_box box,
a_circle circle, a_polygon polygon, an_oid oid, a_class regclass, a_type regtype, an_lsn pg_lsn,
a_snapshot pg_snapshot)

INSERT INTO every_type DEFAULT VALUES

INSERT INTO every_type VALUES (true, -32768, 2147483647, -9223372036854775808, '-0', 'NaN',
'NaN', '-12.34', '', '', '', '', '', '', 'infinity', '24:00', '12:00+05:30', '-infinity',
'infinity', '-1 mon +3 days -04:05:06.789', '00000000-0000-0000-0000-000000000000', '::1',
'10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '00000', '', '{ "b" : 1, "b": 2 }',
'{ "b" : 1.00, "a": [null, "\u00e9"] }', '$.a[*] ? (@ > 1)', '{}', '{{a,NULL},{"NULL",""}}',
'empty', '[2024-03-31 01:59:59+01,2024-03-31 03:00:00+02)', '{[1,2),[3.5,)}', 'sad', 1.10,
ROW(1, NULL, 'sad'), ARRAY[ROW(NULL, '', NULL)::pair], 'a:1A fat:2 ''q w''', 'a & !(b:* | c)',
'(1,-0)', '(1,2),(3,4)', '<(1,2),3>', '((0,0),(1,1e-300),(2,0))', 4294967295, 'pg_class',
'public.mood', 'FFFFFFFF/1', '10:20:10,14')

INSERT INTO every_type (a_float4, a_float8, a_numeric, a_text, a_varchar, a_char, a_bytea,
a_timestamptz, a_class, a_json) VALUES ('1e-45', 0.1, 'Infinity', E'line\nß ☃ \\ " '' ,()',
'ü', 'ä', '\x00ff5c27', '2024-10-27 02:30:00+01', 'every_type', '[]')

INSERT INTO every_type (a_float4, a_float8, a_numeric, a_timestamptz, a_date) VALUES (3.4028235e38,
5e-324, 1e-40::numeric + 1e40, '0044-03-15 12:00:00 BC', '0001-01-01 BC')
""".strip().split("\n\n")
EVERY_TYPE_FINGERPRINT = "4652ca860ed9ad93041bdfb1de3f104a"

# A type and the SQL of values that must not have the same fingerprint.
UNLIKE = (
    ("text", ("NULL", "''", "'NULL'", "'()'", "'\"\"'", "' '")),
    ("float8", ("'0'", "'-0'", "'NaN'", "'Infinity'", "0.1", "0.1 + 5e-324 + 1.4e-17")),
    ("float4", ("0.1", "0.10000001")),
    ("numeric", ("1.0", "1.00", "'NaN'", "'Infinity'", "'-Infinity'")),
    ("bytea", ("''", "'\\x00'", "'\\x0000'", "'\\x5c'")),
    ("text[]", ("'{}'", "'{NULL}'", "'{\"NULL\"}'", "'{{a}}'", "'{a}'", "'[0:0]={a}'")),
    ("jsonb", ("'null'", "NULL", "'1'", "'1.0'", "'\"1\"'")),
    ("json", ("'{}'", "'{ }'")),
    ("interval", ("'1 mon'", "'30 days'", "'720 hours'")),
    ("timestamptz", ("'2024-10-27 02:30:00+01'", "'2024-10-27 02:30:00+02'")),
    ("timetz", ("'12:00+00'", "'13:00+01'")),
    ("int4range", ("'empty'", "'[1,2)'", "'(,2)'", "NULL")),
    ("bit varying", ("''", "'0'", "'00'")),
    ("inet", ("'10.0.0.0'", "'10.0.0.0/8'")),
    ("char(5)", ("'a'", "'b'")),
    ("tsvector", ("'a'", "'a:1'")),
    ("money", ("'1.00'", "'-1.00'")),
)
