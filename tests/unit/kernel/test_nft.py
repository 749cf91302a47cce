# SPDX-License-Identifier: Apache-2.0
"""The shell around libnftables, with a library that answers as told."""

import errno
import json
import re
import sys
from typing import Any

import pytest

from neurowall.kernel.nft import Nftables, load_library
from neurowall.kernel.nftcounters import Link
from neurowall.kernel.nftlisting import digest_of, held_in
from neurowall.kernel.nftrefusal import reason_in
from neurowall.model.counters import Counter
from neurowall.model.errors import RulesetError
from neurowall.model.ruleset import Chain, Hook, Ruleset, Set, text_of

ACCEPT = text_of([{"accept": None}])
CHAINS = (Chain("a", (ACCEPT,) * 9), Chain("b", (ACCEPT,)))
RULESET = Ruleset(("all",), (Set("hosts", ("ipv4_addr",), interval=True),), CHAINS)
PLACE = {"family": "inet", "table": "neurowall"}


class Library:
    """A context of libnftables. refuses: says no to transactions that hold this text."""

    def __init__(self, refuses: str = "nothing of ours", listing: list[Any] | None = None) -> None:
        self.refuses, self.listing = refuses, listing
        self.dry_run = False
        self.sent: list[tuple[bool, list[Any]]] = []

    def set_json_output(self, value: bool) -> None:
        """As libnftables."""

    def set_numeric_proto_output(self, value: bool) -> None:
        """As libnftables."""

    def set_dry_run(self, value: bool) -> None:
        """As libnftables."""
        self.dry_run = value

    def cmd(self, text: str) -> tuple[int, str, str]:
        """As libnftables."""
        commands = json.loads(text)["nftables"]
        if "list" in commands[0]:
            if self.listing is None:
                return -1, "", "internal:0:0-0: Error: No such file or directory\n\n"
            return 0, json.dumps({"nftables": self.listing}), ""
        self.sent.append((self.dry_run, commands))
        if self.refuses in text:
            return -1, "", "internal:0:0-0: Error: Could not process rule: Device or resource busy\n\n"
        return 0, "", ""

    def made(self) -> list[Any]:
        """Commands of transactions that were not for trial."""
        return [command for dry_run, commands in self.sent if not dry_run for command in commands]


def test_a_missing_module_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Python's module, or without the library behind it, the operator is told what to install."""
    monkeypatch.setitem(sys.modules, "nftables", None)
    with pytest.raises(RulesetError, match="python3-nftables") as caught:
        Nftables().fingerprint()
    assert caught.value.library
    broken = type(sys)("nftables")
    broken.Nftables = lambda: (_ for _ in ()).throw(OSError("libnftables.so.1: not found"))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nftables", broken)
    with pytest.raises(RulesetError, match=r"libnftables.so.1") as caught:
        load_library()
    assert caught.value.library


def test_nothing_is_loaded_before_it_is_used() -> None:
    """A policy without rules needs no library."""
    loaded: list[int] = []

    def load() -> Library:
        loaded.append(1)
        return Library()

    tables = Nftables(load)
    assert loaded == []
    tables.commit(RULESET, RULESET)
    assert loaded == []
    tables.fingerprint()
    tables.fingerprint()
    assert loaded == [1]


def test_a_check_makes_nothing() -> None:
    """Whatever is judged, and whatever is searched after a refusal, is a trial."""
    library = Library(refuses='"hosts"')
    with pytest.raises(RulesetError, match="set 'hosts': something else still uses it"):
        Nftables(lambda: library).check(Ruleset(), RULESET)
    assert library.made() == []
    library = Library(refuses='"hosts"')
    with pytest.raises(RulesetError):
        Nftables(lambda: library).commit(Ruleset(), RULESET)
    assert [dry_run for dry_run, _ in library.sent].count(False) == 1


@pytest.mark.parametrize("number", [1, 4, 9])
def test_the_rule_to_blame_is_found(number: int) -> None:
    """A refusal is searched for among the commands, wherever it is."""
    rules = tuple(text_of([{"jump": {"target": "bad"}}]) if n == number else ACCEPT for n in range(1, 10))
    bad = Ruleset((), (), (Chain("before", (ACCEPT,)), Chain("a", rules), Chain("after", (ACCEPT,) * 30)))
    with pytest.raises(RulesetError, match=f"rule {number} of chain 'a'") as caught:
        Nftables(lambda: Library(refuses='"bad"')).commit(None, bad)
    assert not caught.value.library


