# SPDX-License-Identifier: Apache-2.0
"""A policy with the text that it was read from, and which one a daemon starts with."""

import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from neurowall.data.generations import GenerationStore
from neurowall.kernel import bootclock
from neurowall.logic.policyresults import Source
from neurowall.model.errors import PolicyError, StateError
from neurowall.model.intent import GenerationRecord, PendingRecord, PolicyState
from neurowall.model.policy import Policy, load_policy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Declared:
    """A policy as it was declared.

    source: what puts it in force; None for the one that is in force already. restores: the generation whose
    lists it brings back. confined: who declares it may not read every file of the machine.
    """

    policy: Policy
    text: str = ""
    filename: str = "policy.yaml"
    source: Source | None = None
    restores: GenerationRecord | None = None
    note: str = ""
    warnings: tuple[str, ...] = ()
    confined: bool = False


def declare(text: str | bytes, filename: str, source: Source, note: str = "") -> Declared:
    """Read a policy. Raises PolicyError."""
    policy = load_policy(text, filename)
    return Declared(policy, _decoded(text), filename, source, note=note)


def declare_config(path: Path, source: Source) -> Declared:
    """Read the daemon's own policy file. Raises PolicyError."""
    return declare(_read(path), str(path), source)


def declare_generation(record: GenerationRecord, source: Source, note: str = "") -> Declared:
    """A policy that was in force before. Raises PolicyError if this version does not take it any more."""
    return replace(declare(record.text, record.filename, source, note), restores=record)


def digest_of_text(text: bytes) -> str:
    """What tells one policy file from another."""
    return hashlib.sha256(text).hexdigest()


def config_digest(config: Path | None) -> str:
    """Of the daemon's policy file as it is now; "" without one that can be read."""
    try:
        return digest_of_text(_read(config)) if config else ""
    except PolicyError:
        return ""


def is_over(pending: PendingRecord) -> bool:
    """Whether nobody can confirm it any more: its time is over, or the machine was started again."""
    return bootclock.boot_id() != pending.boot_id or bootclock.now() >= pending.until


def boot(config: Path | None, saved: PolicyState, generations: GenerationStore) -> Declared:
    """The policy to start with.

    The file *config* if its content is another than when a policy was last put in force, for that is the
    newer word; else what was in force, or what was in force before a policy that nobody confirmed in time.
    A file that cannot be used is no reason not to enforce what was in force. Raises PolicyError, or
    StateError if there is nothing.
    """
    try:
        held = _held(saved, generations)
    except (PolicyError, StateError) as error:
        log.warning("the policy that was in force cannot be used: %s", error)
        return _instead(config, saved, generations, str(error))
    if config is None and held is None:
        raise PolicyError(["no policy was ever in force here: give one with --config FILE"])
    if held and (config is None or config_digest(config) == saved.config_sha256):
        return held
    try:
        return declare_config(config or Path(), "start")
    except PolicyError as error:
        if held is None:
            raise
        why = "; ".join(error.lines)
        return replace(held, warnings=(f"{config} is not in force, the policy before it is: {why}",))


def _instead(config: Path | None, saved: PolicyState, generations: GenerationStore, why: str) -> Declared:
    """The policy file if it can be used, else the newest generation that can: better than none.

    Never one that nobody confirmed. Raises PolicyError, StateError.
    """
    problem: Exception = StateError(
        f"{why}; no earlier policy can be used either: give one with --config FILE"
    )
    if config is not None:
        try:
            return declare_config(config, "start")
        except PolicyError as error:
            problem = error
    for number in reversed(generations.numbers()):
        if saved.pending and number == saved.generation:
            continue
        with suppress(PolicyError, StateError):
            found = declare_generation(generations.get(number), "start", f"the one in force is lost: {why}")
            return replace(found, warnings=(f"{why}; generation {number} is in force instead",))
    raise problem


def _held(saved: PolicyState, generations: GenerationStore) -> Declared | None:
    """What was in force, if anything was."""
    if not saved.generation:
        return None
    if saved.pending and is_over(saved.pending):
        record = generations.get(saved.pending.revert_to)
        return declare_generation(record, "unconfirmed", f"generation {saved.generation} was not confirmed")
    return replace(declare_generation(generations.get(saved.generation), "start"), source=None, restores=None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PolicyError(
            [f"{path}: cannot be read: {error.strerror}: check the path and its permissions"]
        ) from error


def _decoded(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8-sig")
