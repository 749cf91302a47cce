# SPDX-License-Identifier: Apache-2.0
"""Policies, generations and rules as the API's JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from neurowall.logic.policydiff import described
from neurowall.logic.policyresults import DiffLine, GenerationInfo, Pending, PolicyChange, PolicyInForce
from neurowall.logic.results import StatefulStatus
from neurowall.management.api.pastpolicies import PastPage
from neurowall.management.api.policies import Policies
from neurowall.model.counters import Counter
from neurowall.model.errors import StateError
from neurowall.model.policy import Policy
from neurowall.model.rules import Defaults

Json = dict[str, Any]
_DEFAULTS = ("input", "forward", "output")


def generation(info: GenerationInfo, *, text: bool = False) -> Json:
    """One generation; its policy file only with *text*."""
    moment = datetime.fromtimestamp(info.when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "generation": info.generation,
        "when": moment,
        "source": info.source,
        "file": info.filename,
        "note": info.note,
        "sha256": info.sha256,
        "rules": info.rules,
        "lists": info.lists,
        **({"text": info.text} if text else {}),
    }


def generations(page: PastPage, now: PolicyInForce) -> Json:
    """Some generations, newest first, and which one is in force.

    oldest_kept: those from it on can come back. history: whether older ones could be asked for.
    """
    return {
        "generations": [generation(each) for each in page.infos],
        "next": page.next,
        "in_force": now.info.generation,
        "oldest_kept": page.oldest_kept,
        "history": "ok" if page.is_whole else "unavailable",
    }


def diff(number: int, other: int, lines: Sequence[DiffLine], text: str) -> Json:
    """What differs between two generations."""
    return {"from": number, "to": other, "differences": [asdict(each) for each in lines], "text_diff": text}


def in_force(now: PolicyInForce, *, text: bool = False) -> Json:
    """The policy in force."""
    return {
        **generation(now.info, text=text),
        "confirmed": now.pending is None,
        "pending": pending(now.pending),
        "warnings": list(now.warnings),
    }


def pending(waits: Pending | None) -> Json | None:
    """What is taken back unless confirmed, None if nothing is."""
    return asdict(waits) if waits else None


def change(made: PolicyChange) -> Json:
    """What a change of the policy did, or would do."""
    return {
        "generation": made.generation,
        "dry_run": made.dry_run,
        "differences": [asdict(each) for each in made.differences],
        "added": made.added,
        "removed": made.removed,
        "objects": made.objects,
        "seconds": round(made.seconds, 6),
        "pending": pending(made.pending),
        "warnings": list(made.warnings),
    }


def status(policies: Policies, warnings: list[str]) -> Json:
    """What `neurowall status` shows of policy and stateful layer, and *warnings*, perhaps one more.

    A history on disk that cannot be read must not hide how the daemon is doing.
    """
    shown = {"policy": None, "pending": None, "stateful": stateful(policies.stateful()), "warnings": warnings}
    try:
        now = policies.policy_now()
    except StateError as error:
        return shown | {"warnings": [*warnings, str(error)]}
    return shown | {"policy": generation(now.info), "pending": pending(now.pending)}


def stateful(now: StatefulStatus) -> Json:
    """What nftables enforces; rules is None where it does not filter, fallback: where it holds the lists."""
    return {
        "table": now.table,
        "rules": now.rules,
        "fallback": list(now.fallback),
        "drift_repairs": now.drift_repairs,
    }


def rules(policies: Policies) -> Json:
    """Every rule in its order, then port forwards, defaults and what is built in, with what they counted."""
    policy = policies.policy
    return {"filters": policy.filters, "rules": list(counted(policy, policies.rule_counters()))}


def counted(policy: Policy, counters: Mapping[str, Counter]) -> Iterator[Json]:
    """Rows of *counters*, named counters of nftables, with what each of them is of.

    A rule that is in the policy has a row even without a counter; its counts are None then.
    """
    rest = dict(counters)
    for name, row in _rows(policy).items():
        counter = rest.pop(name, None)
        if counter is not None:
            yield row | {"packets": counter.packets, "bytes": counter.bytes}
        elif row["kind"] != "default":
            yield row | {"packets": None, "bytes": None}
    for name in sorted(rest):
        yield _row("built-in", name, {}, "") | {"packets": rest[name].packets, "bytes": rest[name].bytes}


_latest: tuple[Policy, Mapping[str, Json]] | None = None
"""The rows of the policy that was asked for last: to describe a thousand rules takes longer than all else."""


def _rows(policy: Policy) -> Mapping[str, Json]:
    """By the name of its counter: each rule, port forward and default, without counts."""
    global _latest  # noqa: PLW0603 - one reference, replaced at once
    latest = _latest
    if latest is None or latest[0] is not policy:
        _latest = latest = (policy, dict(_described(policy)))
    return latest[1]


def _described(policy: Policy) -> Iterator[tuple[str, Json]]:
    for rule in policy.rules or ():
        facts = {"action": rule.action, "monitor": rule.monitor, "enabled": rule.enabled}
        yield f"rule-{rule.name}", _row("rule", rule.name, facts, described(rule))
    for forward in policy.nat.port_forwards:
        row = _row("port-forward", forward.name, {"action": "accept"}, described(forward))
        yield f"forward-{forward.name}", row
    for chain in _DEFAULTS:
        action = getattr(policy.defaults or Defaults(), chain)
        yield f"default-{chain}", _row("default", chain, {"action": action}, "what no rule matched")


def _row(kind: str, name: str, facts: Json, text: str) -> Json:
    without: Json = {"action": None, "monitor": False, "enabled": True}
    return {"kind": kind, "name": name, **(without | facts), "packets": None, "bytes": None, "text": text}
