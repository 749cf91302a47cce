# SPDX-License-Identifier: Apache-2.0
"""Many cases, of which each run tries some and the soak run the others."""

from collections.abc import Iterable
from typing import Any

import pytest


def some(values: Iterable[Any], every: int = 3) -> list[Any]:
    """Parameters: the first of each *every* values as they are, the others marked as soak."""
    return [
        value if number % every == 0 else pytest.param(value, marks=pytest.mark.soak)
        for number, value in enumerate(values)
    ]
