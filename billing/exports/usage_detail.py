"""Every call of a month as one row, for CSV and XLSX. Rows are read from an iterator and never held."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from gateway.invoices.table import Column

SHEET = "사용내역 Usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One call as the usage table has it. Tokens; prices in USD per 1M tokens; `rate` in won per USD; `exact` in won.

    Where several models answered one call, the prices are those of the first and `models` is above 1: the charge is
    then recomputed from the call's receipt. `user` is the keyed hash, never what the client sent.
    """

    admitted_at: dt.datetime
    request: str
    key: str
    app: str
    user: str
    endpoint: str
    asked: str
    model: str
    provider: str
    outcome: str
    estimated: bool
    prompt: int
    cached: int
    cache_write: int
    completion: int
    reasoning: int
    image: int
    searches: int
    input_usd: Decimal | None
    output_usd: Decimal | None
    tier: str
    rate: Decimal | None
    exact: Decimal
    models: int = 1
    first_token_ms: int | None = None
    duration_ms: int | None = None
    org: str = ""


_Column = Column[UsageRow]

COLUMNS: tuple[_Column, ...] = (
    _Column("접수시각(서울)", "Admitted (Seoul)", "moment", lambda row: row.admitted_at, 24),
    _Column("요청 ID", "Request ID", "text", lambda row: row.request, 42),
    _Column("고객 ID", "Customer ID", "text", lambda row: row.org, 38),
    _Column("키", "API key", "text", lambda row: row.key, 20),
    _Column("앱(X-Title)", "App (X-Title)", "text", lambda row: row.app, 20),
    _Column("사용자(해시)", "User (hash)", "text", lambda row: row.user, 20),
    _Column("종류", "Endpoint", "text", lambda row: row.endpoint, 14),
    _Column("요청 모델", "Model asked for", "text", lambda row: row.asked, 28),
    _Column("모델", "Model", "text", lambda row: row.model, 28),
    _Column("모델 수", "Models used", "count", lambda row: row.models, 8),
    _Column("공급사", "Provider", "text", lambda row: row.provider, 12),
    _Column("결과", "Outcome", "text", lambda row: row.outcome, 10),
    _Column("추정", "Estimated", "text", lambda row: "Y" if row.estimated else "", 9),
    _Column("입력 토큰", "Input tokens", "count", lambda row: row.prompt, 12, total=True),
    _Column("캐시 토큰", "of which cached", "count", lambda row: row.cached, 12, total=True),
    _Column("캐시 쓰기 토큰", "of which cache writes", "count", lambda row: row.cache_write, 12, total=True),
    _Column("출력 토큰", "Output tokens", "count", lambda row: row.completion, 12, total=True),
    _Column("추론 토큰", "of which reasoning", "count", lambda row: row.reasoning, 12, total=True),
    _Column("이미지 토큰", "of which image", "count", lambda row: row.image, 12, total=True),
    _Column("검색", "Searches", "count", lambda row: row.searches, 9, total=True),
    _Column("입력 단가 USD", "Input USD / 1M", "exact", lambda row: row.input_usd, 12),
    _Column("출력 단가 USD", "Output USD / 1M", "exact", lambda row: row.output_usd, 12),
    _Column("구간", "Tier", "text", lambda row: row.tier, 8),
    _Column("적용환율", "KRW / USD", "rate", lambda row: row.rate, 11),
    _Column("정확금액", "Exact charge (KRW)", "exact", lambda row: row.exact, 24, total=True),
    _Column("첫 토큰(ms)", "First token (ms)", "count", lambda row: row.first_token_ms, 10),
    _Column("소요(ms)", "Duration (ms)", "count", lambda row: row.duration_ms, 10),
)
