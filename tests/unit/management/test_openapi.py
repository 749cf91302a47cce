# SPDX-License-Identifier: Apache-2.0
"""The API's description: it is valid OpenAPI, whole, and the one that is published."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from neurowall.logic.engine import Engine
from neurowall.management.api.answers import About
from neurowall.management.api.app import create_app
from neurowall.management.api.openapi.document import published, routes_of
from neurowall.management.api.openapi.operations import OPERATIONS
from tests.unit.management.conftest import Api, described, done

Json = dict[str, Any]
METHODS = ("get", "put", "post", "patch", "delete")


@pytest.fixture(scope="module")
def document() -> Json:
    """As it is published."""
    return published()


def operations(document: Json) -> list[tuple[str, Json]]:
    """All of them, as `GET /status`."""
    return [
        (f"{method.upper()} {path}", item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


class TestDocument:
    def test_describes_every_route_and_no_other(self, engine: Engine, about: About) -> None:
        """A route that is added gets a line, one that goes loses it."""
        assert {key for key, _ in routes_of(create_app(engine, about))} == OPERATIONS.keys()

    def test_is_what_the_daemon_answers(self, api: Api, document: Json) -> None:
        """Apart from its version."""
        answer = done(api.get("/openapi.json"))
        assert (answer.pop("info")["version"], answer["openapi"]) == ("1.2.3", "3.1.0")
        assert answer == {key: value for key, value in document.items() if key != "info"}

    def test_says_something_of_everything(self, document: Json) -> None:
        """Words for each operation, answer and schema; an id that clients may use as a name."""
        names = [operation["operationId"] for _, operation in operations(document)]
        assert len(set(names)) == len(names)
        for key, operation in operations(document):
            assert operation["description"], key
            assert operation["tags"][0] in {tag["name"] for tag in document["tags"]}, key
            for answer in operation["responses"].values():
                assert answer["description"], key
                assert answer["content"], key
        for name, schema in document["components"]["schemas"].items():
            assert schema.get("description"), name

    def test_problems_are_problems(self, document: Json) -> None:
        """Every status but 200, and only those that mean something there."""
        for key, operation in operations(document):
            for status, answer in operation["responses"].items():
                expected = ["application/problem+json"] if status != "200" else list(answer["content"])
                assert list(answer["content"]) == expected, key
            assert "422" in operation["responses"], key

    def test_schemas_are_valid_and_examples_fit(self, document: Json) -> None:
        """By the JSON Schema that OpenAPI 3.1 names."""
        described_here = described()
        count = 0
        for schema in document["components"]["schemas"].values():
            Draft202012Validator.check_schema(schema)
        for key, operation in operations(document):
            body = operation.get("requestBody", {}).get("content", {})
            answers = operation["responses"]["200"]["content"]
            for media, content in [*body.items(), *answers.items()]:
                if "example" in content and media.endswith("json"):
                    wrong = described_here.wrong(content["schema"], content["example"])
                    assert wrong is None, f"{key}: {wrong}"
                    count += 1
        assert count > 10

    def test_every_body_has_an_example(self, document: Json) -> None:
        """Who reads it wants to try it."""
        for key, operation in operations(document):
            for content in operation.get("requestBody", {}).get("content", {}).values():
                assert "example" in content, key

    def test_is_the_one_in_the_docs(self, document: Json) -> None:
        """`make openapi` writes it."""
        kept = Path(__file__).parents[3] / "docs" / "openapi.json"
        assert json.loads(kept.read_text()) == document, "the API has changed: run `make openapi`"
