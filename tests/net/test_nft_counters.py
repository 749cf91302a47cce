# SPDX-License-Identifier: Apache-2.0
"""Named counters of our table, by a question of our own to the kernel, against what nft says of them."""

import json
import os
import threading
from collections.abc import Iterator

import pytest

from bench.testbed.namespace import Namespace
from bench.testbed.run import Run
from neurowall.kernel.nftcounters import Link
from neurowall.model.counters import Counter

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

COUNT = 3000  # more than fit into one answer of the kernel
NAMES = [f"rule-{number}" for number in range(COUNT)]
ROWS = "\n".join(f"counter {name} {{ packets {n} bytes {n << 33}; }}" for n, name in enumerate(NAMES))
TABLE = f"""
table inet neurowall {{
    {ROWS}
    quota spare {{ over 1 mbytes }}
    set hosts {{ type ipv4_addr; }}
}}
table inet other {{
    counter theirs {{ packets 7 bytes 7; }}
}}
table ip neurowall {{
    counter older {{ packets 8 bytes 8; }}
}}
"""


@pytest.fixture(scope="module")
def namespace(run: Run) -> Iterator[Namespace]:
    """One of its own."""
    made = Namespace.create(run, run.unique("netns", "counters"))
    yield made
    made.remove()


@pytest.fixture
def inside(namespace: Namespace) -> Iterator[Namespace]:
    """The test's thread in it, with TABLE."""
    namespace.exec(["nft", "-f", "-"], input=TABLE).check()
    with namespace.enter():
        yield namespace
    namespace.exec(["nft", "flush", "ruleset"]).check()


def test_there_is_nothing_without_a_table(namespace: Namespace) -> None:
    """Which is no error."""
    with namespace.enter():
        assert Link().counters() == {}


def test_all_of_our_table_and_no_other_are_told(inside: Namespace) -> None:
    """Exactly, however large; what is not a counter is not one."""
    found = Link().counters()
    assert found == {name: Counter(n, n << 33) for n, name in enumerate(NAMES)}
    said = inside.exec(["nft", "-j", "list", "counters", "table", "inet", "neurowall"]).check().stdout
    listed = [each["counter"] for each in json.loads(said)["nftables"] if "counter" in each]
    assert found == {each["name"]: Counter(each["packets"], each["bytes"]) for each in listed}


def test_none_is_missed_while_the_table_changes(inside: Namespace) -> None:
    """A dump that met a transaction is made again; counters that stay are told each time."""
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            inside.exec(
                ["nft", "add element inet neurowall hosts { 192.0.2.1 }; flush set inet neurowall hosts"]
            )

    thread = threading.Thread(target=change)
    thread.start()
    try:
        link = Link()
        for _ in range(20):
            assert len(link.counters()) == COUNT
    finally:
        stop.set()
        thread.join()


def test_a_link_stays_in_its_namespace(namespace: Namespace, inside: Namespace) -> None:
    """Wherever the thread goes that asks."""
    link = Link()
    other = Namespace.create(namespace._run, "elsewhere")
    with other.enter():
        assert len(link.counters()) == COUNT
        assert Link().counters() == {}
    other.remove()


def test_who_may_not_ask_is_told_so(inside: Namespace) -> None:
    """An error of the kernel is one of ours, with its number."""
    read, write = os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover
        try:
            os.setuid(65534)
            Link().counters()
        except OSError as error:
            os.write(write, str(error.errno).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as said:
        assert said.read() == "1"  # EPERM
