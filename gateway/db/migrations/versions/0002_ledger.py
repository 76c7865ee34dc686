"""Usage by month, the double-entry ledger, and the settled side of the credit window.

What the ledger promises is held here, not in the code that writes it: a statement whose entries do not sum to zero
fails, written entries cannot be changed by anyone, balances are kept from the entries themselves, and the role of
the billing process owns nothing and may add only.
"""

from __future__ import annotations

from alembic import op

revision = "0002_ledger"
down_revision = "0001_accounts"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE usage (
    month TEXT NOT NULL,
    job UUID NOT NULL,
    org UUID NOT NULL,
    key UUID NOT NULL,
    prepaid BOOLEAN NOT NULL,
    asked TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    deployment TEXT NOT NULL,
    surface TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    stream BOOLEAN NOT NULL,
    title TEXT,
    user_hash TEXT,
    outcome TEXT NOT NULL,
    finish_reason TEXT,
    error TEXT,
    estimated BOOLEAN NOT NULL,
    prompt_tokens BIGINT DEFAULT 0 NOT NULL,
    completion_tokens BIGINT DEFAULT 0 NOT NULL,
    cached_tokens BIGINT DEFAULT 0 NOT NULL,
    cache_write_5m_tokens BIGINT DEFAULT 0 NOT NULL,
    cache_write_1h_tokens BIGINT DEFAULT 0 NOT NULL,
    reasoning_tokens BIGINT DEFAULT 0 NOT NULL,
    image_tokens BIGINT DEFAULT 0 NOT NULL,
    searches BIGINT DEFAULT 0 NOT NULL,
    won NUMERIC(38, 16) NOT NULL,
    micro BIGINT NOT NULL,
    loss_won NUMERIC(38, 16) NOT NULL,
    price_id TEXT,
    rate_id TEXT,
    input_usd NUMERIC(18, 6),
    output_usd NUMERIC(18, 6),
    rate NUMERIC(12, 4),
    tier TEXT,
    parts JSONB NOT NULL,
    attempts JSONB NOT NULL,
    first_token_ms BIGINT,
    duration_ms BIGINT,
    admitted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    settled_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    trace TEXT,
    CONSTRAINT pk_usage PRIMARY KEY (month, job),
    CONSTRAINT ck_usage_month_of_job
        CHECK (to_char(uuid_extract_timestamp(job) AT TIME ZONE 'Asia/Seoul', 'YYYYMM') IS NOT DISTINCT FROM month),
    CONSTRAINT ck_usage_charge CHECK (won >= 0 AND loss_won >= 0 AND micro = ceil(won * 1000000)),
    CONSTRAINT ck_usage_outcome CHECK (outcome IN ('complete', 'cancelled', 'failed', 'expired', 'voided'))
) PARTITION BY LIST (month);
CREATE INDEX ix_usage_org_job ON usage (org, job);
CREATE TABLE account (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    org UUID,
    kind TEXT NOT NULL,
    CONSTRAINT pk_account PRIMARY KEY (id),
    CONSTRAINT uq_account_org_kind UNIQUE NULLS NOT DISTINCT (org, kind),
    CONSTRAINT ck_account_kind CHECK (CASE
        WHEN org IS NULL THEN kind IN ('vat_payable', 'cash_clearing', 'rounding')
        ELSE kind IN ('wallet', 'unbilled', 'receivable', 'revenue', 'promo', 'loss_unbilled') END)
);
CREATE TABLE ledger_transaction (
    id UUID NOT NULL,
    kind TEXT NOT NULL,
    org UUID NOT NULL,
    month TEXT NOT NULL,
    job UUID,
    reference TEXT,
    memo TEXT,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_ledger_transaction PRIMARY KEY (id),
    CONSTRAINT ck_ledger_transaction_job CHECK ((kind = 'usage') = (job IS NOT NULL) AND (job IS NULL OR job = id))
);
CREATE INDEX ix_ledger_transaction_month_org ON ledger_transaction (month, org);
CREATE UNIQUE INDEX uq_ledger_transaction_reference ON ledger_transaction (org, kind, reference)
    WHERE reference IS NOT NULL;
