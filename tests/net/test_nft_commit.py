# SPDX-License-Identifier: Apache-2.0
"""Table `inet neurowall` in a real kernel: from one content to another, and nothing else touched."""

import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NoReturn

import pytest

from bench.testbed.namespace import Namespace
from bench.testbed.run import Run
from neurowall.kernel.nft import Nftables
from neurowall.kernel.nftjson import changes
from neurowall.model.counters import Counter
from neurowall.model.errors import RulesetError
from neurowall.model.ruleset import Chain, Hook, Ruleset, Set, text_of
from tests.net.nft_rulesets import ACCEPT, CLOSED, DROP, OPEN, Traffic, by_map, plain, rule
from tests.unit.kernel.nft_model import random_ruleset

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

FOREIGN = """
table inet other {
    set hosts { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; }
    counter kept { packets 5 bytes 500 }
    chain forward { type filter hook forward priority 1; policy accept; ip saddr @hosts counter drop; }
}
table ip neurowall { chain leaf { counter accept; } }
table ip nat { chain postrouting { type nat hook postrouting priority 100; masquerade; } }
"""


@pytest.fixture
def namespace(run: Run) -> Iterator[Namespace]:
    """An empty namespace with loopback up."""
    made = Namespace.create(run, run.unique("netns", "nft"))
    made.exec(["ip", "link", "set", "lo", "up"])
    yield made
    made.remove()


@pytest.fixture
def tables(namespace: Namespace) -> Iterator[Nftables]:
    """The table in that namespace, in which the test's thread is."""
    with namespace.enter():
        tables = Nftables()
        tables.fingerprint()
        yield tables


def nft(namespace: Namespace, text: str) -> str:
    """What the nft program says to these commands."""
    return str(namespace.exec(["nft", "-f", "-"], input=text).stdout)


def test_differences_end_where_a_fresh_table_does(tables: Nftables) -> None:
    """From any ruleset to any other, known or not: what the kernel then holds is what it would hold anew."""
    fresh: dict[int, str] = {}
    seeds = list(range(1000, 1040))
    for seed in seeds:
        tables.delete_table()
        tables.commit(Ruleset(), random_ruleset(seed))
        fresh[seed] = tables.fingerprint()
    assert len(set(fresh.values())) > 35
    dice = random.Random(1)
    current = seeds[-1]
    for step in range(120):
        wanted = dice.choice(seeds)
        old = random_ruleset(current) if step % 3 else None
        tables.check(old, random_ruleset(wanted))
        assert tables.fingerprint() == fresh[current], "a check changes nothing"
        tables.commit(old, random_ruleset(wanted))
        assert tables.fingerprint() == fresh[wanted], f"from {current} to {wanted} in step {step}"
        current = wanted


def test_a_thousand_commits_under_traffic(tables: Nftables) -> None:
    """Two rulesets that say the same alternate: no packet leaks, none is lost, and every one is counted."""
    tables.commit(Ruleset(), plain())
    traffic, stop, sent, arrived = Traffic(), threading.Event(), 0, 0
    home = socket.socket()  # the thread below inherits the namespace of this one

    def send() -> None:
        nonlocal sent, arrived
        while not stop.is_set():
            traffic.send()
            sent += 1
            if sent % 1000 == 0:  # the socket has room for 80,000
                arrived += traffic.arrived(OPEN)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        for _ in range(500):
            tables.commit(plain(), by_map())
            tables.commit(by_map(), plain())
    finally:
        stop.set()
        thread.join()
        home.close()
    assert sent > 500
    assert traffic.arrived(CLOSED) == 0
    assert arrived + traffic.arrived(OPEN) == sent
    traffic.close()
    counted = {name: counter.packets for name, counter in tables.counters().items()}
    assert counted == {"open": sent, "closed": sent}


def test_an_unknown_table_is_taken_over_in_place(tables: Nftables, namespace: Namespace) -> None:
    """Counts and what packets added stay when the next process replaces what it finds."""
    limit: Any = {"limit": {"rate": 10, "per": "second", "burst": 5}}
    source = {"elem": {"val": {"payload": {"protocol": "ip", "field": "saddr"}}, "timeout": 600}}
    update = rule({"set": {"op": "update", "elem": source, "set": "@sources", "stmt": [limit]}}, ACCEPT)
    sources = Set("sources", ("ipv4_addr",), dynamic=True, timeout=True, size=100)
    counted = plain()
    chain = replace(counted.chains[0], rules=(counted.chains[0].rules[0], update))
    ruleset = replace(counted, sets=(sources,), chains=(chain,))
    tables.commit(None, ruleset)
    traffic = Traffic()
    traffic.send()
    traffic.close()
    before = tables.fingerprint()
    Nftables().commit(None, ruleset)
    assert tables.fingerprint() == before
    assert tables.counters()["closed"].packets == 1
    listing = namespace.exec(["nft", "list", "set", "inet", "neurowall", "sources"]).stdout
    assert "127.0.0.1" in listing


