# SPDX-License-Identifier: Apache-2.0
"""`neurowall top`: rates from two answers; on a terminal, in a pipe, and once."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from neurowall.management.cli.topview import Sort, frame
from neurowall.management.errors import ExitCode
from neurowall.model.counters import Counter
from neurowall.model.reasons import Reason
from tests.unit.management.commands import Cli
from tests.unit.management.conftest import StandIn
from tests.unit.management.scripted import HANG_UP, Answer, on_socket, problem
from tests.unit.management.terminal import NEUROWALL, Terminal

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"


def answer(seconds: float, **reasons: tuple[int, int]) -> dict[str, Any]:
    """What the daemon tells; a reason is (packets, bytes)."""
    return {
        "seconds": seconds,
        "at": "2026-11-22T18:02:35.123Z",
        "generation": 7,
        "packets": [
            {"reason": name, "verdict": verdict_of(name), "packets": packets, "bytes": size}
            for name, (packets, size) in reasons.items()
        ],
        "lists": [],
        "limits": [],
        "sources": [],
        "sampled": True,
    }


def verdict_of(reason: str) -> str:
    """Enough for these."""
    return "pass" if reason == "allowed" else "drop"


class TestFrame:
    def test_rates_are_differences_over_the_daemons_own_time(self) -> None:
        """Packets and bits a second, totals beside them."""
        shown = frame(answer(10.0, listed=(100, 6000)), answer(12.0, listed=(300, 18000)))
        assert shown["seconds"] == 2.0
        assert shown["packets"] == [
            {
                "reason": "listed",
                "verdict": "drop",
                "packets_per_second": 100.0,
                "bits_per_second": 48000.0,
                "packets": 300,
                "bytes": 18000,
            }
        ]

    def test_verdicts_are_sums(self) -> None:
        """Of their reasons."""
        before = answer(0.0, listed=(0, 0), limit=(0, 0), allowed=(0, 0))
        now = answer(1.0, listed=(10, 600), limit=(5, 300), allowed=(2, 2000))
        rates = {each["verdict"]: each["packets_per_second"] for each in frame(before, now)["verdicts"]}
        assert rates == {"drop": 15.0, "pass": 2.0}

    def test_a_counter_that_began_anew_counts_from_nothing(self) -> None:
        """`neurowall down` and up again: never a negative rate."""
        shown = frame(answer(0.0, listed=(1000, 60000)), answer(1.0, listed=(3, 180)))
        assert shown["packets"][0]["packets_per_second"] == 3.0

    def test_a_list_that_is_new_began_at_nothing(self) -> None:
        """It was loaded meanwhile."""
        row = {"list": "feed", "verdict": "block", "monitor": False, "packets": 8, "bytes": 480}
        now = answer(2.0) | {"lists": [row | {"matched_packets": 10, "matched_bytes": 600}]}
        shown = frame(answer(0.0), now)["lists"][0]
        assert (shown["packets_per_second"], shown["matched_per_second"]) == (4.0, 5.0)

    def test_no_time_is_no_rate(self) -> None:
        """The first frame of all."""
        now = answer(1.0, listed=(3, 180))
        assert frame(now, now)["packets"][0]["packets_per_second"] == 0.0

    def test_sorts_go_round(self) -> None:
        """The key s comes back to where it began."""
        order = Sort.PACKETS
        for _ in Sort:
            order = order.next()
        assert order is Sort.PACKETS


@pytest.fixture
def counted(dataplane: StandIn) -> StandIn:
    """A data plane that has seen packets."""
    dataplane.reasons[Reason.BLOCK_LIST] = Counter(1000, 60000)
    return dataplane


class TestOnce:
    def test_one_interval_as_json(self, cli: Cli, counted: StandIn) -> None:
        """For scripts: rates and totals in one document."""
        shown = cli.json("top", "--once", "--interval", "0.1")
        row = next(each for each in shown["packets"] if each["reason"] == "block-list")
        assert row["packets"] == 1000
        assert row["packets_per_second"] == 0.0
        assert shown["seconds"] >= 0.1

    def test_one_interval_for_people(self, cli: Cli, counted: StandIn) -> None:
        """Reasons that counted anything, with units."""
        text = cli.ok("top", "--once", "--interval", "0.1")
        assert "drop 0 packets/s, 0 bit/s" in text
        assert "block-list" in text
        assert "1,000" in text
        assert "\x1b" not in text

    def test_no_daemon(self, alone: Cli) -> None:
        """Exit 3, and no screen was taken."""
        alone.error(ExitCode.UNREACHABLE, "top")


class TestPipe:
    def test_intervals_follow_each_other(self, cli: Cli, counted: StandIn) -> None:
        """A JSON object a line, until the reader has enough; its end is no error."""
        argv = (*NEUROWALL, "top", "-i", "0.1", "-o", "json", "--run-dir", str(cli.run_dir))
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stderr
            rows = [json.loads(process.stdout.readline()) for _ in range(3)]
            process.stdout.close()
            assert process.wait(20) == 0, process.stderr.read()
        assert [each["generation"] for each in rows] == [1, 1, 1]

    def test_interrupted(self, cli: Cli) -> None:
        """130, as a shell says it; no trace of Python."""
        argv = (*NEUROWALL, "top", "-i", "0.1", "--run-dir", str(cli.run_dir))
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert process.stderr.read() == ""


@pytest.mark.tool("setsid")
class TestTerminal:
    def watching(self, run_dir: Path, *more: str) -> Terminal:
        """`neurowall top` in front of a person."""
        return Terminal(*NEUROWALL, "top", "-i", "0.2", "--run-dir", str(run_dir), *more)

    def test_q_ends_it_and_everything_is_as_before(self, cli: Cli, counted: StandIn) -> None:
        """The screen, the cursor, the modes."""
        with self.watching(cli.run_dir) as terminal:
            terminal.wait_for(ENTER)
            terminal.wait_for("block-list")
            assert terminal.modes != terminal.before
            terminal.type("q")
            assert terminal.end() == 0
            assert LEAVE in terminal.shown
            assert "\x1b[?25h" in terminal.shown
            assert terminal.modes == terminal.before

    @pytest.mark.parametrize(
        ("how", "code"), [("\x03", 130), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 129)]
    )
    def test_it_gives_the_terminal_back_however_it_is_ended(
        self, cli: Cli, how: str | signal.Signals, code: int
    ) -> None:
        """Ctrl-C, SIGTERM, SIGHUP."""
        with self.watching(cli.run_dir) as terminal:
            terminal.wait_for(ENTER)
            if isinstance(how, str):
                terminal.type(how)
            else:
                terminal.signal(how)
            assert terminal.end() == code
            assert LEAVE in terminal.shown
            assert "Traceback" not in terminal.shown
            assert terminal.modes == terminal.before

    def test_it_gives_the_terminal_back_while_it_is_stopped(self, cli: Cli) -> None:
        """Ctrl-Z, and the screen again when it goes on."""
        with self.watching(cli.run_dir) as terminal:
            terminal.wait_for(ENTER)
            terminal.signal(signal.SIGTSTP)
            terminal.wait_for(LEAVE)
            terminal.signal(signal.SIGCONT)
            terminal.wait_for(ENTER)
            terminal.type("q")
            assert terminal.end() == 0

    def test_keys(self, cli: Cli, counted: StandIn) -> None:
        """The key s sorts by the next column; p holds the figures and lets them go on."""
        with self.watching(cli.run_dir) as terminal:
            terminal.wait_for("by packets")
            terminal.type("s")
            terminal.wait_for("by bits")
            terminal.type("p")
            terminal.wait_for("held")
            counted.reasons[Reason.BLOCK_LIST] = Counter(2500, 150000)
            terminal.type("s")  # draws again, the old figures
            assert "1,000" in terminal.wait_for("\x1b[J")
            terminal.type("p")
            terminal.wait_for("2,500")
            terminal.type("q")
            assert terminal.end() == 0

    def test_a_daemon_that_is_away_is_waited_for(self, alone: Cli) -> None:
        """The last figures stay, with why there are no newer ones; a token that was revoked ends it."""
        first, later = answer(1.0, listed=(77, 0)), answer(9.0, listed=(88, 0)) | {"generation": 9}
        revoked = problem(401, "not-authenticated", "the token was revoked")
        told = (Answer(first), HANG_UP, HANG_UP, Answer(later), revoked)
        with on_socket(alone.run_dir / "main/api.sock", *told), self.watching(alone.run_dir) as terminal:
            terminal.wait_for("77")
            terminal.wait_for("no answer, trying again")
            terminal.wait_for("77")
            assert "no answer" not in terminal.wait_for("generation 9").rpartition("\x1b[J")[2]
            assert terminal.end() == ExitCode.FAILED
            assert LEAVE in terminal.shown
            assert "error: the token was revoked" in terminal.shown.rpartition(LEAVE)[2]

    def test_figures_move(self, cli: Cli, counted: StandIn) -> None:
        """What is counted meanwhile becomes a rate."""
        with self.watching(cli.run_dir) as terminal:
            terminal.wait_for("1,000")
            counted.reasons[Reason.BLOCK_LIST] = Counter(1_001_000, 60_060_000)
            terminal.wait_for("1,001,000")
            terminal.type("q")
            assert terminal.end() == 0
