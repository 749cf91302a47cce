# SPDX-License-Identifier: Apache-2.0
"""Block and allow on the command line: what each address's line says, times, and the /64 of IPv6 hosts."""

import re
import shlex

from neurowall.management.cli.main import app
from neurowall.management.errors import ExitCode
from tests.unit.management.commands import Cli, runner


def test_every_address_has_its_line(cli: Cli) -> None:
    """What became of it; of many only the first, and how many more."""
    assert cli.ok("block", "198.51.100.7").splitlines()[1:] == ["198.51.100.7: added"]
    assert cli.ok("block", "198.51.100.7").splitlines()[1:] == ["198.51.100.7: unchanged"]
    lines = cli.ok("block", *(f"198.51.100.{index}" for index in range(25))).splitlines()
    assert lines[1] == "198.51.100.0: added"
    assert len(lines) == 22
    assert lines[-1] == "... and 5 more"


def test_a_timed_block_from_ban_to_unban(cli: Cli) -> None:
    """Every answer says how long it lasts."""
    line = cli.ok("block", "198.51.100.7", "--ttl", "1h").splitlines()[1]
    assert re.fullmatch(r"198\.51\.100\.7: added, for (1 h|59 min 59 s), until \S+ \S+ UTC", line)
    assert "1 extended" in cli.ok("block", "198.51.100.7", "--ttl", "1h").splitlines()[0]
    assert re.search(
        r"^198\.51\.100\.7  # (2 h|1 h 59 min), until ",
        cli.ok("lists", "show", "operator-block-timed"),
        re.MULTILINE,
    )
    assert re.search(r"\d\. that lasts another (2 h|1 h 59 min), until ", cli.ok("explain", "198.51.100.7"))
    assert re.search(r"timed entries: 1 block, 0 allow; the next one lasts another ", cli.ok("status"))
    line = cli.ok("unblock", "198.51.100.7").splitlines()[1]
    assert line.startswith("198.51.100.7: removed, it had another ")
    assert "timed entries" not in cli.ok("status")


def test_a_timed_allow(cli: Cli) -> None:
    """The same option."""
    assert cli.json("allow", "203.0.113.9", "--ttl", "30m")["addresses"][0]["remaining_seconds"] > 1700
    assert cli.json("explain", "203.0.113.9")["list"] == "operator-allow-timed"


def test_a_bad_ttl_is_a_usage_error(cli: Cli) -> None:
    """Exit 2, naming the field and how to write it; nothing is blocked for good instead."""
    for ttl in ("soon", "", "0s", "1"):
        text = cli.error(ExitCode.USAGE, "block", "198.51.100.7", "--ttl", ttl)
        assert text.startswith("error: ttl: ")
    assert cli.json("explain", "198.51.100.7")["verdict"] == "pass"


def test_an_ipv6_host_offers_its_64(cli: Cli) -> None:
    """With the command to copy, which is accepted and blocks a neighbour in the same /64."""
    last = cli.ok("block", "2001:db8::7", "--ttl", "1h").splitlines()[-1]
    assert last.startswith("hint: the holder of an IPv6 address can use all of its /64; to block that: ")
    words = shlex.split(last.partition("to block that: ")[2])
    assert words == ["neurowall", "block", "2001:db8::/64", "--ttl", "1h", "--run-dir", str(cli.run_dir)]
    result = runner.invoke(app, words[1:])
    assert result.exit_code == ExitCode.OK, result.output
    assert "hint" not in result.stdout
    assert cli.json("explain", "2001:db8::8")["list"] == "operator-block-timed"


def test_many_ipv6_hosts_are_one_short_hint(cli: Cli) -> None:
    """No line as long as the list."""
    hosts = [f"2001:db8:{index}::1" for index in range(6)]
    assert cli.ok("block", *hosts).splitlines()[-1].endswith("give the same command with --whole-64")
    assert "hint" not in cli.ok("block", "198.51.100.7")


def test_whole_64_blocks_the_site(cli: Cli) -> None:
    """Of IPv6 hosts only, and of none whose /64 is full of strangers, which it says."""
    given = ("2001:db8::7", "2001:db8::8", "2001:db8:1::/48", "198.51.100.7", "fe80::1")
    text = cli.ok("block", *given, "--whole-64")
    assert text.splitlines()[-1] == "hint: blocked alone, since strangers share the /64: fe80::1"
    items = cli.json("lists", "show", "operator-block")["items"]
    assert set(items) == {"2001:db8::/64", "2001:db8:1::/48", "198.51.100.7", "fe80::1"}
