# SPDX-License-Identifier: Apache-2.0
"""The commands about policies against a real engine on a real socket; the kernel is a stand-in."""

import json
import os
from pathlib import Path

import pytest
import yaml

from neurowall.logic.engine import Engine
from neurowall.management.errors import ExitCode
from tests.unit.management.commands import Cli
from tests.unit.management.conftest import POLICY

RULES = "rules: [{name: web, from: external, to: internal, protocol: tcp, ports: 443, action: accept}]\n"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """POLICY with a list more."""
    file = tmp_path / "new.yaml"
    file.write_text(POLICY.replace("lists:", "lists:\n  - {name: more, verdict: block, file: more.txt}"))
    (tmp_path / "more.txt").write_text("198.51.100.1\n198.51.100.2\n")
    return file


class TestApply:
    def test_it_says_what_changed_and_changes_it(self, cli: Cli, policy: Path) -> None:
        """A line for each difference; files of lists are found beside the policy."""
        lines = cli.ok("apply", str(policy), "--note", "two more").splitlines()
        assert lines[0] == f"+ lists more: verdict block, file {policy.parent / 'more.txt'}, before declared"
        assert lines[1].startswith("generation 2: 1 difference, list entries 2 added, 0 removed, ")
        assert cli.json("explain", "198.51.100.2")["verdict"] == "drop"
        assert "policy of generation 2: " in cli.ok("status")
        assert "(two more)" in cli.ok("status")

    def test_a_dry_run_says_the_same_and_changes_nothing(self, cli: Cli, policy: Path) -> None:
        """Neither generation nor verdicts."""
        text = cli.ok("apply", str(policy), "--dry-run")
        assert text.startswith("+ lists more: ")
        assert "dry run, nothing was changed: 1 difference, list entries 2 added, 0 removed" in text
        assert cli.json("status")["generation"] == 1
        assert cli.json("explain", "198.51.100.2")["verdict"] == "pass"

    def test_an_apply_of_the_same_policy_is_no_change(self, cli: Cli, policy: Path) -> None:
        """No difference, no generation."""
        cli.ok("apply", str(policy))
        assert cli.json("apply", str(policy))["differences"] == []
        assert cli.json("status")["generation"] == 2

    def test_standard_input_is_read(self, cli: Cli) -> None:
        """As `-`."""
        assert cli.ok("apply", "-", stdin=POLICY.replace("declared", "other")).startswith(
            "- lists declared: "
        )

    def test_a_bad_policy_is_told_line_by_line(self, cli: Cli, policy: Path) -> None:
        """Exit 2; what is in force stays."""
        policy.write_text(POLICY + "speed: 1\nrules: 2\n")
        text = cli.error(ExitCode.USAGE, "apply", str(policy))
        assert text.startswith("error: the policy cannot be used: 2 problems\n")
        assert f"  {policy}:8: speed: unknown key" in text
        assert f"  {policy}:9: rules: " in text
        assert cli.json("status")["generation"] == 1

    def test_a_file_that_is_not_there(self, cli: Cli, tmp_path: Path) -> None:
        """Exit 2, with its name."""
        text = cli.error(ExitCode.USAGE, "apply", str(tmp_path / "none.yaml"))
        assert "cannot read policy" in text
        assert "none.yaml: No such file" in text

    @pytest.mark.parametrize("duration", ["60", "soon", "-1s"])
    def test_a_confirm_that_is_no_duration(self, cli: Cli, policy: Path, duration: str) -> None:
        """Exit 2, and nothing is applied."""
        assert "--confirm" in cli.error(ExitCode.USAGE, "apply", str(policy), f"--confirm={duration}")
        assert cli.json("status")["generation"] == 1

    def test_colours_are_for_terminals_only(self, cli: Cli, policy: Path) -> None:
        """A pipe gets plain text."""
        assert "\x1b" not in cli.ok("apply", str(policy), "--dry-run")


