# SPDX-License-Identifier: Apache-2.0
"""Broken products, each of which the differential of list sets must find."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

from neurowall.kernel import objects
from neurowall.kernel.buckets import BucketTable
from neurowall.kernel.buckets6 import Table6
from neurowall.kernel.lists import ListMaps
from neurowall.logic import classes, timed
from neurowall.model.errors import ApplyError
from tests.bpf.gateway import gateways
from tests.bpf.test_lists_differential import SETS, compare, small_tables
from tests.bpf.test_mutations import compiled
from tests.bpf.test_updates import mutate

FEWER = 300  # addresses of each family, for each set

assert small_tables  # a fixture that is used by its name

# Owner, method or function, what is replaced and by what.
WRITERS: dict[str, tuple[type | ModuleType, str, str, str]] = {
    "monitor lists decide": (classes, "meaning_of", " and not each[1].monitor", ""),
    "nothing comes after a timed entry": (
        classes,
        "meaning_of",
        "meaning_of(without, heads) if without else None",
        "None",
    ),
    "block beats allow": (
        classes,
        "meaning_of",
        '(("allow", "pass"), ("block", "drop"))',
        '(("block", "drop"), ("allow", "pass"))',
    ),
    "only an entry's own end counts": (timed, "latest", "rows.length >= length", "rows.length == length"),
    "ends are not written": (ListMaps, "put_expiries", "self._timed.put(expiries)", "pass"),
    "classes do not say what comes after": (ListMaps, "set_classes", "rest=definition.rest", "rest=0"),
    "classes do not say that they end": (
        ListMaps,
        "set_classes",
        'layout.Timed[definition.timed.upper() or "NO"]',
        "layout.Timed.NO",
    ),
    "a host is in its second line and the first does not say so": (
        BucketTable,
        "put",
        "    self._mark(first[left], OVERFLOW)\n",
        "",
    ),
    "a host is spilled and its line does not say so": (
        BucketTable,
        "put",
        "    self._mark(first[spill], OVERFLOW | SPILL)\n",
        "",
    ),
    "an IPv6 entry is in its second line and the first does not say so": (
        Table6,
        "put",
        '    self._lines["metadata"][home[left]] |= np.uint32(OVERFLOW)\n',
        "",
    ),
    "an IPv6 entry is spilled and its line does not say so": (
        Table6,
        "put",
        '    self._lines["metadata"][home[spill]] |= np.uint32(SPILL)\n',
        "",
    ),
}
PROGRAMS: dict[str, tuple[str, str, str]] = {
    "the clock is read the wrong way round": ("timed.h", "if (now < until)", "if (now >= until)"),
    "a class that counts drops": ("decide.h", "class->verdict == NW_VERDICT_NONE)", "class->verdict == 9)"),
    "the second line of IPv6 entries is skipped": (
        "lists6.h",
        "class_id = search_line6(line6_of(hash), high, low, length, &unused);",
        "class_id = unused;",
    ),
}


def is_caught(engine: str, folder: Path) -> bool:
    """Whether the oracle disagrees, or the engine notices by reading back."""
    with gateways([engine], folder) as tried:
        try:
            compare(tried, Random("list sets"), SETS, FEWER, timed_share=1)
        except (AssertionError, ApplyError):
            return True
    return False


@pytest.mark.parametrize("what", WRITERS)
def test_a_broken_writer_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Whatever userspace computes or leaves out."""
    mutate(monkeypatch, *WRITERS[what])
    assert is_caught("buckets", tmp_path)


@pytest.mark.tool("clang")
@pytest.mark.parametrize("what", PROGRAMS)
def test_a_broken_program_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """In the real path; more of them are in test_timed.py and test_mutations.py."""
    path = compiled(tmp_path / "bpf", PROGRAMS[what])
    find: Callable[[str], Path] = objects.path
    monkeypatch.setattr(objects, "path", lambda name: path if name == "neurowall" else find(name))
    assert is_caught("buckets", tmp_path)
