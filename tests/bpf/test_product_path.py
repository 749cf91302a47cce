# SPDX-License-Identifier: Apache-2.0
"""Lists through the product's own path (parser, compiler, difference, data plane), packets through PROG_RUN.

The oracle reads the same raw lines. After every round of an update each source must get what the old
lists or the new ones say.
"""

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest

from neurowall.kernel import filters, libbpf
from neurowall.kernel.classiclists import ClassicLists
from neurowall.kernel.dataplane import DataPlane
from neurowall.kernel.guards import Role
from neurowall.logic import compile as compiler
from neurowall.logic.compile import NamedList, compile_image
from neurowall.logic.difference import Difference, difference
from neurowall.model.image import Image, Table
from neurowall.model.listfile import parse_list
from neurowall.model.policy import Capacity, Interface, Policy
from neurowall.model.reasons import Reason, Verdict
from tests.bpf import frames, oracle
from tests.bpf.conftest import ENGINES
from tests.bpf.frames import probe

SMALL = Capacity(hosts4=1024, prefixes4=256, hosts6=256, prefixes6=256, classes=64)
EXTERNAL = Interface(name="nw-none", zone="external")  # never attached
ROLE = Role(unparsed=Verdict.DROP)
CROWD = [f"198.51.{100 + i // 256}.{i % 256}" for i in range(512)]  # more than the smallest table holds
ACTIONS = {libbpf.XDP_DROP: "drop", libbpf.XDP_PASS: "pass"}


def put(plane: DataPlane, steps: Difference) -> Iterator[str]:
    """The first half of an update."""
    for tables in steps.put_rounds:
        for table in tables:
            plane.put(table)
            yield "put"
        plane.grace()


def delete(plane: DataPlane, steps: Difference) -> Iterator[str]:
    """The second half."""
    for removed in steps.delete_rounds:
        for entries in removed:
            plane.delete(entries)
            yield "delete"
        plane.grace()


class Product:
    """A data plane with the steps that the engine takes, and a program to feed."""

    order = (put, delete)

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane
        self.image = Image(Table.empty(4), Table.empty(6), {})
        self.program = plane._program(ROLE)

    def apply(self, policy: oracle.Policy) -> Iterator[str]:
        """Bring the kernel to these lists; yields after every step what it was."""
        lists = []
        for index, each in enumerate(policy.lists):
            parsed = parse_list("# a comment\n" + "\n".join(each.lines) + "\n")
            assert parsed.problems == ()
            lists.append(NamedList(f"list-{index}", each.verdict, parsed.entries))
        image = compile_image(lists, self.image.classes, SMALL)
        steps = difference(self.image, image)
        self.plane.set_classes(steps.classes_added)
        for half in self.order:
            yield from half(self.plane, steps)
        self.image = image

    def run(self, frame: bytes) -> tuple[str, str]:
        """(action, reason) of a frame, the reason from the counters as the product reads them."""
        before = self.plane.reason_counters()
        action = ACTIONS[libbpf.program_run(self.program, frame)[0]]
        after = self.plane.reason_counters()
        (reason,) = (each for each in Reason if after[each].packets != before[each].packets)
        assert after[reason].packets - before[reason].packets == 1
        assert after[reason].bytes - before[reason].bytes == len(frame)
        return action, reason.label


@pytest.fixture(params=ENGINES)
def product(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Product]:
    """A data plane on a bpffs of its own, attached to nothing."""
    plane = DataPlane.open(Policy(interfaces=(EXTERNAL,), engine=request.param, capacity=SMALL), tmp_path)
    try:
        yield Product(plane)
    finally:
        plane.detach()


def lists(r: Random) -> oracle.Policy:
    """Random lists of the small world, often with a crowd that fills the table's lines."""
    policy = frames.policy(r, unparsed="drop", failsafe=False)
    if r.randrange(2):
        start = r.randrange(0, 100)
        crowd = oracle.NamedList(
            r.choice(("block", "allow")), tuple(CROWD[start : start + r.randrange(1, 512)])
        )
        policy = oracle.Policy((*policy.lists, crowd))
    return policy


