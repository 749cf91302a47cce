# SPDX-License-Identifier: Apache-2.0
"""nftables and ipset operated at their best: replacements in one transaction or by swap."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.operations.base import COMMAND_SECONDS, KINDS, Verb
from bench.sut.base import Rules, RulesetRejected, SutError, excerpt
from bench.sut.ipset import IpSet
from bench.sut.nft import TABLE, NftSet

if TYPE_CHECKING:
    from bench.testbed.base import Chain

CHANGING_SET = "changing"
_IPSET = "nwb-"
_NO_PROCESS = "{} has no process of its own: everything is in the kernel"
_NO_COUNT = (
    "nftables does not say what a set takes, and the change of the whole machine's slab is not its alone"
)


class OperatedNft:
    """Named sets; a list is replaced by `flush set` and `add element` in one transaction of `nft -f`."""

    def __init__(self) -> None:
        self.system = NftSet()
        self.name = self.system.name
        self.notes: tuple[str, ...] = ()
        self.socket: Path | None = None
        self._chain: Chain | None = None
        self._directory: Path | None = None
        self._library: LibNftables | None = None
        self._files = 0

    def load(self, chain: Chain, rules: Rules, room: int) -> float:
        """`nft -f -` with the whole table; what comes and goes later has a set of its own."""
        self._chain = chain
        self._directory = chain.run.make_directory(self.name)
        report = self.system.configure(chain, rules)
        started = time.monotonic() - report.load_seconds
        self.notes = report.notes
        if room:
            self._command(
                f"add set netdev {TABLE} {CHANGING_SET} {{ type ipv4_addr; size {room}; }}\n"
                f"add rule netdev {TABLE} ingress ip saddr @{CHANGING_SET} counter name dropped drop\n"
            )
            with chain.gateway.enter():  # its netlink socket stays there
                self._library = LibNftables()
        return started

    def stage(self, rules: Rules) -> Path:
        """A transaction that empties each set and fills it again."""
        self._files += 1
        file = self.directory / f"replace-{self._files}.nft"
        file.write_text("".join(replacement(rules)), encoding="ascii")
        return file

    def replace(self, staged: Path) -> None:
        """`nft -f FILE`."""
        self._finish(self.chain.gateway.exec(["nft", "-f", str(staged)], timeout=COMMAND_SECONDS))

    def change(self, verb: Verb, addresses: Sequence[str]) -> None:
        """One transaction by libnftables, which is what `nft` itself calls, without a process for each."""
        if self._library is None:
            raise SutError("nft-set: no room was asked for at load()")
        word = "add" if verb == "block" else "delete"
        self._library.run(f"{word} element netdev {TABLE} {CHANGING_SET} {{ {', '.join(addresses)} }}")

    def kernel_mib(self) -> str:
        """Not told."""
        return _NO_COUNT

    def process_mib(self) -> str:
        """None."""
        return _NO_PROCESS.format("nftables")

    @property
    def chain(self) -> Chain:
        """Where it is loaded; SutError before load."""
        if self._chain is None:
            raise SutError("nft-set is not loaded: call load() first")
        return self._chain

    @property
    def directory(self) -> Path:
        """For staged files."""
        if self._directory is None:
            raise SutError("nft-set is not loaded: call load() first")
        return self._directory

    def close(self) -> None:
        """Remove table and files."""
        if self._library is not None:
            self._library.close()
            self._library = None
        self.system.close()
        if self._chain is not None and self._directory is not None:
            self._chain.run.remove_directory(self._directory)
            self._directory = None

    def _command(self, text: str) -> None:
        self._finish(self.chain.gateway.exec(["nft", "-f", "-"], input=text, timeout=COMMAND_SECONDS))

    @staticmethod
    def _finish(done: Any) -> None:
        if done.returncode != 0:
            raise RulesetRejected(f"nft-set: nft refused its input: {excerpt(done.stderr.strip())}")


class OperatedIpSet:
    """Sets; a list is replaced by restoring it beside the old one, `swap` and `destroy`."""

    def __init__(self) -> None:
        self.system = IpSet()
        self.name = self.system.name
        self.notes: tuple[str, ...] = ()
        self.socket: Path | None = None
        self._chain: Chain | None = None
        self._directory: Path | None = None
        self._files = 0

    def load(self, chain: Chain, rules: Rules, room: int) -> float:  # noqa: ARG002  (nothing comes later)
        """`ipset restore`, then the rules."""
        self._chain = chain
        self._directory = chain.run.make_directory(self.name)
        report = self.system.configure(chain, rules)
        self.notes = report.notes
        return time.monotonic() - report.load_seconds

    def stage(self, rules: Rules) -> Path:
        """Input of `ipset restore`: new sets, filled, swapped with the old ones, which are destroyed."""
        if self._directory is None:
            raise SutError("ipset is not loaded: call load() first")
        self._files += 1
        file = self._directory / f"replace-{self._files}.ipset"
        with file.open("w", encoding="ascii") as text:
            for kind in KINDS:
                if rules.texts[kind]:
                    text.writelines(_swapped(kind, rules.texts[kind]))
        return file

    def replace(self, staged: Path) -> None:
        """`ipset restore`."""
        done = self._exec(["ipset", "restore", "-file", str(staged)])
        if done.returncode != 0:
            raise RulesetRejected(f"ipset: it refused its input: {excerpt(done.stderr.strip())}")

    def change(self, verb: Verb, addresses: Sequence[str]) -> None:
        """Not asked of it."""
        raise SutError(f"ipset has no {verb} of {len(addresses)} addresses by one process here")

    def kernel_mib(self) -> float:
        """What the kernel says each set takes, elements and buckets."""
        return self.system.memory_mib()

    def process_mib(self) -> str:
        """None."""
        return _NO_PROCESS.format("ipset")

    def close(self) -> None:
        """Remove rules, sets and files."""
        self.system.close()
        if self._chain is not None and self._directory is not None:
            self._chain.run.remove_directory(self._directory)
            self._directory = None

    def _exec(self, argv: list[str]) -> Any:
        if self._chain is None:
            raise SutError("ipset is not loaded: call load() first")
        return self._chain.gateway.exec(argv, timeout=COMMAND_SECONDS)


class LibNftables:
    """One context of libnftables.so.1; it acts in the network namespace that it was made in."""

    def __init__(self) -> None:
        self._lib = _libnftables()
        self._context = self._lib.nft_ctx_new(0)
        if not self._context:
            raise SutError("libnftables gave no context")
        for buffer in (self._lib.nft_ctx_buffer_output, self._lib.nft_ctx_buffer_error):
            buffer(self._context)

    def run(self, command: str) -> None:
        """Run commands in one transaction; SutError with what nft would have said."""
        if self._lib.nft_run_cmd_from_buffer(self._context, command.encode()) != 0:
            said = self._lib.nft_ctx_get_error_buffer(self._context) or b""
            raise SutError(f"nft-set: libnftables refused: {excerpt(said.decode(errors='replace').strip())}")

    def close(self) -> None:
        """Free the context."""
        if self._context:
            self._lib.nft_ctx_free(self._context)
            self._context = None


@cache
def _libnftables() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise SutError(f"no libnftables.so.1: install the package libnftables1 ({error})") from error
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("nft_ctx_new", pointer, [ctypes.c_uint32]),
        ("nft_ctx_free", None, [pointer]),
        ("nft_ctx_buffer_output", ctypes.c_int, [pointer]),
        ("nft_ctx_buffer_error", ctypes.c_int, [pointer]),
        ("nft_ctx_get_error_buffer", text, [pointer]),
        ("nft_run_cmd_from_buffer", ctypes.c_int, [pointer, text]),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def replacement(rules: Rules) -> list[str]:
    """Commands of nft that put a list in place of the one loaded, which had as many entries of each kind."""
    commands = []
    for kind in KINDS:
        if entries := rules.texts[kind]:
            elements = ",\n".join(entries)
            commands.append(f"flush set netdev {TABLE} {kind}\n")
            commands.append(f"add element netdev {TABLE} {kind} {{ {elements} }}\n")
    return commands


def _swapped(kind: str, entries: list[str]) -> list[str]:
    family = "inet" if kind.endswith("4") else "inet6"
    form = "hash:ip" if kind.startswith("hosts") else "hash:net"
    size = max(64, 1 << (len(entries) - 1).bit_length())
    old, new = _IPSET + kind, f"{_IPSET}{kind}-new"
    head = f"create {new} {form} family {family} hashsize {size} maxelem {len(entries)}\n"
    return [head, *(f"add {new} {entry}\n" for entry in entries), f"swap {new} {old}\n", f"destroy {new}\n"]
