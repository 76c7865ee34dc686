"""Counts of how long calls took, and deployments' weights that were set by hand."""

from __future__ import annotations

from alembic import op

revision = "0015_operations"
down_revision = "0014_console"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE usage_latency (
    org UUID NOT NULL,
    day DATE NOT NULL,
    key UUID NOT NULL,
    measure TEXT NOT NULL,
    bucket SMALLINT NOT NULL,
    calls BIGINT NOT NULL,
    CONSTRAINT pk_usage_latency PRIMARY KEY (org, day, key, measure, bucket),
    CONSTRAINT ck_usage_latency_measure CHECK (measure IN ('first', 'whole')),
    CONSTRAINT ck_usage_latency_calls CHECK (calls > 0)
);
CREATE TABLE deployment_weight (
    deployment TEXT NOT NULL,
    weight INTEGER NOT NULL,
    changed_by TEXT NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_deployment_weight PRIMARY KEY (deployment),
    CONSTRAINT ck_deployment_weight_weight CHECK (weight BETWEEN 0 AND 1000)
);
"""

# Upper ends of the buckets in milliseconds as they were when this was written.
BOUNDS = """
    10, 11, 13, 15, 17, 19, 21, 24, 27, 30, 33, 37, 41, 46, 51, 57, 63, 70, 77, 85, 94, 104, 115, 127, 140,
    154, 170, 187, 206, 227, 250, 275, 303, 334, 368, 405, 446, 491, 541, 596, 656, 722, 795, 875, 963, 1060,
    1166, 1283, 1412, 1554, 1710, 1881, 2070, 2277, 2505, 2756, 3032, 3336, 3670, 4037, 4441, 4886, 5375,
    5913, 6505, 7156, 7872, 8660, 9526, 10479, 11527, 12680, 13948, 15343, 16878, 18566, 20423, 22466, 24713,
    27185, 29904, 32895, 36185, 39804, 43785, 48164, 52981, 58280, 64108, 70519, 77571, 85329, 93862, 103249,
    113574, 124932, 137426, 151169, 166286, 182915, 201207, 221328, 243461, 267808, 294589, 324048, 356453,
    392099, 431309, 474440, 521884, 574073, 631481, 694630, 764093, 840503, 924554, 1017010, 1118711, 1230583,
    1353642, 1489007, 1637908, 1801699
"""
FILL = f"""
INSERT INTO usage_latency (org, day, key, measure, bucket, calls)
SELECT org, CAST(admitted_at AT TIME ZONE 'Asia/Seoul' AS date), key, m.measure,
    width_bucket(m.ms, CAST(ARRAY[{BOUNDS}] AS bigint[])), count(*)
FROM usage CROSS JOIN LATERAL (VALUES ('first', first_token_ms), ('whole', duration_ms)) AS m (measure, ms)
WHERE m.ms IS NOT NULL AND outcome = 'complete'
GROUP BY 1, 2, 3, 4, 5;
"""

RIGHTS = """
GRANT SELECT, INSERT, UPDATE ON usage_latency TO wonrouter_billing;
GRANT SELECT ON usage_latency TO wonrouter_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON deployment_weight TO wonrouter_api;
GRANT SELECT ON deployment_weight TO wonrouter_worker, wonrouter_billing;
-- the operator sees which address and which of the provider's models a deployment is; its key is nothing to them
GRANT SELECT (base_url, upstream_model, created_at) ON deployment TO wonrouter_api;
"""


def upgrade() -> None:
    for statements in (TABLES, FILL, RIGHTS):
        op.execute(statements)
