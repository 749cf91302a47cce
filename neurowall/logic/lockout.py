# SPDX-License-Identifier: Apache-2.0
"""Whether a policy would cut the session of the operator who applies it."""

from dataclasses import dataclass, replace

from neurowall.logic.evaluate import evaluate
from neurowall.logic.guardcheck import Lookup
from neurowall.logic.packettext import Packet, PacketInvalid
from neurowall.logic.packetverdict import Routes, Verdict
from neurowall.logic.rulematch import within
from neurowall.model.policy import Policy


@dataclass(frozen=True)
class Session:
    """A TCP connection of the operator to the gateway, as SSH_CONNECTION tells it.

    A link-local address should end in `%` and the interface: nothing else tells whose link it is.
    """

    client: str
    client_port: int
    server: str
    server_port: int


def locked_out(policy: Policy, session: Session, lookup: Lookup, routes: Routes) -> str | None:
    """One sentence on what of *policy* would cut the session, and the fix; None if nothing would.

    Asked for the packets of the session as it is, both ways, and for a new one like it: one that only lives
    on because conntrack knows it could never be opened again. None too where the machine has no route back to
    the client: then the session is not what it seems. Raises PacketInvalid for addresses that are none,
    KernelError from *routes*.
    """
    cuts = [_cut(policy, packet, lookup, routes) for packet in _arrivals(session, routes)]
    return cuts[0] if cuts and all(cuts) else None


def _arrivals(session: Session, routes: Routes) -> list[Packet]:
    """The first packet of the session; where only the interface could tell whose link it is, by each."""
    arriving = _arriving(session)
    if arriving.via is None and within("fe80::/10", arriving.source):
        return [replace(arriving, via=name) for name in routes.interfaces() if name != "lo"]
    return [arriving]


def _cut(policy: Policy, arriving: Packet, lookup: Lookup, routes: Routes) -> str | None:
    """What would cut the session that began with this packet, and the fix."""
    if arriving.via is None and routes.route(arriving.source).kind == "none":
        return None
    for packet in (replace(arriving, state="established"), arriving):
        found = _evaluated(policy, packet, lookup, routes)
        if found and (problem := _problem(found, policy)):
            return _sentence(arriving, problem)
    found = _evaluated(policy, _answer(arriving), lookup, routes)
    if found and found.verdict != "accept" and found.decided_by != "route":
        return _sentence(arriving, ("its answers are " + _dropped(found), _fix(found, policy)))
    return None


def _arriving(session: Session) -> Packet:
    """The first packet of the session."""
    client, _, interface = session.client.partition("%")
    ends = _plain(client), _plain(session.server.partition("%")[0])
    return Packet("tcp", *ends, session.client_port, session.server_port, via=interface or None)


def _plain(address: str) -> str:
    """The IPv4 address that a server of both families sees as an IPv6 one."""
    return address.removeprefix("::ffff:") if "." in address else address


def _answer(arriving: Packet) -> Packet:
    """What the gateway sends back."""
    ports = arriving.destination_port, arriving.source_port
    return Packet("tcp", arriving.destination, arriving.source, *ports, to=arriving.via, state="established")


def _evaluated(policy: Policy, packet: Packet, lookup: Lookup, routes: Routes) -> Verdict | None:
    """None if the kernel does not say where the packet comes from: the operator is on this machine."""
    try:
        return evaluate(policy, packet, lookup, routes)
    except PacketInvalid:
        return None


def _problem(found: Verdict, policy: Policy) -> tuple[str, str] | None:
    """What happens to the session's packets, and the fix; None if they arrive.

    What the kernel has no route for without the policy is nothing that the policy does.
    """
    translated = next(
        (step for step in found.steps if step.stage == "destination-nat" and step.does == "translate"), None
    )
    if translated and found.hook != "input":
        fix = "leave that port or address out of it"
        return f"its packets go to another host, for {translated.text}", fix
    if found.verdict == "accept" or found.decided_by == "route":
        return None
    again = "" if found.packet.state == "established" else "could not be opened again: its packets are "
    return f"{again or 'its packets are '}{_dropped(found)}", _fix(found, policy)


def _dropped(found: Verdict) -> str:
    does = {"drop": "dropped", "reject": "rejected", "accept": "accepted"}[found.verdict]
    return f"{does}: {found.steps[-1].text}"


def _fix(found: Verdict, policy: Policy) -> str:
    """What to change in the policy."""
    packet = found.packet
    if found.decided_by in ("source-lists", "destination-lists"):
        held = packet.source if found.decided_by == "source-lists" else packet.destination
        return f"allow {packet.source} or take {held} out of list {found.name}"
    if found.decided_by == "spoofing":
        return f"add its network to `networks` of {found.name}"
    if found.decided_by in ("martian", "foreign", "bogon"):
        switch = "bogons" if found.decided_by == "bogon" else "spoofing"
        return f"set `{switch}: pass` on {found.name}, or come from another address"
    if found.hook == "output":
        return "have rules from gateway accept it"
    port = packet.destination_port
    if found.arrives is None:
        return "declare the interface that it arrives by under `interfaces`, and a rule or failsafe for it"
    before = f"before rule {found.name}, " if found.decided_by == "rules" and policy.rules else ""
    rule = f"{before}a rule from {found.arrives} to gateway that accepts tcp port {port} from {packet.source}"
    return f"add {rule}, or a failsafe entry"


def _sentence(arriving: Packet, problem: tuple[str, str]) -> str:
    what, fix = problem
    return f"this policy would cut your session {arriving.ends}: {what}; {fix}"
