# SPDX-License-Identifier: Apache-2.0
"""`neurowall doctor` and `neurowall init` in a real namespace: they ask, and leave everything as it was."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.testbed.chain import Chain
from bench.testbed.process import Completed
from bench.testbed.run import Run
from neurowall.kernel import features, machine
from neurowall.model.policy import Policy, load_policy
from tests.net.daemon import NEUROWALL, Daemon

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "ip")]

LISTEN = """
import socket, sys, time
held = []
for kind, address, port in (
    (socket.SOCK_STREAM, "198.19.0.1", 8080), (socket.SOCK_STREAM, "127.0.0.1", 8081),
    (socket.SOCK_DGRAM, "0.0.0.0", 5353), (socket.SOCK_STREAM, "::1", 8082), (socket.SOCK_STREAM, "::", 8083),
):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    held.append(socket.socket(family, kind))
    if family == socket.AF_INET6:
        held[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    held[-1].bind((address, port))
    if kind == socket.SOCK_STREAM:
        held[-1].listen()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def ask(run: Run, chain: Chain, tmp_path: Path) -> Any:
    """Runs a command about the gateway's namespace from outside of it."""

    def asked(*arguments: str, session: str = "") -> Completed:
        argv = (*NEUROWALL, *arguments, "--netns", chain.gateway.name, "--run-dir", str(tmp_path / "run"))
        return run.exec(("env", f"SSH_CONNECTION={session}", *argv), timeout=60)

    return asked


def found(done: Completed) -> dict[str, list[dict[str, str]]]:
    """What doctor found, by area."""
    areas: dict[str, list[dict[str, str]]] = {}
    for each in json.loads(done.stdout)["findings"]:
        areas.setdefault(each["area"], []).append(each)
    return areas


def held(chain: Chain) -> str:
    """All that a doctor must not touch."""
    commands = (("nft", "list", "ruleset"), ("ip", "-details", "link"), ("ip", "address"), ("ip", "route"))
    return "".join(chain.gateway.exec(command).stdout for command in commands)


class TestDoctor:
    def test_this_machine_can_run_and_nothing_is_changed(self, ask: Any, chain: Chain) -> None:
        """Exit 0; both interfaces could have native XDP; rulesets, links and addresses are as before."""
        before = held(chain)
        done = ask("doctor", "-o", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        areas = found(done)
        for name in ("g0", "g1"):
            assert {"state": "ok", "found": "native XDP; driver veth"}.items() <= areas[f"interface {name}"][
                0
            ].items()
        assert areas["XDP"][0]["state"] == "ok"
        assert areas["nftables"][0]["state"] == "ok"
        assert held(chain) == before

    def test_what_is_wrong_with_an_interface_is_found(self, ask: Any, chain: Chain, tmp_path: Path) -> None:
        """A large MTU, a link that is down, a name that is not there."""
        policy = tmp_path / "policy.yaml"
        policy.write_text(
            "interfaces:\n  - {name: g0, zone: external}\n  - {name: x0, zone: internal}\n"
            "  - {name: gone0, zone: internal}\n"
        )
        chain.gateway.exec(("ip", "link", "add", "x0", "mtu", "9000", "type", "veth", "peer", "name", "x1"))
        try:
            areas = found(ask("doctor", "--config", str(policy), "-o", "json"))
        finally:
            chain.gateway.exec(("ip", "link", "delete", "x0"))
        assert [each["found"] for each in areas["interface gone0"]] == ["there is none of that name"]
        texts = [each["found"] for each in areas["interface x0"]]
        assert "the link is down" in texts
        assert any(text.startswith("MTU 9000") for text in texts)
        assert "interface g1" not in areas

    def test_an_attached_program_is_seen(self, ask: Any, daemon: Daemon) -> None:
        """With its mode."""
        assert daemon.process
        areas = found(ask("doctor", "-o", "json"))
        assert areas["interface g0"][0]["found"] == "an XDP program is attached, native; driver veth"

    def test_people_get_the_price_and_the_remedy(self, ask: Any) -> None:
        """Below everything that is not ok."""
        lines = ask("doctor").stdout.splitlines()
        notes = [index for index, line in enumerate(lines) if line.split()[0] in ("note", "warning")]
        for index in notes:
            assert lines[index + 1].strip().startswith("costs: ")
            assert lines[index + 2].strip().startswith("fix: ")
        assert lines[-1] == "nothing essential is missing"

    def test_a_namespace_that_is_not_there(self, run: Run) -> None:
        """Exit 4, with those that are."""
        done = run.exec((*NEUROWALL, "doctor", "--netns", "nowhere"), timeout=60)
        assert done.returncode == 4
        assert "no network namespace 'nowhere'" in done.stderr


class TestFeatures:
    def test_what_the_kernel_refuses_is_told_by_feature(
        self, chain: Chain, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A statement that no kernel takes is refused; its neighbours are not."""
        wrong = {"reject": features.NFT_FEATURES["reject"], "odd": "add rule inet neurowall nowhere accept"}
        monkeypatch.setattr(features, "NFT_FEATURES", wrong)
        with chain.gateway.enter():
            answer = features.nftables()
        assert answer.problem is None
        assert list(answer.refused) == ["odd"]
        assert "No such file" in answer.refused["odd"]

    def test_a_flowtable_over_an_interface_that_is_not_there(self, chain: Chain) -> None:
        """The kernel is really asked."""
        with chain.gateway.enter():
            assert "flowtable" in features.nftables(("nowhere0",)).refused

    def test_devices_are_as_ip_says(self, chain: Chain) -> None:
        """Addresses with their length, networks behind, default routes, modes."""
        with chain.gateway.enter():
            devices = {each.name: each for each in machine.devices()}
        assert list(devices) == ["g0", "g1"]
        inside, outside = devices["g1"], devices["g0"]
        assert set(inside.addresses) == {"198.19.0.1/24", "2001:2:0:2::1/64"}
        assert set(inside.routed) == {"198.19.0.0/24", "2001:2:0:2::/64"}
        assert (outside.default, inside.default) == (frozenset({4, 6}), frozenset())
        assert (inside.kind, inside.driver, inside.up, inside.lower) == ("veth", "veth", True, None)
        assert inside.xdp_features
        assert inside.queues


class TestInit:
    def made(self, ask: Any, **more: str) -> Policy:
        """The policy of this machine, which must be valid."""
        done = ask("init", **more)
        assert done.returncode == 0, done.stderr
        return load_policy(done.stdout, "policy.yaml")

    def test_it_says_what_there_is(self, ask: Any, chain: Chain) -> None:
        """External is where the default route leads; what listens is ready to be opened, loopback is not."""
        process = chain.gateway.spawn((sys.executable, "-c", LISTEN), name="listen")
        try:
            while "ready" not in process.tail():
                assert process.alive(), process.tail()
            policy = self.made(ask)
        finally:
            process.kill()
        zones = {each.name: (each.zone, set(each.networks)) for each in policy.interfaces}
        assert zones == {
            "g0": ("external", set()),
            "g1": ("internal", {"198.19.0.0/24", "2001:2:0:2::/64"}),
        }
        assert policy.forwarding == ("ipv4", "ipv6")
        served = {rule.name: rule.ports for rule in policy.rules or () if rule.name.startswith("served")}
        assert served == {"served-tcp": (8080, 8083), "served-udp": (5353,)}

    def test_the_session_that_it_is_given_in_has_a_way_in(self, ask: Any) -> None:
        """On the interface that holds the server's address."""
        (failsafe,) = self.made(ask, session="198.19.0.2 50000 198.19.0.1 2222").failsafe
        assert (failsafe.interface, failsafe.source, failsafe.port) == ("g1", "198.19.0.2", 2222)
