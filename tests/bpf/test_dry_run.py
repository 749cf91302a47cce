# SPDX-License-Identifier: Apache-2.0
"""What a dry run answers, and that it changes nothing, with everything on."""

from random import Random

import pytest

from neurowall.model.reasons import Reason
from tests.bpf.conftest import ENGINES, MakeFirewall
from tests.bpf.corpus import corpus
from tests.bpf.harness import DROP, PASS
from tests.bpf.limitmaps import Limits, Spec
from tests.bpf.mutate import mutated
from tests.bpf.packets import OTHER, SOURCE, frame4, raw, tcp, udp
from tests.bpf.test_fuzz import everything

FRAMES = 3000
SCRATCH = {"segments", "limit_work", "event_draft", "flow_scratches"}  # the packet under way, on each CPU


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("internal", [False, True], ids=["outside", "inside"])
def test_it_changes_nothing_and_answers_as_the_live_program_does(
    make_firewall: MakeFirewall, engine: str, internal: bool
) -> None:
    """Not one byte of any map; the live program, of which each frame is the first, gives the same reason."""
    r, seeds = Random(f"dry {engine} {internal}"), corpus()
    frames = [frame for frame in (mutated(r, seeds) for _ in range(FRAMES)) if len(frame) >= 14]
    dry = everything(make_firewall, engine, internal=internal, dry_run=True)
    dry.begin_window(1, 1000)
    before = dry.dump()
    answers = [dry.run_dry(frame)[:2] for frame in frames]
    after = dry.dump()
    assert {name for name in before if before[name] != after[name]} <= SCRATCH
    assert len({reason for _, reason in answers}) > 12
    live = everything(make_firewall, engine, internal=internal)
    live.begin_window(1, 1000)
    state = live.dump()
    wrong = []
    for frame, answer in zip(frames, answers, strict=True):
        found = live.run(frame)
        # What the live one has counted by now, the dry one has not.
        if tuple(found) != answer and found.reason is not Reason.LIMITED and answer[1] is not Reason.LIMITED:
            wrong.append((frame.hex(), found, answer))
    assert wrong == []
    changed = {name for name, content in live.dump().items() if content != state[name]}
    assert {"reason_counters", "class_counters", "limit_lines", "limit_counters", "event_budgets"} <= changed


@pytest.mark.parametrize("flows", ["strict", "loose"])
def test_it_changes_no_flow(make_firewall: MakeFirewall, flows: str) -> None:
    """Neither of those that are known, nor by taking in what it sees for the first time."""
    r, seeds = Random(f"dry {flows}"), corpus()
    dry = everything(make_firewall, "classic", internal=False, dry_run=True, flows=flows)
    dry.begin_window(1, 1000)
    before = dry.dump()
    for frame in (mutated(r, seeds) for _ in range(FRAMES)):
        if len(frame) >= 14:
            dry.run_dry(frame)
    after = dry.dump()
    assert {name for name in before if before[name] != after[name]} <= SCRATCH


def test_it_names_the_class(make_firewall: MakeFirewall) -> None:
    """Of a listed source, and none of another."""
    firewall = make_firewall(dry_run=True)
    firewall.put_class(9, DROP)
    firewall.put(SOURCE, 9)
    assert firewall.run_dry(frame4(SOURCE) / udp()) == (DROP, Reason.BLOCK_LIST, 9, 0)
    assert firewall.run_dry(frame4(OTHER) / udp()) == (PASS, Reason.DEFAULT, 0, 0)
    assert firewall.run_dry(raw(0x0806)) == (PASS, Reason.ARP, 0, 0)


def test_it_names_the_limit(make_firewall: MakeFirewall) -> None:
    """The first one that the packet is over, beside the class of a source that a list allows."""
    firewall = make_firewall(dry_run=True, limits=True)
    firewall.put_class(9, PASS)
    firewall.put(SOURCE, 9)
    limits = Limits(firewall, virtual=False)
    limits.put(Spec(1000, 100), Spec(100, 0, kinds=("udp",)), slots=(3, 17))
    assert firewall.run_dry(frame4(SOURCE) / udp()) == (DROP, Reason.LIMITED, 9, 18)
    assert firewall.run_dry(frame4(OTHER) / udp()) == (DROP, Reason.LIMITED, 0, 18)
    assert firewall.run_dry(frame4(SOURCE) / tcp()) == (PASS, Reason.ALLOW_LIST, 9, 0)
