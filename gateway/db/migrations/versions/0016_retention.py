"""Usage rows end, too: a closed month of long ago leaves its sums and a digest, and its partition goes.

Only a function of the owner's drops a month. It looks at age, invoices and ledger itself, so neither a person nor a
process can take a month away that somebody may still ask for, and it writes sums, digests and proofs in the same
transaction.
"""

from __future__ import annotations

from alembic import op

revision = "0016_retention"
down_revision = "0015_operations"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE usage_retirement (
    month TEXT NOT NULL,
    asked_by UUID,
    asked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    confirmed_by UUID,
    retired_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_usage_retirement PRIMARY KEY (month),
    CONSTRAINT ck_usage_retirement_two_people CHECK (asked_by <> confirmed_by),
    CONSTRAINT ck_usage_retirement_people CHECK (retired_at IS NULL OR (asked_by IS NULL) = (confirmed_by IS NULL))
);
CREATE TABLE usage_retired (
    month TEXT NOT NULL,
    org UUID NOT NULL,
    key UUID NOT NULL,
    model TEXT NOT NULL,
    prepaid BOOLEAN NOT NULL,
    calls BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    won NUMERIC(38, 16) NOT NULL,
    loss_won NUMERIC(38, 16) NOT NULL,
    micro BIGINT NOT NULL,
    cost_usd NUMERIC(38, 16) NOT NULL,
    cost_won NUMERIC(38, 16) NOT NULL,
    uncosted BIGINT NOT NULL,
    digest TEXT NOT NULL,
    CONSTRAINT pk_usage_retired PRIMARY KEY (month, org, key, model, prepaid),
    CONSTRAINT ck_usage_retired_digest CHECK (digest ~ '^[0-9a-f]{64}$')
);
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON usage_retired
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON usage_retirement
    FOR EACH ROW WHEN (OLD.retired_at IS NOT NULL) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER kept BEFORE TRUNCATE ON usage_retirement FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

# Fifteen months after a month's end every business year that it may lie in is closed and its tax return filed: the
# years of both laws begin no later. 1827 days are the five years of tax law, 3653 the ten of the Commercial Act.
PERIOD = """
CREATE FUNCTION usage_month_kept_until(wanted text) RETURNS timestamptz LANGUAGE sql STABLE
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT (to_date(wanted, 'YYYYMM') + interval '16 months') AT TIME ZONE 'Asia/Seoul'
        + interval '1 day' * greatest(1827, coalesce(
            (SELECT days FROM public.retention_setting WHERE class = 'usage'), 3653))
$$;
REVOKE ALL ON FUNCTION usage_month_kept_until(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION usage_month_kept_until(text) TO wonrouter_billing;
"""

CHECKED = """
CREATE FUNCTION check_usage_month_ends(wanted text) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    wrong bigint;
BEGIN
    IF wanted !~ '^2[0-9]{3}(0[1-9]|1[0-2])$' THEN
        RAISE EXCEPTION 'not a month: %', wanted USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM public.usage_retirement WHERE month = wanted AND retired_at IS NOT NULL) THEN
        RAISE EXCEPTION 'the calls of % were retired already', wanted USING ERRCODE = 'check_violation';
    END IF;
    IF to_regclass('public.usage_' || wanted) IS NULL THEN
        RAISE EXCEPTION 'the books have no calls of %', wanted USING ERRCODE = 'check_violation';
    END IF;
    IF public.usage_month_kept_until(wanted) > now() THEN
        RAISE EXCEPTION 'the calls of % are kept until %', wanted,
            to_char(public.usage_month_kept_until(wanted) AT TIME ZONE 'Asia/Seoul', 'YYYY-MM-DD')
            USING ERRCODE = 'check_violation';
    END IF;
    SELECT count(*) INTO wrong FROM (SELECT org, sum(won) AS won FROM public.usage WHERE month = wanted GROUP BY org) u
        FULL JOIN (SELECT DISTINCT ON (org) org, CASE WHEN finalised_at IS NOT NULL THEN exact + promotion END AS won
            FROM public.invoice WHERE month = wanted ORDER BY org, amendment DESC) i USING (org)
        WHERE coalesce(u.won, 0) <> 0 AND i.org IS NULL OR i.org IS NOT NULL AND i.won IS DISTINCT FROM coalesce(u.won, 0);
    IF wrong > 0 THEN
        RAISE EXCEPTION '% organisations have no final document for % that says what its calls come to', wrong, wanted
            USING ERRCODE = 'check_violation';
    END IF;
    SELECT count(*) INTO wrong FROM (SELECT org, count(*) AS calls, sum(won) AS won, sum(loss_won) AS loss
            FROM public.usage WHERE month = wanted GROUP BY org) u
        FULL JOIN (SELECT t.org, count(DISTINCT t.id) AS calls,
                coalesce(sum(e.won) FILTER (WHERE a.kind IN ('wallet', 'unbilled')), 0) AS won,
                coalesce(sum(e.won) FILTER (WHERE a.kind = 'loss_unbilled'), 0) AS loss
            FROM public.ledger_transaction t LEFT JOIN public.entry e ON e.txn = t.id
            LEFT JOIN public.account a ON a.id = e.account
            WHERE t.month = wanted AND t.kind = 'usage' GROUP BY t.org) l USING (org)
        WHERE (u.calls, u.won, u.loss) IS DISTINCT FROM (l.calls, l.won, l.loss);
    IF wrong > 0 THEN
        RAISE EXCEPTION 'usage and ledger of % differ for % organisations: see wonrouter reconcile', wanted, wrong
            USING ERRCODE = 'check_violation';
    END IF;
END $$;
REVOKE ALL ON FUNCTION check_usage_month_ends(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION check_usage_month_ends(text) TO wonrouter_billing;
"""

