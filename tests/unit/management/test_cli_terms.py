# SPDX-License-Identifier: Apache-2.0
"""Changes under terms: dry runs, generations that must be in force, and requests that are repeated."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from neurowall.management.cli import client
from neurowall.management.errors import ExitCode
from tests.unit.management.commands import Cli
from tests.unit.management.scripted import HANG_UP, Answer, Script, on_socket, problem

CHANGED = Answer(
    {
        "generation": 8,
        "dry_run": False,
        "added": 1,
        "extended": 0,
        "removed": 0,
        "unchanged": 0,
        "seconds": 0.01,
        "addresses": [],
        "notes": [],
    }
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "AGAIN_AFTER", 0.01)


def answering(cli: Cli, *answers: Answer | None) -> AbstractContextManager[Script]:
    """A daemon of the instance that *cli* asks."""
    return on_socket(cli.run_dir / "main/api.sock", *answers)


class TestRepeatedRequests:
    def test_a_change_whose_connection_broke_is_asked_for_once_more_with_the_same_key(
        self, alone: Cli
    ) -> None:
        """The daemon tells the two from two wishes by the key, which the client made."""
        with answering(alone, HANG_UP, CHANGED) as script:
            assert alone.json("block", "192.0.2.1")["generation"] == 8
        first, second = script.asked
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
        assert first.body == second.body

    def test_each_command_has_a_key_of_its_own(self, alone: Cli) -> None:
        """Two wishes are two."""
        with answering(alone, CHANGED, CHANGED) as script:
            alone.ok("block", "192.0.2.1")
            alone.ok("block", "192.0.2.1")
        first, second = (each.headers["idempotency-key"] for each in script.asked)
        assert first != second

    def test_a_key_may_be_given(self, alone: Cli) -> None:
        """A script repeats itself after an hour, too."""
        with answering(alone, CHANGED) as script:
            alone.ok("block", "192.0.2.1", "--idempotency-key", "ticket-4711")
        assert script.asked[0].headers["idempotency-key"] == "ticket-4711"

    def test_no_more_than_once(self, alone: Cli) -> None:
        """A daemon that hangs up each time is broken: exit 1, and what to look at."""
        with answering(alone, HANG_UP, HANG_UP, CHANGED) as script:
            text = alone.error(ExitCode.FAILED, "block", "192.0.2.1")
        assert len(script.asked) == 2
        assert "went away" in text
        assert "neurowall status" in text

    def test_what_is_still_under_way_is_waited_for(self, alone: Cli) -> None:
        """The first request was heard, and its answer lost: the second one gets it when it is there."""
        busy = problem(409, "idempotency-in-progress", "the same request is under way", retry_after="1")
        with answering(alone, HANG_UP, busy, busy, CHANGED) as script:
            assert alone.json("block", "192.0.2.1")["generation"] == 8
        assert len(script.asked) == 4

    def test_another_conflict_is_an_answer(self, alone: Cli) -> None:
        """Only what tells of the key is waited for."""
        taken = problem(409, "list-conflict", "there is a list of this name")
        with answering(alone, HANG_UP, taken) as script:
            alone.error(ExitCode.FAILED, "block", "192.0.2.1")
        assert len(script.asked) == 2

    def test_a_question_is_asked_once_more_as_well(self, alone: Cli) -> None:
        """It changes nothing, so it needs no key."""
        with answering(alone, HANG_UP, Answer({"limits": [], "bans": [], "ban_count": 0})) as script:
            alone.json("limits")
        assert "idempotency-key" not in script.asked[1].headers


class TestTerms:
    CHANGES = (
        ("block", "192.0.2.1"),
        ("allow", "192.0.2.1"),
        ("unblock", "192.0.2.1"),
        ("unallow", "192.0.2.1"),
        ("lists", "load", "-", "--name", "x"),
        ("lists", "replace", "x", "-"),
        ("lists", "set", "x", "--monitor"),
        ("lists", "remove", "x"),
        ("apply", "-"),
        ("confirm",),
        ("rollback",),
        ("generations", "rollback", "3"),
        ("reload",),
    )
    TOKENS = (("token", "create", "x"), ("token", "revoke", "abcdefghijkl"))

    @pytest.fixture
    def refusing(self, alone: Cli) -> Iterator[Script]:
        """A daemon that refuses, so that nothing needs the shape of a real answer."""
        with answering(
            alone, problem(412, "generation-changed", "generation 9 is in force, not 7")
        ) as script:
            yield script

    @pytest.mark.parametrize("command", CHANGES)
    def test_every_change_takes_them(self, alone: Cli, refusing: Script, command: tuple[str, ...]) -> None:
        """If-Match carries the generation as an entity tag; a dry run is no change and has no key."""
        text = alone.error(ExitCode.FAILED, *command, "--dry-run", "--if-match", "7", stdin="192.0.2.1\n")
        assert text.startswith("error: generation 9 is in force, not 7\n")
        assert "--if-match" in text
        asked = refusing.asked[0]
        assert asked.headers["if-match"] == '"7"'
        assert "dry_run=true" in asked.path
        assert "idempotency-key" not in asked.headers

    @pytest.mark.parametrize("command", TOKENS)
    def test_tokens_are_part_of_no_generation(
        self, alone: Cli, refusing: Script, command: tuple[str, ...]
    ) -> None:
        """They take the other terms."""
        assert "--if-match" in alone.error(ExitCode.USAGE, *command, "--if-match", "7")
        assert not refusing.asked
        alone.error(ExitCode.FAILED, *command, "--dry-run")
        assert "dry_run=true" in refusing.asked[0].path

    def test_without_them_nothing_is_asked_for(self, alone: Cli, refusing: Script) -> None:
        """The default is to change what is there, whatever it is."""
        alone.error(ExitCode.FAILED, "block", "192.0.2.1")
        assert "if-match" not in refusing.asked[0].headers
        assert "dry_run" not in refusing.asked[0].path

    def test_a_reason_and_a_time_are_sent(self, alone: Cli, refusing: Script) -> None:
        """As the API wants them."""
        alone.error(ExitCode.FAILED, "block", "192.0.2.1", "--ttl", "1h", "--reason", "scans ports")
        sent = json.loads(refusing.asked[0].body)
        assert sent == {"addresses": ["192.0.2.1"], "ttl": "1h", "reason": "scans ports"}

    def test_a_dry_run_says_so(self, cli: Cli) -> None:
        """And changes nothing."""
        text = cli.ok("block", "198.51.100.7", "--dry-run")
        assert text.startswith("dry run, nothing was changed: 1 added")
        assert cli.json("explain", "198.51.100.7")["verdict"] == "pass"

    def test_a_dry_run_of_a_reload_says_so(self, cli: Cli) -> None:
        """The programs stay."""
        assert cli.ok("reload", "--dry-run").startswith("dry run, nothing was changed: ")
