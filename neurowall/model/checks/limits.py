# SPDX-License-Identifier: Apache-2.0
"""Limits: fields that go together, and zones that exist."""

from neurowall.model.checks.finding import Report, check_repeats, listed
from neurowall.model.checks.names import refuse_zone
from neurowall.model.limits import MAX_BURST_SECONDS, MAX_LIMITS, PACKET_BYTES, PORT_MATCHES, Limit
from neurowall.model.yamltext import Location


def check_limits(report: Report) -> None:
    """Every limit by itself, and their number."""
    if MAX_LIMITS in report.draft.limits:
        text = f"at most {MAX_LIMITS} in a policy: remove some, or have one be about several zones"
        report.add(("limits", MAX_LIMITS), text)
    for index, limit in report.draft.limits.items():
        at: Location = ("limits", index)
        _check_zones(report, at, limit)
        _check_key(report, at, limit)
        _check_ports(report, at, limit)
        _check_rate(report, at, limit)
        _check_ban(report, at, limit)
        _check_flows(report, at, limit)


def _check_zones(report: Report, at: Location, limit: Limit) -> None:
    check_repeats(report, (*at, "zones"), limit.zones)
    for index, zone in enumerate(limit.zones):
        if zone not in report.draft.zone_names:
            refuse_zone(report, (*at, "zones", index), zone)


def _check_key(report: Report, at: Location, limit: Limit) -> None:
    if limit.key != "source-prefix":
        for field in ("prefix4", "prefix6"):
            if getattr(limit, field) is not None:
                text = f"goes with `key: source-prefix` only, the key is {limit.key}: remove one of them"
                report.add((*at, field), text)
    if limit.key == "destination-port" and limit.match not in PORT_MATCHES:
        report.add(
            (*at, "match"),
            f"'{limit.match}' has no ports: with `key: destination-port` use {listed(PORT_MATCHES)}",
        )


def _check_ports(report: Report, at: Location, limit: Limit) -> None:
    if limit.ports and limit.match not in PORT_MATCHES:
        text = f"'{limit.match}' has no ports: remove them, or match {listed(PORT_MATCHES)}"
        report.add((*at, "ports"), text)
    check_repeats(report, (*at, "ports"), limit.ports)


def _check_rate(report: Report, at: Location, limit: Limit) -> None:
    if limit.packets_per_second is None and limit.bytes_per_second is None:
        report.add(at, f"'{limit.name}' has no rate: add packets_per_second or bytes_per_second")
        return
    if limit.packets_per_second is not None and limit.bytes_per_second is not None:
        text = "is given beside packets_per_second: a limit has one rate; make it two limits"
        report.add((*at, "bytes_per_second"), text)
        return
    if limit.counts_bytes and limit.burst_size < PACKET_BYTES:
        text = (
            f"{limit.burst} bytes is less than one packet, so larger ones never pass: at least {PACKET_BYTES}"
        )
        report.add((*at, "burst"), text)
    elif limit.burst_size > limit.rate * MAX_BURST_SECONDS:
        most = limit.rate * MAX_BURST_SECONDS
        text = (
            f"{limit.burst_size} is more than {limit.rate} a second give back in {MAX_BURST_SECONDS} "
            f"seconds: at most {most}"
        )
        if limit.counts_bytes and most < PACKET_BYTES:
            text = f"{limit.rate} is less than one packet in {MAX_BURST_SECONDS} seconds: raise it"
            report.add((*at, "bytes_per_second"), text)
            return
        report.add((*at, "burst"), text)


def _check_flows(report: Report, at: Location, limit: Limit) -> None:
    """What needs to tell packets of known flows from others, which only external interfaces do."""
    if not limit.new_only and limit.action != "ban":
        return
    field = "new_only" if limit.new_only else "action"
    if not report.draft.knows_flows:
        fix = "remove it" if limit.new_only else "use `action: drop`"
        report.add((*at, field), f"needs to know flows: set `flows: {{mode: loose}}`, or {fix}")
    kinds = report.draft.zone_kinds
    for index, zone in enumerate(limit.zones):
        if kinds.get(zone) == "internal":
            what = "new_only" if limit.new_only else "action: ban"
            text = f"'{zone}' is internal, flows are known on external interfaces: remove it, or `{what}`"
            report.add((*at, "zones", index), text)


def _check_ban(report: Report, at: Location, limit: Limit) -> None:
    if limit.action != "ban":
        if limit.ban_ttl is not None:
            text = f"goes with `action: ban` only, the action is {limit.action}: remove one of them"
            report.add((*at, "ban_ttl"), text)
        return
    if limit.ban_ttl is None:
        report.add(at, f"'{limit.name}' bans for no time: add ban_ttl, such as 10m")
    if not limit.key.startswith("source"):
        text = f"a ban is of a source, the key is {limit.key}: use `key: source`, or `action: drop`"
        report.add((*at, "action"), text)
    elif limit.match != "all":
        text = (
            f"with '{limit.match}' packets anybody could have anybody banned, only those of an established "
            "TCP connection prove their source: use `match: all`, or `action: drop`"
        )
        report.add((*at, "action"), text)
    elif limit.new_only:
        text = "new_only leaves out the packets that prove their source: remove it, or use `action: drop`"
        report.add((*at, "action"), text)
