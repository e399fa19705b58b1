-- A day in the life of the Chinook shop, and a bad one: every table is written, in every form that an
-- application or somebody at a console uses.
\set ON_ERROR_STOP on

-- An import.
CREATE TEMPORARY TABLE arrived (artist text, album text, track text, price numeric);
COPY arrived FROM STDIN (FORMAT csv);
Ünder Pressure,First Light,One,0.99
Ünder Pressure,First Light,Two,0.99
Nobody's Fault,"Say ""yes""",Three,1.99
\.
BEGIN;
INSERT INTO artist SELECT 1000 + row_number() OVER (ORDER BY artist), artist
  FROM (SELECT DISTINCT artist FROM arrived) a;
INSERT INTO album SELECT 2000 + row_number() OVER (ORDER BY a.album), a.album, r.artist_id
  FROM (SELECT DISTINCT artist, album FROM arrived) a JOIN artist r ON r.name = a.artist;
INSERT INTO track (track_id, name, album_id, media_type_id, genre_id, milliseconds, unit_price)
SELECT 9000 + row_number() OVER (ORDER BY a.track), a.track, b.album_id, 1, 1, 180000, a.price
  FROM arrived a JOIN album b ON b.title = a.album RETURNING track_id, name;
COMMIT;
COPY genre FROM STDIN;
100	Skiffle
101	\N
\.
INSERT INTO media_type VALUES (10, 'Wax cylinder'), (11, 'Piano roll') ON CONFLICT DO NOTHING;

-- Sales, by a function and by hand.
CREATE TABLE sales_of_today AS SELECT * FROM invoice WHERE false;
CREATE FUNCTION pg_temp.sell(customer int, sold int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    number int := (SELECT max(invoice_id) + 1 FROM invoice);
BEGIN
    INSERT INTO invoice (invoice_id, customer_id, invoice_date, total)
    SELECT number, customer, '2026-01-02 03:04:05', unit_price FROM track WHERE track_id = sold;
    INSERT INTO invoice_line
    SELECT max(l.invoice_line_id) + 1, number, sold, (SELECT unit_price FROM track WHERE track_id = sold), 1
      FROM invoice_line l;
    RETURN number;
END $$;
SELECT pg_temp.sell(1, 9001), pg_temp.sell(2, 9002);
DO $$ BEGIN PERFORM pg_temp.sell(c, 9003) FROM generate_series(3, 9) c; END $$;
WITH sold AS (
    UPDATE invoice_line SET quantity = quantity + 1 WHERE track_id >= 9001 RETURNING invoice_id, unit_price
)
UPDATE invoice i SET total = i.total + s.unit_price FROM sold s WHERE s.invoice_id = i.invoice_id;
INSERT INTO sales_of_today SELECT * FROM invoice WHERE invoice_date > '2026-01-01';

-- Playlists.
PREPARE listed (int, int) AS INSERT INTO playlist_track VALUES ($1, $2) ON CONFLICT DO NOTHING;
INSERT INTO playlist VALUES (50, 'Bad ones');
EXECUTE listed (50, 9001);
EXECUTE listed (50, 9002);
EXECUTE listed (50, 9002);
DEALLOCATE listed;
BEGIN;
DECLARE found CURSOR FOR SELECT * FROM playlist WHERE name LIKE 'M%' FOR UPDATE;
FETCH 2 FROM found;
UPDATE playlist SET name = name || ' (all)' WHERE CURRENT OF found;
SAVEPOINT careful;
DELETE FROM playlist_track;
ROLLBACK TO careful;
COMMIT;

-- The slip of the hand.
UPDATE track SET unit_price = unit_price * 1.1, composer = coalesce(composer, 'unknown');
UPDATE customer SET email = lower(email), support_rep_id = NULL, fax = NULLIF(fax, '');
UPDATE employee SET reports_to = CASE WHEN employee_id > 1 THEN 1 END, birth_date = 'infinity';
UPDATE artist SET artist_id = -artist_id WHERE NOT EXISTS (SELECT FROM album b WHERE b.artist_id = artist.artist_id);
DELETE FROM playlist_track WHERE track_id % 3 = 0;
DELETE FROM invoice_line WHERE invoice_id IN (SELECT invoice_id FROM invoice WHERE billing_country = 'Germany');
DELETE FROM invoice WHERE billing_country = 'Germany';
TRUNCATE playlist_track;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) DELETE FROM genre WHERE genre_id >= 100;
TRUNCATE invoice, invoice_line, customer CASCADE;
