# SPDX-License-Identifier: Apache-2.0
"""Large lists are replaced under a flood of what both hold, and a writer that does not wait is caught.

What a writer must wait for are readers between two loads, for some ten nanoseconds each: no test can rely on
meeting one. So the careless writer is given a reader that sometimes stops between them for a while, and the
careful one must not leak with that reader either.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.bpf.test_mutations import compiled
from tests.net.leak import BUSY, FAMILIES, Scene, Seen, account, policy, scene
from tests.net.leak_many import make
from tests.net.leak_trees import ROOT, Edits, copy_with

SMALL, MANY, MOST = 20_000, 200_000, 1_000_000
NETS = 1500  # /24s that become hosts, and hosts that become /24s, where readers stop
STALL = """
static long is_over(__u32 number, void *until)
{
	return bpf_ktime_get_ns() >= *(__u64 *)until;
}

/* One packet in 1024 waits here for 0.1 seconds. */
static __always_inline void stall(void)
{
	__u64 until = bpf_ktime_get_ns() + 100000000;

	if (!(bpf_get_prandom_u32() & 1023))
		bpf_loop(1 << 23, is_over, &until, 0);
}

"""
STALLED = "		stall(), class_id = "
FIRST = "/* The class of *address* in one line"
STALLS = (
    ("lists.h", FIRST, STALL + FIRST),
    # Not a listed host; what covers it is not read yet.
    ("lists.h", "		class_id = prefix4_in_table(address);\n", STALLED + "prefix4_in_table(address);\n"),
    # The /24 is read, longer prefixes are not.
    ("lists.h", "	if (value & NW_NET_LONGER)\n", "	stall();\n	if (value & NW_NET_LONGER)\n"),
)
NO_GRACE: Edits = {"neurowall/kernel/lists.py": [("        self._grace.wait()\n", "")]}


def capacity(entries: int, nets: int = 0) -> dict[str, int]:
    """Just room for both lists at once, so that lines fill to more than half: some overflow, a few spill."""
    return {
        "hosts4": entries * 1048 // 1000 + 8 * nets,
        "prefixes4": max(20_000, entries // 10),
        "hosts6": max(2000, entries // 10),
        "prefixes6": max(2000, entries // 10),
    }


def stalling(target: Path, edits: Edits) -> Path:
    """A version whose program stops for a while between loads, with these lines changed."""
    tree = copy_with(target / "tree", edits)
    (tree / "build").unlink()
    shutil.copytree(ROOT / "build" / "bpf", tree / "build" / "bpf")
    built = compiled(target / "bpf", *STALLS)
    shutil.copy(built, tree / "build" / "bpf" / "neurowall.bpf.o")
    return tree


def replaced(
    at: Scene,
    times: int,
    seconds: float = 100.0,
    *,
    families: Sequence[int] = FAMILIES,
    until_leak: bool = False,
) -> Seen:
    """Replace the list so often under a flood, for *seconds* at most; the exact counts of all of it.

    Unlisted sources get through before and after.
    """
    at.must_pass(at.lists.unlisted)
    at.flood({family: at.lists.common[family] for family in families}, seconds)
    for number in range(times):
        answer = at.daemon.put(at.lists.first if number % 2 else at.lists.second)
        assert answer["added"] == answer["removed"] > 1000
        if until_leak and at.leaked():
            break
    at.must_pass(at.lists.unlisted)
    return at.end_flood()


def must_not_leak(at: Scene, times: int, seconds: float = 100.0, families: Sequence[int] = FAMILIES) -> Seen:
    """Every packet of the flood was dropped, and the gateway says so."""
    total = replaced(at, times, seconds, families=families)
    assert total.leaked == 0, total
    assert total.offered > BUSY, total
    account(total)
    at.must_not_pass(at.some(at.lists.common))
    return total


@pytest.mark.root
@pytest.mark.parametrize("engine", ["buckets", "classic"])
def test_a_large_list_is_replaced_without_a_leak(engine: str) -> None:
    """Three times, with entries in second lines and in spill maps."""
    with scene(policy(engine, capacity(MANY)), lists=make(MANY)) as at:
        if engine == "buckets":
            at.must_overflow()
        must_not_leak(at, 3)


@pytest.mark.root
@pytest.mark.tool("clang")
def test_readers_that_stop_are_waited_for(tmp_path: Path) -> None:
    """A packet that stops between two loads is in time for what it was going to find."""
    with scene(policy("buckets", capacity(SMALL, NETS)), stalling(tmp_path, {}), make(SMALL, NETS)) as at:
        must_not_leak(at, 3, families=(4,))


@pytest.mark.root
@pytest.mark.tool("clang")
def test_a_writer_that_does_not_wait_is_caught(tmp_path: Path) -> None:
    """The same leaks when nothing waits for running programs."""
    with scene(
        policy("buckets", capacity(SMALL, NETS)), stalling(tmp_path, NO_GRACE), make(SMALL, NETS)
    ) as at:
        assert replaced(at, 40, families=(4,), until_leak=True).leaked > 0


@pytest.mark.root
@pytest.mark.soak
def test_a_million_entries_are_replaced_without_a_leak() -> None:
    """20 times, under more than 100,000 packets a second from all common sources, 10 million at least."""
    with scene(policy("buckets", capacity(MOST)), lists=make(MOST)) as at:
        at.must_overflow()
        total = must_not_leak(at, 20, seconds=1800)
        print(total)  # noqa: T201
        assert total.offered >= 10_000_000


@pytest.mark.root
@pytest.mark.soak
@pytest.mark.tool("clang")
def test_a_writer_of_large_lists_that_does_not_wait_is_caught(tmp_path: Path) -> None:
    """As above, with more entries between an entry's coming and another's going."""
    with scene(policy("buckets", capacity(MANY, NETS)), stalling(tmp_path, NO_GRACE), make(MANY, NETS)) as at:
        assert replaced(at, 100, 900, families=(4,), until_leak=True).leaked > 0
