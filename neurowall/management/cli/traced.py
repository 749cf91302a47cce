# SPDX-License-Identifier: Apache-2.0
"""What a trace is made of: the probes, the namespace that is watched, and what the daemon tells of XDP."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from neurowall.kernel.trace import Tracer, namespace_number
from neurowall.logic.trace import TOLD, Row
from neurowall.management.cli.client import Client
from neurowall.management.cli.options import Call
from neurowall.management.cli.output import working
from neurowall.management.cli.trace import Tracing
from neurowall.management.errors import CannotRun, CommandError, UsageProblem
from neurowall.management.instance import holder
from neurowall.model.errors import NeurowallError, Unsupported
from neurowall.model.trace import Kind, Tally

NAMESPACES = Path("/run/netns")
SAMPLED = "XDP drops are those that the daemon tells of: at most events.per_second of each reason and CPU"
SILENT_SINCE = (6, 18)
EXCEPTIONS = "XDP exceptions are counted for any address: the kernel shows no packet there"


@contextmanager
def begin(call: Call, text: str, netns: str | None) -> Iterator[Tracing]:
    """Attach, and detach at the end. CannotRun with what to install if something is missing."""
    address = _address(text)
    if os.geteuid():
        raise CannotRun("trace looks into the kernel, which takes root: run it with sudo")
    namespace = _namespace(call, netns)
    told = Told(call, str(address))  # it listens by the time that the probes are compiled
    try:
        with working("compiling the probes"):
            tracer = Tracer(address, namespace)
    except Unsupported as error:
        raise CannotRun(str(error)) from error
    except NeurowallError as error:
        raise CommandError(str(error)) from error
    told.forget()
    try:
        yield Tracing(str(address), tracer, told.rows, [*_notes(tracer), *told.notes])
    finally:
        tracer.close()


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise UsageProblem(f"{text!r} is no IPv4 or IPv6 address (a prefix cannot be traced)") from None


def _namespace(call: Call, netns: str | None) -> int:
    """The one that was asked for, else the daemon's, else where it was last started, else this one."""
    instance = call.instance
    record = instance.recorded()
    if netns is None and (pid := holder(instance)):
        path = Path(f"/proc/{pid}/ns/net")
    elif name := netns or (record.netns if record else None):
        path = NAMESPACES / name.replace("/", "?")
    else:
        path = Path("/proc/self/ns/net")
    try:
        return namespace_number(path)
    except OSError as error:
        raise CannotRun(f"no network namespace {path}: {error.strerror}") from error


def _notes(tracer: Tracer) -> list[str]:
    notes = [EXCEPTIONS]
    if tracer.unwatched:
        notes.append(f"this kernel has no tracepoint {', '.join(tracer.unwatched)}")
    if not tracer.tells_reasons:
        notes.append("this kernel gives no reasons (Linux 5.17 and newer do): see the functions")
    if tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2]) >= SILENT_SINCE:
        notes.append("this kernel does not tell of short UDP packets that a program read")
    return notes


class Told:
    """Drops in XDP, from the daemon's events; in a thread of its own, which ends with the process."""

    def __init__(self, call: Call, address: str) -> None:
        self._address = address
        self._seen: dict[Row, Tally] = {}
        self._lock = threading.Lock()
        self.notes: list[str] = []
        listening = threading.Event()
        threading.Thread(target=self._follow, args=(call, listening), daemon=True).start()
        listening.wait(5.0)

    def rows(self) -> dict[Row, Tally]:
        """What was told so far."""
        with self._lock:
            return dict(self._seen)

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._seen.clear()

    def _follow(self, call: Call, listening: threading.Event) -> None:
        try:
            with call.client() as client:
                off = not client.get("events", "recent", limit=1)["per_second"]
                self.notes.append("XDP drops are not shown: events.per_second is 0" if off else SAMPLED)
                listening.set()
                self._read(client)
        except CommandError as error:
            self.notes.append(f"XDP drops are not shown: {error}")
        finally:
            listening.set()

    def _read(self, client: Client) -> None:
        for name, event in client.follow("events", address=self._address, kind="drop"):
            if name != "lost":
                self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        to_it = event["destination"] == self._address
        cause = event.get("list") or event.get("limit") or ""
        row = Row(
            Kind.DIED,
            event["interface"],
            TOLD,
            event["reason"],
            "",
            to_it=to_it,
            known=True,
            meaning=f"by {cause}" if cause else "",
        )
        with self._lock:
            before = self._seen.get(row, Tally(0, 0))
            self._seen[row] = before + Tally(1, event["bytes"])
