# SPDX-License-Identifier: Apache-2.0
"""The daemon as its unit runs it, without systemd: user, capabilities and sandbox are read from the unit."""

import json
import shutil
import socket
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.testbed.chain import Chain
from bench.testbed.process import Completed
from bench.testbed.run import Run
from tests.net import sandbox
from tests.net.daemon import NEUROWALL, Daemon
from tests.net.installed import Installed
from tests.net.serviceunit import PROGRAM, Unit, allowed_syscalls, make_user, read_unit

INSTANCE = "main"
PYTHON = getattr(sys, "_base_executable", sys.executable)
_ALWAYS_WRITABLE = ("/dev", "/proc", "/sys")  # ProtectSystem=strict leaves these
_TUNABLES = ("/proc/sys", "/sys")  # ProtectKernelTunables= takes them away


def capabilities(words: Sequence[str]) -> str:
    """As setpriv wants a set that holds exactly these."""
    return ",".join(("-all", *(f"+{word.removeprefix('CAP_').lower()}" for word in words)))


class Service(Daemon):
    """neurowall@main.service, neurowall-prepare@main.service and neurowall-down@main.service in a gateway."""

    def __init__(self, run: Run, chain: Chain, installed: Installed, policy: str, *drop_ins: Path) -> None:
        super().__init__(run, chain, policy)
        self.installed = installed
        self.unit = read_unit("neurowall@.service", INSTANCE, *drop_ins)
        self.user = make_user(self.directory / "root")
        self.directory.chmod(0o755)
        self.config.chmod(0o644)
        self._script = str(shutil.copy(sandbox.__file__, self.directory))
        self._inside = ("nsenter", f"--net={chain.gateway.path}")

    # -- the parts of a command line

    def _command(self, unit: Unit) -> list[str]:
        """ExecStart= with this test's paths."""
        places = {PROGRAM: self.installed.program, f"/etc/neurowall/{INSTANCE}.yaml": str(self.config)}
        words = [places.get(word, word) for word in unit.command("ExecStart")]
        more = ["--run-dir", str(self.run_dir)]
        if {"run", "prepare"} & set(words):
            more += ["--state-dir", str(self.state_dir)]
        return [*words, *more]

    def _calls(self, unit: Unit) -> list[str]:
        allowed = allowed_syscalls(unit)
        if unit.on("RestrictNamespaces"):
            allowed -= {"unshare", "setns"}
        options = {
            "allowed": sorted(allowed),
            "families": unit.words("RestrictAddressFamilies"),
            "exact_memory": unit.on("MemoryDenyWriteExecute"),
        }
        return [PYTHON, self._script, "calls", json.dumps(options)]

    def _mounts(self, unit: Unit) -> list[str]:
        assert unit.text("ProtectSystem") == "strict"
        places = {f"/run/neurowall/{INSTANCE}": str(self.run_dir / INSTANCE)}
        assert unit.text("StateDirectory") == f"neurowall/{INSTANCE}"
        writable = {places.get(path, path) for path in unit.words("ReadWritePaths")}
        options = {
            "read_only": ["/", *(_TUNABLES if unit.on("ProtectKernelTunables") else ())],
            "writable": sorted(
                {*_ALWAYS_WRITABLE, *writable, str(self.state_dir / INSTANCE)} - set(_TUNABLES)
            ),
            "binds": {sysconfig.get_path("purelib"): str(self.installed.dependencies)},
        }
        return [PYTHON, self._script, "mounts", json.dumps(options)]

    def _privileges(self, unit: Unit, without: str = "") -> list[str]:
        """As the manager sets them: the user, the bounding set, and what stays through exec."""
        bounding = [word for word in unit.words("CapabilityBoundingSet") if word != without]
        ambient = [word for word in unit.words("AmbientCapabilities") if word != without]
        words = ["setpriv", f"--bounding-set={capabilities(bounding)}"]
        words += [f"--inh-caps={capabilities(ambient)}", f"--ambient-caps={capabilities(ambient)}"]
        if unit.text("User"):
            uid, gid = self.user
            words += [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        return [*words, "--no-new-privs"] if unit.on("NoNewPrivileges") else words

    def _environment(self) -> list[str]:
        notify = self.directory / "notify.sock"
        return ["env", "-u", "PYTHONPATH", "-u", "NEUROWALL_OBJECTS", f"PATH={self.installed.path}"] + (
            [f"NOTIFY_SOCKET={notify}"] if notify.exists() else []
        )

    # -- what the manager does

    def argv(self, *more: str, launcher: tuple[str, ...] = NEUROWALL, without: str = "") -> tuple[str, ...]:
        """The command line of neurowall@main.service, or by root alone with a launcher of its own."""
        if launcher is not NEUROWALL:
            command = [*launcher, *self._command(self.unit)[1:]]
            return (*self._inside, *self._environment(), *command, *more)
        steps = (self._mounts(self.unit), self._privileges(self.unit, without), self._calls(self.unit))
        words = [word for step in steps for word in step]
        return (*self._inside, *words, *self._environment(), *self._command(self.unit), *more)

    def _oneshot(self, name: str, *replaced: str) -> Completed:
        unit = read_unit(name, INSTANCE)
        command = self._command(unit)
        for old, new in zip(replaced[::2], replaced[1::2], strict=True):
            command[command.index(old)] = new
        steps = (*self._inside, *self._privileges(unit), *self._calls(unit), *self._environment(), *command)
        return self._run.exec(steps, timeout=60)

    def prepare(self) -> Completed:
        """neurowall-prepare@main.service; the user exists in a root directory of its own only."""
        uid, gid = self.user
        return self._oneshot("neurowall-prepare@.service", "neurowall", f"{uid}:{gid}")

    def take_down(self) -> Completed:
        """neurowall-down@main.service."""
        return self._oneshot("neurowall-down@.service")

    @contextmanager
    def manager(self) -> Iterator[socket.socket]:
        """Where the daemon says that it is ready, as systemd listens there."""
        path = self.directory / "notify.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(path))
            path.chmod(0o666)
            listener.settimeout(5.0)
            try:
                yield listener
            finally:
                path.unlink()
