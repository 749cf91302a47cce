# SPDX-License-Identifier: Apache-2.0
"""Reads a unit of packaging/systemd, so that tests start a daemon by its values and not by copies of them."""

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
PROGRAM = "/opt/neurowall/bin/neurowall"


@dataclass(frozen=True)
class Unit:
    """A service's settings by name; one that may be given often has a value for each time."""

    settings: dict[str, tuple[str, ...]]

    def words(self, name: str) -> list[str]:
        """All words of a list setting; an empty one takes back what came before, as in systemd.unit(5)."""
        found: list[str] = []
        for value in self.settings.get(name, ()):
            found = [*found, *value.split()] if value else []
        return found

    def text(self, name: str) -> str:
        """The last value of a setting, empty if it is not given."""
        return self.settings.get(name, ("",))[-1]

    def on(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.text(name) in {"yes", "true", "on", "1"}

    def command(self, name: str) -> list[str]:
        """A command line."""
        return shlex.split(self.text(name))


def read_unit(name: str, instance: str, *drop_ins: Path) -> Unit:
    """A template of packaging/systemd as *instance* of it, with drop-ins."""
    settings: dict[str, tuple[str, ...]] = {}
    for path in (PACKAGING / "systemd" / name, *drop_ins):
        for line in path.read_text().splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                settings[key] = (*settings.get(key, ()), value.strip().replace("%i", instance))
    return Unit(settings)


@cache
def syscall_groups() -> dict[str, tuple[str, ...]]:
    """Groups of system calls as systemd knows them, `@name`: members, which may be groups."""
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter"], check=True, capture_output=True, text=True
    ).stdout
    groups: dict[str, tuple[str, ...]] = {}
    group = ""
    for line in text.splitlines():
        word = line.strip()
        if line.startswith("@"):
            group, groups[word] = word, ()
        elif word and not word.startswith("#") and group and line.startswith(" "):
            groups[group] = (*groups[group], word)
        elif not line.startswith(" "):
            group = ""
    return groups


def allowed_syscalls(unit: Unit) -> set[str]:
    """What SystemCallFilter= leaves; @default always, as systemd does."""
    allowed = expand("@default")
    for value in unit.settings["SystemCallFilter"]:
        denied = value.startswith("~")
        named = {each for word in value.removeprefix("~").split() for each in expand(word)}
        allowed = allowed - named if denied else allowed | named
    return allowed | expand("@default")


def expand(word: str) -> set[str]:
    """The calls that a name or a group stands for."""
    if not word.startswith("@"):
        return {word}
    return {each for member in syscall_groups()[word] for each in expand(member)}


def make_user(root: Path) -> tuple[int, int]:
    """The user and the group that sysusers.d makes, in a root directory of its own; the host gets none.

    It starts from the host's users, so that the numbers are free here.
    """
    (root / "etc").mkdir(parents=True)
    for name in ("passwd", "group"):
        lines = Path("/etc", name).read_text().splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith("neurowall:")]
        (root / "etc" / name).write_text("".join(kept))
    folder = root / "usr/lib/sysusers.d"
    folder.mkdir(parents=True)
    shutil.copy(PACKAGING / "sysusers.d/neurowall.conf", folder)
    subprocess.run(["systemd-sysusers", f"--root={root}", "neurowall.conf"], check=True, capture_output=True)
    for line in (root / "etc/passwd").read_text().splitlines():
        name, _, uid, gid, *_ = line.split(":")
        if name == "neurowall":
            return int(uid), int(gid)
    raise AssertionError("sysusers.d made no user neurowall")
