"""Privacy: how long each class of data is kept, proofs of what was deleted, and what the guardrails did.

No role of a process may delete a log or an end user's hash by itself: it asks a function of the owner's, which writes
the proof in the same transaction. So nothing of these goes without one.
"""

from __future__ import annotations

from alembic import op

revision = "0013_privacy"
down_revision = "0012_limits"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE retention_setting (
    class TEXT NOT NULL,
    days INTEGER NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_retention_setting PRIMARY KEY (class),
    CONSTRAINT ck_retention_setting_days CHECK (days >= 0)
);
CREATE TABLE deletion_proof (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    class TEXT NOT NULL,
    org UUID,
    subject TEXT DEFAULT '' NOT NULL,
    cut_off TIMESTAMP WITH TIME ZONE NOT NULL,
    records BIGINT NOT NULL,
    digest TEXT NOT NULL,
    actor TEXT NOT NULL,
    CONSTRAINT pk_deletion_proof PRIMARY KEY (id),
    CONSTRAINT ck_deletion_proof_digest CHECK (digest ~ '^[0-9a-f]{64}$')
);
CREATE INDEX ix_deletion_proof_org ON deletion_proof (org, id);
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON deletion_proof
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TABLE guardrail_event (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    org UUID NOT NULL,
    key UUID NOT NULL,
    call TEXT NOT NULL,
    outcome TEXT NOT NULL,
    place TEXT NOT NULL,
    kinds JSONB NOT NULL,
    CONSTRAINT pk_guardrail_event PRIMARY KEY (id),
    CONSTRAINT ck_guardrail_event_outcome CHECK (outcome IN ('masked', 'blocked', 'word')),
    CONSTRAINT ck_guardrail_event_place CHECK (place IN ('request', 'answer'))
);
CREATE INDEX ix_guardrail_event_org ON guardrail_event (org, id);
CREATE INDEX ix_guardrail_event_at ON guardrail_event (at);
CREATE TRIGGER unchanging BEFORE UPDATE OR TRUNCATE ON guardrail_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE INDEX ix_usage_day_end_user ON usage_day (day) WHERE user_hash <> '';
CREATE INDEX ix_access_log_at ON access_log (at);
CREATE INDEX ix_audit_log_at ON audit_log (at);
"""

# The ids of what went, one a line, in order: whoever has them from a backup can check the digest.
PROVED = """
WITH gone AS ({gone}), told AS (
    INSERT INTO public.deletion_proof (class, org, subject, cut_off, records, digest, actor)
    SELECT $1, org, '', $2, count(*),
        encode(sha256(convert_to(string_agg(id, chr(10) ORDER BY id COLLATE "C"), 'UTF8')), 'hex'), session_user
    FROM gone GROUP BY org RETURNING records)
SELECT coalesce(sum(records), 0) FROM told
"""

OLD_ROWS = """DELETE FROM public.{table} WHERE {key} IN
    (SELECT {key} FROM public.{table} WHERE {moment} < $2 ORDER BY {moment} LIMIT $3)
