"""Tasks that the front end asks of billing, with their files; what each look at the books found; what calls cost us.

Asker and worker have different rights: who asks may write down a question and take it back while it waits; who works
may say how it went. Neither can pass for the other.
"""

from __future__ import annotations

from alembic import op

revision = "0011_tasks"
down_revision = "0010_close"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE task (
    id UUID DEFAULT uuidv7() NOT NULL,
    org UUID,
    kind TEXT NOT NULL,
    parameters JSONB DEFAULT '{}'::jsonb NOT NULL,
    asked_by UUID NOT NULL,
    state TEXT DEFAULT 'waiting' NOT NULL,
    progress BIGINT DEFAULT 0 NOT NULL,
    total BIGINT,
    error_code TEXT,
    error TEXT,
    result JSONB,
    file_name TEXT,
    media_type TEXT,
    size BIGINT,
    sha256 TEXT,
    asked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    expires_at TIMESTAMP WITH TIME ZONE,
    attempt INTEGER DEFAULT 0 NOT NULL,
    leased_until TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_task PRIMARY KEY (id),
    CONSTRAINT ck_task_state CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    CONSTRAINT ck_task_finished CHECK ((state IN ('done', 'failed')) = (finished_at IS NOT NULL)),
    CONSTRAINT ck_task_error CHECK ((state = 'failed') = (error_code IS NOT NULL)),
    CONSTRAINT ck_task_file CHECK (num_nonnulls(file_name, media_type, size, sha256) IN (0, 4)),
    CONSTRAINT fk_task_org FOREIGN KEY(org) REFERENCES organisation (id),
    CONSTRAINT fk_task_asked_by FOREIGN KEY(asked_by) REFERENCES person (id)
);
CREATE INDEX ix_task_open ON task (asked_at) WHERE finished_at IS NULL;
CREATE INDEX ix_task_org ON task (org, id);
CREATE INDEX ix_task_expires_at ON task (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE task_upload (
    task UUID NOT NULL,
    seq INTEGER NOT NULL,
    bytes BYTEA NOT NULL,
    CONSTRAINT pk_task_upload PRIMARY KEY (task, seq),
    CONSTRAINT fk_task_upload_task FOREIGN KEY(task) REFERENCES task (id) ON DELETE CASCADE
);
CREATE TABLE task_part (
    task UUID NOT NULL,
    seq INTEGER NOT NULL,
    bytes BYTEA NOT NULL,
    CONSTRAINT pk_task_part PRIMARY KEY (task, seq),
    CONSTRAINT fk_task_part_task FOREIGN KEY(task) REFERENCES task (id) ON DELETE CASCADE
);
CREATE TABLE invariant_run (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    found JSONB NOT NULL,
    violations BIGINT NOT NULL,
    CONSTRAINT pk_invariant_run PRIMARY KEY (id)
);
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON invariant_run
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

# What a call cost us stands beside what was charged for it; NULL where a provider's price is not known, or was not yet.
COSTS = """
CREATE TABLE provider_price (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    effective_from TIMESTAMP WITH TIME ZONE NOT NULL,
    input_usd NUMERIC(18, 6) NOT NULL,
    output_usd NUMERIC(18, 6) NOT NULL,
    cached_usd NUMERIC(18, 6),
    cache_write_5m_usd NUMERIC(18, 6),
    cache_write_1h_usd NUMERIC(18, 6),
    image_usd NUMERIC(18, 6),
    search_usd NUMERIC(18, 6),
    entered_by TEXT NOT NULL,
    entered_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_provider_price PRIMARY KEY (provider, model, effective_from),
    CONSTRAINT ck_provider_price_prices CHECK (input_usd >= 0 AND output_usd >= 0)
);
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON provider_price
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE usage ADD COLUMN cost_usd NUMERIC(38, 16);
ALTER TABLE usage ADD COLUMN cost_won NUMERIC(38, 16);
ALTER TABLE usage_hour ADD COLUMN cost_usd NUMERIC(38, 16) DEFAULT 0 NOT NULL;
ALTER TABLE usage_hour ADD COLUMN cost_won NUMERIC(38, 16) DEFAULT 0 NOT NULL;
ALTER TABLE usage_hour ADD COLUMN uncosted BIGINT DEFAULT 0 NOT NULL;
ALTER TABLE usage_day ADD COLUMN cost_usd NUMERIC(38, 16) DEFAULT 0 NOT NULL;
ALTER TABLE usage_day ADD COLUMN cost_won NUMERIC(38, 16) DEFAULT 0 NOT NULL;
ALTER TABLE usage_day ADD COLUMN uncosted BIGINT DEFAULT 0 NOT NULL;
"""

RIGHTS = """
GRANT SELECT ON task, task_part, invariant_run TO wonrouter_api;
GRANT INSERT (id, org, kind, parameters, asked_by, asked_at) ON task TO wonrouter_api;
GRANT UPDATE (state, error_code, error, finished_at) ON task TO wonrouter_api;
GRANT INSERT ON task_upload TO wonrouter_api;
GRANT SELECT, UPDATE, DELETE ON task TO wonrouter_billing;
GRANT SELECT, DELETE ON task_upload TO wonrouter_billing;
GRANT SELECT, INSERT, DELETE ON task_part TO wonrouter_billing;
GRANT SELECT, INSERT ON invariant_run TO wonrouter_billing;
GRANT SELECT ON month_collected, discarded_usage, window_correction TO wonrouter_api;
GRANT INSERT ON price TO wonrouter_billing;
GRANT SELECT, INSERT ON provider_price TO wonrouter_billing;
GRANT SELECT ON provider_price TO wonrouter_api;
"""


def upgrade() -> None:
    for statements in (TABLES, COSTS, RIGHTS):
        op.execute(statements)
