"""Forbidden words, and the log of who looked at whose data."""

from __future__ import annotations

from alembic import op

revision = "0005_policy"
down_revision = "0004_people"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE forbidden_words (
    org UUID NOT NULL,
    version BIGINT NOT NULL,
    words TEXT[] NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_forbidden_words PRIMARY KEY (org),
    CONSTRAINT fk_forbidden_words_org FOREIGN KEY(org) REFERENCES organisation (id)
);
CREATE TABLE access_log (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    org UUID NOT NULL,
    actor TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    records BIGINT NOT NULL,
    CONSTRAINT pk_access_log PRIMARY KEY (id)
);
CREATE INDEX ix_access_log_org ON access_log (org, id);
"""

# The law wants access logs kept for at least a year (two for large ones) and unchanged. After two years the owner of
# the database may delete; nobody may change.
UNCHANGING = """
CREATE FUNCTION refuse_young_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM gone WHERE at > now() - interval '2 years') THEN
        RAISE EXCEPTION '% keeps two years', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER unchanging BEFORE UPDATE OR TRUNCATE ON access_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER kept AFTER DELETE ON access_log REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_young_deletion();
CREATE TRIGGER unchanging BEFORE UPDATE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER kept AFTER DELETE ON audit_log REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_young_deletion();
"""

# `user_hash` is all that a usage row knows of a person; erasing it leaves what tax law makes us keep.
RIGHTS = """
GRANT SELECT, INSERT, UPDATE ON forbidden_words TO wonrouter_api;
GRANT SELECT, INSERT ON access_log TO wonrouter_api;
GRANT UPDATE (user_hash) ON usage TO wonrouter_api;
"""


def upgrade() -> None:
    for statements in (TABLES, UNCHANGING, RIGHTS):
        op.execute(statements)
