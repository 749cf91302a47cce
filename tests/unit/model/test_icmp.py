# SPDX-License-Identifier: Apache-2.0
import pytest

from neurowall.model.icmp import IcmpProtocol, icmp_type_number


@pytest.mark.parametrize(
    ("protocol", "text", "number"),
    [
        ("icmp", "echo-request", 8),
        ("icmpv6", "echo-request", 128),
        ("icmp", "packet-too-big", None),
        ("icmpv6", "packet-too-big", 2),
        ("icmp", "0", 0),
        ("icmpv6", "255", 255),
        ("icmp", "256", None),
        ("icmp", "-1", None),
        ("icmp", "\u0661", None),
        ("icmp", "", None),
    ],
)
def test_a_type_by_name_or_number(protocol: IcmpProtocol, text: str, number: int | None) -> None:
    """Names belong to a protocol; numbers are 0 to 255."""
    assert icmp_type_number(protocol, text) == number