def test_only_our_table_is_named() -> None:
    """Every command of every transaction is about family inet, table neurowall."""
    library = Library(listing=[{"table": {"family": "inet", "name": "neurowall", "handle": 1}}])
    tables = Nftables(lambda: library)
    tables.commit(None, RULESET)
    tables.commit(RULESET, Ruleset())
    tables.delete_table()
    tables.supports_flowtable(["lo"])
    commands = [command for _, sent in library.sent for command in sent]
    places = [what for command in commands for each in command.values() for what in each.items()]
    assert len(places) > 20
    assert all(
        what["family"] == "inet" and what["name" if noun == "table" else "table"] == "neurowall"
        for noun, what in places
    )


class Rehashing(Library):
    """Lists an element twice and another not at all, so many times."""

    def __init__(self, torn: int) -> None:
        super().__init__(listing=[{"set": {**PLACE, "name": "hosts", "elem": ["192.0.2.1", "192.0.2.2"]}}])
        self.torn, self.loaded = torn, 0

    def cmd(self, text: str) -> tuple[int, str, str]:
        """As libnftables, whose answer stays the same until another context is made."""
        code, output, errors = super().cmd(text)
        torn = self.loaded <= self.torn
        return code, output.replace("192.0.2.2", "192.0.2.1") if torn else output, errors

    def context(self) -> "Rehashing":
        """A new one."""
        self.loaded += 1
        return self


def test_a_listing_that_met_a_growing_set_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another context; not for ever."""
    monkeypatch.setattr("neurowall.kernel.nft._REHASH_SECONDS", 0)
    whole = Nftables(Rehashing(0).context).fingerprint()
    assert Nftables(Rehashing(3).context).fingerprint() == whole
    assert Nftables(Rehashing(1000).context).fingerprint() != whole


def test_a_listing_that_fails_is_an_error() -> None:
    """No table and no answer are two things."""

    class Unprivileged(Library):
        def cmd(self, text: str) -> tuple[int, str, str]:
            return -1, "", "internal:0:0-0: Error: Operation not permitted\n"

    with pytest.raises(RulesetError, match="CAP_NET_ADMIN"):
        Nftables(Unprivileged).fingerprint()


class Silent(Link):
    """A kernel that tells its counters only to the second link."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Silent.made += 1
        self.number = Silent.made

    def counters(self) -> dict[str, Counter]:
        """Refused at first."""
        if self.number == 1:
            raise OSError(errno.EPERM, "Operation not permitted")
        return {"all": Counter(3, 90)}


def test_counters_that_are_not_told_are_an_error() -> None:
    """Not zeros; and libnftables is not asked: it would fetch every set of the namespace."""

    def load() -> Library:
        raise AssertionError

    tables = Nftables(load, Silent)
    with pytest.raises(RulesetError, match=r"counters: .*not permitted"):
        tables.counters()
    assert tables.counters() == tables.counters() == {"all": Counter(3, 90)}
    assert Silent.made == 2


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ("", "libnftables gave no reason"),
        ("internal:0:0-0: Error: Could not process rule: Too many links\n\n", "circle"),
        (
            "Error: Parsing expr array at index 0 failed.\nError: Unknown statement 'x'.",
            "Unknown statement",
        ),
        ("internal:0:0-0: Error: No such file; did you mean chain a?", "^No such file$"),
    ],
)
def test_reasons(errors: str, reason: str) -> None:
    """The first complaint that says something, in plain words."""
    assert re.search(reason, reason_in(errors))


def set_named(name: str, **details: Any) -> Any:
    """A set as it is listed."""
    return {"set": {**PLACE, "name": name, "handle": 4, "type": "ipv4_addr", **details}}


def base_chain(name: str, **details: Any) -> Any:
    """A base chain as it is listed."""
    place = {"type": "filter", "hook": "forward", "prio": -5, "policy": "drop"}
    return {"chain": {**PLACE, "name": name, "handle": 6, **place, **details}}


