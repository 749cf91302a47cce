# SPDX-License-Identifier: Apache-2.0
"""Interrupt a program at its n-th system call that touches durable files."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

CALLS = ("open", "fsync", "replace", "fdopen")


class Crash(BaseException):
    """The machine stopped here: nothing after it ran, no handler either."""


@contextmanager
def fault_at(number: int, error: Callable[[], BaseException]) -> Iterator[list[str]]:
    """Raise *error* instead of the call with this number, from 0; yields the names of the calls made.

    A crash lasts: every later call raises too.
    """
    made: list[str] = []

    def intercept(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            raised = error()
            if len(made) == number + 1 or (len(made) > number and isinstance(raised, Crash)):
                raise raised
            return original(*args, **kwargs)

        return call

    patches = [patch.object(os, name, intercept(name)) for name in CALLS]
    for each in patches:
        each.start()
    try:
        yield made
    finally:
        for each in patches:
            each.stop()
