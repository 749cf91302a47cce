# SPDX-License-Identifier: Apache-2.0
"""Where one address's packets go in the kernel, counted at its tracepoints by a program that bcc compiles.

bcc and its LLVM are loaded when a Tracer is built, and only then: 140 MB. Offsets, names of reasons and
arguments of tracepoints are those of the running kernel (see neurowall.kernel.vmlinux). Nothing is pinned:
however this process ends, the kernel takes the probes away with its file descriptors.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from neurowall.kernel import headers, objects
from neurowall.kernel.vmlinux import Vmlinux
from neurowall.model.errors import KernelError, Unsupported
from neurowall.model.trace import Kind, Place, Tally

PACKAGE = "python3-bpfcc"
_FIELDS = {
    "SKB_LENGTH": ("sk_buff", "len"),
    "SKB_PROTOCOL": ("sk_buff", "protocol"),
    "SKB_NETWORK_HEADER": ("sk_buff", "network_header"),
    "SKB_HEAD": ("sk_buff", "head"),
    "SKB_DEVICE": ("sk_buff", "dev"),
    "SKB_SOCK": ("sk_buff", "sk"),
    "SKB_DST": ("sk_buff", "_skb_refdst"),
    "DEVICE_NET": ("net_device", "nd_net"),
    "DEVICE_NAME": ("net_device", "name"),
    "DEVICE_INDEX": ("net_device", "ifindex"),
    "NET_INUM": ("net", "ns.inum"),
    "SOCK_NET": ("sock", "__sk_common.skc_net"),
    "DST_DEVICE": ("dst_entry", "dev"),
    "TASK_NSPROXY": ("task_struct", "nsproxy"),
    "NSPROXY_NET": ("nsproxy", "net_ns"),
}
TRACEPOINTS = (
    "kfree_skb",
    "consume_skb",
    "netif_receive_skb",
    "net_dev_start_xmit",
    "skb_copy_datagram_iovec",
    "xdp_exception",
)
_ACTIONS = ("XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT")
# What frees a packet for others, and what runs our program: not where it died.
_INNER = ("bpf_", "kfree_skb", "__kfree_skb", "sk_skb_reason_drop", "__sk_skb_reason_drop", "consume_skb")


def namespace_number(path: Path) -> int:
    """The number of the network namespace at *path*, such as /proc/1/ns/net; OSError if there is none."""
    return path.stat().st_ino


class Tracer:
    """Counts from its making until close(). Takes root. For one thread."""

    def __init__(self, address: IPv4Address | IPv6Address, namespace: int) -> None:
        """Compile and attach; Unsupported with what to install if something is missing."""
        library = _load_bcc()
        kernel = Vmlinux()
        self._reasons = kernel.enum("skb_drop_reason")
        self.tells_reasons = kernel.arguments("kfree_skb") > 2  # since Linux 5.17
        self.headers = headers.find()
        self.unwatched = [name for name in TRACEPOINTS if not kernel.arguments(name)]
        text = f"#define HAS_REASON {self.tells_reasons:d}\n" + _definitions(kernel, address, namespace)
        with headers.for_bcc(self.headers), _quiet() as said:
            try:
                self._bpf = library.BPF(text=text + objects.source("trace").read_text())
            except Exception as error:  # bcc raises nothing more precise
                raise KernelError(f"bcc cannot compile its program: {error}\n{said()}".rstrip()) from error
        for name in TRACEPOINTS:
            if name not in self.unwatched:
                self._attach(name)
        self._paths: dict[int, tuple[str, ...]] = {}

    def _attach(self, name: str) -> None:
        try:
            self._bpf.attach_raw_tracepoint(tp=name.encode(), fn_name=f"on_{name}".encode())
        except Exception as error:
            raise KernelError(f"the kernel takes no probe at {name}: {error}") from error

    def counts(self) -> Mapping[Place, Tally]:
        """What was seen since the start."""
        found: dict[Place, Tally] = {}
        for key, tally in self._bpf["places"].items():
            place = self._place(key)
            found[place] = found.get(place, Tally(0, 0)) + Tally(tally.packets, tally.bytes)
        return found

    def lost(self) -> int:
        """Packets that were seen and not counted, since there were too many places."""
        return int(self._bpf["lost"][0].value)

    def close(self) -> None:
        """Take the probes away."""
        self._bpf.cleanup()

    def _place(self, key: Any) -> Place:
        kind = tuple(Kind)[key.kind]
        reason = ""
        if kind is Kind.DIED and self.tells_reasons:
            name = self._reasons.get(key.reason, f"reason {key.reason:#x}")
            reason = name.removeprefix("SKB_DROP_REASON_").removeprefix("SKB_").lower().replace("_", "-")
        elif kind is Kind.EXCEPTION:
            known = key.reason < len(_ACTIONS)
            reason = _ACTIONS[key.reason].lower().replace("_", "-") if known else f"action {key.reason}"
        device = bytes(key.device).split(b"\0")[0].decode(errors="replace")
        path = self._path(key.location, key.stack) if kind is Kind.DIED else ()
        return Place(kind, device, reason, path, to_it=bool(key.to_it), known=bool(key.known))

    def _path(self, location: int, stack: int) -> tuple[str, ...]:
        """The function that freed the packet, and those that led there; without a stack the first alone."""
        last = self._symbol(location)
        if stack < 0:
            return (last,)
        if stack not in self._paths:
            frames = [self._symbol(address) for address in self._bpf["stacks"].walk(stack)]
            while frames and frames[0].startswith(_INNER):
                del frames[0]
            self._paths[stack] = tuple(frames)
        frames_of = self._paths[stack]
        return frames_of if last in frames_of[:1] else (last, *frames_of)

    def _symbol(self, address: int) -> str:
        """A function's name, without what the compiler adds to it."""
        name = self._bpf.ksym(address).decode(errors="replace")
        return str(name).partition(".")[0]


def _load_bcc() -> Any:
    try:
        import bcc
    except ImportError as error:
        raise Unsupported(
            f"bcc is missing ({error}): apt install {PACKAGE}, and run neurowall with the distribution's "
            "Python, in an environment that was made with --system-site-packages"
        ) from error
    except OSError as error:  # its library, or LLVM behind it
        raise Unsupported(
            f"bcc's library cannot be loaded ({error}): apt install libbpfcc {PACKAGE}"
        ) from error
    if not hasattr(bcc, "BPF"):  # PyPI has an unrelated package of that name
        raise Unsupported(
            f"the module bcc at {bcc.__file__} is another one: uninstall it, apt install {PACKAGE}"
        )
    return bcc


def _definitions(kernel: Vmlinux, address: IPv4Address | IPv6Address, namespace: int) -> str:
    words = [
        int.from_bytes(address.packed[place : place + 4], "little")
        for place in range(0, len(address.packed), 4)
    ]
    values = {name: str(kernel.offset(*field)) for name, field in _FIELDS.items()} | {
        "FAMILY": str(address.version),
        "ADDRESS": "{" + ", ".join(f"{word:#x}" for word in words) + "}",
        "NAMESPACE": f"{namespace}U",
    }
    return "".join(f"#define {name} {value}\n" for name, value in values.items())


@contextmanager
def _quiet() -> Iterator[Any]:
    """Keep what bcc and clang print to standard error; gives a function that tells it."""
    with tempfile.TemporaryFile() as kept:
        before = os.dup(2)
        os.dup2(kept.fileno(), 2)

        def said() -> str:
            kept.seek(0)
            return kept.read().decode(errors="replace")

        try:
            yield said
        finally:
            os.dup2(before, 2)
            os.close(before)
