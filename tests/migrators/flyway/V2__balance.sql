CREATE FUNCTION ledger.book() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ledger.account SET balance = balance + NEW.amount WHERE id = NEW.account;
    RETURN NULL;
END $$;
CREATE TRIGGER book AFTER INSERT ON ledger.entry FOR EACH ROW EXECUTE FUNCTION ledger.book();
UPDATE ledger.account a SET balance = (SELECT sum(amount) FROM ledger.entry e WHERE e.account = a.id);
