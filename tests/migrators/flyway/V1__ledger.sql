CREATE SCHEMA ledger;
CREATE DOMAIN ledger.amount AS numeric(12, 2) CHECK (VALUE <> 'NaN');
CREATE TABLE ledger.account (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL UNIQUE,
    balance ledger.amount NOT NULL DEFAULT 0
);
CREATE TABLE ledger.entry (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at date NOT NULL,
    account bigint NOT NULL REFERENCES ledger.account,
    amount ledger.amount NOT NULL,
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
CREATE TABLE ledger.entry_2025 PARTITION OF ledger.entry FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE INDEX entry_account ON ledger.entry (account);
COMMENT ON COLUMN ledger.entry.amount IS 'negative: paid out';
INSERT INTO ledger.account (owner) SELECT 'owner ' || g FROM generate_series(1, 10) g;
INSERT INTO ledger.entry (at, account, amount)
SELECT date '2025-01-01' + g, 1 + g % 10, g - 50 FROM generate_series(1, 100) g;
