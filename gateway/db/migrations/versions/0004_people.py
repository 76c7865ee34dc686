"""Sessions, and the links that work once: invitations and password resets."""

from __future__ import annotations

from alembic import op

revision = "0004_people"
down_revision = "0003_deployments"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE session (
    hash BYTEA NOT NULL,
    person UUID NOT NULL,
    org UUID,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_session PRIMARY KEY (hash),
    CONSTRAINT ck_session_hash CHECK (octet_length(hash) = 32),
    CONSTRAINT fk_session_person FOREIGN KEY(person) REFERENCES person (id),
    CONSTRAINT fk_session_org FOREIGN KEY(org) REFERENCES organisation (id)
);
CREATE INDEX ix_session_person ON session (person);
CREATE INDEX ix_session_expires_at ON session (expires_at);
CREATE TABLE one_time_link (
    id UUID NOT NULL,
    hash BYTEA NOT NULL,
    kind TEXT NOT NULL,
    org UUID,
    role TEXT,
    email TEXT,
    person UUID,
    created_by UUID,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_one_time_link PRIMARY KEY (id),
    CONSTRAINT uq_one_time_link_hash UNIQUE (hash),
    CONSTRAINT ck_one_time_link_hash CHECK (octet_length(hash) = 32),
    CONSTRAINT ck_one_time_link_kind CHECK (kind IN ('invitation', 'reset')),
    CONSTRAINT ck_one_time_link_role CHECK (role IN ('owner', 'member', 'finance')),
    CONSTRAINT ck_one_time_link_shape CHECK (CASE kind
        WHEN 'invitation' THEN num_nonnulls(org, role, email) = 3 AND person IS NULL
        ELSE person IS NOT NULL AND num_nonnulls(org, role, email) = 0 END),
    CONSTRAINT fk_one_time_link_org FOREIGN KEY(org) REFERENCES organisation (id),
    CONSTRAINT fk_one_time_link_person FOREIGN KEY(person) REFERENCES person (id),
    CONSTRAINT fk_one_time_link_created_by FOREIGN KEY(created_by) REFERENCES person (id)
);
CREATE INDEX ix_one_time_link_org ON one_time_link (org, id);
CREATE INDEX ix_one_time_link_person ON one_time_link (person);
"""

# The front end signs people in and out; nobody else's process has to do with sessions.
RIGHTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON session TO wonrouter_api;
GRANT SELECT, INSERT, UPDATE ON one_time_link TO wonrouter_api;
"""


def upgrade() -> None:
    for statements in (TABLES, RIGHTS):
        op.execute(statements)
