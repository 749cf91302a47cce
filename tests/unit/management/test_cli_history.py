# SPDX-License-Identifier: Apache-2.0
"""The commands about what was in force and who is blocked, against the real API."""

from pathlib import Path

import pytest

from neurowall.management.errors import ExitCode
from tests.unit.management.commands import Cli
from tests.unit.management.conftest import POLICY

NAT = """
nat:
  port_forwards:
    - {name: mail, from: external, protocol: tcp, ports: 25, to: 192.0.2.9}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """The policy in force, in a file."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


class TestBans:
    def test_who_is_blocked_one_by_one(self, cli: Cli) -> None:
        """By operators, for good and for a time; `bans` alone is `bans list`."""
        assert "no single address" in cli.ok("bans")
        cli.ok("block", "198.51.100.7")
        cli.ok("block", "198.51.100.8", "--ttl", "7d")
        cli.ok("allow", "198.51.100.9")
        text = cli.ok("bans")
        assert text == cli.ok("bans", "list")
        rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("198.")}
        assert rows["198.51.100.7"][:3] == ["block", "operator-block", "-"]
        assert rows["198.51.100.8"][:3] == ["block", "operator-block-timed", "7"]
        assert rows["198.51.100.9"][:2] == ["allow", "operator-allow"]

    def test_some_of_them(self, cli: Cli) -> None:
        """By kind, by address, and page by page."""
        cli.ok("block", *(f"198.51.100.{last}" for last in range(1, 6)))
        cli.ok("allow", "203.0.113.9")
        assert [each["entry"] for each in cli.json("bans", "list", "--kind", "allow")["bans"]] == [
            "203.0.113.9"
        ]
        assert len(cli.json("bans", "list", "--address", "198.51.100.4")["bans"]) == 1
        first = cli.json("bans", "list", "--limit", "4")
        rest = cli.json("bans", "list", "--after", first["next"])
        assert len(first["bans"]) == 4
        assert len(rest["bans"]) == 2
        assert f"--after {first['next']}" in cli.ok("bans", "list", "--limit", "4")

    def test_more_than_one_page_is_one_answer(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """The command asks as often as it takes."""
        monkeypatch.setattr("neurowall.management.cli.client.PAGE", 3)
        cli.ok("block", *(f"198.51.100.{last}" for last in range(1, 9)))
        answer = cli.json("bans", "list", "--limit", "7")
        assert len({each["entry"] for each in answer["bans"]}) == 7
        assert answer["next"] is not None

    def test_a_wrong_address_is_wrong_usage(self, cli: Cli) -> None:
        """Exit 2."""
        assert "1.2.3" in cli.error(ExitCode.USAGE, "bans", "list", "--address", "1.2.3")


class TestGenerations:
    def test_the_newest_first_and_page_by_page(self, cli: Cli, policy: Path) -> None:
        """`generations` alone is `generations list`."""
        for number in (1, 2, 3):
            policy.write_text(f"# {number}\n{POLICY}")
            cli.ok("apply", str(policy), "--note", f"number {number}")
        assert cli.ok("generations") == cli.ok("generations", "list")
        first = cli.json("generations", "list", "--limit", "2")
        assert [each["note"] for each in first["generations"]] == ["number 3", "number 2"]
        rest = cli.json("generations", "list", "--after", str(first["next"]))
        assert [each["note"] for each in rest["generations"]] == ["number 1", ""]

    def test_what_differs(self, cli: Cli, policy: Path) -> None:
        """In meaning, and line by line."""
        policy.write_text(POLICY + NAT)
        cli.ok("apply", str(policy))
        text = cli.ok("generations", "diff", "1")
        assert text.startswith("+ nat.port_forwards mail: ")
        assert text.endswith("1 difference from generation 1 to 2\n")
        assert cli.ok("generations", "diff", "2", "1").startswith("- nat.port_forwards mail: ")
        assert "\n+    - {name: mail" in cli.ok("generations", "diff", "1", "2", "--text")
        assert "there are: 1, 2" in cli.error(ExitCode.FAILED, "generations", "diff", "7")

    def test_back_to_one(self, cli: Cli, policy: Path) -> None:
        """As `rollback NUMBER` does, after a look."""
        policy.write_text(POLICY + NAT)
        cli.ok("apply", str(policy))
        assert "dry run" in cli.ok("generations", "rollback", "1", "--dry-run")
        assert cli.json("nat")["nat"]
        cli.ok("generations", "rollback", "1")
        assert cli.json("nat")["nat"] == []


class TestNat:
    def test_translations_in_words(self, cli: Cli, policy: Path) -> None:
        """And that there are none."""
        assert "translates no address" in cli.ok("nat")
        policy.write_text(POLICY + NAT)
        cli.ok("apply", str(policy))
        line = next(line for line in cli.ok("nat").splitlines() if line.startswith("mail"))
        assert "port-forward" in line
        assert "192.0.2.9" in line
