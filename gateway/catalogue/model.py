"""What the catalogue says: models, prices, exchange rates, quantities. Immutable, and free of any I/O."""

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal, Self

import msgspec

from gateway.errors import ModelNotFound, ServiceUnavailable
from gateway.money import exact

Surface = Literal["bizrouter", "krouter"]
State = Literal["active", "withdrawn", "disabled"]
Dialect = Literal["openai", "anthropic", "google", "sandbox"]
Provider = Literal[
    "openai",
    "anthropic",
    "google",
    "perplexity",
    "xai",
    "zai",
    "deepseek",
    "qwen",
    "moonshot",
    "minimax",
    "upstage",
    "friendli",
    "sandbox",
]

ReasoningField = Literal["reasoning_content", "reasoning", "reasoning_details", "think_tags", "native", "hidden"]

AUTO = "kr/auto"
"""The name under which the gateway itself chooses a model."""

PRICE_DECIMALS = 6
RATE_DECIMALS = 4


class UnknownModel(ModelNotFound):
    """No such model is sold. `asked` is what the client sent, `suggestions` what it may have meant."""

    def __init__(self, asked: str, suggestions: Sequence[str] = ()) -> None:
        self.asked = asked
        self.suggestions = list(suggestions)
        super().__init__(f"Model not found: {asked}", param="model", details={"suggestions": self.suggestions})


