"""The month close: billing data, invoices, what became of lots, payments, rollups of usage.

What finance relies on is held here and not in the code that writes it: a final invoice cannot be changed by anyone,
drafter and finaliser are two people, and what was booked stays as it was booked.
"""

from __future__ import annotations

from alembic import op

revision = "0010_close"
down_revision = "0005_policy"
branch_labels = None
depends_on = None

TABLES = r"""
CREATE TABLE issuer (
    id TEXT DEFAULT 'main' NOT NULL,
    code TEXT NOT NULL,
    legal_name TEXT NOT NULL,
    registration TEXT DEFAULT '' NOT NULL,
    branch TEXT DEFAULT '' NOT NULL,
    representative TEXT DEFAULT '' NOT NULL,
    address TEXT DEFAULT '' NOT NULL,
    business_type TEXT DEFAULT '' NOT NULL,
    business_item TEXT DEFAULT '' NOT NULL,
    email TEXT DEFAULT '' NOT NULL,
    email2 TEXT DEFAULT '' NOT NULL,
    bank TEXT DEFAULT '' NOT NULL,
    bank_number TEXT DEFAULT '' NOT NULL,
    bank_holder TEXT DEFAULT '' NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_issuer PRIMARY KEY (id),
    CONSTRAINT ck_issuer_one CHECK (id = 'main'),
    CONSTRAINT ck_issuer_code CHECK (code ~ '^[A-Z0-9]{1,8}$')
);
CREATE TABLE billing_profile (
    org UUID NOT NULL,
    legal_name TEXT NOT NULL,
    registration TEXT DEFAULT '' NOT NULL,
    branch TEXT DEFAULT '' NOT NULL,
    representative TEXT DEFAULT '' NOT NULL,
    address TEXT DEFAULT '' NOT NULL,
    business_type TEXT DEFAULT '' NOT NULL,
    business_item TEXT DEFAULT '' NOT NULL,
    email TEXT DEFAULT '' NOT NULL,
    email2 TEXT DEFAULT '' NOT NULL,
    vat TEXT DEFAULT 'exclusive' NOT NULL,
    vat_rounding TEXT DEFAULT 'floor' NOT NULL,
    terms TEXT DEFAULT 'day:31' NOT NULL,
    payment_method TEXT DEFAULT 'transfer' NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_billing_profile PRIMARY KEY (org),
    CONSTRAINT ck_billing_profile_vat CHECK (vat IN ('exclusive', 'inclusive', 'zero_rated')),
    CONSTRAINT ck_billing_profile_vat_rounding CHECK (vat_rounding IN ('floor', 'half_up', 'ceil')),
    CONSTRAINT ck_billing_profile_terms CHECK (terms ~ '^(days:[0-9]{1,3}|day:[0-9]{1,2}([+][0-9]{1,2})?)$'),
    CONSTRAINT ck_billing_profile_payment_method CHECK (payment_method IN ('transfer', 'card')),
    CONSTRAINT fk_billing_profile_org FOREIGN KEY(org) REFERENCES organisation (id)
);
CREATE TABLE billing_change (
    org UUID NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    billing TEXT NOT NULL,
    CONSTRAINT pk_billing_change PRIMARY KEY (org, at)
);
CREATE TABLE invoice (
    id UUID DEFAULT uuidv7() NOT NULL,
    org UUID NOT NULL,
    month TEXT NOT NULL,
    amendment INTEGER DEFAULT 0 NOT NULL,
    state TEXT NOT NULL,
    content TEXT NOT NULL,
    digest TEXT NOT NULL,
    number TEXT,
    reason_code TEXT,
    reason TEXT,
    supply BIGINT NOT NULL,
    vat BIGINT NOT NULL,
    due BIGINT NOT NULL,
    exact NUMERIC(38, 16) NOT NULL,
    promotion NUMERIC(38, 16) NOT NULL,
    drafted_by UUID NOT NULL,
    drafted_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    reviewed_by UUID,
    reviewed_at TIMESTAMP WITH TIME ZONE,
    finalised_by UUID,
    finalised_at TIMESTAMP WITH TIME ZONE,
    issued_on DATE,
    due_on DATE,
    approval TEXT,
    CONSTRAINT pk_invoice PRIMARY KEY (id),
    CONSTRAINT uq_invoice_org_month_amendment UNIQUE (org, month, amendment),
    CONSTRAINT ck_invoice_state CHECK (state IN ('draft', 'reviewed', 'final', 'issued', 'paid', 'overdue', 'amended')),
    CONSTRAINT ck_invoice_finalised CHECK ((state IN ('draft', 'reviewed')) = (finalised_at IS NULL)),
    CONSTRAINT ck_invoice_number CHECK (finalised_at IS NOT NULL OR number IS NULL),
    CONSTRAINT ck_invoice_two_people CHECK (drafted_by <> finalised_by AND drafted_by <> reviewed_by),
    CONSTRAINT ck_invoice_reason CHECK ((amendment = 0) = (reason_code IS NULL) AND reason_code IN ('01', '02', '03', '04', '05', '06')),
    CONSTRAINT ck_invoice_digest CHECK (encode(sha256(convert_to(content, 'UTF8')), 'hex') = digest),
    CONSTRAINT fk_invoice_org FOREIGN KEY(org) REFERENCES organisation (id),
    CONSTRAINT uq_invoice_number UNIQUE (number)
);
CREATE INDEX ix_invoice_month ON invoice (month, org);
CREATE TABLE invoice_counter (
    issuer TEXT NOT NULL,
    month TEXT NOT NULL,
    last INTEGER NOT NULL,
    CONSTRAINT pk_invoice_counter PRIMARY KEY (issuer, month)
);
CREATE TABLE lot_use (
    invoice UUID NOT NULL,
    lot UUID NOT NULL,
    won NUMERIC(38, 16) NOT NULL,
    CONSTRAINT pk_lot_use PRIMARY KEY (invoice, lot),
    CONSTRAINT fk_lot_use_invoice FOREIGN KEY(invoice) REFERENCES invoice (id),
    CONSTRAINT fk_lot_use_lot FOREIGN KEY(lot) REFERENCES lot (id)
);
CREATE INDEX ix_lot_use_lot ON lot_use (lot);
CREATE TABLE lot_expiry (
    lot UUID NOT NULL,
    won NUMERIC(38, 16) NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_lot_expiry PRIMARY KEY (lot),
    CONSTRAINT fk_lot_expiry_lot FOREIGN KEY(lot) REFERENCES lot (id)
);
CREATE TABLE window_correction (
    org UUID NOT NULL,
    reason TEXT NOT NULL,
    reference TEXT NOT NULL,
    micro BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_window_correction PRIMARY KEY (org, reason, reference),
    CONSTRAINT ck_window_correction_reason CHECK (reason IN ('expired', 'overdrawn', 'on_account'))
);
CREATE TABLE payment (
    id UUID DEFAULT uuidv7() NOT NULL,
    invoice UUID NOT NULL,
    amount BIGINT NOT NULL,
    paid_on DATE NOT NULL,
    reference TEXT NOT NULL,
    booked_by TEXT NOT NULL,
    booked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_payment PRIMARY KEY (id),
    CONSTRAINT uq_payment_invoice_reference UNIQUE (invoice, reference),
    CONSTRAINT ck_payment_amount CHECK (amount > 0),
    CONSTRAINT fk_payment_invoice FOREIGN KEY(invoice) REFERENCES invoice (id)
);
CREATE TABLE month_collected (
    month TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_month_collected PRIMARY KEY (month)
);
CREATE TABLE discarded_usage (
    entry TEXT NOT NULL,
    org TEXT NOT NULL,
    job TEXT NOT NULL,
    micro BIGINT NOT NULL,
    why TEXT NOT NULL,
    reason TEXT NOT NULL,
    fields JSONB NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_discarded_usage PRIMARY KEY (entry)
);
CREATE TABLE provider_statement (
    id UUID DEFAULT uuidv7() NOT NULL,
    provider TEXT NOT NULL,
    digest TEXT NOT NULL,
    first_day DATE NOT NULL,
    last_day DATE NOT NULL,
    result JSONB NOT NULL,
    imported_by TEXT NOT NULL,
    imported_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_provider_statement PRIMARY KEY (id),
    CONSTRAINT uq_provider_statement_digest UNIQUE (digest)
);
CREATE TABLE usage_hour (
    org UUID NOT NULL,
    hour TIMESTAMP WITH TIME ZONE NOT NULL,
    key UUID NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    title TEXT NOT NULL,
    calls BIGINT DEFAULT 0 NOT NULL,
    failed BIGINT DEFAULT 0 NOT NULL,
    estimated BIGINT DEFAULT 0 NOT NULL,
    prompt_tokens BIGINT DEFAULT 0 NOT NULL,
    cached_tokens BIGINT DEFAULT 0 NOT NULL,
    completion_tokens BIGINT DEFAULT 0 NOT NULL,
    won NUMERIC(38, 16) DEFAULT 0 NOT NULL,
    CONSTRAINT pk_usage_hour PRIMARY KEY (org, hour, key, model, provider, title)
);
CREATE INDEX ix_usage_hour_hour ON usage_hour (hour);
CREATE TABLE usage_day (
    org UUID NOT NULL,
    day DATE NOT NULL,
    key UUID NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    title TEXT NOT NULL,
    user_hash TEXT NOT NULL,
    calls BIGINT DEFAULT 0 NOT NULL,
    failed BIGINT DEFAULT 0 NOT NULL,
    estimated BIGINT DEFAULT 0 NOT NULL,
    prompt_tokens BIGINT DEFAULT 0 NOT NULL,
    cached_tokens BIGINT DEFAULT 0 NOT NULL,
    completion_tokens BIGINT DEFAULT 0 NOT NULL,
    won NUMERIC(38, 16) DEFAULT 0 NOT NULL,
    CONSTRAINT pk_usage_day PRIMARY KEY (org, day, key, model, provider, title, user_hash)
);
CREATE INDEX ix_usage_day_day ON usage_day (day);
"""

