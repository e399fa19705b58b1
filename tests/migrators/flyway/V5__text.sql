ALTER TABLE ledger.account ALTER COLUMN id DROP IDENTITY;
ALTER TABLE ledger.account ADD COLUMN iban text;
UPDATE ledger.account SET iban = 'XX' || lpad(id::text, 10, '0');
ALTER TABLE ledger.account ALTER COLUMN iban SET NOT NULL, ADD CONSTRAINT iban UNIQUE (iban);
CREATE TYPE ledger.kind AS ENUM ('private', 'firm');
ALTER TABLE ledger.account ADD COLUMN kind ledger.kind NOT NULL DEFAULT 'private';