class NoPrice(ServiceUnavailable):
    """The model has no price at that moment. It is refused: a model without a price is never free."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"{model_id} has no price at this time", param="model")


class NoRate(ServiceUnavailable):
    """No exchange rate is in force at that moment, so nothing can be priced in won."""

    def __init__(self) -> None:
        super().__init__("No exchange rate is in force at this time")


class Unbounded(ValueError):
    """The catalogue cannot say how many tokens this input may become; a strict hold must refuse it."""


class Quantities(msgspec.Struct, frozen=True, kw_only=True):
    """What one call used, in tokens (`search`: in searches). The same meaning for every provider.

    `prompt` includes `cached` and both cache writes (5 minutes, 1 hour); `completion` includes `reasoning` and
    `image`. Raises ValueError where a part is larger than its whole; see `clamped` for what providers send.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    image: int = 0
    search: int = 0

    def __post_init__(self) -> None:
        parts = (
            self.cached,
            self.cache_write_5m,
            self.cache_write_1h,
            self.reasoning,
            self.image,
            self.search,
        )
        for count in (self.prompt, self.completion, *parts):
            if type(count) is not int or count < 0:
                raise ValueError(f"a quantity is a whole number of at least 0, not {count!r}")
        if self.cached + self.cache_write_5m + self.cache_write_1h > self.prompt:
            raise ValueError("cached tokens and cache writes exceed the prompt that contains them")
        if self.reasoning + self.image > self.completion:
            raise ValueError("reasoning and image tokens exceed the completion that contains them")

    @classmethod
    def clamped(
        cls,
        prompt: int,
        completion: int,
        *,
        cached: int = 0,
        cache_write_5m: int = 0,
        cache_write_1h: int = 0,
        reasoning: int = 0,
        image: int = 0,
        search: int = 0,
    ) -> Self:
        """As the constructor, but each part is cut to what its whole has left, and nothing is below zero.

        For a provider's own numbers, which now and then contradict themselves: the two totals decide the
        charge and stay; a part that cannot be true must not lose the usage of a whole call.
        """
        prompt, completion = max(prompt, 0), max(completion, 0)
        cached = min(max(cached, 0), prompt)
        cache_write_5m = min(max(cache_write_5m, 0), prompt - cached)
        reasoning = min(max(reasoning, 0), completion)
        return cls(
            prompt=prompt,
            completion=completion,
            cached=cached,
            cache_write_5m=cache_write_5m,
            cache_write_1h=min(max(cache_write_1h, 0), prompt - cached - cache_write_5m),
            reasoning=reasoning,
            image=min(max(image, 0), completion - reasoning),
            search=max(search, 0),
        )


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model's price, in USD per 1M tokens, in force from `effective_from_ms` (Unix, ms).

    Where the input exceeds `threshold` tokens, the `over_` prices hold for the whole request. Raises ValueError
    for a price that is not above zero, has more than 6 decimals, or has only part of a tier.
    """

    id: str
    model: str
    effective_from_ms: int
    input_usd: Decimal
    output_usd: Decimal
    threshold: int | None = None
    over_input_usd: Decimal | None = None
    over_output_usd: Decimal | None = None

    def __post_init__(self) -> None:
        tier = (self.threshold, self.over_input_usd, self.over_output_usd)
        if any(part is None for part in tier) and any(part is not None for part in tier):
            raise ValueError(f"price {self.id}: a tier needs its threshold and both prices")
        if self.threshold is not None and self.threshold <= 0:
            raise ValueError(f"price {self.id}: the threshold must be above zero")
        for usd in (
            self.input_usd,
            self.output_usd,
            self.over_input_usd,
            self.over_output_usd,
        ):
            if usd is not None:
                _require_positive(usd, PRICE_DECIMALS, f"price {self.id}")


class FxRate(msgspec.Struct, frozen=True, kw_only=True):
    """One published exchange rate in won per USD, for the Seoul date `date`, entered at `effective_from_ms`.

    Raises ValueError for a rate that is not above zero or has more than 4 decimals.
    """

    id: str
    date: datetime.date
    rate: Decimal
    source: str
    effective_from_ms: int

    def __post_init__(self) -> None:
        _require_positive(self.rate, RATE_DECIMALS, f"rate {self.id}")


class InputBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The most tokens that one part of an input can become, for the strict hold.

    `byte`: per UTF-8 byte of text (1 for byte-level vocabularies; 3 where the tokenizer first applies NFC, which
    can make three bytes of one). `request`: fixed frame, with the prompt that a provider adds when tools or a
    schema are present. `image`, `search` None: the provider publishes no maximum.
    """

    byte: int = 1
    request: int = 16
    message: int = 8
    tool: int = 64
    image: int | None = None
    search: int | None = 0

    def tokens(
        self,
        utf8_bytes: int,
        messages: int,
        tools: int = 0,
        images: int = 0,
        searches: int = 0,
    ) -> int:
        """An upper bound on the prompt, in tokens. Raises Unbounded where a part has no published maximum."""
        if (images and self.image is None) or (searches and self.search is None):
            raise Unbounded("this model's image or search tokens have no published maximum")
        text = utf8_bytes * self.byte + self.request + messages * self.message + tools * self.tool
        return text + images * (self.image or 0) + searches * (self.search or 0)


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider's API differs for this model. Adapters read this instead of asking which provider it is."""

    dialect: Dialect = "openai"
    renames: Mapping[str, str] = {}
    """Request parameters that the provider knows by another name."""
    exclusive: tuple[tuple[str, ...], ...] = ()
    """Parameters of which only the first present one may be sent."""
    minimum: Mapping[str, Decimal] = {}
    """Parameters that are raised to this before they are sent (MiniMax refuses temperature 0)."""
    maximum: Mapping[str, Decimal] = {}
    """Parameters that are cut to this before they are sent (Anthropic's temperature ends at 1)."""
    fixed: Mapping[str, Decimal] = {}
    """Parameters for which the model takes one value alone; whatever the client asked is replaced."""
    body: Mapping[str, object] = {}
    """Fields added to every request body."""
    system_role: Literal["system", "developer", "user"] = "system"
    """The role that carries system and developer messages."""
    thinks: Literal["never", "asked", "always"] = "never"
    """Whether the model reasons before it answers: never, when an effort is asked for, or by itself."""
    effort_as: Literal["effort", "budget", "level", "toggle", "template"] = "effort"
    """How `reasoning_effort` is said: as it is, as a token budget, as a level, on/off, or in the chat template."""
    efforts: Mapping[str, str | int | bool] = {}
    """Accepted `reasoning_effort` values and what each becomes at the provider."""
    verbosities: tuple[str, ...] = ()
    """Accepted `verbosity` values."""
    reasoning_field: ReasoningField = "hidden"
    """Where the answer carries its reasoning."""
    return_reasoning: bool = False
    """The reasoning has to be sent back with tool results."""
    usage_as: Literal["openai", "xai", "deepseek", "moonshot", "perplexity", "native"] = "openai"
    """How the provider counts. `xai`: completion excludes reasoning."""
    prefill: Literal["none", "assistant", "prefix", "partial"] = "none"
    """How an answer that was cut can be continued: a trailing assistant message, plain or with a marker."""
    stream_only: bool = False
    """The provider refuses unstreamed calls: stream upstream and collect."""
    json_schema: bool = True
    """`response_format` may be a schema; otherwise only `json_object`."""
    path: str = ""
    """A path other than the dialect's usual one."""
    long_headers: Mapping[str, str] = {}
    """Headers sent only when the input may pass `long_above` tokens."""
    long_above: int = 0


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model that is sold. Lengths are in tokens, times in seconds, `created` in Unix seconds."""

    id: str
    name: str
    order: int
    owned_by: str
    created: int
    context_length: int
    max_output_tokens: int
    default_output_cap: int
    """What a request without `max_tokens` reserves."""
    provider: Provider
    upstream_id: str
    """The model's name at `provider`; a deployment may override it."""
    native: bool = True
    """False where the maker's own API has stopped serving it: it then needs a deployment at another host."""
    state: State = "active"
    parameters: frozenset[str] = frozenset()
    """Request parameters that the model supports; others are dropped or refused as the API documents."""
    vision: bool = False
    image_output: bool = False
    input_bounds: InputBounds | None = None
    """None: no bound can be stated, and an organisation with strict holds cannot call the model."""
    quirks: Quirks = Quirks()
    successors: tuple[str, ...] = ()
    """What to suggest once the model is no longer sold."""
    fallbacks: tuple[str, ...] = ()
    """Models to try when no deployment of this one answers; never dearer, and able to do the same."""
    first_token_timeout_s: float = 10
    idle_timeout_s: float = 10
    total_timeout_s: float = 600

    @property
    def reasoning(self) -> bool:
        """Whether the model can spend completion tokens on reasoning."""
        return self.quirks.thinks != "never"

    def supports(self, parameter: str) -> bool:
        """Whether a request parameter reaches this model."""
        return parameter in self.parameters


def _require_positive(number: Decimal, decimals: int, what: str) -> None:
    exponent = exact(number).as_tuple().exponent
    if number <= 0:
        raise ValueError(f"{what}: {number} is not above zero")
    if isinstance(exponent, int) and -exponent > decimals:
        raise ValueError(f"{what}: {number} has more than {decimals} decimals")
