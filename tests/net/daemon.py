# SPDX-License-Identifier: Apache-2.0
"""The real daemon as a child process, and the real CLI against it."""

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from bench.testbed.chain import Chain
from bench.testbed.process import Completed, Process
from bench.testbed.run import Run
from tests.net.site import Site

NEUROWALL = (sys.executable, "-m", "neurowall.management.cli.main")
READY_SECONDS = 20.0

POLICY = """\
interfaces:
  - {name: g0, zone: external}
  - {name: g1, zone: internal}
"""


class Daemon:
    """`neurowall run` in the gateway of a chain; starts, dies and starts again on the same directories."""

    def __init__(self, run: Run, chain: Chain | Site, policy: str = POLICY) -> None:
        self._run = run
        self.netns = chain.gateway.name
        self.directory = run.make_directory("gateway")
        self.run_dir, self.state_dir = self.directory / "run", self.directory / "state"
        self.config = self.directory / "policy.yaml"
        self.config.write_text(policy)
        self.process: Process | None = None

    @property
    def socket(self) -> Path:
        """The API's socket."""
        return self.run_dir / "main/api.sock"

    @property
    def bpffs(self) -> Path:
        """Where the pins are."""
        return self.run_dir / "main/bpf"

    def argv(self, *more: str, launcher: tuple[str, ...] = NEUROWALL) -> tuple[str, ...]:
        """The command line of `neurowall run`."""
        where = ("--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir), "--netns", self.netns)
        return (*launcher, "run", "--config", str(self.config), *where, *more)

    def start(self, *more: str, ready: bool = True, launcher: tuple[str, ...] = NEUROWALL) -> Process:
        """Start it and wait until it is ready, or (ready=False) until it answers at all."""
        self.process = self._run.spawn(self.argv(*more, launcher=launcher), name="neurowall")
        deadline = time.monotonic() + READY_SECONDS
        path = "/readiness" if ready else "/liveness"
        while True:
            assert self.process.alive(), self.process.tail()
            assert time.monotonic() < deadline, self.process.tail()
            try:
                if self.ask("GET", path).status_code == 200:
                    return self.process
            except httpx.TransportError:
                pass
            time.sleep(0.02)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One answer of the API, whatever it is."""
        # There is no TLS here, and a context for it takes 20 ms each.
        transport = httpx.HTTPTransport(uds=str(self.socket), verify=False)
        with httpx.Client(transport=transport, timeout=10) as client:
            return client.request(method, f"http://neurowall{path}", **more)

    def get(self, path: str) -> Any:
        """What the API answers to a question."""
        return self._good(self.ask("GET", path))

    def post(self, verb: str, *addresses: str) -> Any:
        """Block, allow, unblock or unallow addresses."""
        return self._good(self.ask("POST", f"/{verb}", json={"addresses": addresses}))

    def put(self, name: str, text: str) -> Any:
        """Make or replace a list."""
        return self._good(self.ask("PUT", f"/lists/{name}", content=text))

    @staticmethod
    def _good(answer: httpx.Response) -> Any:
        assert answer.status_code == 200, answer.text
        return answer.json()

    def forget(self) -> None:
        """Take back every change at run time; declared lists stay."""
        for each in self.get("/lists")["lists"]:
            if each["origin"] == "runtime":
                self._good(self.ask("DELETE", f"/lists/{each['name']}"))
        for name, verb in (("operator-block", "unblock"), ("operator-allow", "unallow")):
            if items := self.get(f"/lists/{name}")["items"]:
                self.post(verb, *items)

    def fails(self, *more: str) -> Completed:
        """Run it where it must not start; gives what it said."""
        return self._run.exec(self.argv(*more), timeout=30)

    def cli(self, *arguments: str, stdin: str | None = None) -> Completed:
        """Run a command; its failure is the caller's to judge."""
        argv = (*NEUROWALL, *arguments, "--run-dir", str(self.run_dir))
        return self._run.exec(argv, timeout=60, input=stdin)

    def ok(self, *arguments: str, stdin: str | None = None) -> Any:
        """The answer of a command that must succeed, as data."""
        done = self.cli(*arguments, "-o", "json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def kill(self) -> None:
        """SIGKILL, as the out-of-memory killer would."""
        assert self.process
        assert self.process.kill() == -signal.SIGKILL

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process
        self.process.signal(signal.SIGTERM)
        return self.process.wait(15)

    def log(self) -> str:
        """What the running or last daemon wrote."""
        assert self.process
        return self.process.tail(1 << 16)

    def wait_for(self, text: str, seconds: float = 5.0) -> None:
        """Return when the log holds *text*."""
        until(lambda: text in self.log(), seconds)

    def packets(self, reason: str) -> int:
        """How many packets were counted under *reason*."""
        rows = self.get("/status")["packets"]
        return int(next(row["packets"] for row in rows if row["reason"] == reason))


def until(wanted: Callable[[], bool], seconds: float = 5.0) -> None:
    """Return when *wanted* is true."""
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)
