DROP SCHEMA archive CASCADE;
ALTER TABLE ledger.account RENAME TO customer;
ALTER TABLE ledger.customer RENAME COLUMN owner TO name;
INSERT INTO ledger.customer (id, name, iban) VALUES (11, 'late', 'XX0000000011');
