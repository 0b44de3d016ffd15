"""How the catalog is asked for constraints: the columns of each row, of which the first is the oid of a table.

{enforced} and {period} stand for what came with PostgreSQL 18. The search path is pg_catalog alone.
"""

from __future__ import annotations

# oid, schema, name, kind, is partition, root, has foreign partitions, has heirs, columns of the primary key
TABLES = """
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text, c.relispartition,
       pg_partition_root(c.oid)::oid::bigint,
       c.relkind = 'p' AND EXISTS (SELECT FROM pg_partition_tree(c.oid) leaf JOIN pg_class f ON f.oid = leaf.relid
                                    WHERE f.relkind = 'f'),
       c.relkind = 'r' AND c.relhassubclass,
       ARRAY(SELECT a.attname::text
               FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS part (attnum, place), pg_attribute a
              WHERE i.indrelid = c.oid AND i.indisprimary AND part.place <= i.indnkeyatts
                AND a.attrelid = c.oid AND a.attnum = part.attnum
              ORDER BY part.place)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
 ORDER BY n.nspname, c.relname
"""

# column, name of the constraint, is validated
NOT_NULL = """
SELECT a.attrelid::bigint, a.attname::text, con.conname::text, coalesce(con.convalidated, true)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
  LEFT JOIN pg_constraint con ON con.conrelid = a.attrelid AND con.contype = 'n' AND con.conkey[1] = a.attnum
 WHERE a.attnotnull AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum
"""

# name, expression, is validated, is inherited, is enforced
CHECKS = """
SELECT con.conrelid::bigint, con.conname::text, pg_get_expr(con.conbin, con.conrelid), con.convalidated,
       con.coninhcount > 0, {enforced}
  FROM pg_constraint con WHERE con.contype = 'c' AND con.conrelid <> 0
 ORDER BY con.conrelid, con.conname
"""

# column, domain, its base type, name, expression, is validated, is not null; a row a constraint of the column's
# domain and of the domains below that one
DOMAINS = """
WITH RECURSIVE below (top, domain) AS (
    SELECT t.oid, t.oid FROM pg_type t WHERE t.typtype = 'd'
    UNION ALL
    SELECT b.top, base.oid FROM below b JOIN pg_type t ON t.oid = b.domain
      JOIN pg_type base ON base.oid = t.typbasetype AND base.typtype = 'd'
)
SELECT a.attrelid::bigint, a.attname::text, format_type(t.oid, NULL), format_type(t.typbasetype, t.typtypmod),
       con.conname::text, pg_get_expr(con.conbin, 0), coalesce(con.convalidated, true),
       t.typnotnull AND coalesce(con.first, true)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
  JOIN below b ON b.top = a.atttypid
  JOIN pg_type t ON t.oid = b.domain
  LEFT JOIN (SELECT d.contypid, d.conname, d.conbin, d.convalidated,
                    row_number() OVER (PARTITION BY d.contypid ORDER BY d.conname) = 1 AS first
               FROM pg_constraint d WHERE d.contype = 'c' AND d.contypid <> 0) con ON con.contypid = t.oid
 WHERE a.attnum > 0 AND NOT a.attisdropped AND (t.typnotnull OR con.conname IS NOT NULL)
 ORDER BY a.attrelid, a.attnum, t.oid, con.conname
"""

# the bound as an expression; the default partition of a table without others has none
PARTITION_BOUNDS = """
SELECT * FROM (SELECT c.oid::bigint, pg_get_partition_constraintdef(c.oid) AS bound
                 FROM pg_class c WHERE c.relispartition AND c.relkind = 'r') partition
 WHERE bound IS NOT NULL
"""