# A row's digest is that of its JSON, so it does not depend on the order of columns; numerics keep every digit there.
# The digest of a group is that of its rows' digests (32 bytes each) in the order of the job ids. Writing to the month
# is locked out first; the lock on the whole table is taken last and held for a moment only.
RETIRE = """
CREATE FUNCTION retire_usage_month(wanted text, confirmed uuid) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
SET lock_timeout = '10s' AS $$
DECLARE
    partition text := 'usage_' || wanted;
    first timestamptz := CAST(to_date(wanted, 'YYYYMM') AS timestamp) AT TIME ZONE 'Asia/Seoul';
    following timestamptz := (to_date(wanted, 'YYYYMM') + interval '1 month') AT TIME ZONE 'Asia/Seoul';
    total bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(7301003);
    IF to_regclass('public.' || partition) IS NOT NULL AND wanted ~ '^[0-9]{6}$' THEN
        EXECUTE format('LOCK TABLE public.%I IN EXCLUSIVE MODE', partition);
    END IF;
    PERFORM public.check_usage_month_ends(wanted);
    INSERT INTO public.usage_retired (month, org, key, model, prepaid, calls, prompt_tokens, cached_tokens,
        completion_tokens, won, loss_won, micro, cost_usd, cost_won, uncosted, digest)
    SELECT month, org, key, model, prepaid, count(*), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens),
        sum(won), sum(loss_won), sum(micro), coalesce(sum(cost_usd), 0), coalesce(sum(cost_won), 0),
        count(*) FILTER (WHERE cost_usd IS NULL), encode(sha256(string_agg(
            sha256(convert_to(CAST(to_jsonb(u) AS text), 'UTF8')), CAST('' AS bytea) ORDER BY job)), 'hex')
    FROM public.usage u WHERE month = wanted GROUP BY month, org, key, model, prepaid;
    WITH told AS (
        INSERT INTO public.deletion_proof (class, org, subject, cut_off, records, digest, actor)
        SELECT 'usage', org, '', following, sum(calls), encode(sha256(convert_to(string_agg(digest, chr(10)
            ORDER BY key, model COLLATE "C", prepaid), 'UTF8')), 'hex'), coalesce(CAST(confirmed AS text), session_user)
        FROM public.usage_retired WHERE month = wanted GROUP BY org RETURNING records)
    SELECT coalesce(sum(records), 0) INTO total FROM told;
    INSERT INTO public.usage_retirement (month) VALUES (wanted) ON CONFLICT (month) DO NOTHING;
    UPDATE public.usage_retirement SET confirmed_by = confirmed, retired_at = now(),
        asked_by = CASE WHEN confirmed IS NOT NULL THEN asked_by END WHERE month = wanted;
    DELETE FROM public.usage_hour WHERE hour >= first AND hour < following;
    DELETE FROM public.usage_latency WHERE day >= to_date(wanted, 'YYYYMM')
        AND day < to_date(wanted, 'YYYYMM') + interval '1 month';
    EXECUTE format('ALTER TABLE public.usage DETACH PARTITION public.%I', partition);
    EXECUTE format('DROP TABLE public.%I', partition);
    RETURN total;
END $$;
REVOKE ALL ON FUNCTION retire_usage_month(text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION retire_usage_month(text, uuid) TO wonrouter_billing;
"""

# A replayed event of a retired month would find no row of itself and be booked a second time.
PARTITIONS = """
CREATE OR REPLACE FUNCTION ensure_usage_month(wanted text) RETURNS boolean LANGUAGE plpgsql
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
    IF EXISTS (SELECT FROM public.usage_retirement WHERE month = wanted AND retired_at IS NOT NULL) THEN
        RAISE EXCEPTION 'the calls of % were retired: nothing more is booked there', wanted
            USING ERRCODE = 'check_violation';
    END IF;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.usage INCLUDING ALL)', partition);
    EXECUTE format('ALTER TABLE public.usage ATTACH PARTITION public.%I FOR VALUES IN (%L)', partition, wanted);
    RETURN true;
END $$;
"""

RIGHTS = """
GRANT SELECT ON usage_retirement, usage_retired TO wonrouter_api, wonrouter_billing;
GRANT INSERT (month, asked_by), UPDATE (asked_by, asked_at) ON usage_retirement TO wonrouter_billing;
"""


# Both functions of migration 0013 that merge rows of the rollup by day left out what the calls cost us.
WITH_COSTS = (
    ("completion_tokens, won)", "completion_tokens, won, cost_usd, cost_won, uncosted)"),
    ("sum(won) FROM gone", "sum(won), sum(cost_usd), sum(cost_won), sum(uncosted) FROM gone"),
    (
        "won = r.won + excluded.won",
        "won = r.won + excluded.won, cost_usd = r.cost_usd + excluded.cost_usd, "
        "cost_won = r.cost_won + excluded.cost_won, uncosted = r.uncosted + excluded.uncosted",
    ),
)


def upgrade() -> None:
    connection = op.get_bind()
    for statements in (TABLES, PERIOD, CHECKED, RETIRE, PARTITIONS, RIGHTS):
        connection.exec_driver_sql(statements.replace("%", "%%"))
    for function in ("retire(text, timestamptz, integer)", "forget_end_user(uuid, text, text)"):
        written = connection.exec_driver_sql(
            f"SELECT pg_get_functiondef(CAST('public.{function}' AS regprocedure))"
        ).scalar_one()
        for old, new in WITH_COSTS:
            if old not in written:
                raise RuntimeError(f"{function} is not the one of migration 0013")
            written = written.replace(old, new)
        connection.exec_driver_sql(written.replace("%", "%%"))
