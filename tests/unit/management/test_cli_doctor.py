# SPDX-License-Identifier: Apache-2.0
"""The commands that look at this machine, on machines that the test describes."""

from pathlib import Path
from typing import Any

import pytest

from neurowall.data.generations import GenerationStore
from neurowall.kernel import features
from neurowall.kernel import machine as kernel_machine
from neurowall.kernel.features import Bpf, Conntrack, Nftables
from neurowall.kernel.machine import XDP_BASIC, Device, Listener
from neurowall.management.cli import firstpolicy
from neurowall.management.daemon import preflight
from neurowall.management.errors import ExitCode
from neurowall.management.instance import Instance, Record
from neurowall.model.intent import GenerationRecord
from tests.unit.management.commands import Cli

WAN = Device("wan0", 2, addresses=("198.51.100.2/24",), default=frozenset({4}), xdp_features=XDP_BASIC)
IDLE = Device("idle0", 3, up=False)
POLICY = "interfaces: [{name: wan0, zone: external}, {name: lan0, zone: internal}]\n"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Facts that a test may change before it asks."""
    facts: dict[str, Any] = {
        "bpf": Bpf("1.1", None, jit=True, object_problem=None),
        "nftables": Nftables(None, {}),
        "lacking": (),
    }

    def nftables(devices: tuple[str, ...]) -> Nftables:
        facts["flowtable_over"] = devices
        found: Nftables = facts["nftables"]
        return found

    monkeypatch.setattr(features, "bpf", lambda: facts["bpf"])
    monkeypatch.setattr(features, "nftables", nftables)
    monkeypatch.setattr(features, "conntrack", lambda: Conntrack(0, 262_144, 262_144))
    monkeypatch.setattr(kernel_machine, "devices", lambda: (WAN, IDLE))
    monkeypatch.setattr(kernel_machine, "listeners", lambda: (Listener("tcp", 80),))
    monkeypatch.setattr(kernel_machine, "forwarding", lambda: {4: True, 6: True})
    monkeypatch.setattr(preflight, "missing", lambda **_: facts["lacking"])
    monkeypatch.setattr(firstpolicy, "own_session", lambda: facts.get("session"))
    return facts


def interfaces(answer: Any) -> list[str]:
    """Which interfaces were looked at."""
    areas = dict.fromkeys(each["area"] for each in answer["findings"])
    return [area.split()[1] for area in areas if area.startswith("interface ")]


class TestDoctor:
    def test_a_healthy_machine_is_exit_0(self, alone: Cli) -> None:
        """Without a policy every interface that is used is looked at."""
        answer = alone.json("doctor")
        assert answer["missing"] == 0
        assert interfaces(answer) == ["wan0"]
        assert "nothing essential is missing" in alone.ok("doctor")

    @pytest.mark.parametrize(
        ("fact", "value"),
        [
            ("bpf", Bpf(None, "libbpf.so.1 is missing", None, None)),
            ("nftables", Nftables("no library", {})),
            ("lacking", ("no CAP_NET_ADMIN: run it as root",)),
        ],
    )
    def test_what_is_essential_and_missing_is_exit_1(
        self, alone: Cli, machine: dict[str, Any], fact: str, value: Any
    ) -> None:
        """The answer is printed all the same."""
        machine[fact] = value
        result = alone("doctor")
        assert result.exit_code == ExitCode.FAILED
        assert "\nmissing " in f"\n{result.stdout}"
        assert "1 essential thing missing" in result.stdout

    def test_a_policy_says_which_interfaces_matter(
        self, alone: Cli, machine: dict[str, Any], tmp_path: Path
    ) -> None:
        """Also those that are not there; a flowtable is tried over those that are."""
        file = tmp_path / "policy.yaml"
        file.write_text(POLICY)
        assert interfaces(alone.json("doctor", "--config", str(file))) == ["wan0", "lan0"]
        assert machine["flowtable_over"] == ("wan0",)

    def test_the_instances_own_policy_is_found(self, alone: Cli, tmp_path: Path) -> None:
        """The last that was in force, else the file; one that is broken is no reason to say nothing."""
        file = tmp_path / "policy.yaml"
        file.write_text(POLICY)
        instance = Instance("main", alone.run_dir)
        instance.create()
        instance.record(Record(None, str(tmp_path), str(file)))
        assert interfaces(alone.json("doctor")) == ["wan0", "lan0"]
        file.write_text("interfaces: [")
        assert interfaces(alone.json("doctor")) == ["wan0"]
        text = POLICY.replace("lan0", "dmz0")
        for number, policy in ((3, POLICY), (12, text)):
            record = GenerationRecord(number, 0.0, "apply", "policy.yaml", "", policy, 0, ())
            GenerationStore(tmp_path).put(record)
        assert interfaces(alone.json("doctor")) == ["wan0", "dmz0"]

    def test_a_policy_that_is_given_must_be_good(self, alone: Cli, tmp_path: Path) -> None:
        """Exit 2."""
        file = tmp_path / "policy.yaml"
        file.write_text("interfaces: [")
        assert str(file) in alone.error(ExitCode.USAGE, "doctor", "--config", str(file))


class TestInit:
    def test_a_first_policy_can_be_validated(self, alone: Cli, tmp_path: Path) -> None:
        """Printed, or written once."""
        file = tmp_path / "policy.yaml"
        assert f"wrote {file}" in alone.ok("init", str(file))
        assert file.read_text() == alone.ok("init")
        assert ": valid: 1 interface," in alone.ok("validate", str(file))
        assert "stays as it is" in alone.error(ExitCode.USAGE, "init", str(file))

    def test_the_session_is_in_it(self, alone: Cli, machine: dict[str, Any]) -> None:
        """One that cannot be read is none."""
        machine["session"] = "203.0.113.7 50000 198.51.100.2 2222"
        assert "source: 203.0.113.7" in alone.ok("init").replace('"', "")
        machine["session"] = "nonsense"
        assert "failsafe" not in alone.ok("init")

    def test_a_machine_without_interfaces_is_told_of_the_examples(
        self, alone: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Exit 1."""
        monkeypatch.setattr(kernel_machine, "devices", lambda: (IDLE,))
        assert "--example" in alone.error(ExitCode.FAILED, "init")
