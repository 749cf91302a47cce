# SPDX-License-Identifier: Apache-2.0
"""The program at egress: by tcx, by clsact where there is no tcx, and not at all."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from bench.testbed.run import Run
from neurowall.kernel import attachment, egress, libbpf
from neurowall.kernel.dataplane import DataPlane
from neurowall.model.errors import KernelError
from neurowall.model.flows import FlowQuery
from neurowall.model.guards import guards_of
from neurowall.model.policy import load_policy
from tests.net.site import Segment, Site

pytestmark = pytest.mark.root

OFF = """\
interfaces: [{name: w0, zone: external}]
capacity: {hosts4: 1000, prefixes4: 1000, hosts6: 1000, prefixes6: 1000, classes: 64}
"""
STRICT = OFF + "flows: {mode: strict, max: 2000}\n"


@pytest.fixture
def plane(run: Run, tmp_path: Path) -> Iterator[DataPlane]:
    """The data plane of a gateway with one interface, in whose namespace the test runs."""
    with (
        Site.build(run, {"w0": Segment(["203.0.113.2/24"], ["203.0.113.1/24"])}) as site,
        site.gateway.enter(),
    ):
        plane = DataPlane.open(load_policy(OFF, "policy.yaml"), tmp_path)
        plane.configure(guards_of(load_policy(OFF, "policy.yaml")))
        yield plane
        plane.detach()


def switch(plane: DataPlane, text: str) -> None:
    """Have a policy's guards in force."""
    plane.configure(guards_of(load_policy(text, "policy.yaml")))


def problem(plane: DataPlane) -> str | None:
    """Of the one interface, which has its program in any case."""
    (found,) = plane.interfaces()
    assert found.attached
    return found.problem


def filters() -> list[str]:
    """Names of the programs in filters at egress."""
    with IPRoute() as route:
        index = route.link_lookup(ifname="w0")[0]
        found = [each.get_attr("TCA_OPTIONS") for each in route.get_filters(index, parent=0xFFFFFFF3)]
    return [each.get_attr("TCA_BPF_NAME") for each in found if each and each.get_attr("TCA_BPF_NAME")]


def qdiscs() -> set[str]:
    """Kinds of queueing disciplines of the interface."""
    with IPRoute() as route:
        index = route.link_lookup(ifname="w0")[0]
        return {each.get_attr("TCA_KIND") for each in route.get_qdiscs(index)}


def refuse_tcx(monkeypatch: pytest.MonkeyPatch, code: int = errno.EINVAL) -> None:
    """As a kernel before 6.6 answers."""

    def refuse(_program: int, _ifindex: int) -> int:
        raise libbpf.LibbpfError(code, "attach to egress")

    monkeypatch.setattr(libbpf, "link_create_egress", refuse)


def test_tcx_comes_and_goes(plane: DataPlane, tmp_path: Path) -> None:
    """With the tables' size: nothing is kept for who does not ask."""
    pin = tmp_path / "bpf/links/w0:egress"
    tables = ("flows", "half_flows")
    assert not pin.exists()
    assert {plane._maps.by_name[name].max_entries for name in tables} == {1}
    switch(plane, STRICT)
    assert pin.exists()
    assert problem(plane) is None
    assert [plane._maps.by_name[name].max_entries for name in tables] == [2000, 1000]
    assert plane.flows.counts().adopting > 50
    switch(plane, OFF)
    assert not pin.exists()
    assert plane.flows.find(FlowQuery()) == ([], 0)


def test_clsact_where_there_is_no_tcx(plane: DataPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """One filter, replaced in place; the qdisc goes with it."""
    refuse_tcx(monkeypatch)
    switch(plane, STRICT)
    assert problem(plane) is None
    assert [name for name in filters() if name.startswith("nw_egress")] == filters()
    assert len(filters()) == 1
    plane.reload_program()
    assert len(filters()) == 1
    assert plane._is_settled("w0")
    switch(plane, OFF)
    assert "clsact" not in qdiscs()


def test_a_clsact_of_somebody_else_stays(plane: DataPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the filter is ours."""
    refuse_tcx(monkeypatch)
    with IPRoute() as route:
        route.tc("add", "clsact", route.link_lookup(ifname="w0")[0])
    switch(plane, STRICT)
    assert len(filters()) == 1
    switch(plane, OFF)
    assert filters() == []
    assert "clsact" in qdiscs()


def test_without_either_the_interface_goes_on_without_flows(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And status says so."""
    refuse_tcx(monkeypatch, errno.EPERM)
    switch(plane, STRICT)
    assert "flows are not kept" in str(problem(plane))


def test_what_the_kernel_refuses_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a program that is missing quietly."""
    refuse_tcx(monkeypatch, errno.EPERM)
    with pytest.raises(KernelError, match="no program at egress"):
        egress.attach(-1, 1, tmp_path / "pin", attachment.Record("native", ""))