class TestConfirmAndBack:
    def test_what_waits_is_said_and_can_be_kept(self, cli: Cli, policy: Path) -> None:
        """The command that keeps it is printed whole."""
        text = cli.ok("apply", str(policy), "--confirm", "60s")
        assert "generation 1 comes back in " in text
        assert f"unless you confirm: neurowall confirm --run-dir {cli.run_dir}" in text
        assert "generation 1 comes back in " in cli.ok("status")
        assert cli.ok("confirm") == "generation 2 is confirmed and stays\n"
        assert cli.json("status")["pending"] is None
        assert "no policy waits" in cli.error(ExitCode.FAILED, "confirm")

    def test_rollback_undoes_an_apply(self, cli: Cli, policy: Path) -> None:
        """After a dry run that says so."""
        cli.ok("apply", str(policy))
        cli.ok("block", "192.0.2.77")
        assert cli.ok("rollback", "--dry-run").startswith("- lists more: ")
        assert cli.json("explain", "198.51.100.2")["verdict"] == "drop"
        cli.ok("rollback")
        assert cli.json("explain", "198.51.100.2")["verdict"] == "pass"
        assert cli.json("explain", "192.0.2.77")["verdict"] == "drop"  # bans stay

    def test_rollback_to_a_generation_that_is_not_there(self, cli: Cli) -> None:
        """Exit 1, with those that are."""
        assert "there are: 1" in cli.error(ExitCode.FAILED, "rollback", "9")

    def test_generations_are_listed_and_shown(self, cli: Cli, policy: Path) -> None:
        """Which is in force; each as it was written, byte for byte."""
        cli.ok("apply", str(policy), "--note", "two more")
        lines = cli.ok("generations").splitlines()
        assert [line.split()[0] for line in lines if "policy" in line or "new.yaml" in line] == ["*", "1"]
        assert any("two more" in line and line.startswith("*") for line in lines)
        assert cli.ok("generations", "show", "2") == policy.read_text()
        assert cli.json("generations", "show", "2")["note"] == "two more"
        assert [each["generation"] for each in cli.json("generations")["generations"]] == [2, 1]

    def test_shared_options_may_stand_before_show(self, cli: Cli) -> None:
        """As for every other command."""
        assert json.loads(cli.ok("-o", "json", "generations", "show", "1"))["generation"] == 1


