-- Everything a PostgreSQL database can hold that a dump has to bring back.
CREATE SCHEMA "Ünï code";
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', '😀');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE EXTENSION IF NOT EXISTS plpgsql;
CREATE TABLE kinds (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  b boolean, i2 smallint, i4 int, n numeric(40, 10), f4 real, f8 double precision, m money,
  t text, v varchar(20), c char(5), bin bytea,
  d date, ti time, tz timetz, ts timestamp, tstz timestamptz, iv interval,
  u uuid, j json, jb jsonb, x xml, ia int[], ta text[][], r int4range, mr int4multirange,
  ip inet, ci cidr, ma macaddr, bi bit(3), vb bit varying(5),
  po point, bo box, pa path, pg polygon, cr circle,
  tv tsvector, tq tsquery, e mood, co pair, dom positive, l pg_lsn,
  gen int GENERATED ALWAYS AS (i2 * 2) STORED
);
INSERT INTO kinds (b, i2, i4, n, f4, f8, m, t, v, c, bin, d, ti, tz, ts, tstz, iv, u, j, jb, x, ia, ta, r, mr, ip, ci, ma, bi, vb, po, bo, pa, pg, cr, tv, tq, e, co, dom, l)
VALUES
 (true, -32768, 2147483647, 123456789012345678901234567890.0123456789, 1.5, 'NaN', 12.34, E'line\nbreak\ttab \\. back\\slash\r', 'größe 😀', 'ab',
  (SELECT string_agg(set_byte('\x00'::bytea, 0, g), ''::bytea ORDER BY g) FROM generate_series(0, 255) g),
  '0001-01-01 BC', '24:00', '12:00+02', 'infinity', '2024-02-29 23:59:59.999999+05:30', '1 year -2 mons 3 days 04:05:06.789',
  'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"k": [1, 2, null]}', '{"ü": "\u0001"}', '<a b="c">d</a>', '{1,NULL,3}', '{{a,"b,c"},{"d\"e",NULL}}',
  '[1,10)', '{[1,3),[5,7)}', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03', B'101', B'1', '(1,2)', '(3,4),(1,2)', '[(0,0),(1,1)]', '((0,0),(1,0),(1,1))', '<(0,0),5>',
  to_tsvector('simple', 'a fat cat'), to_tsquery('simple', 'fat & cat'), '😀', ROW(1, 'x,y'), 7, '16/B374D848'),
 (NULL, NULL, NULL, NULL, '-Infinity', NULL, NULL, '', '\N', NULL, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}', NULL, 'empty', '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO kinds (t) VALUES ('\.'), (E'\\.\n'), (E'a\n\\.\nb');
CREATE TABLE "Ünï code"."Ta""ble; DROP" ("Spal te" text DEFAULT 'x''y', "select" int);
INSERT INTO "Ünï code"."Ta""ble; DROP" SELECT 'row ' || g, g FROM generate_series(1, 100) g;
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE empty (a int);
-- Partitions, by range and by hash below it, with a default.
CREATE TABLE events (at date NOT NULL, id int NOT NULL, what text, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY HASH (id);
CREATE TABLE events_2024_0 PARTITION OF events_2024 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE events_2024_1 PARTITION OF events_2024 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE events_rest PARTITION OF events DEFAULT;
INSERT INTO events SELECT '2024-01-01'::date + g, g, 'event ' || g FROM generate_series(1, 500) g;
-- Inheritance: the parent has rows of its own.
CREATE TABLE parent (a int);
CREATE TABLE child (b int) INHERITS (parent);
INSERT INTO parent VALUES (1), (2);
INSERT INTO child VALUES (3, 4);
-- Foreign keys in a circle.
CREATE TABLE hen (id int PRIMARY KEY, egg int);
CREATE TABLE egg (id int PRIMARY KEY, hen int REFERENCES hen DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE hen ADD FOREIGN KEY (egg) REFERENCES egg DEFERRABLE INITIALLY DEFERRED;
BEGIN; INSERT INTO hen VALUES (1, 1); INSERT INTO egg VALUES (1, 1); COMMIT;
CREATE TABLE self (id int PRIMARY KEY, boss int REFERENCES self);
INSERT INTO self VALUES (1, 1), (2, 1);
CREATE SEQUENCE ticket START 100 INCREMENT 5 CYCLE MAXVALUE 1000;
SELECT nextval('ticket'), nextval('ticket');
CREATE VIEW v AS SELECT id, t FROM kinds;
CREATE MATERIALIZED VIEW mv AS SELECT count(*) AS n FROM events;
CREATE FUNCTION twice(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i * 2';
CREATE PROCEDURE nop() LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE INDEX ON kinds (twice(i2)) WHERE b;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.b := NEW.a; RETURN NEW; END $$;
CREATE TABLE stamped (a text, b text);
CREATE TRIGGER stamping BEFORE INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION stamp();
INSERT INTO stamped (a) VALUES ('x');
UPDATE stamped SET b = 'not what the trigger says';
CREATE RULE noop AS ON DELETE TO stamped DO INSTEAD NOTHING;
ALTER TABLE stamped ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON stamped USING (a = current_user);
SELECT lo_from_bytea(424242, decode(repeat('00ff', 5000), 'hex'));
SELECT lo_from_bytea(424243, '');
COMMENT ON LARGE OBJECT 424242 IS 'a large one';
COMMENT ON TABLE kinds IS 'Alles; ''mögliche''';
CREATE UNLOGGED TABLE unlogged (a int);
INSERT INTO unlogged VALUES (1);
CREATE COLLATION german (provider = icu, locale = 'de');
CREATE STATISTICS st ON at, id FROM events;
CREATE PUBLICATION pub FOR TABLE kinds;
