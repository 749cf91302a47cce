# SPDX-License-Identifier: Apache-2.0
"""The published JSON Schemas, made from the models: `python -m bench.schemas` writes them here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.operations.scenario import Operations
from bench.result import Result, Summary
from bench.scenario import Scenario

DIRECTORY = Path(__file__).resolve().parent

_READ: dict[str, type[BaseModel]] = {"scenario": Scenario, "operations": Operations}
_WRITTEN: dict[str, type[BaseModel]] = {"result": Result, "summary": Summary}


def documents() -> dict[str, dict[str, Any]]:
    """Each schema by its file name; results are described as written, with every field."""
    return {
        f"{name}.schema.json": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **model.model_json_schema(mode="validation" if name in _READ else "serialization"),
        }
        for name, model in (_READ | _WRITTEN).items()
    }


def write(directory: Path = DIRECTORY) -> None:
    """Write every schema."""
    for name, schema in documents().items():
        (directory / name).write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")
