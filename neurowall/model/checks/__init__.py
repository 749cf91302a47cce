# SPDX-License-Identifier: Apache-2.0
"""What the parts of a policy must be to each other: names exist, fields go together, nothing overlaps."""

from neurowall.model.checks.finding import Finding, Report, Where
from neurowall.model.checks.interfaces import check_failsafe, check_networks
from neurowall.model.checks.limits import check_limits
from neurowall.model.checks.names import check_names
from neurowall.model.checks.nat import check_nat
from neurowall.model.checks.natoverlap import check_overlaps
from neurowall.model.checks.rules import check_rules
from neurowall.model.checks.whole import check_whole
from neurowall.model.draft import Draft


def check(draft: Draft, where: Where) -> list[Finding]:
    """Every problem. *where* says where a location is, in words for messages about two places."""
    report = Report(draft, where)
    check_names(report)
    check_networks(report)
    check_failsafe(report)
    check_limits(report)
    check_rules(report)
    check_nat(report)
    check_overlaps(report)
    if draft.whole and not report.findings:
        check_whole(report)
    return report.findings


__all__ = ["Finding", "check"]