WINDOW = """
ALTER TABLE window_org ADD COLUMN account_micro BIGINT DEFAULT 0 NOT NULL;
UPDATE window_org w SET account_micro = u.micro
    FROM (SELECT org, sum(micro) AS micro FROM usage WHERE NOT prepaid GROUP BY org) u WHERE u.org = w.org;
"""

# Whoever changes an organisation's billing leaves the moment behind: a call is billed as it was admitted.
BILLING_CHANGES = """
CREATE FUNCTION billing_changed() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.billing <> OLD.billing THEN
        INSERT INTO billing_change (org, at, billing) VALUES (NEW.id, clock_timestamp(), NEW.billing);
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION billing_changed() FROM PUBLIC;
CREATE TRIGGER billing_changed AFTER INSERT OR UPDATE OF billing ON organisation
    FOR EACH ROW EXECUTE FUNCTION billing_changed();
INSERT INTO billing_change (org, at, billing) SELECT id, created_at, billing FROM organisation;
"""

FROZEN = """
CREATE FUNCTION refuse_change_of_final_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        RAISE EXCEPTION 'invoices are never deleted' USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.finalised_at IS NOT NULL AND (NEW.id, NEW.org, NEW.month, NEW.amendment, NEW.content, NEW.digest,
        NEW.number, NEW.reason_code, NEW.reason, NEW.supply, NEW.vat, NEW.due, NEW.exact, NEW.promotion,
        NEW.drafted_by, NEW.drafted_at, NEW.reviewed_by, NEW.reviewed_at, NEW.finalised_by, NEW.finalised_at)
        IS DISTINCT FROM (OLD.id, OLD.org, OLD.month, OLD.amendment, OLD.content, OLD.digest,
        OLD.number, OLD.reason_code, OLD.reason, OLD.supply, OLD.vat, OLD.due, OLD.exact, OLD.promotion,
        OLD.drafted_by, OLD.drafted_at, OLD.reviewed_by, OLD.reviewed_at, OLD.finalised_by, OLD.finalised_at)
    THEN
        RAISE EXCEPTION 'a final invoice does not change' USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.issued_on IS NOT NULL AND (NEW.issued_on, NEW.due_on) IS DISTINCT FROM (OLD.issued_on, OLD.due_on)
        OR OLD.approval IS NOT NULL AND NEW.approval IS DISTINCT FROM OLD.approval
    THEN
        RAISE EXCEPTION 'an issued invoice does not change' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER frozen BEFORE UPDATE OR DELETE ON invoice
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_final_invoice();
CREATE TRIGGER kept BEFORE TRUNCATE ON invoice FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

INSERT_ONLY = (
    "billing_change", "lot_use", "lot_expiry", "window_correction", "payment", "month_collected", "discarded_usage",
    "provider_statement",
)  # fmt: skip

COUNTED = """
count(*), count(*) FILTER (WHERE outcome NOT IN ('complete', 'cancelled')), count(*) FILTER (WHERE estimated),
sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(won) FROM usage
"""
ROLLUPS = f"""
INSERT INTO usage_hour (org, hour, key, model, provider, title, calls, failed, estimated, prompt_tokens,
    cached_tokens, completion_tokens, won)