def test_a_rebuilt_table_keeps_its_counts(tables: Nftables) -> None:
    """Where a base chain moves to another priority, counters start from what they were."""
    tables.commit(Ruleset(), plain())
    traffic = Traffic()
    traffic.send()
    traffic.close()
    moved = replace(plain(), chains=(replace(plain().chains[0], hook=Hook("filter", "input", 7, "drop")),))
    tables.commit(plain(), moved)
    assert tables.counters()["closed"] == Counter(1, 29)


@pytest.mark.parametrize(
    "tampering",
    [
        "add table inet neurowall { flags dormant; }",
        "flush table inet neurowall",
        "delete table inet neurowall",
        "flush ruleset",
        "insert rule inet neurowall input accept",
        "add chain inet neurowall input { policy accept; }",
        "add chain inet neurowall more { type filter hook output priority 0; policy drop; }",
        "add set inet neurowall ports { type ipv4_addr; flags interval; auto-merge; }",
        "flush map inet neurowall ports",
        "delete element inet neurowall ports { 4712 }; add element inet neurowall ports { 4712 : accept }",
        "add quota inet neurowall most { over 25 mbytes }; add rule inet neurowall a quota name most drop",
        "add counter inet neurowall another",
        "add map inet neurowall names { type ipv4_addr : counter; }",
        "add limit inet neurowall slow { rate 1/second }; add set inet neurowall s { type mark; counter; }",
    ],
)
def test_tampering_is_seen_and_repaired(tables: Nftables, namespace: Namespace, tampering: str) -> None:
    """Whatever another tool does to the table changes the fingerprint, and a commit over it takes it back."""
    ruleset = plain() if "names" in tampering or "add set" in tampering else by_map()
    tables.commit(None, ruleset)
    whole = tables.fingerprint()
    nft(namespace, tampering.replace("; add", "\nadd"))
    assert tables.fingerprint() != whole
    tables.commit(None, ruleset)
    assert tables.fingerprint() == whole


def test_counts_and_passing_things_are_no_drift(tables: Nftables, namespace: Namespace) -> None:
    """Packets counted, sources that packets add and elements that end do not change the fingerprint."""
    limit: Any = {"limit": {"rate": 10, "per": "second", "burst": 5}}
    source: Any = {"payload": {"protocol": "ip", "field": "saddr"}}
    update: Any = {"op": "update", "elem": {"elem": {"val": source, "timeout": 600}}, "set": "@sources"}
    ends = {"elem": {"val": "192.0.2.1", "timeout": 1}}
    sets = (
        Set("sources", ("ipv4_addr",), dynamic=True, timeout=True, size=100),
        Set(
            "ending",
            ("ipv4_addr",),
            frozenset([text_of(ends), text_of("192.0.2.9")]),
            interval=True,
            timeout=True,
        ),
    )
    rules = (
        rule({"counter": "all"}),
        rule({"counter": None}),
        rule({"set": {**update, "stmt": [limit]}}, ACCEPT),
        rule({"match": {"op": "==", "left": source, "right": "@ending"}}, DROP),
    )
    ruleset = Ruleset(("all",), sets, (Chain("input", rules, Hook("filter", "input", 0, "accept")),))
    tables.commit(Ruleset(), ruleset)
    before = tables.fingerprint()
    traffic = Traffic()
    traffic.send()
    traffic.close()
    assert tables.counters()["all"].packets == 2
    time.sleep(1.3)
    assert tables.fingerprint() == before
    nft(namespace, "delete element inet neurowall ending { 192.0.2.9 }")
    assert tables.fingerprint() != before, "one that stays by itself is missed"
    gone = replace(ruleset, sets=(sets[0], replace(sets[1], elements=frozenset([text_of("192.0.2.8")]))))
    nft(namespace, "add element inet neurowall ending { 192.0.2.9 }")
    tables.commit(ruleset, gone)  # names an element that has ended


def test_nothing_else_is_touched(tables: Nftables, namespace: Namespace) -> None:
    """Tables of others are listed as before, to the byte, after commits, a refusal and the end of ours."""
    nft(namespace, FOREIGN)
    before = namespace.exec(["nft", "-a", "list", "ruleset"]).stdout
    bad = replace(plain(), chains=(Chain("x", (rule({"jump": {"target": "y"}}),)),))
    for seed in range(20):
        known = random_ruleset(seed - 1) if seed % 2 else None
        tables.commit(known, random_ruleset(seed))
        with pytest.raises(RulesetError):
            tables.commit(random_ruleset(seed), bad)
    assert namespace.exec(["nft", "-a", "list", "ruleset"]).stdout != before
    tables.delete_table()
    tables.delete_table()
    assert namespace.exec(["nft", "-a", "list", "ruleset"]).stdout == before


