# SPDX-License-Identifier: Apache-2.0
"""How many instructions the verifier follows for each combination of switches. As a module, records them."""

import json
import platform
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from tests.bpf.conftest import ENGINES
from tests.bpf.harness import Firewall

RECORD = Path(__file__).with_name("verifier_counts.json")
SWITCHES = ("failsafe", "bans", "flows", "limits", "events", "spoofing", "bogons", "dry_run")
INTERNAL = ("networks", "destinations")
PROGRAMS = {
    "nw_ingress": SWITCHES,
    "nw_internal": (*SWITCHES, *INTERNAL),
    "nw_egress": ("events", "limits", "bans", "dry_run"),  # and flows, without which it is not there
}

Combination = tuple[str, str, tuple[str, ...]]  # engine, program, what is on


def release() -> str:
    """The kernel's version as far as its verifier is known to be the same."""
    return ".".join(platform.release().split(".")[:2])


def pairs() -> Iterator[Combination]:
    """All off and all on; with the larger engine each switch alone, and each two of nw_ingress."""
    for engine in ENGINES:
        for program, switches in PROGRAMS.items():
            sizes = {0, len(switches)}
            if engine == "buckets":
                sizes |= {1, 2} if program == "nw_ingress" else {1}
            for size in sorted(sizes):
                yield from ((engine, program, chosen) for chosen in combinations(switches, size))


def every() -> Iterator[Combination]:
    """All of them."""
    for engine in ENGINES:
        for program, switches in PROGRAMS.items():
            for size in range(len(switches) + 1):
                yield from ((engine, program, chosen) for chosen in combinations(switches, size))


def count(combination: Combination) -> int:
    """Load it; how many instructions the verifier followed."""
    engine, program, chosen = combination
    switches: dict[str, Any] = dict.fromkeys(chosen, True)
    if switches.pop("flows", False) or program == "nw_egress":
        switches["flows"] = "strict"
    firewall = Firewall(engine=engine, lines=2, internal=program == "nw_internal", **switches)
    try:
        return firewall.program_size(egress=program == "nw_egress")[2]
    finally:
        firewall.close()


def name(combination: Combination) -> str:
    """As it is recorded."""
    engine, program, chosen = combination
    return f"{engine} {program} {'+'.join(chosen) or 'nothing'}"


def record() -> None:
    """Write down what this kernel says of the object that is built."""
    counts = {name(each): count(each) for each in pairs()}
    RECORD.write_text(json.dumps({"kernel": release(), "instructions": counts}, indent=1) + "\n")


if __name__ == "__main__":
    record()
