# SPDX-License-Identifier: Apache-2.0
"""A run that makes everything a run can make, again and again, until somebody kills it.

Started by sandbox.py as `owner.py RUNS_DIR`; writes a line when it is about to begin and one after each
round.
"""

import sys
from pathlib import Path

from bench.testbed.base import Chain, Run

ESCAPE = ["setsid", "setpriv", "--pdeathsig", "clear", "--"]
"""Neither parent-death signal nor process group reaches what is started behind this, only the tag does."""


def say(word: str) -> None:
    """One line to whoever holds the other end."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    """Build, spawn, mount, pin; tear half of it down; again."""
    say("begin")
    with Run.begin(Path(sys.argv[1])) as run:
        while True:
            chain = Chain(run, "block").build()
            chain.gateway.spawn(["sleep", "300"], name="daemon")
            chain.server.spawn([*ESCAPE, "sleep", "301"], name="escaped")
            pins = run.mount_bpffs(run.make_directory("bpf"))
            attached = run.make_directory("links")
            run.mount_bpffs(attached / "fs")
            for path in (pins / "map", attached / "fs" / "map"):
                create = ["bpftool", "map", "create", str(path), "type", "array", "key", "4", "value", "4"]
                run.exec([*create, "entries", "1", "name", f"nw{run.id}"]).check()
            run.remove_directory(attached)
            chain.close()
            say("round")


if __name__ == "__main__":
    main()