def jump(name: str) -> str:
    """A rule that does nothing else."""
    return rule({"jump": {"target": name}})


HOOKED = Chain("hooked", (jump("a"),), Hook("filter", "input", 5, "accept"))


@pytest.mark.parametrize(
    ("chains", "blamed"),
    [
        ((Chain("a", (rule(ACCEPT), jump("nowhere"))),), "rule 2 of chain 'a'"),
        ((HOOKED, Chain("a", (jump("b"),)), Chain("b", (jump("a"),))), "circle"),
        ((Chain("a", (rule({"counter": "none"}),)),), "rule 1 of chain 'a'"),
        ((Chain("a", (rule({"nonsense": 1}),)),), "Unknown statement object 'nonsense'"),
        ((Chain("b" * 300, ()),), "chain 'bbb"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_refusal_names_what_is_to_blame(
    tables: Nftables, known: bool, chains: tuple[Chain, ...], blamed: str
) -> None:
    """The kernel's no, at a check or a commit, changes nothing and says which rule or chain."""
    tables.commit(None, plain())
    before = tables.fingerprint()
    bad = replace(plain(), chains=(*plain().chains, *chains))
    for attempt in (tables.check, tables.commit):
        with pytest.raises(RulesetError, match=blamed) as caught:
            attempt(plain() if known else None, bad)
        assert not caught.value.library
        assert tables.fingerprint() == before


def filled(ruleset: Ruleset) -> Ruleset:
    """With a set that takes a while to write, different in both."""
    start = len(ruleset.counters)
    hosts = frozenset(text_of(f"10.{start}.{n >> 8}.{n & 255}") for n in range(8_000))
    return replace(ruleset, sets=(*ruleset.sets, Set("hosts", ("ipv4_addr",), hosts)))


def test_a_kill_leaves_one_or_the_other(tables: Nftables) -> None:
    """SIGKILL at any moment of a commit: the old rules or the new ones are in force, whole.

    What only the old rules led to may be left, unused; the next start takes it away.
    """
    whole = set()
    for old, new in ((plain(), by_map()), (by_map(), plain())):
        tables.commit(None, filled(old))
        whole.add(tables.fingerprint())
        tables._run(changes(filled(old), filled(new)).change)
        whole.add(tables.fingerprint())
    dice = random.Random(4)
    seen: set[str] = set()
    for number in range(100):
        if number >= 14 and len(seen) >= 2:  # on a busy machine few get far
            break
        child = os.fork()
        if child == 0:
            alternate_for_ever()
        time.sleep(dice.uniform(0, 0.4))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen.add(tables.fingerprint())
        assert seen <= whole
    assert len(seen) >= 2, "both were met"
    tables.commit(None, plain())
    swept = tables.fingerprint()
    tables.delete_table()
    tables.commit(Ruleset(), plain())
    assert tables.fingerprint() == swept


def alternate_for_ever() -> NoReturn:
    """Commit one and the other until killed."""
    try:
        tables = Nftables()
        tables.commit(None, filled(by_map()))
        while True:
            tables.commit(filled(by_map()), filled(plain()))
            tables.commit(filled(plain()), filled(by_map()))
    finally:
        os._exit(1)


def test_without_a_table_there_is_nothing(tables: Nftables) -> None:
    """No table: no fingerprint, no counters, and nothing to take away."""
    assert tables.fingerprint() == ""
    assert tables.counters() == {}
    tables.commit(None, Ruleset())
    tables.commit(Ruleset(), Ruleset())
    assert tables.fingerprint() == ""


def test_unprivileged_is_said(tables: Nftables, namespace: Namespace) -> None:
    """Without CAP_NET_ADMIN the message says what it takes."""
    script = (
        "import os, json; os.setresuid(65534, 65534, 65534)\n"
        "from neurowall.kernel.nft import Nftables\n"
        "from tests.net.nft_rulesets import plain\n"
        "from neurowall.model.ruleset import Ruleset\n"
        "try: Nftables().commit(Ruleset(), plain())\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = namespace.exec([sys.executable, "-c", script])
    assert "RulesetError" in done.stdout
    assert "CAP_NET_ADMIN" in done.stdout


def test_flowtables_of_this_kernel(tables: Nftables) -> None:
    """The answer for loopback agrees with an attempt to make one; a missing interface is no."""
    assert tables.supports_flowtable(["missing0"])
    why = tables.supports_flowtable(["lo"])
    assert tables.fingerprint() == "", "asking leaves nothing"
    flowing = replace(plain(), flowtable=("lo",))
    if why is None:
        tables.commit(Ruleset(), flowing)
    else:
        with pytest.raises(RulesetError, match="flowtable"):
            tables.commit(Ruleset(), flowing)
