# SPDX-License-Identifier: Apache-2.0
"""Changes of the table by others, as the kernel tells of them."""

import threading
from collections.abc import Iterator

import pytest

from bench.testbed.namespace import Namespace
from bench.testbed.run import Run
from neurowall.kernel import nftwatch
from neurowall.kernel.nft import Nftables
from neurowall.kernel.nftwatch import watch_ruleset
from neurowall.model.ruleset import Chain, Ruleset, text_of

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

RULESET = Ruleset((), (), (Chain("a", (text_of([{"accept": None}]),)),))
QUIET = 0.3  # seconds in which an event would have come: they take milliseconds


class Watch:
    """Counts events; `hold` keeps the callback from returning."""

    def __init__(self) -> None:
        self.stop, self.hold = threading.Event(), threading.Event()
        self.hold.set()
        self._events = threading.Semaphore(0)
        self._thread = threading.Thread(target=watch_ruleset, args=(self._called, self.stop))
        self._thread.start()
        assert self.came(), "no first call"

    def _called(self) -> None:
        self._events.release()
        self.hold.wait()

    def came(self, seconds: float = 1.0) -> bool:
        """Whether an event comes in time."""
        return self._events.acquire(timeout=seconds)

    def close(self) -> None:
        """End the thread."""
        self.stop.set()
        self.hold.set()
        self._thread.join()


@pytest.fixture
def namespace(run: Run) -> Iterator[Namespace]:
    """An empty namespace."""
    made = Namespace.create(run, run.unique("netns", "nftwatch"))
    yield made
    made.remove()


@pytest.fixture
def tables(namespace: Namespace) -> Iterator[Nftables]:
    """Our table in that namespace, in which the test's thread is."""
    with namespace.enter():
        tables = Nftables()
        tables.commit(None, RULESET)
        yield tables


@pytest.fixture
def watch(tables: Nftables) -> Iterator[Watch]:
    """Listens in that namespace."""
    watch = Watch()
    yield watch
    watch.close()


def test_another_tool_is_noticed_within_a_second(watch: Watch, namespace: Namespace) -> None:
    """A rule more, and the table gone, are an event each."""
    namespace.exec(["nft", "add", "rule", "inet", "neurowall", "a", "drop"])
    assert watch.came()
    assert not watch.came(QUIET)
    namespace.exec(["nft", "flush", "ruleset"])
    assert watch.came()


def test_our_own_commits_and_other_tables_are_not(
    watch: Watch, tables: Nftables, namespace: Namespace
) -> None:
    """What this process does, from any thread, and what others do to their own tables, is no event."""
    for ruleset in (Ruleset(), RULESET):
        tables.commit(None, ruleset)
    assert not watch.came(QUIET)
    namespace.exec(["nft", "add", "table", "inet", "other"])
    namespace.exec(["nft", "add", "table", "ip", "neurowall"])
    assert not watch.came(QUIET)
    namespace.exec(["nft", "add", "chain", "inet", "neurowall", "b"])
    assert watch.came()


def test_an_overrun_is_an_event(
    tables: Nftables, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages that were lost may have been about our table, also if others could still be read."""
    monkeypatch.setattr(nftwatch, "_RECEIVE_BUFFER", 1 << 16)
    watch = Watch()
    try:
        watch.hold.clear()
        namespace.exec(["nft", "add", "rule", "inet", "neurowall", "a", "drop"]).check()
        assert watch.came()  # and waits in the callback, so nothing is read
        elements = ", ".join(f"10.0.{n >> 8}.{n & 255}" for n in range(10_000))
        text = f"add set ip other hosts {{ type ipv4_addr; }}\nadd element ip other hosts {{ {elements} }}\n"
        namespace.exec(["nft", "-f", "-"], input=f"add table ip other\n{text}").check()
        watch.hold.set()
        assert watch.came()
    finally:
        watch.close()
