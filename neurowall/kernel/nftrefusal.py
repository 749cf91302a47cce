# SPDX-License-Identifier: Apache-2.0
"""What libnftables says when it refuses, in words for the operator."""

import json
import re
from collections.abc import Sequence

from neurowall.kernel.nftjson import Command

_TEXT_LIMIT = 200
_PREFIX = re.compile(r"^(?:\S*:\d+:\d+-\d+: )?Error: ")
_NOISE = re.compile(r"^Parsing \w+ array at index \d+ failed\.$")
_OUR_OWN = "Could not process rule: "
_MEANINGS = {
    "Operation not permitted": "not permitted: it takes root, or CAP_NET_ADMIN in this network namespace",
    "Too many links": "chains that lead to each other in a circle, or too deep",
    "Device or resource busy": "something else still uses it",
    "Operation not supported": "this kernel cannot do that",
    "Cannot allocate memory": "the kernel has no memory for it",
    "Too many open files in system": "the set takes no more elements",
}


def reason_in(errors: str) -> str:
    """The first thing that libnftables complains of."""
    for line in errors.splitlines():
        text = _PREFIX.sub("", line).split("; did you mean")[0].strip().removeprefix(_OUR_OWN)
        if text and not _NOISE.match(text):
            return _MEANINGS.get(text, text)
    return "libnftables gave no reason"


def described(commands: Sequence[Command], index: int) -> str:
    """What the command at that place of the transaction is about."""
    ((verb, what),) = commands[index].items()
    ((noun, details),) = what.items()
    if noun == "rule":
        number = sum(
            1
            for other in commands[: index + 1]
            if other.get("add", {}).get("rule", {}).get("chain") == details["chain"]
        )
        return f"rule {number} of chain '{details['chain']}' ({_short(details['expr'])})"
    if noun == "element":
        some = details["elem"]
        return f"to {verb} {len(some)} elements of set '{details['name']}' ({_short(some)})"
    return f"to {verb} {noun} '{details['name']}'"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]}..."
