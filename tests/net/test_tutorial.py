# SPDX-License-Identifier: Apache-2.0
"""docs/tutorial.md: its commands, in order and as they are written, on a gateway between two networks."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.testbed.chain import write_sysctls
from bench.testbed.run import Run
from tests.net.daemon import Daemon
from tests.net.site import Segment, Site
from tests.net.tutorial import Shells, fits, steps

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "ip", "bash", "curl", "jq", "openssl")]

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
SEGMENTS = {
    "wan0": Segment(("203.0.113.2/24",), ("203.0.113.1/24", "198.51.100.66/32"), default=True),
    "lan0": Segment(("192.0.2.1/24",), ("192.0.2.10/24",)),
}


@pytest.fixture(scope="module")
def site(run: Run) -> Iterator[Site]:
    """The gateway, the world outside and a laptop inside."""
    with Site.build(run, SEGMENTS) as site:
        with site.gateway.enter():
            write_sysctls({"net/ipv4/ip_forward": "1"})
        world = ("ip", "route", "replace", "203.0.113.0/24", "dev", "eth0", "src", "198.51.100.66")
        assert site.places["wan0"].exec(world).returncode == 0
        yield site


@pytest.fixture
def shells(run: Run, site: Site, tmp_path: Path) -> Iterator[Shells]:
    """Where the tutorial's reader types. What the daemon leaves goes, however the test ends."""
    daemon = Daemon(run, site)
    places = {"gateway": site.gateway, "outside": site.places["wan0"], "laptop": site.places["lan0"]}
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "NEUROWALL_RUN_DIR": str(daemon.run_dir),
        "NEUROWALL_STATE_DIR": str(daemon.state_dir),
    }
    here = tmp_path / "here"
    here.mkdir()
    try:
        with Shells(places, here, environment) as shells:
            yield shells
    finally:
        daemon.cli("down")
        run.remove_directory(daemon.directory)


@pytest.mark.timeout(300)
def test_the_tutorial_does_what_it_says(shells: Shells) -> None:
    """Every command, and what it prints."""
    done = 0
    for step in steps(TEXT):
        printed, code = shells.run(step)
        where = f"docs/tutorial.md:{step.line}: {step.command}\n"
        fails = step.printed.startswith(("error: ", "curl: "))
        assert (code != 0) == fails, f"{where}exit code {code}: {printed}"
        assert fits(step.printed, printed), (
            f"{where}printed:\n{printed}\nwhere the text says:\n{step.printed}"
        )
        done += 1
    assert done > 20


class TestReader:
    def test_commands_and_what_they_print(self) -> None:
        """Places, continued lines and texts that end at a word."""
        text = "a\n```console\ngateway# one \\\n  more\nprinted\nlaptop$ cat <<'END'\nx\nEND\n```\n"
        first, second = steps(text)
        assert (first.line, first.place, first.command, first.printed) == (
            3,
            "gateway",
            "one \\\n  more",
            "printed",
        )
        assert (second.place, second.command, second.printed) == ("laptop", "cat <<'END'\nx\nEND", "")

    @pytest.mark.parametrize(
        ("expected", "printed", "does"),
        [
            ("a b", "a   b\n\n", True),
            ("a b", "a c", False),
            ("generation ...: 1 added", "generation 12: 1 added", True),
            ("generation ...: 1 added", "generation 12: 2 added", False),
            ("first\n...\nlast", "first\nx\ny\nlast", True),
            ("first\n...\nlast", "first\nlast", True),
            ("first\n...\nlast", "first\nx", False),
            ("one", "one\ntwo", False),
            ("", "something", False),
            ("──", "────────", True),
        ],
    )
    def test_what_fits(self, expected: str, printed: str, does: bool) -> None:
        """Dots are the only freedom."""
        assert fits(expected, printed) is does
