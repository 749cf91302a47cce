# SPDX-License-Identifier: Apache-2.0
import io
from typing import Any, Literal

from rich.console import Console

from neurowall.management.cli import render_policy

CHANGE: dict[str, Any] = {
    "generation": 7,
    "dry_run": False,
    "differences": [
        {"sign": "+", "part": "rules", "name": "web", "text": "accept [bold]tcp 443"},
        {"sign": "-", "part": "nat.masquerade", "name": "", "text": "from [internal], to [external]"},
        {"sign": "~", "part": "engine", "name": "", "text": "buckets -> classic"},
    ],
    "added": 1234,
    "removed": 0,
    "objects": 1,
    "seconds": 0.1234,
    "pending": None,
    "warnings": ["set partners is used nowhere"],
}


def drawn(draw: Any, answer: dict[str, Any], *, terminal: bool = False) -> str:
    """What it prints."""
    text = io.StringIO()
    colours: Literal["standard"] | None = "standard" if terminal else None
    draw(Console(file=text, force_terminal=terminal, color_system=colours, markup=False, width=80), answer)
    return text.getvalue()


def test_a_change_line_by_line() -> None:
    """Nothing of the policy is read as markup, and no line is wrapped."""
    assert drawn(render_policy.change, CHANGE).splitlines() == [
        "+ rules web: accept [bold]tcp 443",
        "- nat.masquerade: from [internal], to [external]",
        "~ engine: buckets -> classic",
        "generation 7: 3 differences, list entries 1,234 added, 0 removed, 1 nftables object, in 0.123 s",
        "warning: set partners is used nowhere",
    ]


def test_signs_have_colours_in_a_terminal() -> None:
    """Green for what comes, red for what goes, yellow for what changes."""
    lines = drawn(render_policy.change, CHANGE, terminal=True).splitlines()
    assert [line[:5] for line in lines[:3]] == ["\x1b[32m", "\x1b[31m", "\x1b[33m"]


def test_an_apply_shows_some_and_a_dry_run_all() -> None:
    """Two thousand lines would hide what matters; who wants to see them asks for a plan."""
    many = CHANGE | {"differences": CHANGE["differences"][:1] * 100}
    lines = drawn(render_policy.change, many).splitlines()
    assert len(lines) == render_policy.SHOWN + 3
    assert lines[render_policy.SHOWN] == "... and 60 more, which -o json has all of"
    plan = drawn(render_policy.change, many | {"dry_run": True}).splitlines()
    assert len(plan) == 102
    assert plan[100].startswith("dry run, nothing was changed: 100 differences, ")


def test_what_waits_is_the_last_word() -> None:
    """How long, what comes back, and the command."""
    waits = {"seconds": 60.0, "generation": 7, "revert_to": 5}
    text = drawn(render_policy.change, CHANGE | {"pending": waits})
    assert text.splitlines()[-1] == "generation 5 comes back in 1 min unless you confirm: neurowall confirm"


def test_the_stateful_layer_in_one_line() -> None:
    """What it does where there are no rules, whose lists it holds, and how often it was put right."""
    policy = {"generation": 3, "file": "p.yaml", "note": "", "rules": 0}
    states = [
        ({"table": False, "rules": None, "fallback": [], "drift_repairs": 0}, "no nftables table"),
        (
            {"table": True, "rules": None, "fallback": ["wg0"], "drift_repairs": 0},
            "nftables filters no connections, the lists of wg0 in nftables",
        ),
        (
            {"table": True, "rules": 2, "fallback": [], "drift_repairs": 1},
            "2 stateful rules, table put right 1 time",
        ),
    ]
    for stateful, expected in states:
        answer = {"policy": policy, "stateful": stateful, "pending": None}
        assert drawn(render_policy.policy_status, answer) == f"policy of generation 3: p.yaml, {expected}\n"


def test_doctor_tells_price_and_remedy_of_what_is_not_ok() -> None:
    """And how many essential things are missing."""
    findings = [
        {"area": "XDP", "state": "ok", "found": "fine", "costs": "", "fix": ""},
        {
            "area": "nftables",
            "state": "missing",
            "found": "no library",
            "costs": "no rules",
            "fix": "install",
        },
    ]
    assert drawn(render_policy.doctor, {"findings": findings, "missing": 1}).splitlines() == [
        "ok      XDP: fine",
        "missing nftables: no library",
        "          costs: no rules",
        "          fix: install",
        "1 essential thing missing",
    ]
