# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from pydantic import ValidationError

from neurowall.model.errors import PolicyError
from neurowall.model.policy import Interface, Policy, load_policy

GOOD = """\
interfaces:
  - {name: wan0, zone: external, xdp: native}
  - name: lan0
    zone: internal
    unparsed: drop
failsafe:
  - interface: lan0
    source: 192.0.2.0/28
    port: 22
    address: 192.0.2.1
lists:
  - name: feed
    verdict: block
    file: feed.txt
    entries: [203.0.113.7, 2001:db8::/48]
  - {name: partners, verdict: allow, file: /srv/partners.txt}
  - {name: trial, verdict: block, monitor: true}
engine: classic
capacity: {hosts4: 2_000_000, grow: false}
bans: {repeat_factor: 3, max_ttl: 30d, memory: 12h}
"""
HEAD = "interfaces:\n  - {name: wan0, zone: external}\n  - {name: lan0, zone: internal}\n"  # three lines


def refusal(text: str | bytes) -> list[str]:
    """The messages for a policy that is refused."""
    with pytest.raises(PolicyError) as caught:
        load_policy(text, "policy.yaml")
    assert str(caught.value) == "\n".join(caught.value.lines)
    return list(caught.value.lines)


class TestGoodPolicy:
    def test_reads_everything(self) -> None:
        """Every field arrives; what is not given has its default."""
        policy = load_policy(GOOD, "/etc/neurowall/policy.yaml")
        assert [(i.name, i.zone, i.xdp, policy.unparsed_verdict(i)) for i in policy.interfaces] == [
            ("wan0", "external", "native", "drop"),
            ("lan0", "internal", "auto", "drop"),
        ]
        assert policy.failsafe[0].packets_per_second == 1000
        assert policy.lists[0].entries == ("203.0.113.7", "2001:db8::/48")
        assert policy.engine == "classic"
        assert (policy.capacity.hosts4, policy.capacity.prefixes4) == (2_000_000, 250_000)
        assert [spec.monitor for spec in policy.lists] == [False, False, True]
        assert not policy.capacity.grow
        bans = policy.bans
        assert (bans.repeat_factor, bans.max_ttl_seconds, bans.memory_seconds) == (3, 30 * 86_400, 43_200)

    def test_files_are_beside_the_policy(self) -> None:
        """A relative list file is looked for where the policy is."""
        policy = load_policy(GOOD, "/etc/neurowall/policy.yaml")
        assert policy.lists[0].file == Path("/etc/neurowall/feed.txt")
        assert policy.lists[1].file == Path("/srv/partners.txt")

    def test_smallest(self) -> None:
        """One interface is enough; unparsed traffic passes inside and is dropped outside."""
        policy = load_policy(HEAD, "policy.yaml")
        assert [policy.unparsed_verdict(interface) for interface in policy.interfaces] == ["drop", "pass"]
        assert policy.engine == "buckets"
        assert policy.lists == ()
        assert policy.capacity.grow
        bans = policy.bans
        assert (bans.repeat_factor, bans.max_ttl_seconds, bans.memory_seconds) == (2, 7 * 86_400, 86_400)

    def test_cannot_change(self) -> None:
        """A policy is a value."""
        policy = load_policy(HEAD, "policy.yaml")
        with pytest.raises(ValidationError):
            policy.engine = "classic"  # type: ignore[misc]

    def test_bytes_with_a_byte_order_mark(self) -> None:
        """What Windows editors write is read."""
        assert load_policy(b"\xef\xbb\xbf" + HEAD.encode(), "policy.yaml").interfaces

    def test_external_failsafe_on_purpose(self) -> None:
        """A failsafe on an external interface needs a second word."""
        entry = "{interface: wan0, source: 192.0.2.0/28, port: 22, address: 192.0.2.1, allow_external: true}"
        assert load_policy(f"{HEAD}failsafe: [{entry}]", "policy.yaml").failsafe[0].allow_external


class TestNotAPolicy:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "policy.yaml: is empty: a policy needs at least `interfaces:`"),
            ("# nothing\n", "policy.yaml: is empty: a policy needs at least `interfaces:`"),
            ("- a\n- b\n", "policy.yaml:1: expected keys and values, such as `interfaces:`"),
            ("just text", "policy.yaml:1: expected keys and values, such as `interfaces:`"),
            (b"interfaces:\n- \xff\n", "policy.yaml:2: is not UTF-8 text: save it as UTF-8"),
            ("a: 1\nb: \x00\n", "policy.yaml:2: not valid YAML: character U+0000 is not allowed"),
            ("a: 1\nb: [\n", "policy.yaml:3: not valid YAML"),
            (
                "a: &x 1\nb: *x\n",
                "policy.yaml:2: not valid YAML: aliases are not supported: repeat the value",
            ),
            ("a: 1\n---\nb: 2\n", "policy.yaml:2: not valid YAML: but found another document"),
            ("[" * 10_000, "policy.yaml: nested too deeply"),
            ("engine: buckets\n", "policy.yaml:1: interfaces: required, but missing"),
            ("interfaces: []\n", "policy.yaml:1: interfaces: name at least one interface"),
            ("interfaces:\n", "policy.yaml:1: interfaces: is empty: expected a list"),
        ],
    )
    def test_says_where_and_what(self, text: str | bytes, message: str) -> None:
        """Text that is no policy at all is refused with its line."""
        assert refusal(text)[0].startswith(message)


