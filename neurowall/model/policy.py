# SPDX-License-Identifier: Apache-2.0
"""The policy: what an operator declares in policy.yaml. One that is invalid cannot be built.

Strict: no unknown keys, no conversions between types (a quoted port is an error, not a number).
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from neurowall.model.address import InvalidEntry, parse_address, parse_entry
from neurowall.model.duration import parse_duration
from neurowall.model.errors import PolicyError
from neurowall.model.yamltext import Document, read_yaml

OPERATOR_ALLOW = "operator-allow"
OPERATOR_BLOCK = "operator-block"
TIMED_ALLOW = "operator-allow-timed"
TIMED_BLOCK = "operator-block-timed"
TIMED = (TIMED_ALLOW, TIMED_BLOCK)
RESERVED = (OPERATOR_ALLOW, OPERATOR_BLOCK, *TIMED)
MAX_TIMED = 65_536  # hosts, and prefixes, of each family that end by themselves: the kernel's map of ends
MAX_LISTS = 60  # memberships are 64-bit masks, and four lists are built in

Zone = Literal["external", "internal"]
XdpMode = Literal["auto", "native", "generic", "offload"]
PacketVerdict = Literal["pass", "drop"]
ListVerdict = Literal["block", "allow"]
EngineName = Literal["buckets", "classic"]

_LIST_NAME = re.compile(r"[a-z0-9-]{1,40}")
# What the kernel's dev_valid_name() takes: 1 to 15 bytes, no '/', ':' or white space, neither '.' nor '..'.
_INTERFACE_NAME = re.compile(r"(?!\.{1,2}$)[^/:\s\x00-\x20\x7f]{1,15}")


def check_list_name(name: str) -> str:
    """Return *name* if a list may be called so, else raise ValueError. Says nothing about reserved names."""
    if not _LIST_NAME.fullmatch(name):
        raise ValueError(f"'{name[:60]}' is no list name: use 1 to 40 of a-z, 0-9 and '-'")
    return name


def _check_free_list_name(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"'{name}' is built in (it holds what `block` and `allow` add): choose another name")
    return check_list_name(name)


def _check_interface_name(name: str) -> str:
    if not _INTERFACE_NAME.fullmatch(name) or len(name.encode()) > 15:
        raise ValueError(f"'{name[:60]}' is no interface name: use 1 to 15 bytes without '/', ':' or spaces")
    return name


def _check_entry(text: str) -> str:
    try:
        entry = parse_entry(text)
    except InvalidEntry as error:
        raise ValueError(f"'{text[:60]}': {error}") from error
    if entry.host_bits:
        raise ValueError(f"'{text}' has host bits set: write {entry}")
    return text


def _check_address(text: str) -> str:
    try:
        return str(parse_address(text))
    except InvalidEntry as error:
        raise ValueError(f"'{text[:60]}': {error}") from error


def _check_duration(text: str) -> str:
    parse_duration(text)
    return text


ListName = Annotated[str, AfterValidator(_check_free_list_name)]
InterfaceName = Annotated[str, AfterValidator(_check_interface_name)]
EntryText = Annotated[str, AfterValidator(_check_entry)]
AddressText = Annotated[str, AfterValidator(_check_address)]
DurationText = Annotated[str, AfterValidator(_check_duration)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Interface(_Strict):
    """One interface to guard. unparsed: verdict of EtherTypes that are not parsed (PPPoE, MPLS ...)."""

    name: InterfaceName
    zone: Zone
    xdp: XdpMode = "auto"
    unparsed: PacketVerdict | None = None

    @property
    def unparsed_verdict(self) -> PacketVerdict:
        """The configured verdict, else drop on external and pass on internal interfaces."""
        return self.unparsed or ("drop" if self.zone == "external" else "pass")


class Failsafe(_Strict):
    """The operator's own way in: from *source* to TCP *port* of the gateway's own *address* on *interface*.

    It passes before every list, at most packets_per_second. Never for forwarded packets.
    """

    interface: InterfaceName
    source: EntryText
    port: int = Field(ge=1, le=65535)
    address: AddressText
    packets_per_second: int = Field(default=1000, ge=1, le=1_000_000)
    allow_external: bool = False

    @model_validator(mode="after")
    def _same_family(self) -> Self:
        if parse_entry(self.source).family != parse_entry(self.address).family:
            raise ValueError(f"source {self.source} and address {self.address} are of different families")
        return self


class ListSpec(_Strict):
    """A declared list: entries from *file* (beside the policy file unless absolute) and from *entries*.

    monitor: its entries are counted and decide nothing.
    """

    name: ListName
    verdict: ListVerdict
    monitor: bool = False
    file: Path | None = Field(default=None, strict=False)
    entries: tuple[EntryText, ...] = Field(default=(), strict=False)

    @field_validator("file")
    @classmethod
    def _beside_the_policy(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        base = (info.context or {}).get("base")
        return base / file if file and base else file


class Capacity(_Strict):
    """How many entries kernel maps are first made for. grow: a list that outgrows them gets larger ones."""

    hosts4: int = Field(default=1_000_000, ge=1, le=16_000_000)
    prefixes4: int = Field(default=250_000, ge=1, le=4_000_000)
    hosts6: int = Field(default=100_000, ge=1, le=16_000_000)
    prefixes6: int = Field(default=100_000, ge=1, le=4_000_000)
    classes: int = Field(default=4096, ge=16, le=32767)
    grow: bool = True


class Bans(_Strict):
    """What a repeated block with a TTL does.

    The TTL is at least *repeat_factor* times the last one, as long as that is at most *max_ttl*. memory: how
    long after its end a block counts as the last one.
    """

    repeat_factor: float = Field(default=2.0, ge=1, le=1000)
    max_ttl: DurationText = "7d"
    memory: DurationText = "1d"

    @property
    def max_ttl_seconds(self) -> float:
        """max_ttl in seconds."""
        return parse_duration(self.max_ttl)

    @property
    def memory_seconds(self) -> float:
        """Memory in seconds."""
        return parse_duration(self.memory)


class Policy(_Strict):
    """Everything declared. Lists keep their order: it decides which list names a hit."""

    interfaces: tuple[Interface, ...] = Field(strict=False)
    failsafe: tuple[Failsafe, ...] = Field(default=(), strict=False)
    lists: tuple[ListSpec, ...] = Field(default=(), max_length=MAX_LISTS, strict=False)
    engine: EngineName = "buckets"
    capacity: Capacity = Capacity()
    bans: Bans = Bans()

    @field_validator("interfaces")
    @classmethod
    def _not_empty(cls, interfaces: tuple[Interface, ...]) -> tuple[Interface, ...]:
        if not interfaces:
            raise ValueError("name at least one interface")
        return interfaces

    def interface(self, name: str) -> Interface | None:
        """The interface of that name, if declared."""
        return next((interface for interface in self.interfaces if interface.name == name), None)


def load_policy(text: str | bytes, filename: str) -> Policy:
    """Build the policy from YAML. *filename* is for messages and for relative list files; nothing is read.

    Raises PolicyError with one line a problem: "policy.yaml:7: interfaces[0].zone: ... expected ...".
    """
    document = read_yaml(text, filename)
    context = {"base": Path(filename).parent}
    try:
        policy = Policy.model_validate(document.data, context=context)
    except ValidationError as error:
        found = sorted(error.errors(), key=lambda problem: document.line(problem["loc"]))
        raise PolicyError([_explain(document, dict(problem)) for problem in found]) from error
    problems = [*_repeated_names(policy, document), *_failsafe_problems(policy, document)]
    if problems:
        raise PolicyError(problems)
    return policy


def _explain(document: Document, problem: dict[str, Any]) -> str:
    """One line for one pydantic error."""
    kind, context, given = problem["type"], problem.get("ctx", {}), problem.get("input")
    location = problem["loc"]
    if kind == "extra_forbidden":
        known = ", ".join(_known_keys(location[:-1]))
        return document.message(location, f"unknown key; known here: {known}", key=True)
    if kind == "missing":
        return document.message(location, "required, but missing")
    if kind == "literal_error":
        return document.message(location, f"{_shown(given)}: expected {context['expected']}")
    if kind == "value_error":
        return document.message(location, str(context["error"]))
    expected = _EXPECTED.get(kind) or f"{problem['msg'][0].lower()}{problem['msg'][1:]}"
    return document.message(location, f"{_shown(given)}: {expected}")


_EXPECTED = {
    "bool_type": "expected true or false",
    "float_type": "expected a number, without quotes",
    "int_type": "expected a whole number, without quotes",
    "model_type": "expected keys and values",
    "path_type": "expected a file name",
    "string_type": "expected text: put it in quotes",
    "tuple_type": "expected a list: one '- ' item a line, or []",
}


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys that the part of a policy at *location* may have."""
    parts: dict[str, type[BaseModel]] = {
        "interfaces": Interface,
        "failsafe": Failsafe,
        "lists": ListSpec,
        "capacity": Capacity,
        "bans": Bans,
    }
    model = parts[str(location[0])] if location else Policy
    return list(model.model_fields)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _repeated_names(policy: Policy, document: Document) -> list[str]:
    problems = []
    for field, names in (
        ("interfaces", [interface.name for interface in policy.interfaces]),
        ("lists", [spec.name for spec in policy.lists]),
    ):
        for index, name in enumerate(names):
            if name in names[:index]:
                first = document.line((field, names.index(name), "name"))
                problem = f"'{name}' is already used in line {first}: names are unique"
                problems.append(document.message((field, index, "name"), problem))
    return problems


def _failsafe_problems(policy: Policy, document: Document) -> list[str]:
    problems = []
    for index, failsafe in enumerate(policy.failsafe):
        interface = policy.interface(failsafe.interface)
        location = ("failsafe", index, "interface")
        if interface is None:
            declared = ", ".join(dict.fromkeys(i.name for i in policy.interfaces))
            problems.append(
                document.message(location, f"'{failsafe.interface}' is not declared: use {declared}")
            )
        elif interface.zone == "external" and not failsafe.allow_external:
            problem = f"'{failsafe.interface}' is external: use an internal one, or set allow_external: true"
            problems.append(document.message(location, problem))
    return problems
