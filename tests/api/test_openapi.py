"""The served OpenAPI document: valid, true of the server, and all of the contract."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import OpenAPIV30SpecValidator

from obscura.api.openapi import openapi_text
from obscura.api.routes import API_ROUTES
from obscura.client.device_keys import Device, encode
from obscura.http.responses import REQUEST_ID_HEADER
from tests.support.client import Api

CONTRACT = yaml.safe_load((Path(__file__).parents[1] / "data/openapi-0.3.9.yaml").read_text())
SERVED = yaml.safe_load(openapi_text())

EVERY_REQUEST = {REQUEST_ID_HEADER}
EVERY_ANSWER = {REQUEST_ID_HEADER, "Retry-After"}
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
    """Its operations are the routes of the server, less its own page; every path of the contract is among them."""
    routes = {(route.method, route.path) for route in API_ROUTES if not route.path.startswith("/docs")}
    assert operations(SERVED) == routes
    assert CONTRACT["paths"].keys() <= SERVED["paths"].keys()


def test_the_document_has_the_headers_that_routes_name() -> None:
    """What pages of other origins may send and read is what the document describes, no more and no less."""
    for route in API_ROUTES:
        if route.path.startswith("/docs"):
            continue
        operation = SERVED["paths"][route.path][route.method.lower()]
        parameters = [resolved(one) for one in operation.get("parameters", ())]
        sent = {one["name"] for one in parameters if one["in"] == "header"}
        assert sent - EVERY_REQUEST == set(route.request_headers), route.path
        answers = [resolved(one) for status, one in operation["responses"].items() if status < "400"]
        named = {name for one in answers for name in one.get("headers", {})}
        assert named - EVERY_ANSWER == set(route.response_headers), route.path


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


def test_what_we_added_to_the_contract_is_described() -> None:
    """A client author finds every header and status of ours in the document alone."""
    headers = {
        ("POST", "/v1/messages/{recipientId}"): {"Idempotency-Key"},
        ("GET", "/v1/attachments/{id}"): {"Range", "If-Range", "If-None-Match"},
        ("HEAD", "/v1/attachments/{id}"): {"If-None-Match"},
    }
    for (method, path), names in headers.items():
        parameters = [resolved(one) for one in SERVED["paths"][path][method.lower()]["parameters"]]
        assert names <= {one["name"] for one in parameters if one["in"] == "header"}
    assert {"200", "206", "304", "416"} <= answers_of("GET", "/v1/attachments/{id}")
    assert {"200", "304"} <= answers_of("HEAD", "/v1/attachments/{id}")
    assert "422" in answers_of("POST", "/v1/messages/{recipientId}")
    assert "401" in answers_of("GET", "/v1/keys/{userId}")
    parts = SERVED["paths"]["/v1/attachments/{id}"]["get"]["responses"]
    assert {"ETag", "Accept-Ranges", "Content-Range"} == set(parts["206"]["headers"])
    assert "Content-Range" in parts["416"]["headers"]
    assert "Expect: 100-continue" in SERVED["info"]["description"]


@pytest.mark.parametrize(("key", "is_one"), [("a", True), ("a b", True), ("~" * 64, True), (" ", False), ("a ", False)])
def test_an_idempotency_key_has_no_blank_at_its_ends(key: str, is_one: bool) -> None:
    """HTTP takes blanks around a value away, so the server would never see such a key as it was sent."""
    parameters = map(resolved, SERVED["paths"]["/v1/messages/{recipientId}"]["post"]["parameters"])
    pattern = next(one["schema"]["pattern"] for one in parameters if one["name"] == "Idempotency-Key")
    assert bool(re.search(pattern, key)) is is_one


def test_patterns_of_keys_are_those_of_real_ones() -> None:
    """What devices upload fits the document; a key of another length or type does not."""
    device = Device()
    body = Api.registration("alice", device, 1)
    schemas = SERVED["components"]["schemas"]
    key = schemas["OneTimePreKeyDto"]["properties"]["publicKey"]["pattern"]
    signature = schemas["SignedPreKeyDto"]["properties"]["signature"]["pattern"]
    assert key == schemas["RegistrationRequest"]["properties"]["identityKey"]["pattern"]
    for first in range(256):
        raw = bytes([5, first]) + bytes(31)
        assert re.search(key, encode(raw))
        assert re.search(signature, encode(bytes(63) + bytes([first])))
        assert first == 5 or not re.search(key, encode(bytes([first]) + bytes(32)))
    assert re.search(signature, body["signedPreKey"]["signature"])
    assert not any(re.search(key, encode(bytes([5]) + bytes(size))) for size in (30, 31, 33))


def test_every_close_code_is_described() -> None:
    """The codes that the page for client authors lists are those of the gateway's description."""
    page = (Path(__file__).parents[2] / "docs/clients/gateway.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if re.match(r"\| [14]\d{3}\b", line)]
    listed = {code for row in rows for code in re.findall(r"\d{4}", row)}
    described = set(re.findall(r"`([14]\d{3})`", SERVED["paths"]["/v1/gateway"]["get"]["description"]))
    assert listed == described != set()


def test_every_link_leads_somewhere() -> None:
    """What one answer gives the next request is a parameter or a field of its operation."""
    by_id = {one["operationId"]: one for item in SERVED["paths"].values() for one in item.values()}
    assert len(by_id) == len(operations(SERVED))
    answers = [answer for one in by_id.values() for answer in one["responses"].values()]
    links = [resolved(link) for answer in answers for link in resolved(answer).get("links", {}).values()]
    assert len(links) == 8
    for link in links:
        target = by_id[link["operationId"]]
        known = {resolved(one)["name"] for one in target["parameters"]}
        if "requestBody" in link:
            schema = resolved(target["requestBody"]["content"]["application/json"]["schema"])
            assert set(link["requestBody"]) == set(schema["required"])
        else:
            assert set(link["parameters"]) <= known


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
