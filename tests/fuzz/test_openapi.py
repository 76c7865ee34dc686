"""Whatever is sent to a described operation, by whomever: the answer is described, too, and is no failure of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.scale import examples
from tests.fuzz.scene import ROLES, Scene

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")

DESCRIPTIONS = {"public": "/api/v1/openapi.json", "management": "/api/v1/manage/openapi.json"}
CHECKS = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
EXAMPLES = {"public": 4, "management": 7}
OFTEN = ("owner", "operator", *ROLES)
"""Who may do most is asked most."""
PATIENCE_S = 60


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        yield made


def put_known(case: Any, known: dict[str, list[str]], data: st.DataObject) -> None:
    """Puts what exists here in the place of what was made up, most of the time: else everything is a 404."""
    for container in (case.path_parameters, case.query, case.body):
        if isinstance(container, dict):
            for name in [name for name in container if name in known]:
                if name == "wait" or data.draw(st.integers(0, 3)):
                    container[name] = data.draw(st.sampled_from(known[name]))


def failure_of_ours(response: Any) -> bool:
    """Whether it is one. That nobody set up a way to a model is the operator's to mend, and says so."""
    configured = response.headers.get("x-should-retry") != ["false"]
    return response.status_code >= 500 and not (response.status_code == 503 and not configured)


@pytest.mark.timeout(900)  # some thousand calls, at the pace of the machine
@pytest.mark.parametrize("which", DESCRIPTIONS)
def test_every_operation_answers_as_it_is_described(world: Scene, session: requests.Session, which: str) -> None:
    schema = schemathesis.openapi.from_dict(httpx.get(world.url + DESCRIPTIONS[which]).json())
    schema.config.update(base_url=world.url)
    schema.config.generation.with_security_parameters = False  # the callers have their own
    known = {
        name: values[:8] for name, values in world.known.items()
    }  # those of the first callers: the same every time
    failed: list[str] = []
    tried: set[int] = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        right = operation.as_strategy()
        wrong = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

        @settings(
            max_examples=examples(EXAMPLES[which]), derandomize=True, database=None, deadline=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.one_of(right, right, wrong), st.sampled_from(OFTEN), st.data())
        def run(case: Any, role: str, data: st.DataObject) -> None:
            put_known(case, known, data)
            response = case.call(session=session, headers=world.callers[role], timeout=PATIENCE_S)
            if response.status_code == 401 and role != "nobody":
                response = case.call(session=session, headers=world.refresh(role), timeout=PATIENCE_S)
            tried.add(response.status_code)
            assert not failure_of_ours(response), f"{response.status_code} {response.text}\n{case.as_curl_command()}"
            case.validate_response(response, checks=CHECKS)

        try:
            run()
        except Exception as wrong_answer:  # noqa: BLE001 - every operation is tried
            said = "\n".join(str(one) or repr(one) for one in getattr(wrong_answer, "exceptions", [wrong_answer]))
            failed.append(f"{operation.label}: {said[:2_000]}")
    assert not failed, "\n\n".join(failed)
    assert {200, 400, 401, 404} <= tried, "the calls reach what is behind the first refusals"
