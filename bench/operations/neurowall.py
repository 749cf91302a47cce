# SPDX-License-Identifier: Apache-2.0
"""Neurowall operated by its own means: the CLI for lists, HTTP over its unix socket for single addresses."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx

from bench.measure import memory
from bench.operations import https
from bench.operations.base import COMMAND_SECONDS, Room, Verb
from bench.rulebook import beginning
from bench.sut.base import Rules, RulesetRejected, SutError, excerpt
from bench.sut.neurowall import INSTANCE, Neurowall, policy_text
from neurowall.model.entries import EntrySet

if TYPE_CHECKING:
    from bench.rulebook import Rulebook
    from bench.testbed.base import Chain, Process, Run

LIST = "feed"
_MIB = 1 << 20


class OperatedNeurowall:
    """A daemon that starts with one entry of the list, so that loading the rest is what is timed."""

    def __init__(self, engine: Literal["buckets", "classic"] = "buckets") -> None:
        self.system = Neurowall(engine)
        self.name = self.system.name
        self.notes: tuple[str, ...] = ()
        self.has_command = True
        self._chain: Chain | None = None
        self._run: Run | None = None
        self._daemon: Process | None = None
        self._client: httpx.Client | None = None
        self._files = self._tokens = 0
        self._certificate: https.Certificate | None = None
        self._listens = self._ruled = False

    def listen(self) -> None:
        """Have the daemon serve HTTPS at its inner address."""
        self._listens = True

    def remote(self) -> https.Remote:
        """A client at the server's side, or on the gateway itself where rules let nobody in."""
        if self._certificate is None or self._chain is None or self._daemon is None:
            raise SutError(f"{self.name} listens to nobody: call listen() and load() first")
        chain = self._chain
        place = chain.gateway if self._ruled else chain.server
        return https.Remote(place, chain.gateway_out.v4, self._certificate.certificate, self._token())

    def open_files(self) -> tuple[str, ...]:
        """By its descriptors."""
        found = []
        for descriptor in Path(f"/proc/{self.daemon.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found.append(str(descriptor.readlink()))
        return tuple(found)

    def _token(self) -> str:
        """Made as root of the gateway does."""
        self._tokens += 1
        body = {"name": f"bench-{self._tokens}", "scopes": list(https.SCOPES)}
        with connect(self.socket) as client:
            answer = client.post("/tokens", json=body)
        if not answer.is_success:
            raise SutError(f"{self.name}: POST /tokens said {answer.status_code}: {excerpt(answer.text)}")
        return str(answer.json()["token"])

    def load(self, chain: Chain, rules: Rules, room: int) -> float:
        """Start the daemon, then `neurowall lists load`."""
        run = self._run = chain.run
        self._chain = chain
        self._ruled = rules.book is not None
        if self._listens:
            made = self._certificate = https.make_certificate(
                run.make_directory(f"{self.name}-tls"), chain.gateway_out.v4
            )
            where = f"{chain.gateway_out.v4}:{https.PORT}"
            keys = ("--tls-cert", str(made.certificate), "--tls-key", str(made.key))
            self.system.options = ("--listen", where, *keys)
        before = list(run.processes)
        first = EntrySet(*(rules.entries.family(f).take(slice(0, 1)) for f in (4, 6)))
        more = {"hosts4": rules.counts["hosts4"] + room if room else 0}
        book = None if rules.book is None else beginning(rules.book)
        report = self.system.configure(chain, Room(first, more | _but_hosts4(rules), book=book))
        self.notes = report.notes
        self._daemon = next(process for process in run.processes if process not in before)
        if not len(rules.entries):
            return time.monotonic()
        file = self.stage(rules)
        started = time.monotonic()
        self._command("lists", "load", str(file), "--name", LIST)
        return started

    def stage(self, rules: Rules) -> Path:
        """A text file, one entry a line."""
        self._files += 1
        file = self.directory / f"list-{self._files}.txt"
        file.write_text(rules.list_text, encoding="ascii")
        return file

    def replace(self, staged: Path) -> None:
        """`neurowall lists replace`."""
        self._command("lists", "replace", LIST, str(staged))

    def change(self, verb: Verb, addresses: Sequence[str]) -> None:
        """POST over the kept-alive connection."""
        if self._client is None:
            self._client = connect(self.socket)
        answer = self._client.post(f"/{verb}", json={"addresses": list(addresses)})
        if not answer.is_success:
            raise SutError(f"{self.name}: POST /{verb} said {answer.status_code}: {excerpt(answer.text)}")

    def written(self, book: Rulebook) -> str:
        """The policy file that the daemon began with, with these rules."""
        if self._chain is None:
            raise SutError(f"{self.name} is not started: call load() first")
        return policy_text(self.system.engine, self._chain, Rules(EntrySet.empty(), book=book))

    def send(self, text: str) -> None:
        """POST /policy/apply over the kept-alive connection."""
        if self._client is None:
            self._client = connect(self.socket)
        headers = {"content-type": "application/yaml", "x-policy-file": str(self.directory / "policy.yaml")}
        answer = self._client.post("/policy/apply", content=text.encode(), headers=headers)
        if not answer.is_success:
            said = f"{answer.status_code}: {excerpt(answer.text)}"
            raise RulesetRejected(f"{self.name}: POST /policy/apply said {said}")

    def put(self, book: Rulebook) -> None:
        """Write and send."""
        self.send(self.written(book))

    def command(self, book: Rulebook) -> None:
        """`neurowall apply FILE`. Forced: a session of whoever runs this is none of the gateway's."""
        self._files += 1
        file = self.directory / f"policy-{self._files}.yaml"
        file.write_text(self.written(book), encoding="utf-8")
        self._command("apply", "--force", str(file))

    @property
    def socket(self) -> Path:
        """Of the API."""
        return self.directory / INSTANCE / "api.sock"

    @property
    def directory(self) -> Path:
        """The daemon's run directory."""
        argv = self.daemon.argv
        return Path(argv[argv.index("--run-dir") + 1])

    @property
    def daemon(self) -> Process:
        """The daemon's process; SutError before load."""
        if self._daemon is None:
            raise SutError(f"{self.name} is not started: call load() first")
        return self._daemon

    def kernel_mib(self) -> float:
        """All maps of the instance."""
        return sum(memory.kernel_maps(self.daemon.pid, self.directory).values()) / _MIB

    def process_mib(self) -> float:
        """The daemon and its helpers, without the maps that they have mapped."""
        return memory.of_tree(self.daemon.pid).own_kib / 1024

    def close(self) -> None:
        """End the daemon and its enforcement."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self.system.close()

    def _command(self, *words: str) -> None:
        """Run `neurowall WORDS`, as an operator would, to its end."""
        if self._run is None:
            raise SutError(f"{self.name} is not started: call load() first")
        argv = self.daemon.argv
        done = self._run.exec([*argv[: argv.index("run")], *words], timeout=COMMAND_SECONDS)
        if done.returncode != 0:
            said = excerpt(done.stderr.strip() or done.stdout.strip())
            raise RulesetRejected(f"{self.name}: `neurowall {' '.join(words[:2])}` failed: {said}")


def connect(socket: Path) -> httpx.Client:
    """One connection that is kept alive."""
    transport = httpx.HTTPTransport(uds=str(socket), limits=httpx.Limits(max_connections=1))
    return httpx.Client(transport=transport, base_url="http://neurowall", timeout=COMMAND_SECONDS)


def _but_hosts4(rules: Rules) -> dict[str, int]:
    return {kind: count for kind, count in rules.counts.items() if kind != "hosts4"}