def differential(product: Product, r: Random, policies: int, count: int) -> None:
    """Apply *policies* one after the other; *count* random frames each, and every source after every step."""
    before = oracle.Policy()
    for _ in range(policies):
        policy = lists(r)
        sources = r.sample([*frames.HOSTS4, *frames.HOSTS6, *r.sample(CROWD, 20)], 15)
        either = {s: {oracle.judge(probe(s), before), oracle.judge(probe(s), policy)} for s in sources}
        for step in product.apply(policy):
            for source in sources:
                got = product.run(probe(source))
                assert got in either[source], (step, source, before, policy)
        for _ in range(count):
            frame = frames.frame(r)
            assert product.run(frame) == oracle.judge(frame, policy), (frame.hex(), policy)
        for source in (*frames.HOSTS4, *frames.HOSTS6, *CROWD):
            listed = any(oracle.covers(each.lines, ip_address(source)) for each in policy.lists)
            assert (product.plane.lookup(source) is not None) == listed, (source, policy)
        before = policy
    held = product.plane.contents()
    assert (len(held.v4), len(held.v6)) == (len(product.image.v4), len(product.image.v6))


def test_the_product_fills_the_maps_that_the_program_reads(product: Product) -> None:
    """A chain of random policies, the same every time."""
    differential(product, Random("product"), policies=25, count=40)


@pytest.mark.soak
def test_the_product_fills_the_maps_for_a_long_time(product: Product) -> None:
    """Others every time; the seed is in the failure."""
    seed = Random().getrandbits(64)
    print(f"seed {seed}")  # noqa: T201
    differential(product, Random(seed), policies=300, count=100)


def test_a_list_that_is_taken_back_leaves_nothing(product: Product) -> None:
    """Default: after the empty policy every source passes and the maps are empty."""
    r = Random(5)
    for policy in (lists(r), lists(r), oracle.Policy()):
        for _ in product.apply(policy):
            pass
    assert (len(product.plane.contents().v4), len(product.plane.contents().v6)) == (0, 0)
    for source in (*frames.HOSTS4, *frames.HOSTS6, *CROWD):
        assert product.run(probe(source)) == ("pass", "default"), source


def no_op(*_arguments: object) -> None:
    """In the place of something that matters."""


def only_direct(_entries: object, direct: object) -> object:
    """An entry's class forgets the prefixes that cover it."""
    return direct


BREAK = {
    "deletes come first": (Product, "order", (delete, put)),
    "hosts are not marked in the filter": (filters, "set_hosts4", no_op),
    "prefixes are not marked in the filter": (filters, "set_prefixes4", no_op),
    "IPv6 hosts are not marked in the filter": (filters, "set_hosts6", no_op),
    "IPv6 prefixes are not marked in the filter": (filters, "set_prefixes6", no_op),
    "lengths of IPv6 prefixes are not noted in the filter": (filters, "set_lengths6", no_op),
    "lengths of IPv6 prefixes are not noted": (filters, "set_lengths6", no_op),
    "entries are not counted": (ClassicLists, "_count", no_op),  # the classic engine looks
    "covering prefixes are forgotten": (compiler, "closure", only_direct),
    "classes are not written": (DataPlane, "set_classes", no_op),
    "nothing is deleted": (DataPlane, "delete", no_op),
}


ONLY_IN = {what: "buckets" for what in BREAK if "filter" in what or "lengths" in what}
ONLY_IN["entries are not counted"] = "classic"


@pytest.mark.parametrize(
    ("product", "what"),
    [(engine, what) for what in BREAK for engine in ENGINES if engine == ONLY_IN.get(what, engine)],
    indirect=["product"],
)
def test_the_differential_catches_a_broken_product(
    product: Product, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The same chain of policies finds it, in each engine that depends on it."""
    holder, name, replacement = BREAK[what]
    monkeypatch.setattr(holder, name, replacement)
    with pytest.raises(AssertionError):
        differential(product, Random("product"), policies=25, count=40)
