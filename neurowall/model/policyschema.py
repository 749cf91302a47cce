# SPDX-License-Identifier: Apache-2.0
"""The policy's JSON Schema, for editors and other programs. `neurowall schema` prints it."""

from typing import Any

from neurowall.model.fielddocs import FIELDS, PARTS
from neurowall.model.policy import Policy

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The JSON Schema of policy.yaml, with what each field means.

    It says what a document can look like. What fits together (names that exist, ports that go with a
    protocol) only `neurowall validate` says.
    """
    text = Policy.model_json_schema(by_alias=True)
    parts = {"Policy": text} | text["$defs"]
    for name, part in parts.items():
        part["description"] = PARTS[name]
        for field, about in part["properties"].items():
            about.pop("title", None)
            about["description"] = FIELDS[name][field]
    return {"$schema": DIALECT} | text | {"title": "Neurowall policy"}
