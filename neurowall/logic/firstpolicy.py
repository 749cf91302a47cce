# SPDX-License-Identifier: Apache-2.0
"""A first policy from what a machine has: it keeps what works now and cuts nobody's session."""

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from neurowall.kernel.machine import ETHERNET, Device, Listener
from neurowall.logic.lockout import Session

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SSH_PORT = 22
_CLIENT_PORTS = {("udp", 68), ("udp", 546)}  # DHCP clients: their answers are accepted by themselves
_PRIVATE = tuple(
    map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


@dataclass(frozen=True)
class Machine:
    """What there is. session: the operator's own, which must survive."""

    devices: tuple[Device, ...]
    listeners: tuple[Listener, ...]
    forwarding: Mapping[int, bool]
    session: Session | None


def first_policy(machine: Machine) -> str:
    """The text of the policy. Raises ValueError if there is no interface to guard."""
    guarded = [device for device in machine.devices if _why_not(device) is None]
    if not guarded:
        raise ValueError("no interface with a link or an address: there is nothing to guard")
    parts = [
        _head(),
        _interfaces(guarded, machine.devices),
        _failsafe(guarded, machine.session),
        _forwarding(guarded, machine.forwarding),
        _rules(guarded, machine),
        _nat(guarded),
        _lists(),
    ]
    return "\n".join("\n".join(part) + "\n" for part in map(list, parts) if part)


def _why_not(device: Device) -> str | None:
    """Why an interface is left out."""
    if device.master:
        return f"a port of {device.master}, which is guarded as a whole"
    if not device.up and not device.addresses:
        return "down, without an address"
    return None


def _is_external(device: Device) -> bool:
    return bool(device.default)


def _head() -> Iterator[str]:
    yield "# The first policy of this machine, written by `neurowall init` from its interfaces and routes."
    yield "# Read it, then: neurowall validate FILE; neurowall apply FILE --confirm 60s"


def _interfaces(guarded: Sequence[Device], every: Sequence[Device]) -> Iterator[str]:
    yield "# external: where a default route is. networks: what lives behind an interface; packets that come"
    yield "# from there with another source address are dropped as spoofed."
    yield "interfaces:"
    networks = _networks(guarded, every)
    for device in guarded:
        zone = "external" if _is_external(device) else "internal"
        xdp = "" if device.type == ETHERNET else ", xdp: off"
        behind = ", ".join(quoted(str(each)) for each in networks.get(device.name, ()))
        known = f", networks: [{behind}]" if behind else ""
        yield f"  - {{name: {quoted(device.name)}, zone: {zone}{xdp}{known}}}"
    for device in every:
        if why := _why_not(device):
            yield f"  # not guarded: {device.name}: {why}"


def _networks(guarded: Sequence[Device], every: Sequence[Device]) -> dict[str, list[Network]]:
    """What lives behind each internal interface, where that is beyond doubt.

    Not behind one that carries VLANs, whose packets it sees too; nor where two claim the same.
    """
    carriers = {device.lower for device in every}
    found = {
        device.name: _behind(device)
        for device in guarded
        if not _is_external(device) and device.name not in carriers and device.type == ETHERNET
    }
    return {
        name: networks
        for name, networks in found.items()
        if not any(_overlap(networks, others) for other, others in found.items() if other != name)
    }


def _behind(device: Device) -> list[Network]:
    networks = [ipaddress.ip_interface(address).network for address in device.addresses]
    networks += [ipaddress.ip_network(routed) for routed in device.routed]
    collapsed: list[Network] = []
    collapsed += ipaddress.collapse_addresses(each for each in networks if each.version == 4)
    collapsed += ipaddress.collapse_addresses(each for each in networks if each.version == 6)
    return collapsed


def _overlap(some: Sequence[Network], others: Sequence[Network]) -> bool:
    return any(one.version == other.version and one.overlaps(other) for one in some for other in others)


def _failsafe(guarded: Sequence[Device], session: Session | None) -> Iterator[str]:
    """The way in for the session that this is written in."""
    device = next((each for each in guarded if session and _has(each, session.server)), None)
    if session is None or device is None:  # link-local ones are no addresses of a device here
        return
    yield "# The SSH session that this was written in, whatever lists and rules say."
    yield "failsafe:"
    yield f"  - interface: {quoted(device.name)}"
    yield f"    source: {quoted(session.client)}"
    yield f"    port: {session.server_port}"
    yield f"    address: {quoted(session.server)}"
    if _is_external(device):
        yield "    allow_external: true"


def _has(device: Device, address: str) -> bool:
    wanted = ipaddress.ip_address(address)
    return any(ipaddress.ip_interface(each).ip == wanted for each in device.addresses)


def _inside(guarded: Sequence[Device]) -> bool:
    return any(not _is_external(device) for device in guarded)


def _outside(guarded: Sequence[Device]) -> bool:
    return any(_is_external(device) for device in guarded)


def _forwarding(guarded: Sequence[Device], forwards: Mapping[int, bool]) -> Iterator[str]:
    if len(guarded) < 2:
        return
    on = [f"ipv{family}" for family in sorted(forwards) if forwards[family]]
    if on:
        yield f"forwarding: [{', '.join(on)}]  # as it is now"
    else:
        yield "# This machine forwards nothing now; to make it a gateway:"
        yield "# forwarding: [ipv4, ipv6]"


def _rules(guarded: Sequence[Device], machine: Machine) -> Iterator[str]:
    port = machine.session.server_port if machine.session else SSH_PORT
    yield "# The first rule that matches decides; answers to accepted connections need none."
    yield "rules:"
    yield "  # Whoever administers this machine: narrow it with `source:` once you know from where."
    yield f"  - {{name: ssh, from: any, to: gateway, protocol: tcp, ports: {port}, action: accept}}"
    limited = "rate: {at_most: 20/second, burst: 20, per: source}, action: accept}"
    for name, protocol in (("ping", "icmp"), ("ping-ipv6", "icmpv6")):
        kind = f"protocol: {protocol}, icmp_types: echo-request"
        yield f"  - {{name: {name}, from: any, to: gateway, {kind},"
        yield f"     {limited}"
    if _inside(guarded):
        yield "  # Everything from inside, as it is now."
        yield "  - {name: inside-to-gateway, from: internal, to: gateway, action: accept}"
        targets = "[internal, external]" if _outside(guarded) else "internal"
        yield f"  - {{name: from-inside, from: internal, to: {targets}, action: accept}}"
    if _outside(guarded):
        yield from _served(machine.listeners, port)
    yield ""
    yield "# What becomes of connections that no rule accepts."
    yield "defaults: {input: drop, forward: drop, output: accept}"


def _served(listeners: Sequence[Listener], ssh: int) -> Iterator[str]:
    """What listens now, ready to be opened."""
    served = {
        protocol: [
            each.port
            for each in listeners
            if each.protocol == protocol and (protocol, each.port) not in (*_CLIENT_PORTS, ("tcp", ssh))
        ]
        for protocol in ("tcp", "udp")
    }
    if any(served.values()):
        yield "  # These ports listen now and are closed to the outside; keep those that strangers should"
        yield "  # reach, and take `enabled: false` away."
    for protocol, ports in served.items():
        if ports:
            what = f"protocol: {protocol}, ports: [{', '.join(map(str, ports))}]"
            yield f"  - {{name: served-{protocol}, from: external, to: gateway, {what},"
            yield "     action: accept, enabled: false}"


def _nat(guarded: Sequence[Device]) -> Iterator[str]:
    """Private addresses inside reach the internet only behind the gateway's own."""
    inside = [network for device in guarded if not _is_external(device) for network in _behind(device)]
    if not _outside(guarded) or not any(_private(network) for network in inside):
        return
    yield "# Private addresses leave with the gateway's own."
    yield "nat:"
    yield "  masquerade:"
    yield "    - {from: internal, to: external}"


def _private(network: Network) -> bool:
    return isinstance(network, ipaddress.IPv4Network) and any(map(network.subnet_of, _PRIVATE))


def _lists() -> Iterator[str]:
    yield "# Sources to block before anything else, one address or prefix a line:"
    yield "# lists:"
    yield "#   - {name: unwanted, verdict: block, file: unwanted.txt}"


def quoted(text: str) -> str:
    """A YAML scalar: plain where nothing else can be read into it."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS else json.dumps(text)
