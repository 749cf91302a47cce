# SPDX-License-Identifier: Apache-2.0
"""What is read from /proc, of machines that the test describes."""

import struct
from pathlib import Path

import pytest

from neurowall.kernel import features
from neurowall.kernel.features import Conntrack
from neurowall.kernel.machine import Listener, forwarding, listeners

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def put(proc: Path, **files: str) -> None:
    """Write files below a /proc; `__` in a name stands for `/`."""
    for name, text in files.items():
        path = proc / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def address(text: str, port: int) -> str:
    """As /proc/net has it: words of 32 bits in the machine's byte order."""
    import ipaddress

    packed = ipaddress.ip_address(text).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def table(*rows: tuple[str, int, str, str]) -> str:
    """A table of sockets: local address and port, remote address, state."""
    return HEADER + "".join(
        f"   {number}: {address(local, port)} {remote} {state} 0 0 0 0 0 0\n"
        for number, (local, port, remote, state) in enumerate(rows)
    )


class TestListeners:
    def test_who_waits_for_strangers(self, tmp_path: Path) -> None:
        """Listening TCP and unconnected UDP, once for each port; loopback and connections are not."""
        nobody4, nobody6 = address("0.0.0.0", 0), address("::", 0)
        peer = address("198.51.100.1", 443)
        put(
            tmp_path,
            **{
                "thread-self__net__tcp": table(
                    ("0.0.0.0", 443, nobody4, "0A"),
                    ("192.0.2.1", 80, nobody4, "0A"),
                    ("127.0.0.53", 53, nobody4, "0A"),
                    ("192.0.2.1", 50_000, peer, "01"),
                ),
                "thread-self__net__tcp6": table(("::", 443, nobody6, "0A"), ("::1", 631, nobody6, "0A")),
                "thread-self__net__udp": table(
                    ("0.0.0.0", 68, nobody4, "07"), ("192.0.2.1", 50_001, peer, "01")
                ),
            },
        )
        assert listeners(tmp_path) == (Listener("tcp", 80), Listener("tcp", 443), Listener("udp", 68))

    def test_a_kernel_without_ipv6_has_no_such_tables(self, tmp_path: Path) -> None:
        """Nor does one without anything."""
        assert listeners(tmp_path) == ()


class TestSysctls:
    def test_forwarding_of_each_family(self, tmp_path: Path) -> None:
        """An interface that forwards is enough, and in IPv6 all of them at once; templates do not count."""
        put(tmp_path, sys__net__ipv4__conf__lan0__forwarding="1\n")
        assert forwarding(tmp_path) == {4: True, 6: False}
        put(
            tmp_path,
            sys__net__ipv4__conf__lan0__forwarding="0\n",
            sys__net__ipv4__conf__all__forwarding="1\n",
        )
        put(tmp_path, sys__net__ipv6__conf__all__forwarding="1\n")
        assert forwarding(tmp_path) == {4: False, 6: True}
        put(tmp_path, sys__net__ipv6__conf__all__forwarding="0\n")
        put(tmp_path, sys__net__ipv6__conf__lan0__force_forwarding="1\n")
        assert forwarding(tmp_path) == {4: False, 6: True}

    def test_conntrack(self, tmp_path: Path) -> None:
        """All three figures, or none."""
        assert features.conntrack(tmp_path) is None
        put(
            tmp_path,
            sys__net__netfilter__nf_conntrack_count="12\n",
            sys__net__netfilter__nf_conntrack_max="262144\n",
        )
        assert features.conntrack(tmp_path) is None
        put(tmp_path, sys__net__netfilter__nf_conntrack_buckets="65536\n")
        assert features.conntrack(tmp_path) == Conntrack(12, 262_144, 65_536)

    @pytest.mark.parametrize(("text", "expected"), [("0\n", False), ("1\n", True), ("2\n", True)])
    def test_jit(self, tmp_path: Path, text: str, expected: bool) -> None:
        """Unknown where there is no such file."""
        assert features._jit(tmp_path) is None
        put(tmp_path, sys__net__core__bpf_jit_enable=text)
        assert features._jit(tmp_path) is expected


@pytest.mark.parametrize(
    ("answer", "words"), [(1, None), (0, "load no XDP"), (-1, "not told"), (-95, "not told")]
)
def test_what_libbpf_says_of_xdp(answer: int, words: str | None) -> None:
    """Yes, no, or that it may not tell: three answers."""
    said = features._bpf_problem(answer)
    assert (said is None) if words is None else (words in str(said))