RETURNING {org} AS org, {shown} AS id"""

GONE = {
    "access_log": OLD_ROWS.format(table="access_log", key="id", moment="at", org="org", shown="CAST(id AS text)"),
    "audit_log": OLD_ROWS.format(table="audit_log", key="id", moment="at", org="org", shown="CAST(id AS text)"),
    "guardrail_event": OLD_ROWS.format(
        table="guardrail_event", key="id", moment="at", org="org", shown="CAST(id AS text)"
    ),
    "session": OLD_ROWS.format(
        table="session", key="hash", moment="expires_at", org="CAST(NULL AS uuid)", shown="encode(hash, 'hex')"
    ),
    "one_time_link": OLD_ROWS.format(
        table="one_time_link", key="id", moment="coalesce(used_at, revoked_at, expires_at)", org="org",
        shown="CAST(id AS text)",
    ),
}  # fmt: skip

COUNTS = ("calls", "failed", "estimated", "prompt_tokens", "cached_tokens", "completion_tokens", "won")
# The rollup by day tells end users apart: their rows become part of the row of nobody in particular.
MERGED = (
    "WITH gone AS (DELETE FROM public.usage_day WHERE {which} RETURNING *) "
    "INSERT INTO public.usage_day AS r (org, day, key, model, provider, title, user_hash, "
    + ", ".join(COUNTS)
    + ") SELECT org, day, key, model, provider, title, '', "
    + ", ".join(f"sum({count})" for count in COUNTS)
    + " FROM gone GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6 "
    "ON CONFLICT (org, day, key, model, provider, title, user_hash) DO UPDATE SET "
    + ", ".join(f"{count} = r.{count} + excluded.{count}" for count in COUNTS)
)

_CASES = "\n".join(
    f"        WHEN '{name}' THEN EXECUTE $q${PROVED.format(gone=gone)}$q$ INTO total USING wanted, cut_off, most;"
    for name, gone in GONE.items()
)
_HASHES = "UPDATE public.usage SET user_hash = NULL WHERE {which} RETURNING org, CAST(job AS text) AS id"

RETIRE = f"""
CREATE FUNCTION retire(wanted text, cut_off timestamptz, most integer) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    total bigint := 0;
    oldest date;
    first uuid;
    following uuid;
BEGIN
    IF cut_off > now() THEN
        RAISE EXCEPTION 'retention looks back' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    CASE wanted
{_CASES}
        WHEN 'end_user' THEN
            SELECT min(day) INTO oldest FROM public.usage_day
                WHERE user_hash <> '' AND day < CAST(cut_off AT TIME ZONE 'Asia/Seoul' AS date);
            IF oldest IS NULL THEN
                RETURN 0;
            END IF;
            first := first_job_of(oldest);
            following := first_job_of(oldest + 1);
            EXECUTE $q${
    PROVED.format(
        gone=_HASHES.format(which="month = to_char($3, 'YYYYMM') AND job >= $4 AND job < $5 AND user_hash IS NOT NULL")
    )
}$q$ INTO total USING wanted, cut_off, oldest, first, following;
            {MERGED.format(which="day = oldest AND user_hash <> ''")};
            total := greatest(total, 1);
    END CASE;
    RETURN total;
END $$;
REVOKE ALL ON FUNCTION retire(text, timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION retire(text, timestamptz, integer) TO wonrouter_billing;
"""

FIRST_JOB = """
CREATE FUNCTION first_job_of(wanted date) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog AS $$
    SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM CAST(wanted AS timestamp) AT TIME ZONE 'Asia/Seoul') * 1000
        AS bigint)), 12, '0') || repeat('0', 20) AS uuid)
$$;
"""

FORGET = f"""
CREATE FUNCTION forget_end_user(wanted uuid, hash text, who text) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    proof bigint;
BEGIN
    WITH gone AS ({_HASHES.format(which="org = wanted AND user_hash = hash")})
    INSERT INTO public.deletion_proof (class, org, subject, cut_off, records, digest, actor)
    SELECT 'end_user', wanted, hash, now(), count(*),
        encode(sha256(convert_to(coalesce(string_agg(id, chr(10) ORDER BY id COLLATE "C"), ''), 'UTF8')), 'hex'), who
    FROM gone RETURNING deletion_proof.id INTO proof;
    {MERGED.format(which="org = wanted AND user_hash = hash")};
    RETURN proof;
END $$;
REVOKE ALL ON FUNCTION forget_end_user(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_end_user(uuid, text, text) TO wonrouter_api;
REVOKE UPDATE (user_hash) ON usage FROM wonrouter_api;
"""

RIGHTS = """
GRANT SELECT, INSERT, UPDATE ON retention_setting TO wonrouter_api;
GRANT SELECT ON retention_setting, deletion_proof TO wonrouter_billing;
GRANT SELECT ON deletion_proof TO wonrouter_api;
GRANT SELECT, INSERT ON guardrail_event TO wonrouter_api;
"""


def upgrade() -> None:
    for statements in (TABLES, FIRST_JOB, RETIRE, FORGET, RIGHTS):
        op.get_bind().exec_driver_sql(statements)
