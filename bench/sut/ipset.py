# SPDX-License-Identifier: Apache-2.0
"""ipset at its best: hash:ip and hash:net, matched in iptables' raw table, before routing and conntrack.

Tables are created at their final size, since growing while loading costs time and a full bucket costs
lookups. iptables-legacy is preferred, whose raw table is a plain walk; where the kernel has none,
iptables-nft does the same through nft_compat, and the report says which it was.
"""

import re
import subprocess
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from bench.sut.base import ConfigureReport, Gate, Rules, RulesetRejected, SutError, SystemCounters, excerpt
from bench.sut.tools import missing_tool, version

if TYPE_CHECKING:
    from bench.testbed.base import Chain

BACKENDS = ("legacy", "nft")
_LOAD_SECONDS = 120.0
_COMMAND = {4: "iptables", 6: "ip6tables"}
_FAMILY = {4: "inet", 6: "inet6"}
_PREFIX = "nwb-"
_COUNTED = re.compile(r"^\[(\d+):\d+\] -A PREROUTING .*-j DROP$", re.MULTILINE)
_SIZE = re.compile(r"^Size in memory: (\d+)$", re.MULTILINE)
_PROBE = (
    "ipset create nwb-probe hash:ip && "
    "{0}-{1} -t raw -A PREROUTING -m set --match-set nwb-probe src -j DROP && "
    "{0}-{1} -t raw -L PREROUTING -n >/dev/null"
)


class IpSet:
    """Sets and one iptables rule a set, in the gateway's namespace."""

    name = "ipset"
    gate: Gate = "filter"

    def __init__(self) -> None:
        self._chain: Chain | None = None
        self._sets: dict[str, int] = {}
        self._text: list[str] = []
        self._backend = ""

    def available(self, rules: Rules | None = None) -> str | None:  # noqa: ARG002
        """The two programs, and a kernel with xt_set: tried in a namespace that ends with the trial."""
        missing = missing_tool("ipset", "ipset") or missing_tool("iptables", "iptables")
        return missing or _backend()[1]

    def configure(self, chain: "Chain", rules: Rules) -> ConfigureReport:
        """Restore the sets, then the rules. RulesetRejected with what the tool said."""
        self._backend, why = _backend()
        if why:
            raise RulesetRejected(f"ipset: {why}")
        self._chain = chain
        self._sets = {_PREFIX + kind: len(entries) for kind, entries in rules.texts.items() if entries}
        sets = "".join(_set(kind, entries) for kind, entries in rules.texts.items() if entries)
        tables = {family: self._table(family, chain.gateway_in.name) for family in self._families()}
        self._text = [sets, *tables.values()]
        start = time.monotonic()
        self._load(chain, ["ipset", "restore"], sets)
        for family, table in tables.items():
            self._load(chain, [self._tool(family, "-restore"), "--noflush", "--wait"], table)
        return ConfigureReport(time.monotonic() - start)

    def counters(self) -> SystemCounters:
        """The packet counters of its iptables rules."""
        if self._chain is None:
            raise SutError("ipset is not configured: call configure() first")
        dropped = 0
        for family in self._families():
            argv = [self._tool(family, "-save"), "-c", "-t", "raw"]
            dropped += sum(map(int, _COUNTED.findall(self._chain.gateway.exec(argv).check().stdout)))
        return SystemCounters(dropped, None, f"iptables-{self._backend}-save -c -t raw")

    def memory_mib(self) -> float:
        """What the kernel says its sets take, elements and buckets."""
        if self._chain is None:
            raise SutError("ipset is not configured: call configure() first")
        said = self._chain.gateway.exec(["ipset", "list", "-terse"]).check().stdout
        return sum(map(int, _SIZE.findall(said))) / (1 << 20)

    def describe(self) -> dict[str, Any]:
        """Versions, sizes, backend and excerpts of what was restored."""
        return {
            "version": version(["ipset", "--version"]),
            "iptables": version([f"iptables-{self._backend}", "--version"]),
            "sizes": self._sizes_of(),
            "ruleset": [excerpt(text) for text in self._text],
        }

    def close(self) -> None:
        """Remove rules and sets, if the chain still exists."""
        if self._chain is None:
            return
        chain, self._chain = self._chain, None
        for family in (4, 6):
            chain.gateway.exec([self._tool(family, ""), "--wait", "-t", "raw", "-F", "PREROUTING"])
        chain.gateway.exec(["ipset", "destroy"])

    def _families(self) -> list[int]:
        return [family for family in (4, 6) if any(name.endswith(str(family)) for name in self._sets)]

    def _sizes_of(self) -> dict[str, int]:
        return {name.removeprefix(_PREFIX): size for name, size in self._sets.items()}

    def _tool(self, family: int, suffix: str) -> str:
        return f"{_COMMAND[family]}-{self._backend}{suffix}"

    def _table(self, family: int, device: str) -> str:
        """The raw table as iptables-restore reads it: one rule a set, hosts first."""
        names = [name for name in self._sets if name.endswith(str(family))]
        rules = "".join(
            f"-A PREROUTING -i {device} -m set --match-set {name} src -j DROP\n" for name in names
        )
        return f"*raw\n:PREROUTING ACCEPT [0:0]\n{rules}COMMIT\n"

    def _load(self, chain: "Chain", argv: list[str], text: str) -> None:
        done = chain.gateway.exec(argv, input=text, timeout=_LOAD_SECONDS)
        if done.returncode != 0:
            raise RulesetRejected(f"ipset: {argv[0]} refused its input: {excerpt(done.stderr.strip())}")


@cache
def _backend() -> tuple[str, str | None]:
    """(the first iptables that can match a set in raw, None), or ('', why none can)."""
    said = []
    for backend in BACKENDS:
        for command in _COMMAND.values():
            family = "" if command == "iptables" else " family inet6"
            probe = _PROBE.format(command, backend).replace("hash:ip", f"hash:ip{family}")
            argv = ["unshare", "--net", "sh", "-c", probe]
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
            if done.returncode != 0:
                said.append(f"`{probe}` in a new network namespace said: {done.stderr.strip()}")
                break
        else:
            return backend, None
    return "", "this kernel cannot match a set in iptables' raw table: " + "; ".join(said)


def _set(kind: str, entries: list[str]) -> str:
    """One set as `ipset restore` reads it, as many buckets as entries."""
    family, hosts = int(kind[-1]), kind.startswith("hosts")
    size = max(64, 1 << (len(entries) - 1).bit_length())
    name, form = _PREFIX + kind, "hash:ip" if hosts else "hash:net"
    options = f"family {_FAMILY[family]} hashsize {size} maxelem {len(entries)}"
    return f"create {name} {form} {options}\n" + "".join(f"add {name} {entry}\n" for entry in entries)
