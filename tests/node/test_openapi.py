"""The served OpenAPI document: valid, true of the server, and all of the contract."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import OpenAPIV30SpecValidator

from obscura.api.app import api_routes, openapi_text
from tests.support.client import Api

CONTRACT = yaml.safe_load((Path(__file__).parents[1] / "data/openapi-0.3.9.yaml").read_text())
SERVED = yaml.safe_load(openapi_text())

PROSE = {"description", "summary", "title"}


def operations(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, item in document["paths"].items() for method in item}


def resolved(value: Any) -> Any:
    """A part of the document with its references replaced by what they stand for."""
    if isinstance(value, dict) and "$ref" in value:
        target: Any = SERVED
        for step in value["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return resolved(target)
    return value


def differences(contract: Any, ours: Any, where: str = "") -> list[str]:
    """Where ``ours`` lacks or contradicts what the contract says; prose may differ, additions are fine."""
    if isinstance(contract, dict):
        if not isinstance(ours, dict):
            return [where]
        pairs = [(key, value) for key, value in contract.items() if key not in PROSE or not isinstance(value, str)]
        missing = [f"{where}/{key}" for key, _ in pairs if key not in ours]
        return missing + [
            one for key, value in pairs if key in ours for one in differences(value, ours[key], f"{where}/{key}")
        ]
    if isinstance(contract, list) and where.endswith("/parameters"):
        ours = {resolved(parameter)["name"]: resolved(parameter) for parameter in ours}
        return differences({parameter["name"]: parameter for parameter in contract}, ours, where)
    if isinstance(contract, list) and where.endswith("/required"):
        return [] if set(contract) == set(ours) else [where]
    return [] if contract == ours else [where]


def test_the_document_is_valid_openapi() -> None:
    """Code generators can read it."""
    OpenAPIV30SpecValidator(SERVED).validate()
    assert SERVED["openapi"] == "3.0.3"


@pytest.mark.parametrize("path", sorted(CONTRACT["paths"]))
def test_each_path_of_the_contract_is_there_as_written(path: str) -> None:
    """Every method, status, parameter, body and answer of the contract holds."""
    assert differences(CONTRACT["paths"][path], SERVED["paths"][path]) == []


def test_each_component_of_the_contract_is_there_as_written() -> None:
    """Every schema has the contract's fields, types and required fields; none became required."""
    assert differences(CONTRACT["components"], SERVED["components"]) == []


def test_no_operation_asks_for_more_than_the_contract() -> None:
    """Parameters that we added are optional, so that a client of the contract needs none of them."""
    for path in CONTRACT["paths"]:
        for method, operation in SERVED["paths"][path].items():
            # HEAD is ours, and asks for what GET does.
            contract = CONTRACT["paths"][path]["get" if method == "head" else method]
            known = {parameter["name"] for parameter in contract.get("parameters", ())}
            added = [resolved(parameter) for parameter in operation.get("parameters", ())]
            assert [one["name"] for one in added if one["name"] not in known and one.get("required", False)] == []
            assert operation.get("security") == contract.get("security")


def test_the_document_lists_what_is_served_no_more_no_less() -> None:
    """Its operations are the routes of the server, and every path of the contract is among them."""
    routes = {(route.method, route.path) for route in api_routes()} - {("GET", "/openapi.yaml")}
    assert operations(SERVED) == routes
    assert CONTRACT["paths"].keys() <= SERVED["paths"].keys()


def test_every_error_of_the_document_is_an_error_response() -> None:
    """Each 4xx or 5xx has the contract's body, and a 429 or 503 says when to come back."""
    for method, path in operations(SERVED):
        for status, response in SERVED["paths"][path][method.lower()]["responses"].items():
            full = resolved(response)
            if status >= "400":
                schema = full["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorResponse"}, (path, status)
            if status in {"429", "503"}:
                assert full["headers"]["Retry-After"]["required"] is True


def test_every_operation_may_be_limited() -> None:
    """Whatever a client asks for, it may be told to slow down."""
    assert [(method, path) for method, path in operations(SERVED) if "429" not in answers_of(method, path)] == []


def answers_of(method: str, path: str) -> set[str]:
    return set(SERVED["paths"][path][method.lower()]["responses"])


def test_a_part_that_is_missing_or_changed_is_noticed() -> None:
    """The comparison above is not blind."""
    contract = {"a": {"required": ["x"], "type": "object"}, "parameters": [{"name": "p", "in": "path"}]}
    added = {"parameters": [{"in": "path", "name": "p", "z": 1}, {"name": "q"}], "new": 1}
    assert differences(contract, {"a": {"required": ["x"], "type": "object", "description": "!"}} | added) == []
    assert differences(contract, {"a": {"required": ["x", "y"], "type": "string"}, "parameters": []}) == [
        "/a/required",
        "/a/type",
        "/parameters/p",
    ]


async def test_the_document_is_served_with_the_version(api: Api) -> None:
    """GET /openapi.yaml needs no token and names the version that answers."""
    answer = await api.call("GET", "/openapi.yaml")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/yaml; charset=utf-8"
    served = yaml.safe_load(answer.body)
    assert served["info"]["version"] == version("obscura")
    assert served == SERVED
