# SPDX-License-Identifier: Apache-2.0
"""The CLI against the API on a real unix socket; the kernel is a stand-in."""

import json
import re
import socket
import threading
from pathlib import Path

import pytest
import yaml

from neurowall.logic.engine import Engine
from neurowall.management.api import sockets
from neurowall.management.cli.main import app
from neurowall.management.errors import ExitCode
from neurowall.management.instance import Instance
from neurowall.model.counters import Counter
from neurowall.model.policy import load_policy
from tests.unit.management.commands import Cli, runner
from tests.unit.management.conftest import POLICY, StandIn


class TestStatus:
    def test_the_table_has_everything_with_units(self, cli: Cli) -> None:
        """Instance, generation, engine, interfaces with mode and why, lists per family, tables."""
        text = cli.ok("status")
        for expected in (
            "instance main: ok, generation 1",
            "engine buckets",
            "wan0",
            "external",
            "native refused: Operation not supported",
            "declared",
            "hosts4",
            "1,000",
            "no packet seen yet",
        ):
            assert expected in text

    def test_problems_come_first(self, cli: Cli, dataplane: StandIn) -> None:
        """An operator sees what is wrong before anything else."""
        dataplane.lose_interface()
        lines = cli.ok("status").splitlines()
        assert lines[0].startswith("instance main: degraded")
        assert lines[1] == "problem: wan0: it has gone"

    def test_json_and_yaml_are_the_apis_answer(self, cli: Cli) -> None:
        """The same data in both, and nothing else on stdout."""
        as_json, as_yaml = cli.json("status"), yaml.safe_load(cli.ok("status", "-o", "yaml"))
        for volatile in ("uptime_seconds",):
            assert as_json.pop(volatile) >= 0
            assert as_yaml.pop(volatile) >= 0
        assert as_json == as_yaml
        assert as_json["generation"] == 1

    def test_a_table_that_grew_is_seen(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it holds now and what it was made for."""
        assert "grown" not in cli.ok("status")
        small = load_policy(POLICY.replace("hosts4: 1000", "hosts4: 400"), "policy.yaml")
        monkeypatch.setattr(Engine, "policy", property(lambda _: small))
        assert re.search(r"hosts4 +0 +1,000 +0 % +grown from 400", cli.ok("status"))

    def test_options_may_stand_before_the_command(self, cli: Cli) -> None:
        """`neurowall -o json lists show` is `neurowall lists show -o json`."""
        before = runner.invoke(app, ["--run-dir", str(cli.run_dir), "-o", "json", "lists", "show"])
        assert json.loads(before.stdout) == cli.json("lists", "show")


class TestImperative:
    def test_block_and_unblock(self, cli: Cli) -> None:
        """One line says what happened."""
        assert cli.ok("block", "198.51.100.7", "2001:db8::7").startswith("generation 2: 2 added, 0 removed")
        assert cli.json("unblock", "198.51.100.7")["removed"] == 1

    def test_notes_are_printed(self, cli: Cli) -> None:
        """An unblock without effect says why."""
        assert "note: 203.0.113.9 is still blocked by list declared" in cli.ok("unblock", "203.0.113.9")

    def test_allow_and_unallow(self, cli: Cli) -> None:
        """The exception and its end."""
        cli.ok("allow", "203.0.113.9")
        assert cli.json("explain", "203.0.113.9")["verdict"] == "pass"
        cli.ok("unallow", "203.0.113.9")
        assert cli.json("explain", "203.0.113.9")["verdict"] == "drop"

    def test_a_bad_address_is_a_usage_error(self, cli: Cli) -> None:
        """Exit 2, the reason once."""
        text = cli.error(ExitCode.USAGE, "block", "198.51.100.7", "1.2.3")
        assert text.startswith("error: nothing was changed: '1.2.3': ")
        assert text.count("1.2.3") == 1
        assert cli.json("status")["generation"] == 1

    def test_explain_tells_the_steps(self, cli: Cli) -> None:
        """Which list, through which entry, the verdict, and what the kernel holds."""
        assert cli.ok("explain", "203.0.113.9").splitlines() == [
            "203.0.113.9: drop",
            "  1. block list declared holds it through 203.0.113.0/24",
            "  2. so its packets are dropped, counted as block-list, named after list declared",
            "  3. the kernel holds 203.0.113.0/24 (drop), as intended in generation 1",
        ]

    def test_explain_of_an_unlisted_address(self, cli: Cli) -> None:
        """Nothing holds it."""
        text = cli.ok("explain", "192.0.2.1")
        assert text.startswith("192.0.2.1: pass\n")
        assert "no list holds it" in text
        assert "the kernel holds nothing for it" in text

    def test_explain_says_if_the_kernel_differs(self, cli: Cli, dataplane: StandIn) -> None:
        """The kernel is asked at that moment, not assumed."""
        dataplane.rows.clear()
        text = cli.ok("explain", "203.0.113.9")
        assert "but the kernel holds nothing for it" in text


class TestLists:
    @pytest.fixture
    def feed(self, tmp_path: Path) -> Path:
        """A list file with what real ones have."""
        path = tmp_path / "My Feed.txt"
        path.write_text("# feed\n198.51.100.1\t7\r\n198.51.100.1\n2001:db8:1::/48\n198.51.100.77/28\n")
        return path

    def test_load_names_the_list_after_the_file(self, cli: Cli, feed: Path) -> None:
        """And tells of duplicates and host bits."""
        text = cli.ok("lists", "load", str(feed))
        assert text.startswith("generation 2: 3 added")
        assert "note: 1 lines repeat an earlier entry" in text
        assert "host bits cleared in 1 lines: 5" in text
        assert "198.51.100.64/28" in cli.ok("lists", "show", "my-feed").splitlines()

    def test_show_prints_a_list_that_can_be_loaded(self, cli: Cli, feed: Path) -> None:
        """Output is itself a list file."""
        cli.ok("lists", "load", str(feed), "--name", "one")
        cli.ok("lists", "load", "-", "--name", "two", stdin=cli.ok("lists", "show", "one"))
        assert cli.json("lists", "show", "one")["items"] == cli.json("lists", "show", "two")["items"]

    def test_show_pages(self, cli: Cli, feed: Path) -> None:
        """--limit and --after, with the next --after in the output."""
        cli.ok("lists", "load", str(feed), "--name", "feed")
        first = cli.ok("lists", "show", "feed", "--limit", "2").splitlines()
        assert len(first) == 4
        after = first[-1].removeprefix("# more follow: --after ")
        assert len(cli.json("lists", "show", "feed", "--after", after)["items"]) == 1

    def test_a_list_on_trial(self, cli: Cli, feed: Path) -> None:
        """Loaded to monitor it decides nothing; `set` enforces it and takes that back."""
        cli.ok("lists", "load", str(feed), "--name", "feed", "--monitor")
        assert "block, monitor" in cli.ok("lists", "show")
        assert cli.ok("lists", "show", "feed").startswith("# list feed: block, monitor, ")
        assert cli.json("explain", "198.51.100.1")["verdict"] == "pass"
        assert "and only counts it: it is a monitor list" in cli.ok("explain", "198.51.100.1")
        for option, verdict in (("--enforce", "drop"), ("--monitor", "pass")):
            cli.ok("lists", "set", "feed", option)
            assert cli.json("explain", "198.51.100.1")["verdict"] == verdict
        assert "no list" in cli.error(ExitCode.FAILED, "lists", "set", "fed", "--enforce")

    def test_lists_show_what_they_decided_and_matched(
        self, cli: Cli, engine: Engine, dataplane: StandIn
    ) -> None:
        """Two columns: a list may match what another one decides."""
        engine.allow(["203.0.113.9"])
        dataplane.counted = {dataplane.class_of("203.0.113.9"): Counter(4321, 259260)}
        lines = {
            line.split()[0]: line.split() for line in cli.ok("lists", "show").splitlines() if line.strip()
        }
        headings = lines["List"]
        decided, matched = headings.index("Decided"), headings.index("Matched")
        assert lines["declared"][decided] == "0"
        assert lines["declared"][matched + 1] == "4,321"  # the volume before it is two words
        assert lines["operator-allow"][decided] == "4,321"

    def test_replace_and_remove(self, cli: Cli, feed: Path) -> None:
        """From a file and from standard input."""
        cli.ok("lists", "load", str(feed), "--name", "feed")
        assert "1 added, 3 removed" in cli.ok("lists", "replace", "feed", "-", stdin="192.0.2.1\n")
        assert "1 removed" in cli.ok("lists", "remove", "feed")
        assert "no list" in cli.error(ExitCode.FAILED, "lists", "remove", "feed")

    def test_bad_lines_are_listed_to_a_limit(self, cli: Cli, tmp_path: Path) -> None:
        """Twenty with numbers and reasons, then how many more; exit 2; nothing loaded."""
        path = tmp_path / "bad.txt"
        path.write_text("192.0.2.1\n" + "garbage\n" * 1234)
        lines = cli.error(ExitCode.USAGE, "lists", "load", str(path)).splitlines()
        assert "1,234" in lines[0] or "1234" in lines[0]
        assert len(lines) == 22
        assert lines[1].startswith("  line 2: 'garbage': ")
        assert lines[20].startswith("  line 21: 'garbage': ")
        assert lines[21] == "  ... and 1,214 more"
        assert cli.json("status")["generation"] == 1

    def test_bad_lines_can_be_skipped(self, cli: Cli) -> None:
        """On purpose, and counted."""
        text = cli.ok("lists", "load", "-", "--name", "x", "--skip-invalid", stdin="192.0.2.1\nbad\n")
        assert "1 added" in text
        assert "1 lines skipped, the first is line 2: 'bad'" in text

    def test_loading_over_a_list_is_refused(self, cli: Cli) -> None:
        """The message says to replace."""
        text = cli.error(ExitCode.FAILED, "lists", "load", "-", "--name", "declared", stdin="192.0.2.1")
        assert "replace" in text

    def test_over_capacity_names_the_key(self, cli: Cli) -> None:
        """Exit 1 with what to raise in the policy."""
        text = "\n".join(f"10.1.{i >> 8}.{i & 255}" for i in range(1001))
        assert "capacity.hosts4" in cli.error(
            ExitCode.FAILED, "lists", "load", "-", "--name", "x", stdin=text
        )

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("lists", "load", "/no/such/file"), "cannot read list /no/such/file: No such file"),
            (("lists", "load", "-"), "add --name"),
            (("lists", "load", "/___.txt"), "no list name can be made"),
            (("lists", "load", "-", "--name", "x", "--verdict", "drop"), "'block', 'allow'"),
            (("lists", "show", "declared", "--limit", "0"), "--limit"),
            (("lists", "set", "declared"), "add --monitor or --enforce"),
            (("lists", "show", "declared", "--after", "nonsense"), "nonsense"),
            (("block",), "ADDRESS"),
            (("status", "-o", "xml"), "'table', 'json', 'yaml'"),
            (("status", "--instance", "../x"), "not valid"),
        ],
    )
    def test_wrong_usage_is_exit_2(self, cli: Cli, arguments: tuple[str, ...], expected: str) -> None:
        """Each says what is wrong."""
        assert expected in cli.error(ExitCode.USAGE, *arguments)


class TestNoDaemon:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("status",),
            ("block", "192.0.2.1"),
            ("allow", "192.0.2.1"),
            ("unblock", "192.0.2.1"),
            ("unallow", "192.0.2.1"),
            ("explain", "192.0.2.1"),
            ("lists", "show"),
            ("lists", "remove", "x"),
            ("lists", "set", "x", "--enforce"),
            ("reload",),
        ],
    )
    def test_it_names_the_socket_and_the_next_step(self, alone: Cli, arguments: tuple[str, ...]) -> None:
        """Exit 3."""
        text = alone.error(ExitCode.UNREACHABLE, *arguments)
        assert str(alone.run_dir / "main/api.sock") in text
        assert "neurowall run --config" in text

    def test_a_dead_daemons_socket_is_no_daemon(self, alone: Cli) -> None:
        """SIGKILL leaves the socket's name behind."""
        instance = Instance("main", alone.run_dir)
        instance.create()
        sockets.unix_socket(instance.socket).close()
        assert instance.socket.exists()
        alone.error(ExitCode.UNREACHABLE, "status")

    def test_a_daemon_that_dies_while_it_answers(self, alone: Cli) -> None:
        """One clear error; whether the change was made is for `status` to say."""
        instance = Instance("main", alone.run_dir)
        instance.create()

        def accept_and_close(listener: socket.socket) -> None:
            connection, _ = listener.accept()
            connection.recv(1)
            listener.close()
            connection.close()

        with sockets.unix_socket(instance.socket) as listener:
            thread = threading.Thread(target=accept_and_close, args=(listener,))
            thread.start()
            text = alone.error(ExitCode.FAILED, "block", "192.0.2.1")
            thread.join(10)
        assert "went away" in text
        assert "neurowall status" in text

    def test_down_has_nothing_to_do(self, alone: Cli) -> None:
        """And makes nothing."""
        assert alone.ok("down") == "nothing was up for instance main\n"
        assert not alone.run_dir.exists()


class TestRunRefuses:
    """What `neurowall run` refuses before it touches anything; all else is in tests/net."""

    @pytest.fixture
    def policy(self, tmp_path: Path) -> Path:
        """A file to write a policy into."""
        return tmp_path / "policy.yaml"

    def test_a_malformed_policy_names_every_problem(self, alone: Cli, policy: Path, tmp_path: Path) -> None:
        """Exit 2, each with file, line and field; nothing is kept."""
        policy.write_text("interfaces:\n  - {name: wan0, zone: outside}\n  - {name: lan0}\nspeed: 1\n")
        text = alone.error(
            ExitCode.USAGE, "run", "--config", str(policy), "--state-dir", str(tmp_path / "state")
        )
        lines = text.splitlines()
        assert lines[0].startswith("error: ")
        assert lines[1].startswith(f"  {policy}:2: interfaces[0].zone: ")
        assert "use external, internal" in lines[1]
        assert lines[2].startswith(f"  {policy}:3: interfaces[1]")
        assert lines[3].startswith(f"  {policy}:4: speed: unknown key")
        assert not (alone.run_dir / "main/api.sock").exists()
        assert not (tmp_path / "state").exists()

    @pytest.mark.parametrize("text", ["", "interfaces: [", "- a\n", "interfaces: []\n", "\0"])
    def test_what_is_no_policy_is_exit_2(self, alone: Cli, policy: Path, text: str) -> None:
        """Broken YAML is one clear error too."""
        policy.write_text(text)
        assert str(policy) in alone.error(ExitCode.USAGE, "run", "--config", str(policy))

    def test_a_missing_policy_file(self, alone: Cli, policy: Path) -> None:
        """It names the path."""
        assert "No such file" in alone.error(ExitCode.USAGE, "run", "--config", str(policy))

    def test_no_policy_at_all(self, alone: Cli) -> None:
        """There is no default: a firewall must not guess."""
        assert "--config" in alone.error(ExitCode.USAGE, "run")
