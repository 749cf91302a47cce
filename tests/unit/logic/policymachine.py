# SPDX-License-Identifier: Apache-2.0
"""A machine for tests of policies: its kernel and tables, in memory, and its disk outlive engines."""

from collections.abc import Callable
from pathlib import Path

from neurowall.data.generations import GenerationStore
from neurowall.data.state import StateStore
from neurowall.data.tablememo import TableMemo
from neurowall.logic.around import Around
from neurowall.logic.declared import boot
from neurowall.logic.engine import Engine
from neurowall.model.errors import (
    KernelError,
)
from neurowall.model.intent import PolicyState
from neurowall.model.policy import Policy
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.faketables import FakeTables

HEAD = """
interfaces:
  - {name: wan0, zone: external}
  - {name: lan0, zone: internal}
"""
WEB = (
    HEAD + "rules:\n  - {name: web, from: external, to: gateway, protocol: tcp, ports: 443, action: accept}\n"
)
SSH = (
    HEAD + "rules:\n  - {name: ssh, from: internal, to: gateway, protocol: tcp, ports: 22, action: accept}\n"
)
LISTED = WEB + "lists: [{name: feed, verdict: block, file: feed.txt}]\n"


class Machine:
    """One state directory, kernel and boot clock; engines come and go."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.plane = FakeDataPlane()
        self.tables = FakeTables()
        self.forwarded: list[Policy] = []
        self.time = 1_000.0
        self.boot_id = "first"
        self.store: StateStore | None = None
        self.engine = self.start(HEAD)

    def start(self, config: str | None, *, write: bool = True) -> Engine:
        """As the daemon does: choose what to start with, and start."""
        if self.store:
            self.store.close()
        path = self.directory / "policy.yaml"
        if config is not None and write:
            path.write_text(config)
        self.store = StateStore(self.state)
        saved = self.store.load().policy if self.store.exists() else PolicyState()
        declared = boot(path if config is not None else None, saved, GenerationStore(self.state))
        memo = TableMemo(self.directory / "table.json")
        around = Around(self.tables, forwarding=self.forwarded.append, memo=memo, config=path)
        self.engine = Engine(declared, self.plane, self.store, clock=self.plane.clock, around=around)
        self.engine.start()
        return self.engine

    def apply(self, text: str, **more: object) -> int:
        """The generation after applying a policy beside the others' files."""
        filename = str(self.directory / "applied.yaml")
        return self.engine.apply_policy(text, filename, **more).generation  # type: ignore[arg-type]

    @property
    def rules(self) -> set[str]:
        """The rules that packets meet."""
        return {name.removeprefix("rule-") for name in self.tables.enforced() if name.startswith("rule-")}


def meets(machine: Machine, address: str) -> str:
    """What a packet meets: the lists, or the table of the moment."""
    if machine.plane.verdict(address) == "drop":
        return "drop"
    return " ".join(sorted(machine.rules))


def failing_once(operation: str) -> Callable[[str], None]:
    """Raise the first time that the operation begins."""
    left = [1]

    def fail(name: str) -> None:
        if name == operation and left[0]:
            left[0] -= 1
            raise KernelError("the test breaks it")

    return fail


def files(directory: Path) -> dict[str, bytes]:
    """Everything below a directory."""
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def as_first_schema(text: bytes) -> bytes:
    """The same state as the version before wrote it."""
    import hashlib
    import json

    document = json.loads(text)
    del document["intent"]["policy"]
    body = json.dumps(document["intent"], sort_keys=True, separators=(",", ":"))
    checksum = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps(
        {"schema": "neurowall-state/1", "checksum": checksum, "intent": document["intent"]}
    ).encode()
