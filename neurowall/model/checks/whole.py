# SPDX-License-Identifier: Apache-2.0
"""What only a whole policy shows."""

from neurowall.model.checks.finding import Report
from neurowall.model.draft import Draft
from neurowall.model.fields import GATEWAY


def check_whole(report: Report) -> None:
    """Switches that need something else."""
    draft = report.draft
    if draft.flowtable and not forwards(draft):
        text = "nothing is forwarded: add a rule that accepts between zones, or set `flowtable: false`"
        report.add(("flowtable",), text)


def forwards(draft: Draft) -> bool:
    """Whether nftables is asked to let anything from one interface to another."""
    if not draft.filters:
        return bool(draft.port_forwards or draft.one_to_one or draft.source or draft.masquerade)
    if draft.port_forwards or (draft.defaults and draft.defaults.forward == "accept"):
        return True
    return any(
        rule.action == "accept"
        and rule.enabled
        and not rule.monitor
        and GATEWAY not in (*rule.from_, *rule.to)
        for rule in draft.rules.values()
    )
