# SPDX-License-Identifier: Apache-2.0
"""The gateway as its administrator sees it, beside the daemon: everybody's nftables, and its sysctls."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from bench.testbed.chain import Chain
from neurowall.kernel.nft import Nftables
from tests.net.conftest import MakeDaemon
from tests.net.daemon import POLICY, Daemon, until
from tests.net.twopolicies import FENCES

FOREIGN = """
table inet other {
  set friends { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }
  chain forward { type filter hook forward priority 10; policy accept; ip saddr @friends accept; }
}
table ip neurowall {
  chain forward { type filter hook forward priority 20; policy accept; }
}
"""
BASE = f"""\
interfaces:
  - {{name: g0, zone: external}}
  - {{name: g1, zone: internal}}
rules:
  - {{name: fences, from: external, to: internal, source: ["{FENCES[0]}", "{FENCES[1]}"], action: accept}}
  - {{name: one, from: external, to: internal, source: ["203.0.113.0/29"], action: accept}}
  - {{name: two, from: external, to: internal, source: ["203.0.113.16/29"], protocol: udp, action: accept}}
"""
HELD_BY_NFTABLES = BASE.replace("zone: external}", "zone: external, xdp: off}", 1)


class World:
    """The gateway's nftables as another administrator sees and changes them."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.nft(FOREIGN)

    def nft(self, script: str) -> None:
        """What an administrator types."""
        words = ["nft", "-j", "-f", "-"] if script.startswith('{"') else ["nft", "-f", "-"]
        self._chain.gateway.exec(words, input=script).check()

    def listed(self) -> list[tuple[str, dict[str, Any]]]:
        """Everything in our table."""
        text = self._chain.gateway.exec(["nft", "-j", "list", "table", "inet", "neurowall"]).check().stdout
        return [pair for each in json.loads(text)["nftables"] for pair in each.items()]

    def tables(self) -> set[str]:
        """All tables that there are."""
        return set(self._chain.gateway.exec(["nft", "list", "tables"]).check().stdout.splitlines())

    def others(self) -> str:
        """What is not ours, to the byte, with handles."""
        return "".join(
            self._chain.gateway.exec(["nft", "-a", "list", "table", *name]).check().stdout
            for name in (("inet", "other"), ("ip", "neurowall"))
        )

    def table(self) -> str:
        """A digest of ours."""
        with self._chain.gateway.enter():
            return Nftables().fingerprint()

    def sysctls(self) -> dict[str, str]:
        """Every forwarding sysctl of the gateway."""
        script = "grep -H . /proc/sys/net/ipv*/conf/*/forwarding /proc/sys/net/ipv4/ip_forward"
        said = self._chain.gateway.exec(["sh", "-c", script]).check().stdout
        return dict(line.rsplit(":", 1) for line in said.splitlines())

    def forget(self) -> None:
        """Take the others' tables away."""
        self.nft("delete table inet other; delete table ip neurowall")


@contextmanager
def administrator(chain: Chain) -> Iterator[World]:
    """With the tables of others, for a while."""
    world = World(chain)
    try:
        yield world
    finally:
        world.forget()


@contextmanager
def taken_down(make_daemon: MakeDaemon, world: World) -> Iterator[MakeDaemon]:
    """Makes daemons; afterwards they and the table are gone."""
    made: list[Daemon] = []

    def remember(policy: str = POLICY) -> Daemon:
        made.append(make_daemon(policy))
        return made[-1]

    yield remember
    for daemon in made:
        if daemon.process and daemon.process.alive():
            daemon.process.kill()
    world.nft("add table inet neurowall; delete table inet neurowall")


def apply(daemon: Daemon, text: str, **query: Any) -> httpx.Response:
    """Ask for a policy."""
    return daemon.ask("POST", "/policy/apply", content=text, params=query)


def applied(daemon: Daemon, text: str) -> None:
    """Put a policy in force."""
    answer = apply(daemon, text)
    assert answer.status_code == 200, answer.text


def repairs(daemon: Daemon) -> int:
    """How often the table was put back, which status and metrics must agree on."""
    found: list[int] = []

    def agree() -> bool:
        """Unless one more came between the two questions."""
        found[:] = [int(daemon.get("/status")["stateful"]["drift_repairs"])]
        return f"neurowall_drift_repairs_total {float(found[0])}" in daemon.ask("GET", "/metrics").text

    until(agree)
    return found[0]
