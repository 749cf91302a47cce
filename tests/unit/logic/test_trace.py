# SPDX-License-Identifier: Apache-2.0
import pytest

from neurowall.logic.trace import Row, lost, row_of, rows, stage_of
from neurowall.model.trace import Kind, Place, Tally

BELOW = ("__netif_receive_skb_one_core", "process_backlog", "__napi_poll")


def died(*path: str, reason: str = "", device: str = "g0") -> Place:
    """A packet from the address that died in the first of these functions."""
    return Place(Kind.DIED, device, reason, (*path, *BELOW), to_it=False)


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        (("nf_hook_slow", "ip_forward"), "netfilter forward"),
        (("nft_do_chain", "nft_do_chain_inet", "nf_hook_slow", "ip_forward"), "netfilter forward"),
        (("veth_xdp_rcv_skb", "veth_xdp_rcv"), "XDP, veth"),
        (("nf_hook_slow", "ip_local_deliver"), "netfilter input"),
        (("nf_hook_slow", "nf_hook_slow_list", "ip_sublist_rcv"), "netfilter prerouting"),
        (("nf_hook_slow", "__ip_local_out", "ip_send_skb"), "netfilter output"),
        (("__udp4_lib_rcv", "ip_protocol_deliver_rcu"), "UDP"),
        (("ip_forward", "ip_rcv"), "forward"),
        (("ip_rcv_finish_core", "ip_rcv_finish", "ip_rcv"), "routing"),
        (("ip_rcv_core", "ip_rcv"), "IP receive"),
        (("some_new_function",), "receive"),
    ],
)
def test_the_stage_is_where_it_died(path: tuple[str, ...], stage: str) -> None:
    """The innermost function that is known; the hook of netfilter is whoever asked it."""
    assert stage_of(died(*path)) == stage


def test_a_function_of_nowhere_is_elsewhere() -> None:
    """Kernels have other names: said, not guessed."""
    assert stage_of(Place(Kind.DIED, "", "", ("driver_poll",), to_it=False)) == "elsewhere"


def test_what_looks_the_same_is_one_row() -> None:
    """Paths that differ in what lies below are one place for people; directions are two."""
    one, other = died("ip_forward", reason="ip-inhdr"), died("ip_forward", "ip_rcv", reason="ip-inhdr")
    back = Place(Kind.DIED, "g0", "ip-inhdr", ("ip_forward",), to_it=True)
    found = rows({one: Tally(2, 20), other: Tally(3, 30), back: Tally(7, 70)})
    assert list(found.values()) == [Tally(7, 70), Tally(5, 50)]
    assert "TTL" in row_of(one).meaning


def test_what_two_tell_of_is_lost_once() -> None:
    """The daemon, and veth; where the daemon tells nothing, veth counts."""
    veth = row_of(died("veth_xdp_rcv_skb", reason="not-specified"))
    told = Row(Kind.DIED, "g0", "XDP, Neurowall", "block-list", "", to_it=False, known=True)
    route = row_of(died("ip_error", reason="not-specified"))
    assert lost({veth: Tally(10, 0), told: Tally(10, 0), route: Tally(1, 0)}) == 11
    assert lost({veth: Tally(10, 0)}) == 10
    assert "no route" in route.meaning


def test_deaths_come_before_what_went_well() -> None:
    """However many packets the others have."""
    sent = Place(Kind.SENT, "g1", "", (), to_it=False)
    exception = Place(Kind.EXCEPTION, "g0", "xdp-aborted", (), to_it=False)
    found = rows({sent: Tally(100, 0), died("ip_forward"): Tally(1, 0), exception: Tally(1, 0)})
    assert [row.kind for row in found] == [Kind.EXCEPTION, Kind.DIED, Kind.SENT]
