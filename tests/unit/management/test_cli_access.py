# SPDX-License-Identifier: Apache-2.0
"""The commands about who may do what and who did, against the real API over a real database."""

import asyncio
import io
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from neurowall.data.store.store import Store
from neurowall.logic.engine import Engine
from neurowall.management.api import server, sockets
from neurowall.management.api.answers import About
from neurowall.management.api.app import create_app
from neurowall.management.api.server import Listener
from neurowall.management.cli import render_history
from neurowall.management.cli.token import Scope
from neurowall.management.errors import ExitCode
from neurowall.management.instance import Instance
from neurowall.model.tokens import SCOPES, split_text
from tests.unit.management.commands import Cli
from tests.unit.management.conftest import StandIn
from tests.unit.management.relay import losing

UID = "uid:0 root"


@pytest.fixture
def served(engine: Engine, about: About, tmp_path: Path) -> Iterator[Path]:
    """A daemon that remembers."""
    instance = Instance("main", tmp_path / "run")
    instance.create()
    store = Store(f"sqlite:///{tmp_path}/neurowall.db", "gateway", head_file=tmp_path / "head")
    store.start()
    store.open()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    with sockets.unix_socket(instance.socket) as listener:
        app = create_app(engine, about, store=store)
        serving = server.run([Listener(app, listener)], stop, verbose=False)
        thread = threading.Thread(target=loop.run_until_complete, args=(serving,))
        thread.start()
        yield instance.run_dir
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
    loop.close()
    store.close()


class TestTokens:
    def test_a_token_is_shown_once(self, cli: Cli) -> None:
        """Its text is on a line of its own; no list has it."""
        lines = cli.ok("token", "create", "monitoring").splitlines()
        text = next(line for line in lines if line.startswith("nw_"))
        parts = split_text(text)
        assert parts
        assert lines[0] == f"token {parts[0]} monitoring: read"
        shown = cli.ok("token", "list") + cli.ok("token", "list", "-o", "json")
        assert parts[0] in shown
        assert parts[1] not in shown

    def test_scopes_and_an_end(self, cli: Cli) -> None:
        """--scope may be repeated; every scope there is can be named, and no other."""
        assert [each.value for each in Scope] == list(SCOPES)
        every = [word for each in SCOPES for word in ("--scope", each)]
        made = cli.json("token", "create", "alice", *every, "--expires", "90d")
        assert made["scopes"] == sorted(SCOPES)
        assert made["expires"]
        assert "rules:write" in cli.error(ExitCode.USAGE, "token", "create", "x", "--scope", "rules")
        assert "expires" in cli.error(ExitCode.USAGE, "token", "create", "x", "--expires", "soon")

    def test_a_token_in_a_file_is_ones_own(self, cli: Cli, tmp_path: Path) -> None:
        """Mode 0600, and not on the screen; a file that is there stays as it is."""
        file = tmp_path / "alice.token"
        shown = cli.ok("token", "create", "alice", "--save", str(file))
        assert split_text(file.read_text().strip())
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "nw_" not in shown
        kept = file.read_text()
        assert "is there already" in cli.error(ExitCode.USAGE, "token", "create", "bob", "--save", str(file))
        assert file.read_text() == kept
        assert len(cli.json("token", "list")["tokens"]) == 1

    def test_no_file_without_a_token(self, cli: Cli, tmp_path: Path) -> None:
        """One that was refused, and a dry run."""
        file = tmp_path / "x.token"
        cli.error(ExitCode.USAGE, "token", "create", "x", "--expires", "soon", "--save", str(file))
        assert "dry run" in cli.ok("token", "create", "x", "--dry-run", "--save", str(file))
        assert not file.exists()
        assert cli.json("token", "list")["tokens"] == []

    def test_revoked(self, cli: Cli) -> None:
        """Once; the list says so; one that is not there is an error."""
        made = cli.json("token", "create", "alice")
        assert "dry run" in cli.ok("token", "revoke", made["id"], "--dry-run")
        assert cli.ok("token", "revoke", made["id"]) == f"token {made['id']} is revoked\n"
        assert cli.ok("token", "revoke", made["id"]) == f"token {made['id']} was already revoked\n"
        assert cli.json("token", "list")["tokens"][0]["revoked"]
        assert "no token" in cli.error(ExitCode.FAILED, "token", "revoke", "abcdefghijkl")

    @pytest.mark.parametrize(
        ("dry_run", "lines"),
        [
            (False, ["token aaaaaaaaaaaa is revoked", "revoked with it: bbbbbbbbbbbb bob"]),
            (True, ["dry run, nothing was revoked", "with it: bbbbbbbbbbbb bob"]),
        ],
    )
    def test_what_a_token_made_goes_with_it(self, *, dry_run: bool, lines: list[str]) -> None:
        """It is named, of a dry run too."""
        also = [{"id": "b" * 12, "name": "bob"}]
        shown = io.StringIO()
        answer = {"id": "a" * 12, "revoked": True, "also": also, "dry_run": dry_run}
        render_history.token_revoked(Console(file=shown), answer)
        assert shown.getvalue().splitlines() == lines

    def test_who_one_is(self, cli: Cli) -> None:
        """On the socket everybody who may use it has every scope."""
        assert cli.ok("token", "whoami").startswith(f"{UID} from unix: audit:read, ")