class TestBadFields:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "colour: red\n",
                "4: colour: unknown key; known here: interfaces, failsafe, lists, limits, engine, capacity",
            ),
            ("engine: fast\n", "4: engine: 'fast': expected 'buckets' or 'classic'"),
            ("engine:\n", "4: engine: is empty: expected 'buckets' or 'classic'"),
            (
                "engine: classic\nlists: []\nengine: buckets\n",
                "6: key 'engine' is already used in line 4: remove one",
            ),
            ("capacity: {hosts4: 0}\n", "4: capacity.hosts4: 0: expected 1 or more"),
            ("capacity: {hosts4: '5'}\n", "4: capacity.hosts4: '5': expected a whole number, without quotes"),
            ("capacity: {hosts4: 1.5}\n", "4: capacity.hosts4: 1.5: expected a whole number, without quotes"),
            (
                "capacity: {hosts4: true}\n",
                "4: capacity.hosts4: true: expected a whole number, without quotes",
            ),
            ("capacity: {hosts4: 0777}\n", "4: 0777: a leading zero means octal to some programs"),
            ("capacity: {hosts4: 1__}\n", "4: '1__' is not a number"),
            (
                "capacity: {hosts: 5}\n",
                "4: capacity.hosts: unknown key; did you mean 'hosts4'? known here: hosts4, prefixes4",
            ),
            ("capacity: 7\n", "4: capacity: 7: expected keys and values"),
            ("lists: feed\n", "4: lists: 'feed': expected a list"),
            ("lists:\n  - feed\n", "5: lists[0]: 'feed': expected keys and values"),
            (
                "lists:\n  - {name: a, verdict: deny}\n",
                "5: lists[0].verdict: 'deny': expected 'block' or 'allow'",
            ),
            ("lists:\n  - {verdict: block}\n", "5: lists[0].name: required, but missing"),
            (
                "lists:\n  - {name: Feed, verdict: block}\n",
                "5: lists[0].name: 'Feed' is no list name: use 1 to 40",
            ),
            ("lists:\n  - {name: 'a b', verdict: block}\n", "5: lists[0].name: 'a b' is no list name"),
            ("lists:\n  - {name: '', verdict: block}\n", "5: lists[0].name: '' is no list name"),
            (
                f"lists:\n  - {{name: {'a' * 41}, verdict: block}}\n",
                f"5: lists[0].name: '{'a' * 41}' is no list name",
            ),
            (
                "lists:\n  - {name: 7, verdict: block}\n",
                "5: lists[0].name: 7: expected text: put it in quotes",
            ),
            (
                "lists:\n  - {name: operator-block, verdict: block}\n",
                "5: lists[0].name: 'operator-block' is built in",
            ),
            (
                "lists:\n  - {name: operator-allow, verdict: allow}\n",
                "5: lists[0].name: 'operator-allow' is built in",
            ),
            (
                "lists:\n  - {name: operator-block-timed, verdict: block}\n",
                "5: lists[0].name: 'operator-block-timed' is built in",
            ),
            (
                "lists:\n  - {name: operator-allow-timed, verdict: allow}\n",
                "5: lists[0].name: 'operator-allow-timed' is built in",
            ),
            (
                "lists:\n  - {name: a, verdict: block, monitor: 'true'}\n",
                "5: lists[0].monitor: 'true': expected true or false",
            ),
            ("capacity: {grow: 1}\n", "4: capacity.grow: 1: expected true or false"),
            (
                "bans: {ttl: 1h}\n",
                "4: bans.ttl: unknown key; did you mean 'max_ttl'? known here: repeat_factor, max_ttl",
            ),
            (
                "bans:\n  repeat_factor: 0.9\n",
                "5: bans.repeat_factor: 0.9: expected 1 or more",
            ),
            (
                "bans:\n  repeat_factor: '2'\n",
                "5: bans.repeat_factor: '2': expected a number, without quotes",
            ),
            (
                "bans:\n  repeat_factor: 2\n  max_ttl: 7 days\n",
                "6: bans.max_ttl: '7 days' is no duration: write",
            ),
            ("bans:\n  memory: 3600\n", "5: bans.memory: 3600: expected text"),
            ("bans:\n  memory: 9999d\n", "5: bans.memory: '9999d' is longer than 3650d"),
            (
                "lists:\n" + "".join(f"  - {{name: {name}, verdict: block}}\n" for name in "aba"),
                "7: lists[2].name: 'a' is already used in line 5: names are unique",
            ),
            ("lists:\n  - {name: a, verdict: block, file: 5}\n", "5: lists[0].file: 5: expected a file name"),
            (
                "lists:\n  - name: a\n    verdict: block\n    entries:\n    - 192.0.2.1\n    - 192.0.2.256\n",
                "9: lists[0].entries[1]: '192.0.2.256': octet '256' is above 255",
            ),
            (
                "lists:\n  - {name: a, verdict: block, entries: [192.0.2.1/24]}\n",
                "5: lists[0].entries[0]: '192.0.2.1/24' has host bits set: write 192.0.2.0/24",
            ),
        ],
    )
    def test_says_where_and_what(self, text: str, message: str) -> None:
        """The message has file, line, field, what was given and what is expected."""
        lines = refusal(HEAD + text)
        assert len(lines) == 1
        assert lines[0].startswith("policy.yaml:" + message)

    def test_too_many_lists(self) -> None:
        """Lists are limited, because memberships are bits."""
        text = "lists:\n" + "".join(f"  - {{name: l{i}, verdict: block}}\n" for i in range(61))
        assert "at most 60" in refusal(HEAD + text)[0]
        text = "lists:\n" + "".join(f"  - {{name: l{i}, verdict: block}}\n" for i in range(60))
        assert len(load_policy(HEAD + text, "policy.yaml").lists) == 60

    def test_all_problems_at_once_by_line(self) -> None:
        """Nobody has to mend a policy one message at a time."""
        lines = refusal("interfaces:\n  - {name: wan0, zone: outside}\nengine: fast\nx: 1\n")
        assert [line.split(":")[1] for line in lines] == ["2", "3", "4"]