class TestSession:
    LOCKING = POLICY + "rules: []\n"

    @pytest.fixture
    def _session(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSH_CONNECTION", "203.0.113.7 5000 192.0.2.1 22")

    @pytest.mark.usefixtures("_session")
    def test_the_callers_session_is_told(
        self, cli: Cli, policy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """To apply, its dry run and rollback."""
        seen = []

        def guard(_engine: Engine, session: object, **_more: object) -> object:
            seen.append(session)
            return lambda *_: None

        monkeypatch.setattr(Engine, "_guard", guard)
        cli.ok("apply", str(policy), "--dry-run")
        cli.ok("apply", str(policy))
        cli.ok("rollback")
        assert [getattr(each, "client", None) for each in seen] == ["203.0.113.7"] * 3


class TestRulesAndPackets:
    def test_rules_are_shown_in_words(self, cli: Cli, policy: Path) -> None:
        """Also those that counted nothing."""
        assert "filters nothing" in cli.ok("rules")
        policy.write_text(POLICY + RULES)
        cli.ok("apply", str(policy))
        text = cli.ok("rules")
        assert "accept tcp 443 from external to internal" in text
        assert "filters nothing" not in text

    def test_explain_takes_a_packet(self, cli: Cli) -> None:
        """What has words is a packet, and a bad one is a usage error."""
        text = cli.error(ExitCode.USAGE, "explain", "tcp nonsense")
        assert "nonsense" in text


class TestValidate:
    def test_a_valid_policy_is_summed_up(self, alone: Cli, policy: Path) -> None:
        """Without a daemon; entries of files are counted."""
        text = alone.ok("validate", str(policy))
        assert text.startswith(f"{policy}: valid: 2 interfaces, 2 lists, 4 list entries, 0 rules")

    def test_an_invalid_one_is_exit_2_with_every_problem(self, alone: Cli, policy: Path) -> None:
        """On stderr for people, as an answer for programs."""
        policy.write_text(POLICY + "speed: 1\n")
        text = alone.error(ExitCode.USAGE, "validate", str(policy))
        assert f"  {policy}:8: speed: unknown key" in text
        result = alone("validate", str(policy), "-o", "json")
        assert result.exit_code == ExitCode.USAGE
        answer = json.loads(result.stdout)
        assert answer["valid"] is False
        (wrong,) = answer["errors"]
        assert (wrong["line"], wrong["field"]) == (8, "speed")
        assert wrong["why"].startswith("unknown key")

    def test_files_of_lists_are_read(self, alone: Cli, policy: Path) -> None:
        """An apply would refuse them."""
        (policy.parent / "more.txt").write_text("198.51.100.1\nnonsense\n")
        text = alone.error(ExitCode.USAGE, "validate", str(policy))
        assert "more.txt:2: 'nonsense'" in text
        (policy.parent / "more.txt").unlink()
        assert "cannot be read" in alone.error(ExitCode.USAGE, "validate", str(policy))

    def test_the_table_is_markdown(self, alone: Cli, policy: Path) -> None:
        """Who may talk to whom."""
        policy.write_text(POLICY + RULES)
        text = alone.ok("validate", str(policy), "--table")
        assert text.startswith("| ")
        assert "443" in text

    def test_warnings_are_printed(self, alone: Cli, policy: Path) -> None:
        """And are no reason to fail."""
        policy.write_text(POLICY + "sets: [{name: nobody, entries: [192.0.2.1]}]\n" + RULES)
        assert "warning: " in alone.ok("validate", str(policy))
        assert alone.json("validate", str(policy))["warnings"]

    def test_standard_input(self, alone: Cli) -> None:
        """A bad line is one of it."""
        assert "<stdin>:" in alone.error(ExitCode.USAGE, "validate", "-", stdin="speed: 1\n")


class TestSchema:
    def test_it_is_json_unless_asked_otherwise(self, alone: Cli) -> None:
        """It needs no daemon."""
        schema = json.loads(alone.ok("schema"))
        assert schema == yaml.safe_load(alone.ok("schema", "-o", "yaml"))
        assert "interfaces" in schema["required"]


class TestInit:
    def test_an_existing_file_is_never_overwritten(self, alone: Cli, tmp_path: Path) -> None:
        """Exit 2, and it is as it was."""
        file = tmp_path / "policy.yaml"
        file.write_text("mine")
        assert "stays as it is" in alone.error(ExitCode.USAGE, "init", "--example", "home", str(file))
        assert file.read_text() == "mine"

    @pytest.mark.parametrize("name", ["home", "office-dmz", "hosting-edge", "single-server"])
    def test_every_example_is_there_and_valid(self, alone: Cli, tmp_path: Path, name: str) -> None:
        """Printed, or written into a new file."""
        file = tmp_path / "policy.yaml"
        assert f"neurowall validate {file}" in alone.ok("init", "--example", name, str(file))
        assert file.read_text() == alone.ok("init", "--example", name)
        assert ": valid: " in alone.ok("validate", str(file))

    def test_an_unknown_example_names_the_others(self, alone: Cli) -> None:
        """Exit 2."""
        assert "single-server" in alone.error(ExitCode.USAGE, "init", "--example", "castle")

    def test_a_folder_that_is_not_there(self, alone: Cli, tmp_path: Path) -> None:
        """Exit 1, with the reason."""
        text = alone.error(ExitCode.FAILED, "init", "--example", "home", str(tmp_path / "no" / "policy.yaml"))
        assert os.strerror(2) in text
