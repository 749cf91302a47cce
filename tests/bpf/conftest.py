# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the packet tests: a fresh program and fresh maps for each test, since PROG_RUN changes maps."""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.bpf.harness import Firewall

ENGINES = ("buckets", "classic")
MakeFirewall = Callable[..., Firewall]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here loads a program, so every one needs root."""
    for item in items:
        if "/tests/bpf/" in item.path.as_posix():
            item.add_marker(pytest.mark.root)


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """The test stays on one CPU: some budgets are each CPU's own. Not the one that generators use."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def make_firewall() -> Iterator[MakeFirewall]:
    """A function that loads the object for a role; see Firewall. All are closed afterwards."""
    made: list[Firewall] = []

    def make(**role: object) -> Firewall:
        made.append(Firewall(**role))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def firewall(make_firewall: MakeFirewall) -> Firewall:
    """For what does not depend on lists: an external interface, so what is not parsed is dropped.

    The classic engine loads faster; test_roles.py loads every combination.
    """
    return make_firewall(engine="classic")


@pytest.fixture(params=ENGINES)
def either(request: pytest.FixtureRequest, make_firewall: MakeFirewall) -> Firewall:
    """The same in both engines: a test with this runs twice."""
    return make_firewall(engine=request.param)