def rule(*expressions: Any) -> Any:
    """A rule of chain `a` as it is listed."""
    return {"rule": {**PLACE, "chain": "a", "handle": 7, "expr": list(expressions)}}


LIMIT = text_of([{"set": {"op": "update", "elem": 1, "set": "@sources"}}])
PORTS = {"type": ["ifname", "mark"], "map": "verdict", "size": 9}
LISTED: list[Any] = [
    {"metainfo": {"version": "1.0.6"}},
    {"table": {"family": "inet", "name": "neurowall", "handle": 1}},
    {"counter": {**PLACE, "name": "all", "handle": 1, "packets": 5, "bytes": 500}},
    set_named("hosts", flags=["interval"], elem=["192.0.2.1"]),
    {"map": {**PLACE, "name": "ports", "handle": 3, **PORTS}},
    set_named("sources", flags=["timeout"], elem=["192.0.2.7"]),
    {"chain": {**PLACE, "name": "a", "handle": 5}},
    base_chain("f"),
    rule({"set": {"op": "update", "elem": 1, "set": "@sources"}}),
    rule({"counter": {"packets": 1, "bytes": 2}}, {"accept": None}),
]


def test_a_listing_says_what_is_held() -> None:
    """Kinds of everything, and what packets fill, are read from the listing."""
    held = held_in(LISTED)
    assert held.changeable
    assert held.ruleset.counters == ("all",)
    assert held.ruleset.chains == (
        Chain("a", (LIMIT, text_of([{"counter": None}, {"accept": None}]))),
        Chain("f", (), Hook("filter", "forward", -5, "drop")),
    )
    assert held.ruleset.by_name == {
        "hosts": Set("hosts", ("ipv4_addr",), frozenset([text_of("192.0.2.1")]), interval=True),
        "ports": Set("ports", ("ifname", "mark"), value=("verdict",), size=9),
        "sources": Set("sources", ("ipv4_addr",), dynamic=True, timeout=True),
    }


def test_a_rule_with_a_comment_is_none_of_ours() -> None:
    """It is written again, though its expressions are the same."""
    plain, noted = (rule({"accept": None}) for _ in range(2))
    noted["rule"]["comment"] = "mine"
    chain = {"chain": {**PLACE, "name": "a", "handle": 5}}
    assert held_in([chain, plain]).ruleset != held_in([chain, noted]).ruleset


@pytest.mark.parametrize(
    "strange",
    [
        {"quota": {**PLACE, "name": "most", "bytes": 5}},
        {"table": {"family": "inet", "name": "neurowall", "flags": "dormant"}},
        base_chain("d", hook="ingress", dev="lo"),
        set_named("s", flags=["constant"]),
        set_named("s", timeout=5),
        {"flowtable": {**PLACE, "name": "other", "hook": "ingress", "prio": 0, "dev": ["lo"]}},
    ],
)
def test_what_we_never_make_is_noticed(strange: Any) -> None:
    """A table with anything of another kind cannot be changed in place."""
    assert not held_in([*LISTED, strange]).changeable


def test_what_the_digest_leaves_out() -> None:
    """Handles, counts, what packets add and the order of elements change nothing; all else does."""
    whole = digest_of(LISTED)

    def edited(old: str, new: str) -> str:
        text = json.dumps(LISTED)
        assert old in text
        return digest_of(json.loads(text.replace(old, new)))

    assert edited('"handle": 7', '"handle": 99') == whole
    assert edited('"packets": 5', '"packets": 6') == whole
    assert edited('"packets": 1', '"packets": 6') == whole
    assert edited("192.0.2.7", "192.0.2.8") == whole
    assert edited("192.0.2.1", "192.0.2.8") != whole
    assert edited('"prio": -5', '"prio": -4') != whole
    assert edited('"accept": null', '"drop": null') != whole
    assert edited('"policy": "drop"', '"policy": "accept"') != whole
    assert digest_of([*LISTED[:-2], LISTED[-1], LISTED[-2]]) != whole
    assert digest_of([*LISTED[:2], *reversed(LISTED[2:-2]), *LISTED[-2:]]) == whole