SELECT org, date_trunc('hour', admitted_at), key, model, provider, coalesce(title, ''), {COUNTED}
GROUP BY 1, 2, 3, 4, 5, 6;
INSERT INTO usage_day (org, day, key, model, provider, title, user_hash, calls, failed, estimated, prompt_tokens,
    cached_tokens, completion_tokens, won)
SELECT org, CAST(admitted_at AT TIME ZONE 'Asia/Seoul' AS date), key, model, provider, coalesce(title, ''),
    coalesce(user_hash, ''), {COUNTED}
GROUP BY 1, 2, 3, 4, 5, 6, 7;
"""

RIGHTS = """
GRANT SELECT ON issuer, billing_profile, billing_change TO wonrouter_billing;
GRANT SELECT, INSERT ON invoice, lot_use, lot_expiry, window_correction, payment, month_collected, discarded_usage,
    provider_statement TO wonrouter_billing;
GRANT UPDATE ON invoice TO wonrouter_billing;
GRANT SELECT, INSERT, UPDATE ON invoice_counter, usage_hour, usage_day TO wonrouter_billing;
GRANT SELECT ON issuer, billing_profile, billing_change, invoice, lot_use, lot_expiry, payment, usage_hour, usage_day,
    provider_statement TO wonrouter_api;
GRANT INSERT, UPDATE ON issuer, billing_profile TO wonrouter_api;
"""


def upgrade() -> None:
    for statements in (TABLES, WINDOW, BILLING_CHANGES, FROZEN, ROLLUPS, RIGHTS):
        op.execute(statements)
    for table in INSERT_ONLY:
        op.execute(
            f"CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