CREATE TABLE entry (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    txn UUID NOT NULL,
    account BIGINT NOT NULL,
    won NUMERIC(38, 16) NOT NULL,
    CONSTRAINT pk_entry PRIMARY KEY (id),
    CONSTRAINT ck_entry_won CHECK (won <> 0)
);
CREATE INDEX ix_entry_txn ON entry (txn);
CREATE TABLE account_balance (
    account BIGINT NOT NULL,
    won NUMERIC(38, 16) NOT NULL,
    CONSTRAINT pk_account_balance PRIMARY KEY (account),
    CONSTRAINT fk_account_balance_account FOREIGN KEY(account) REFERENCES account (id)
);
CREATE TABLE lot (
    id UUID NOT NULL,
    org UUID NOT NULL,
    method TEXT NOT NULL,
    amount BIGINT NOT NULL,
    vat BIGINT NOT NULL,
    remaining NUMERIC(38, 16) NOT NULL,
    reference TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_lot PRIMARY KEY (id),
    CONSTRAINT uq_lot_org_reference UNIQUE (org, reference),
    CONSTRAINT ck_lot_method CHECK (method IN ('transfer', 'card', 'promotion')),
    CONSTRAINT ck_lot_amount CHECK (amount > 0 AND vat >= 0 AND remaining BETWEEN 0 AND amount),
    CONSTRAINT fk_lot_id FOREIGN KEY(id) REFERENCES ledger_transaction (id)
);
CREATE INDEX ix_lot_open ON lot (org, (method <> 'promotion'), created_at) WHERE remaining > 0;
CREATE TABLE window_org (
    org UUID NOT NULL,
    balance_micro BIGINT NOT NULL,
    CONSTRAINT pk_window_org PRIMARY KEY (org)
);
CREATE TABLE window_month (
    org UUID NOT NULL,
    month TEXT NOT NULL,
    spent_micro BIGINT NOT NULL,
    CONSTRAINT pk_window_month PRIMARY KEY (org, month)
);
CREATE TABLE window_key (
    key UUID NOT NULL,
    org UUID NOT NULL,
    spent_micro BIGINT NOT NULL,
    CONSTRAINT pk_window_key PRIMARY KEY (key)
);
"""

# One look at all rows of a statement instead of one trigger call per row: it also stands in for the foreign keys of
# `entry`, which would cost a look-up per row. It runs as the tables' owner, so nobody else needs the right to write
# a balance. Accounts are taken in order, so that two writers cannot wait for each other in a circle.
POSTING = """
CREATE FUNCTION ledger_entries_posted() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM posted GROUP BY txn HAVING sum(won) <> 0) THEN
        RAISE EXCEPTION 'a ledger transaction does not sum to zero' USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM posted p WHERE NOT EXISTS (SELECT FROM ledger_transaction t WHERE t.id = p.txn)) THEN
        RAISE EXCEPTION 'an entry names no ledger transaction' USING ERRCODE = 'foreign_key_violation';
    END IF;
    INSERT INTO account_balance AS b (account, won)
    SELECT account, sum(won) FROM posted GROUP BY account ORDER BY account
    ON CONFLICT (account) DO UPDATE SET won = b.won + excluded.won;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION ledger_entries_posted() FROM PUBLIC;
CREATE TRIGGER posted AFTER INSERT ON entry REFERENCING NEW TABLE AS posted
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_entries_posted();
"""

UNCHANGING = """
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON account
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

# The billing process owns no table, so it asks a function of the owner's for the partition of a month. Attaching a
# table that stood alone locks nobody out, which CREATE TABLE ... PARTITION OF would. There is no default partition: a
# row in it would block the partition where it belongs.
PARTITIONS = """
CREATE FUNCTION ensure_usage_month(wanted text) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    partition text := 'usage_' || wanted;
BEGIN
    IF wanted !~ '^2[0-9]{3}(0[1-9]|1[0-2])$' THEN
        RAISE EXCEPTION 'not a month: %', wanted USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF to_regclass('public.' || partition) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(7301003);
    IF to_regclass('public.' || partition) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.usage INCLUDING ALL)', partition);
    EXECUTE format('ALTER TABLE public.usage ATTACH PARTITION public.%I FOR VALUES IN (%L)', partition, wanted);
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION ensure_usage_month(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_usage_month(text) TO wonrouter_billing;
SELECT ensure_usage_month(to_char(now() AT TIME ZONE 'Asia/Seoul' + ahead * interval '1 month', 'YYYYMM'))
FROM generate_series(0, 2) AS ahead;
"""

RIGHTS = """
GRANT SELECT, INSERT ON usage, account, ledger_transaction, entry TO wonrouter_billing;
GRANT SELECT ON account_balance TO wonrouter_billing;
GRANT SELECT, INSERT, UPDATE ON window_org, window_month, window_key TO wonrouter_billing;
GRANT SELECT, INSERT ON lot TO wonrouter_billing;
GRANT UPDATE (remaining) ON lot TO wonrouter_billing;
GRANT SELECT ON usage, account, account_balance, lot, window_org, window_month, window_key TO wonrouter_api;
"""


def upgrade() -> None:
    for statements in (TABLES, POSTING, UNCHANGING, PARTITIONS, RIGHTS):
        op.execute(statements)
