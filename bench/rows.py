# SPDX-License-Identifier: Apache-2.0
"""Rows of a result about one system at one point: its ledger, its gates, and why it is void."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.records import Gate, Ledger
from bench.result import GateRow, LedgerRow, Void

LEDGER_TOLERANCE = 0.001
"""Share of the packets sent that may be unaccounted for."""

Cell = tuple[str, str]
"""A system at a point."""


def voided(reasons: Iterable[tuple[Cell, str]]) -> list[Void]:
    """Every void cell with its reasons, each once and counted."""
    counts: dict[Cell, dict[str, int]] = {}
    for cell, reason in reasons:
        of_cell = counts.setdefault(cell, {})
        of_cell[reason] = of_cell.get(reason, 0) + 1
    return [
        Void(
            system=system,
            point=point,
            reasons=[reason if n == 1 else f"{reason} ({n} times)" for reason, n in of_cell.items()],
        )
        for (system, point), of_cell in counts.items()
    ]


def unproven(ledger: Ledger) -> str | None:
    """Why the packets of one trial prove nothing; None if all of them are accounted for."""
    if ledger.sent == 0:
        return "the generator sent nothing"
    if abs(ledger.residual) > LEDGER_TOLERANCE * ledger.sent:
        return f"open ledger: more than {LEDGER_TOLERANCE:.1%} of the packets are unaccounted for"
    return None


def ledger_row(cell: Cell, ledgers: Sequence[Ledger]) -> LedgerRow:
    """Where the packets of all trials went."""
    places: dict[str, int] = {}
    for place, count in (item for each in ledgers for item in each.elsewhere.items()):
        places[place] = places.get(place, 0) + count
    worst = max((abs(each.residual) / each.sent for each in ledgers if each.sent), default=0.0)
    return LedgerRow(
        system=cell[0],
        point=cell[1],
        trials=len(ledgers),
        sent=sum(each.sent for each in ledgers),
        delivered=sum(each.delivered for each in ledgers),
        dropped_by_rule=sum(each.dropped_by_rule for each in ledgers),
        elsewhere=places,
        residual=sum(each.residual for each in ledgers),
        worst=worst,
        closed=worst <= LEDGER_TOLERANCE,
    )


def gate_row(cell: Cell, gates: Sequence[Gate]) -> GateRow:
    """What all gates saw; there is at least one."""
    return GateRow(
        system=cell[0],
        point=cell[1],
        kind=gates[0].kind,
        gates=len(gates),
        passed=sum(gate.passed for gate in gates),
        listed_sent=sum(gate.listed_sent for gate in gates),
        listed_blocked=sum(gate.listed_blocked for gate in gates),
        near_sent=sum(gate.near_sent for gate in gates),
        near_passed=sum(gate.near_passed for gate in gates),
        detail=next((gate.detail for gate in gates if not gate.passed), ""),
    )
