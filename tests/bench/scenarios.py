"""Which loads are measured. docs/bench.md says how to read them."""

from tests.bench.measure import Figures, Scenario

_CONCURRENCIES = (1, 16, 64, 256)


def closed_loop(quick: bool) -> list[Scenario]:
    """Callers that wait for their answer before they ask again."""
    seconds = 1.0 if quick else 3.0
    json = [Scenario("json", c, seconds=seconds) for c in _CONCURRENCIES]
    short = [Scenario("stream, 16 tokens", c, stream=True, seconds=seconds) for c in _CONCURRENCIES]
    paced = [
        Scenario("stream, 100 tokens 10 ms apart", c, True, "tokens=100 delay=10ms", 100, max(2.5, seconds))
        for c in ((50,) if quick else (1, 16, 50))
    ]
    full = [
        Scenario("stream, 500 tokens at full speed", c, True, "tokens=500 burst=4", 500, seconds)
        for c in ((16,) if quick else (1, 16, 64))
    ]
    return json + short + paced + full


def half_capacity(measured: list[Figures], quick: bool) -> list[Scenario]:
    """Requests that arrive by the clock, at half the rate that 64 callers reached: what a user of a sane system sees."""
    made: list[Scenario] = []
    for figures in measured:
        scenario = figures.scenario
        if scenario.concurrency == 64 and scenario.tokens == 16 and figures.requests:
            name = f"{scenario.name}, half of capacity"
            rate = max(1.0, round(figures.requests_per_s / 2))
            seconds = 1.5 if quick else 4.0
            made.append(Scenario(name, 256, scenario.stream, seconds=seconds, rate=rate))
    return made