class TestAudit:
    def test_who_did_what(self, cli: Cli) -> None:
        """Begin and end of a change, newest first; and what was refused."""
        cli.ok("block", "198.51.100.7")
        cli.error(ExitCode.FAILED, "lists", "remove", "fed")
        text = cli.ok("audit", "list")
        assert text == cli.ok("audit")
        rows = cli.json("audit", "list")["audit"]
        assert [(each["action"], each["phase"], each["result"]) for each in reversed(rows)] == [
            ("block", "begin", None),
            ("block", "end", "ok"),
            ("list-remove", "begin", None),
            ("list-remove", "end", "refused"),
        ]
        assert {each["actor"] for each in rows} == {UID}
        assert "1 -> 2" in text

    def test_some_of_it(self, cli: Cli) -> None:
        """By result, action and actor, and page by page."""
        for last in range(3):
            cli.ok("block", f"198.51.100.{last}")
        cli.error(ExitCode.FAILED, "lists", "remove", "fed")
        assert [each["action"] for each in cli.json("audit", "list", "--result", "refused")["audit"]] == [
            "list-remove"
        ]
        assert len(cli.json("audit", "list", "--action", "block")["audit"]) == 6
        assert cli.json("audit", "list", "--actor", "uid:1 x")["audit"] == []
        first = cli.json("audit", "list", "--limit", "5")
        rest = cli.json("audit", "list", "--after", str(first["next"]))
        assert len(first["audit"]) + len(rest["audit"]) == 8

    def test_it_is_whole(self, cli: Cli) -> None:
        """With the hash that may be kept elsewhere."""
        cli.ok("block", "198.51.100.7")
        answer = cli.json("audit", "verify")
        assert (answer["ok"], answer["rows"]) == (True, 2)
        assert answer["hash"] in cli.ok("audit", "verify")


class TestBans:
    def test_by_whom_and_why(self, cli: Cli) -> None:
        """Now and afterwards."""
        cli.ok("block", "198.51.100.7", "--reason", "scans ports")
        row = cli.json("bans")["bans"][0]
        assert (row["by"], row["reason"]) == (UID, "scans ports")
        assert "scans ports" in cli.ok("bans")
        assert "nothing was blocked" not in cli.ok("bans", "history")
        cli.ok("unblock", "198.51.100.7")
        past = cli.json("bans", "history", "--address", "198.51.100.7")["bans"]
        assert [(each["by"], each["reason"], each["ended_by"]) for each in past] == [
            (UID, "scans ports", UID)
        ]


class TestTerms:
    def test_only_while_a_generation_is_in_force(self, cli: Cli) -> None:
        """Else exit 1, and nothing is changed."""
        cli.ok("block", "198.51.100.7", "--if-match", "1")
        text = cli.error(ExitCode.FAILED, "block", "198.51.100.8", "--if-match", "1")
        assert "generation 2" in text
        assert "--if-match" in text
        assert cli.json("explain", "198.51.100.8")["verdict"] == "pass"

    def test_the_same_key_is_the_same_change(self, cli: Cli) -> None:
        """Asked twice, done once; another request under it is wrong usage."""
        first = cli.json("block", "198.51.100.7", "--idempotency-key", "ticket-4711")
        assert cli.json("block", "198.51.100.7", "--idempotency-key", "ticket-4711") == first
        assert cli.json("status")["generation"] == first["generation"]
        text = cli.error(ExitCode.USAGE, "block", "198.51.100.8", "--idempotency-key", "ticket-4711")
        assert "Idempotency-Key" in text

    def test_a_change_whose_answer_was_lost_is_made_once(self, cli: Cli, tmp_path: Path) -> None:
        """It was carried out before the connection broke; the second request is told what the first did."""
        before = Cli(tmp_path / "before")
        with losing(before.run_dir / "main/api.sock", cli.run_dir / "main/api.sock", answers=1):
            answer = before.json("block", "198.51.100.7")
        assert (answer["generation"], answer["added"]) == (2, 1)
        assert cli.json("status")["generation"] == 2
        begun = [each for each in cli.json("audit", "list")["audit"] if each["phase"] == "begin"]
        assert len(begun) == 1

    def test_a_token_whose_answer_was_lost_is_named(self, cli: Cli, tmp_path: Path) -> None:
        """It is shown once, and that once went nowhere: which one to revoke; no file is left."""
        before, file = Cli(tmp_path / "before"), tmp_path / "alice.token"
        with losing(before.run_dir / "main/api.sock", cli.run_dir / "main/api.sock", answers=1):
            text = before.error(ExitCode.FAILED, "token", "create", "alice", "--save", str(file))
        assert f"made token {cli.json('token', 'list')['tokens'][0]['id']} already" in text
        assert not file.exists()


class TestMonitoring:
    def test_health_is_an_exit_code(self, cli: Cli) -> None:
        """And a word."""
        assert cli.ok("health") == "ok\n"
        assert cli.ok("health", "--ready") == "ready, generation 1\n"

    def test_what_is_wrong_is_exit_1(self, cli: Cli, dataplane: StandIn) -> None:
        """With the reason."""
        dataplane.lose_interface()
        done = cli("health")
        assert done.exit_code == ExitCode.FAILED
        assert "problem: wan0: it has gone" in done.stdout
        assert "it has gone" in cli.error(ExitCode.FAILED, "health", "--ready")

    def test_metrics_are_as_prometheus_reads_them(self, cli: Cli) -> None:
        """Text."""
        assert "# TYPE neurowall_" in cli.ok("metrics")

    def test_the_policy_in_force(self, cli: Cli) -> None:
        """`generations show` without a number."""
        assert cli.ok("generations", "show") == cli.ok("generations", "show", "1")