class TestInterfaces:
    @pytest.mark.parametrize(
        "name", ["sixteen-letters-", "", ".", "..", "a/b", "a b", "a:b", "a\tb", "\u00e4" * 8, "a\x7f"]
    )
    def test_refuses_names_that_the_kernel_refuses(self, name: str) -> None:
        """Names are at most 15 bytes, without slash, colon or space."""
        with pytest.raises(ValidationError, match="no interface name"):
            Interface(name=name, zone="external")

    @pytest.mark.parametrize("name", ["fifteen-letters", "eth0.100", "a", "\u00e4" * 7, "..."])
    def test_takes_names_that_the_kernel_takes(self, name: str) -> None:
        """Everything else is a name."""
        assert Interface(name=name, zone="external").name == name

    def test_names_are_unique(self) -> None:
        """One interface is declared once."""
        lines = refusal(HEAD + "  - {name: wan0, zone: internal}\n")
        assert lines == [
            "policy.yaml:4: interfaces[2].name: 'wan0' is already used in line 2: names are unique"
        ]

    def test_off_is_not_false(self) -> None:
        """YAML 1.1's booleans are plain text here: `off` is the mode, `no` is shown as it was written."""
        policy = load_policy("interfaces: [{name: wan0, zone: external, xdp: off}]", "policy.yaml")
        assert policy.interfaces[0].xdp == "off"
        lines = refusal("interfaces: [{name: wan0, zone: external, xdp: no}]")
        assert lines == [
            "policy.yaml:1: interfaces[0].xdp: 'no': expected 'auto', 'native', 'generic', 'offload' or 'off'"
        ]


class TestFailsafe:
    BASE = "interface: lan0, source: 192.0.2.0/28, port: 22, address: 192.0.2.1"

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (
                "lan0",
                "wan0",
                "failsafe[0].interface: 'wan0' is external: use an internal one, or set allow_external",
            ),
            ("lan0", "dmz0", "failsafe[0].interface: 'dmz0' is not declared: use wan0, lan0"),
            (
                "192.0.2.0/28",
                "0.0.0.0/0",
                "failsafe[0].source: '0.0.0.0/0': a length of 0 covers every address",
            ),
            ("192.0.2.0/28", "192.0.2.1/28", "failsafe[0].source: '192.0.2.1/28' has host bits set"),
            (
                "192.0.2.0/28",
                "2001:db8::/64",
                "failsafe[0]: source 2001:db8::/64 and address 192.0.2.1 are of diff",
            ),
            ("port: 22", "port: 0", "failsafe[0].port: 0: expected 1 or more"),
            ("port: 22", "port: 65536", "failsafe[0].port: 65536: expected 65535 or less"),
            ("port: 22", "port: 022", "022: a leading zero"),
            ("192.0.2.1", "192.0.2.0/24", "failsafe[0].address: '192.0.2.0/24': a prefix: give one address"),
            ("port: 22", "port: 22, packets_per_second: 0", "failsafe[0].packets_per_second: 0: expected 1"),
        ],
    )
    def test_refuses(self, old: str, new: str, message: str) -> None:
        """What would lock the operator out, or let anybody in, is refused."""
        line = (
            self.BASE.replace(old, new)
            if old != "192.0.2.1"
            else self.BASE.replace("s: 192.0.2.1", f"s: {new}")
        )
        lines = refusal(f"{HEAD}failsafe:\n  - {{{line}}}\n")
        assert len(lines) == 1
        assert lines[0].startswith(f"policy.yaml:5: {message}")


def test_a_policy_built_in_code_is_checked_too() -> None:
    """Invalid values cannot be built, from whatever source."""
    with pytest.raises(ValidationError, match="at least one interface"):
        Policy(interfaces=())
