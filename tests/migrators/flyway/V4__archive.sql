CREATE SCHEMA archive;
ALTER TABLE ledger.entry DETACH PARTITION ledger.entry_2025;
ALTER TABLE ledger.entry_2025 SET SCHEMA archive;
ALTER TABLE archive.entry_2025 DROP COLUMN account;
DELETE FROM archive.entry_2025 WHERE amount = 0;
