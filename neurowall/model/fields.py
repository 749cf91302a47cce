# SPDX-License-Identifier: Apache-2.0
"""The kinds of values that a policy's fields take, each with the reason for every refusal."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from neurowall.model.address import InvalidEntry, parse_address, parse_entry
from neurowall.model.duration import parse_duration

OPERATOR_ALLOW = "operator-allow"
OPERATOR_BLOCK = "operator-block"
TIMED_ALLOW = "operator-allow-timed"
TIMED_BLOCK = "operator-block-timed"
TIMED = (TIMED_ALLOW, TIMED_BLOCK)
RESERVED = (OPERATOR_ALLOW, OPERATOR_BLOCK, *TIMED)

GATEWAY = "gateway"
"""The gateway itself, where a rule names the zone of one end."""
ANY = "any"
"""Every zone, where a rule names the zone of one end."""

_NAME = re.compile(r"[a-z0-9-]{1,40}")
# What the kernel's dev_valid_name() takes: 1 to 15 bytes, no '/', ':' or white space, neither '.' nor '..'.
# nftables takes a name with '*' for a pattern and one with a leading '@' for a set, so these are refused too.
_INTERFACE_NAME = re.compile(r"(?!\.{1,2}$)[^/:\s\x00-\x20\x7f*@\"\\]{1,15}")
_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})", re.ASCII)
_RATE = re.compile(r"([1-9]\d{0,8})/(second|minute|hour|day)", re.ASCII)

_SERVICES = {
    "dns": 53,
    "domain": 53,
    "http": 80,
    "https": 443,
    "imaps": 993,
    "ntp": 123,
    "smtp": 25,
    "ssh": 22,
    "submission": 587,
}


class Strict(BaseModel):
    """Frozen, no unknown keys, no conversions between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _named(kind: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{name[:60]}' is no {kind} name: use 1 to 40 of a-z, 0-9 and '-'")
    return name


def check_list_name(name: str) -> str:
    """Return *name* if a list may be called so, else raise ValueError. Says nothing about reserved names."""
    return _named("list", name)


def _check_free_list_name(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"'{name}' is built in (it holds what `block` and `allow` add): choose another name")
    return check_list_name(name)


def _check_zone_name(name: str) -> str:
    if name in (ANY, GATEWAY):
        raise ValueError(f"'{name}' is built in: choose another name")
    return _named("zone", name)


def _check_interface_name(name: str) -> str:
    if not _INTERFACE_NAME.fullmatch(name) or len(name.encode()) > 15:
        without = "'/', ':', '*', '@', quotes or spaces"
        raise ValueError(f"'{name[:60]}' is no interface name: use 1 to 15 bytes without {without}")
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


def _check_source(text: str) -> str:
    """An address, a prefix, or `@name` of an address set."""
    if text.startswith("@"):
        _named("set", text[1:])
        return text
    if text in ("0.0.0.0/0", "::/0"):
        raise ValueError(f"'{text}' is every address: leave the field out")
    return _check_entry(text)


def _check_ports(value: object) -> object:
    """A port, or a range as text: 443 or "8000-8010". One form for both: the text of a range, or a number."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r}: expected a port from 1 to 65535, or a range such as 8000-8010")  # noqa: TRY004
    low, high = port_range(value)
    if not 1 <= low <= 65535 or not 1 <= high <= 65535:
        raise ValueError(f"{value!r}: ports are from 1 to 65535")
    if low > high:
        raise ValueError(f"{value!r}: the first port is above the last: write {high}-{low}")
    return value


def port_range(value: int | str) -> tuple[int, int]:
    """First and last port of a valid port field. Raises ValueError."""
    if isinstance(value, int):
        return value, value
    found = _RANGE.fullmatch(value)
    if not found:
        written = _port_fix(value[:60])
        raise ValueError(f"'{value[:60]}': expected a port, or a range such as 8000-8010{written}")
    return int(found[1]), int(found[2])


def _port_fix(text: str) -> str:
    """What was probably meant by text that is no range of ports."""
    if text.isascii() and text.isdecimal():
        return f": write {text} without quotes"
    if text.lower() in _SERVICES:
        return f": write {_SERVICES[text.lower()]}"
    numbers = [part.strip() for part in text.split(",")]
    if len(numbers) > 1 and all(part.isdecimal() for part in numbers):
        return f": write [{', '.join(numbers)}]"
    ends = text.split(":")
    if len(ends) == 2 and all(end.isdecimal() for end in ends):
        return f": write {'-'.join(ends)}"
    return ""


def _check_rate(text: str) -> str:
    rate_of(text)
    return text


def rate_of(text: str) -> tuple[int, str]:
    """Packets and the unit of time of a rate such as `10/second`. Raises ValueError."""
    found = _RATE.fullmatch(text)
    if not found:
        raise ValueError(f"'{text[:60]}': expected packets over time, such as 10/second or 30/minute")
    return int(found[1]), found[2]


def _one_or_more(value: Any) -> Any:
    """A single value where a list of them is wanted."""
    return value if isinstance(value, list | tuple) or value is None else (value,)


class _OneOrMore(BeforeValidator):
    """Says in the JSON Schema too that a single value is taken."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]} if "items" in many else many


def _check_reserved(value: object) -> None:
    if value not in (None, [], (), {}):
        raise ValueError("is reserved for a coming version: leave it out")


ListName = Annotated[str, AfterValidator(_check_free_list_name)]
ZoneName = Annotated[str, AfterValidator(_check_zone_name)]
ItemName = Annotated[str, AfterValidator(lambda name: _named("valid", name))]
InterfaceName = Annotated[str, AfterValidator(_check_interface_name)]
EntryText = Annotated[str, AfterValidator(_check_entry)]
AddressText = Annotated[str, AfterValidator(_check_address)]
DurationText = Annotated[str, AfterValidator(_check_duration)]
SourceText = Annotated[str, AfterValidator(_check_source)]
Ports = Annotated[int | str, BeforeValidator(_check_ports)]
RateText = Annotated[str, AfterValidator(_check_rate)]
OneOrMore = _OneOrMore(_one_or_more)
"""Lets a field that takes a list take a single value too."""
Reserved = Annotated[Any, AfterValidator(_check_reserved)]
