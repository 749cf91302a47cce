# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from neurowall.kernel import vmlinux
from neurowall.kernel.vmlinux import Vmlinux
from neurowall.model.errors import Unsupported


@pytest.fixture(scope="module")
def kernel() -> Vmlinux:
    """The running kernel's."""
    if not vmlinux.PATH.exists():
        pytest.skip(f"no {vmlinux.PATH}")
    return Vmlinux()


def test_fields_at_places_that_never_move(kernel: Vmlinux) -> None:
    """Old ones, and one within two nameless parts."""
    assert (kernel.offset("list_head", "next"), kernel.offset("list_head", "prev")) == (0, 8)
    assert kernel.offset("sk_buff", "next") == 0
    assert kernel.offset("sk_buff", "prev") == 8
    assert kernel.offset("sk_buff", "dev") == 16
    whole = kernel.offset("net", "ns")
    assert kernel.offset("net", "ns.inum") >= whole


def test_what_is_not_there_is_unsupported(kernel: Vmlinux) -> None:
    """Kernels change: the error names struct and field."""
    for name, field in (
        ("sk_buff", "no_such_field"),
        ("no_such_struct", "next"),
        ("net", "ns.no_such_field"),
    ):
        with pytest.raises(Unsupported, match=f"struct {name} has no field {field}"):
            kernel.offset(name, field)


def test_tracepoints_and_reasons(kernel: Vmlinux) -> None:
    """Arguments are counted without the tracing's own; what a kernel lacks is nothing, not an error."""
    assert kernel.arguments("kfree_skb") >= 2
    assert kernel.arguments("no_such_tracepoint") == 0
    assert kernel.enum("no_such_enum") == {}
    if reasons := kernel.enum("skb_drop_reason"):
        assert "SKB_DROP_REASON_NO_SOCKET" in reasons.values()


@pytest.mark.parametrize(
    "content", [b"", b"\x9f\xeb", b"\x9f\xeb" + bytes(40), b"not BTF at all, but long enough"]
)
def test_damage_is_unsupported(tmp_path: Path, content: bytes) -> None:
    """Never a struct.error."""
    path = tmp_path / "vmlinux"
    path.write_bytes(content)
    try:
        empty = Vmlinux(path)
    except Unsupported:
        return
    with pytest.raises(Unsupported):
        empty.offset("sk_buff", "dev")


def test_no_btf_names_the_option(tmp_path: Path) -> None:
    """What to build in."""
    with pytest.raises(Unsupported, match="CONFIG_DEBUG_INFO_BTF"):
        Vmlinux(tmp_path / "vmlinux")
