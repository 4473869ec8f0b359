"""Every route, asked by schemathesis with what its schema allows and with what it does not."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks

EXAMPLES = {GenerationMode.POSITIVE: 6, GenerationMode.NEGATIVE: 12}
"""Of each operation: the same ones each time, and all of them in less than a minute."""

CONFORMANCE = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
HEADERS = {"host": "127.0.0.1"}


@pytest.mark.parametrize("mode", EXAMPLES, ids=lambda mode: mode.value)
def test_nothing_is_a_server_error_and_all_is_as_described(
    stand: Any, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", stand.app, headers=HEADERS)
    asked = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and operation.method == "get":
            continue  # takes nothing that could be wrong
        asked.append(operation.label)

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES[mode],
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Any) -> None:
            case.headers.pop("Authorization", None)  # made up, and refused before all else
            response = case.call(headers=HEADERS)
            told = f"{case.as_curl_command()}\n{response.text}"
            assert response.status_code < 500 or "nothing-serves" in response.text, told
            assert response.headers["x-request-id"]
            case.validate_response(response, checks=CONFORMANCE)

        ask()

    assert "POST /predict/films" in asked
    assert "POST /observe/power" in asked