# name, expressions, columns (none where one is an expression), predicate, NULLS NOT DISTINCT, operator classes are
# their types' own or equal to them, is an exclusion constraint. The key of a partition belongs to the whole table's.
KEYS = """
SELECT i.indrelid::bigint, x.relname::text,
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, place::int, false)
                    || CASE WHEN co.oid IS NULL OR co.oid IS NOT DISTINCT FROM a.attcollation THEN ''
                            ELSE format(' COLLATE %I.%I', cn.nspname, co.collname) END
               FROM unnest(i.indkey::int2[], i.indcollation::oid[]) WITH ORDINALITY AS part (attnum, coll, place)
               LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = part.attnum AND part.attnum <> 0
               LEFT JOIN pg_collation co ON co.oid = part.coll
               LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
              WHERE place <= i.indnkeyatts ORDER BY place),
       CASE WHEN 0 = ANY (i.indkey::int2[]) THEN NULL ELSE
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS part (attnum, place)
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = part.attnum
              WHERE place <= i.indnkeyatts ORDER BY place) END,
       pg_get_expr(i.indpred, i.indrelid), i.indnullsnotdistinct,
       NOT EXISTS (SELECT FROM unnest(i.indclass::oid[]) class JOIN pg_opclass o ON o.oid = class
                    WHERE NOT o.opcdefault AND o.opcname NOT IN
                          ('text_pattern_ops', 'varchar_pattern_ops', 'bpchar_pattern_ops', 'varchar_ops')),
       i.indisexclusion
  FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
 WHERE i.indisunique AND NOT x.relispartition AND i.indislive AND x.relnamespace <> 'pg_toast'::regnamespace
 ORDER BY i.indrelid, x.relname
"""

# name, target, match, is validated, is enforced, has a period, columns, target's columns, operators, collations.
# Those with a parent are copies, made for the partitions on either side.
FOREIGN_KEYS = """
SELECT con.conrelid::bigint, con.conname::text, con.confrelid::bigint, con.confmatchtype::text, con.convalidated,
       {enforced}, {period}, parts.columns, parts.targets, parts.operators, parts.collations
  FROM pg_constraint con
 CROSS JOIN LATERAL (
    SELECT array_agg(a.attname::text ORDER BY place) AS columns, array_agg(t.attname::text ORDER BY place) AS targets,
           array_agg(CASE WHEN s.nspname = 'pg_catalog' THEN o.oprname::text
                          ELSE format('OPERATOR(%I.%s)', s.nspname, o.oprname) END ORDER BY place) AS operators,
           array_agg(CASE WHEN t.attcollation = a.attcollation OR co.oid IS NULL THEN ''
                          ELSE format(' COLLATE %I.%I', cn.nspname, co.collname) END ORDER BY place) AS collations
      FROM unnest(con.conkey, con.confkey, con.conpfeqop) WITH ORDINALITY AS part (here, there, operator, place)
      JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = part.here
      JOIN pg_attribute t ON t.attrelid = con.confrelid AND t.attnum = part.there
      JOIN pg_operator o ON o.oid = part.operator JOIN pg_namespace s ON s.oid = o.oprnamespace
      LEFT JOIN pg_collation co ON co.oid = t.attcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
 ) parts
 WHERE con.contype = 'f' AND con.conparentid = 0
 ORDER BY con.conrelid, con.conname
"""

# name: exclusion constraints, and keys WITHOUT OVERLAPS, which are of the same kind
EXCLUSIONS = """
SELECT con.conrelid::bigint, con.conname::text FROM pg_constraint con
 WHERE con.conparentid = 0 AND (con.contype = 'x' OR (con.contype IN ('p', 'u') AND {period}))
 ORDER BY con.conrelid, con.conname
"""

# columns whose type is an array of a domain, or a row with one: their constraints are not asked
NESTED_DOMAINS = """
SELECT a.attrelid::bigint, a.attname::text
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
  JOIN pg_type t ON t.oid = a.atttypid
 WHERE a.attnum > 0 AND NOT a.attisdropped
   AND (EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND t.typcategory = 'A' AND e.typtype = 'd')
        OR EXISTS (SELECT FROM pg_attribute f JOIN pg_type d ON d.oid = f.atttypid
                    WHERE t.typtype = 'c' AND f.attrelid = t.typrelid AND f.attnum > 0 AND d.typtype = 'd'))
 ORDER BY a.attrelid, a.attnum
"""
