# SPDX-License-Identifier: Apache-2.0
"""`neurowall prepare`: what only root can do for a daemon that is not root; `neurowall down` is its undo.

That is little: mount the instance's bpffs, and make its folders. What a daemon of another user left in them
is given to the new one, pins too, so that it can be taken over while it is enforced.
"""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurowall.kernel import pins
from neurowall.management.errors import CannotRun, CommandError, UsageProblem
from neurowall.management.instance import Instance
from neurowall.model.errors import Unsupported


@dataclass(frozen=True)
class Owner:
    """A user and the group that may read along, by number."""

    uid: int
    gid: int


def prepare(instance: Instance, state_dir: Path, user: str) -> dict[str, Any]:
    """Make run directory, bpffs and state directory for a daemon of *user*; says what there was to do.

    To call it again, with a daemon running or not, changes nothing.
    """
    if os.geteuid():
        raise CannotRun("only root can mount a bpffs and give it away: run it with sudo, or by its unit")
    owner = _owner(user)
    try:
        done = _make(instance, state_dir, owner)
    except (OSError, Unsupported) as error:
        raise CommandError(f"cannot prepare instance '{instance.name}': {error}") from error
    return {"instance": instance.name, "user": user, "done": done}


def _make(instance: Instance, state_dir: Path, owner: Owner) -> list[str]:
    done = []
    # Others pass through to the instances, whose folders are closed to them.
    for shared in (instance.run_dir, state_dir):
        shared.mkdir(mode=0o755, parents=True, exist_ok=True)
    for folder in (instance.directory, state_dir / instance.name):
        if not folder.is_dir():
            folder.mkdir(mode=0o750)
            done.append(f"made {folder}")
    if not pins.is_mounted(instance.bpffs):
        pins.mount(instance.bpffs)
        done.append(f"mounted a bpffs at {instance.bpffs}")
    return done + [
        f"gave {given} files and folders in {folder} to uid {owner.uid}, gid {owner.gid}"
        for folder in (instance.directory, state_dir / instance.name)
        if (given := _give(folder, owner))
    ]


def _give(folder: Path, owner: Owner) -> int:
    """Give *folder* and all below to *owner*; how many were somebody else's.

    Whoever owned the folder may have put anything there, and root gives it away: links are never followed,
    and a file that has another name elsewhere is left alone.
    """
    given = 0
    for _, folders, files, place in os.fwalk(folder, follow_symlinks=False):
        for name in (".", *folders, *files):
            found = os.stat(name, dir_fd=place, follow_symlinks=False)
            if (found.st_uid, found.st_gid) == (owner.uid, owner.gid):
                continue
            if stat.S_ISLNK(found.st_mode) or (not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1):
                continue
            try:
                os.chown(name, owner.uid, owner.gid, dir_fd=place, follow_symlinks=False)
            except PermissionError:  # the kernel's own files in a bpffs, which stay root's
                continue
            given += 1
    return given


def _owner(user: str) -> Owner:
    """By name, or as UID:GID for a user whom only a container or another root directory knows."""
    uid, colon, gid = user.partition(":")
    if colon and uid.isdecimal() and gid.isdecimal():
        return Owner(int(uid), int(gid))
    try:
        known = pwd.getpwnam(user)
    except KeyError:
        raise UsageProblem(
            f"there is no user '{user}': make it with systemd-sysusers (its file comes with Neurowall) or "
            "`adduser --system --group`, or name another with --user"
        ) from None
    return Owner(known.pw_uid, known.pw_gid)
