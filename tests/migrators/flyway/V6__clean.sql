TRUNCATE ledger.entry;
ALTER TABLE ledger.account DROP COLUMN balance;
DROP TRIGGER book ON ledger.entry;
DROP FUNCTION ledger.book();
