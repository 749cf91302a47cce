# SPDX-License-Identifier: Apache-2.0
"""`neurowall doctor`: gathers the facts of this machine and has them judged."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from neurowall.data.generations import GenerationStore
from neurowall.data.sources import read_policy
from neurowall.kernel import features, machine, netlink
from neurowall.logic.doctor import Facts, examine
from neurowall.management.cli.client import Client
from neurowall.management.cli.target import Target
from neurowall.management.daemon import preflight
from neurowall.management.errors import CommandError
from neurowall.management.instance import Instance, Record
from neurowall.model.errors import PolicyError, StateError
from neurowall.model.history import StorageFacts
from neurowall.model.policy import Policy, load_policy

ASK_SECONDS = 5.0

Json = dict[str, Any]


def check_up(instance: Instance, config: Path | None, netns: str | None) -> Json:
    """Every finding; missing counts what is essential and not there.

    Interfaces are those of *config*, else of the policy that the instance has in force, else all.
    Raises PolicyError, Unsupported.
    """
    record = instance.recorded()
    policy = read_policy(config) if config else _in_force(record) if record else None
    lacking = preflight.missing(admin=netns is not None)
    storage = _storage(instance) if record else None  # before the namespace: its socket is a file
    bpf = features.bpf()  # some of it is only seen from the first namespace
    if where := netns or (record.netns if record else None):
        netlink.enter_namespace(where)
    facts = replace(_facts(policy, lacking, bpf), storage=storage)
    findings = examine(facts)
    return {
        "netns": where,
        "missing": sum(each.state == "missing" for each in findings),
        "findings": [asdict(each) for each in findings],
    }


def _in_force(record: Record) -> Policy | None:
    """The policy of the last generation; before there is one, the file that the daemon was started with."""
    generations = GenerationStore(Path(record.state_dir))
    try:
        if numbers := generations.numbers():
            last = generations.get(numbers[-1])
            return load_policy(last.text, last.filename)
        return read_policy(Path(record.config))
    except (
        PolicyError,
        StateError,
    ):  # not what is asked here: `validate` and `status` say what is wrong with it
        return None


def _storage(instance: Instance) -> StorageFacts | None:
    """What the daemon says of its database; None if none answers."""
    try:
        with Client(Target(instance), timeout=ASK_SECONDS) as client:
            told = client.get("status").get("storage")
    except CommandError:
        return None
    if not told:
        return None
    names = ("backend", "problem", "audit_queued", "waiting", "lost")
    return StorageFacts(where="", size=told["bytes"], **{name: told[name] for name in names})


def _facts(policy: Policy | None, lacking: tuple[str, ...], bpf: features.Bpf) -> Facts:
    devices = machine.devices()
    free = tuple(each.name for each in devices if not each.master and (each.up or each.addresses))
    interfaces = tuple(each.name for each in policy.interfaces) if policy else free
    present = tuple(each.name for each in devices if each.name in interfaces)
    return Facts(
        release=features.read_release(),
        cpus=os.cpu_count() or 1,
        lacking=lacking,
        bpf=bpf,
        nftables=features.nftables(present),
        conntrack=features.conntrack(),
        forwarding=machine.forwarding(),
        devices=devices,
        interfaces=interfaces,
    )
