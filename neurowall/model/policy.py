# SPDX-License-Identifier: Apache-2.0
"""The policy: what an operator declares in policy.yaml. One that is invalid cannot be built.

Strict: no unknown keys, no conversions between types (a quoted port is an error, not a number).
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from neurowall.model.checks import check
from neurowall.model.draft import BUILT_IN_ZONES, draft_of
from neurowall.model.errors import PolicyError
from neurowall.model.fields import OneOrMore, Reserved, Strict
from neurowall.model.limits import Limit
from neurowall.model.parts import (
    Bans,
    Capacity,
    EngineName,
    Events,
    Failsafe,
    Fallback,
    Flows,
    Interface,
    ListSpec,
    ListVerdict,
    PacketVerdict,
    XdpMode,
)
from neurowall.model.policytext import field_text, problem_lines
from neurowall.model.rules import AddressSet, Defaults, FamilyName, Nat, Rule, Zone, ZoneKind
from neurowall.model.yamltext import read_yaml

__all__ = [
    "BUILT_IN_ZONES",
    "MAX_LISTS",
    "MAX_TIMED",
    "Bans",
    "Capacity",
    "EngineName",
    "Events",
    "Failsafe",
    "Fallback",
    "Flows",
    "Interface",
    "ListSpec",
    "ListVerdict",
    "PacketVerdict",
    "Policy",
    "XdpMode",
    "load_policy",
]

MAX_TIMED = 65_536  # hosts, and prefixes, of each family that end by themselves: the kernel's map of ends
MAX_LISTS = 60  # memberships are 64-bit masks, and four lists are built in


class Policy(Strict):
    """Everything declared. Lists keep their order: it decides which list names a hit.

    rules: absent, nftables filters nothing (NAT may still be there); given, even as [], what no rule accepts
    meets *defaults*. forwarding: the families that the gateway forwards between its interfaces; without
    one the kernel's own settings stay. flowtable: let established connections bypass the stack where the
    kernel can.
    """

    interfaces: tuple[Interface, ...] = Field(strict=False)
    failsafe: tuple[Failsafe, ...] = Field(default=(), strict=False)
    lists: tuple[ListSpec, ...] = Field(default=(), max_length=MAX_LISTS, strict=False)
    limits: tuple[Limit, ...] = Field(default=(), strict=False)
    engine: EngineName = "buckets"
    capacity: Capacity = Capacity()
    bans: Bans = Bans()
    fallback: Fallback = Fallback()
    events: Events = Events()
    flows: Flows = Flows()
    zones: tuple[Zone, ...] = Field(default=(), strict=False)
    sets: tuple[AddressSet, ...] = Field(default=(), strict=False)
    rules: tuple[Rule, ...] | None = Field(default=None, strict=False)
    defaults: Defaults | None = None
    nat: Nat = Nat()
    forwarding: Annotated[tuple[FamilyName, ...], Field(strict=False), OneOrMore] = ()
    flowtable: bool = False
    signatures: Reserved = None
    feeds: Reserved = None
    ha: Reserved = None

    @field_validator("interfaces")
    @classmethod
    def _not_empty(cls, interfaces: tuple[Interface, ...]) -> tuple[Interface, ...]:
        if not interfaces:
            raise ValueError("name at least one interface")
        return interfaces

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        where = (info.context or {}).get("where", field_text)
        findings = check(draft_of(self), where)
        if findings:
            text = "; ".join(f"{field_text(each.location)}: {each.text}" for each in findings)
            raise PydanticCustomError("policy", "{text}", {"text": text, "findings": findings})
        return self

    def interface(self, name: str) -> Interface | None:
        """The interface of that name, if declared."""
        return next((interface for interface in self.interfaces if interface.name == name), None)

    @property
    def zone_kinds(self) -> dict[str, ZoneKind]:
        """Every zone, declared or built in, and whether it is external."""
        return BUILT_IN_ZONES | {zone.name: zone.kind for zone in self.zones}

    def interfaces_of(self, zone: str) -> tuple[Interface, ...]:
        """The interfaces of a zone, in order."""
        return tuple(interface for interface in self.interfaces if interface.zone == zone)

    def is_external(self, interface: Interface) -> bool:
        """Whether the interface's zone is external."""
        return self.zone_kinds[interface.zone] == "external"

    def unparsed_verdict(self, interface: Interface) -> PacketVerdict:
        """The configured verdict, else drop on external and pass on internal interfaces."""
        return interface.unparsed or ("drop" if self.is_external(interface) else "pass")

    def spoofing_verdict(self, interface: Interface) -> PacketVerdict:
        """The configured verdict, else drop on external and pass on internal interfaces."""
        return interface.spoofing or ("drop" if self.is_external(interface) else "pass")

    @property
    def filters(self) -> bool:
        """Whether nftables filters: rules or defaults are given."""
        return self.rules is not None or self.defaults is not None


def load_policy(text: str | bytes, filename: str) -> Policy:
    """Build the policy from YAML. *filename* is for messages and for relative list files; nothing is read.

    Raises PolicyError with one line a problem: "policy.yaml:7: interfaces[0].zone: ... expected ...".
    """
    document = read_yaml(text, filename)
    context = {"base": Path(filename).parent, "where": document.place}
    try:
        return Policy.model_validate(document.data, context=context)
    except ValidationError as error:
        raise PolicyError(problem_lines(document, error, Policy, context)) from error
