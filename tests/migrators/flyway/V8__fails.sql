UPDATE ledger.customer SET name = upper(name);
CREATE VIEW ledger.firms AS SELECT * FROM ledger.customer WHERE kind = 'firm';
SELECT 1 / (count(*) - 11) FROM ledger.customer;
