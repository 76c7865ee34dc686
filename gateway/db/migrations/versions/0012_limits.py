"""Alerts on limits and their deliveries; tokens per minute of keys; limits per model; what a top-up left."""

from __future__ import annotations

from alembic import op

revision = "0012_limits"
down_revision = "0011_tasks"
branch_labels = None
depends_on = None

LIMITS = """
ALTER TABLE api_key ADD COLUMN tpm INTEGER;
ALTER TABLE api_key ADD CONSTRAINT ck_api_key_tpm CHECK (tpm >= 0);
ALTER TABLE api_key ADD COLUMN model_limits JSONB DEFAULT '{}'::jsonb NOT NULL;
ALTER TABLE organisation ADD COLUMN model_limits JSONB DEFAULT '{}'::jsonb NOT NULL;
GRANT SELECT (tpm, model_limits) ON api_key TO wonrouter_billing;
"""

# The balance right after the last top-up is what "80 % of the credit" is measured against. Organisations that have
# credit already begin with what they have.
TOPPED_UP = """
ALTER TABLE window_org ADD COLUMN topup_micro BIGINT;
ALTER TABLE window_org ADD COLUMN topup_id UUID;
UPDATE window_org SET topup_micro = balance_micro, topup_id = gen_random_uuid() WHERE balance_micro > 0;
"""

TABLES = """
CREATE TABLE alert_settings (
    org UUID NOT NULL,
    thresholds INTEGER[] NOT NULL,
    mail_people BOOLEAN NOT NULL,
    emails TEXT[] NOT NULL,
    webhook_url TEXT,
    webhook_secret BYTEA,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_alert_settings PRIMARY KEY (org),
    CONSTRAINT fk_alert_settings_org FOREIGN KEY(org) REFERENCES organisation (id),
    CONSTRAINT ck_alert_settings_webhook CHECK (webhook_url IS NULL OR webhook_secret IS NOT NULL),
    CONSTRAINT ck_alert_settings_thresholds CHECK (thresholds <@ ARRAY[50, 80, 100])
);
CREATE TABLE alert (
    id UUID NOT NULL,
    org UUID NOT NULL,
    scope TEXT NOT NULL,
    subject TEXT NOT NULL,
    period TEXT NOT NULL,
    limit_micro BIGINT NOT NULL,
    percent INTEGER NOT NULL,
    spent_micro BIGINT NOT NULL,
    raised_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_alert PRIMARY KEY (id),
    CONSTRAINT uq_alert_org UNIQUE (org, scope, subject, period, limit_micro, percent),
    CONSTRAINT fk_alert_org FOREIGN KEY(org) REFERENCES organisation (id),
    CONSTRAINT ck_alert_scope CHECK (scope IN ('month', 'credit', 'key')),
    CONSTRAINT ck_alert_percent CHECK (percent IN (50, 80, 100))
);
CREATE INDEX ix_alert_org ON alert (org, raised_at);
CREATE TABLE alert_delivery (
    id UUID NOT NULL,
    org UUID NOT NULL,
    alert UUID,
    channel TEXT NOT NULL,
    target TEXT NOT NULL,
    payload JSONB NOT NULL,
    state TEXT DEFAULT 'waiting' NOT NULL,
    attempts JSONB DEFAULT '[]'::jsonb NOT NULL,
    next_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_alert_delivery PRIMARY KEY (id),
    CONSTRAINT fk_alert_delivery_org FOREIGN KEY(org) REFERENCES organisation (id),
    CONSTRAINT fk_alert_delivery_alert FOREIGN KEY(alert) REFERENCES alert (id),
    CONSTRAINT ck_alert_delivery_channel CHECK (channel IN ('webhook', 'mail')),
    CONSTRAINT ck_alert_delivery_state CHECK (state IN ('waiting', 'delivered', 'failed'))
);
CREATE INDEX ix_alert_delivery_org ON alert_delivery (org, created_at);
CREATE INDEX ix_alert_delivery_waiting ON alert_delivery (next_at) WHERE state = 'waiting';
"""

RIGHTS = """
GRANT SELECT, INSERT, UPDATE ON alert_settings TO wonrouter_api;
GRANT SELECT ON alert TO wonrouter_api;
GRANT SELECT, INSERT ON alert_delivery TO wonrouter_api;
GRANT SELECT ON alert_settings TO wonrouter_billing;
GRANT SELECT, INSERT ON alert, alert_delivery TO wonrouter_billing;
GRANT UPDATE (state, attempts, next_at, finished_at) ON alert_delivery TO wonrouter_billing;
GRANT DELETE ON alert_delivery TO wonrouter_billing;
"""


def upgrade() -> None:
    for statements in (LIMITS, TOPPED_UP, TABLES, RIGHTS):
        op.execute(statements)
