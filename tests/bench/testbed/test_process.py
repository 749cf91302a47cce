# SPDX-License-Identifier: Apache-2.0
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.testbed import journal, procfs
from bench.testbed.base import HERE, Chain, Place, Run, TestbedError
from bench.testbed.procfs import RUN_TAG, Identity
from bench.testbed.reap import reap

pytestmark = pytest.mark.root

GRANDCHILD = "import os,time; os.fork() or os.setsid(); time.sleep(60)"


def waits_for(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class TestExec:
    def test_answers_with_output_status_and_time(self, run: Run) -> None:
        """Input goes in, both outputs and the status come out."""
        done = run.exec(["sh", "-c", "cat; echo no >&2; exit 3"], input="yes")
        assert (done.stdout, done.stderr, done.returncode) == ("yes", "no\n", 3)
        assert done.seconds > 0
        with pytest.raises(TestbedError, match=r"ended with status 3 and said: no"):
            done.check()

    def test_a_missing_program_is_named(self, run: Run) -> None:
        """The error says which and what to do."""
        with pytest.raises(TestbedError, match="`no-such-program` is not installed"):
            run.exec(["no-such-program"])

    def test_a_timeout_kills_the_whole_group(self, run: Run) -> None:
        """Neither the command nor what it started survives."""
        with pytest.raises(TestbedError, match=r"did not end within 0\.2 s"):
            run.exec(["sh", "-c", "sleep 60 & sleep 60"], timeout=0.2)
        assert waits_for(lambda: not procfs.tagged(run.id))

    def test_carries_the_tag_and_the_cpus(self, run: Run) -> None:
        """A child is found by its tag and runs where it was put."""
        cpu = max(os.sched_getaffinity(0))
        code = f"import os; print(os.environ['{RUN_TAG}'], *os.sched_getaffinity(0))"
        done = run.exec([sys.executable, "-c", code], place=Place(cpus=frozenset({cpu})))
        assert done.stdout.split() == [run.id, str(cpu)]
        free = run.exec([sys.executable, "-c", code])
        assert {int(each) for each in free.stdout.split()[1:]} >= os.sched_getaffinity(0)


class TestProcess:
    def test_is_journalled_while_it_lives(self, run: Run) -> None:
        """Pid and start time are on disk while it runs, and gone when it has ended."""
        process = run.spawn(["sleep", "60"])
        open_now = journal.read(run.journal.path).resources
        assert [(r.name, r.details["pid"]) for r in open_now if r.kind == "process"] == [
            ("sleep", process.pid)
        ]
        assert open_now[0].details["start_time"] == procfs.start_time(process.pid)
        assert process.terminate() == -signal.SIGTERM
        assert journal.read(run.journal.path).resources == []
        assert run.processes == []

    def test_writes_to_its_log(self, run: Run) -> None:
        """Both outputs end up in one file named after it."""
        process = run.spawn(["sh", "-c", "echo out; echo err >&2"], name="speaker")
        assert process.wait(5) == 0
        assert process.log == run.logs / "speaker.log"
        assert process.tail().split() == ["out", "err"]

    def test_names_in_a_run_are_unique(self, run: Run) -> None:
        """A second process of the same name gets a log and a journal entry of its own."""
        first, second = run.spawn(["true"]), run.spawn(["true"])
        assert (first.name, second.name) == ("true", "true-2")
        assert [first.wait(5), second.wait(5)] == [0, 0]

    def test_pipes_carry_both_ways(self, run: Run) -> None:
        """A child that speaks JSON can be talked to."""
        process = run.spawn(["cat"], pipes=True)
        process.stdin.write(b"hello\n")
        assert process.stdout.readline() == b"hello\n"
        process.terminate()

    def test_ignoring_sigterm_does_not_help(self, run: Run) -> None:
        """After its time a child is killed."""
        process = run.spawn(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"])
        assert waits_for(lambda: "ready" in process.tail())
        assert process.terminate(0.2) == -signal.SIGKILL

    def test_terminate_ends_its_children_too(self, run: Run) -> None:
        """What the child left in its process group goes with it."""
        process = run.spawn(["sh", "-c", "sleep 61 & echo ready; wait"])
        assert waits_for(lambda: "ready" in process.tail() and len(procfs.tagged(run.id)) == 2)
        process.terminate()
        assert waits_for(lambda: not procfs.tagged(run.id))

    def test_the_end_of_the_run_also_finds_one_that_left_its_session(self, run: Run) -> None:
        """A daemonised grandchild without parent-death signal is found by the tag."""
        process = run.spawn(["setsid", sys.executable, "-c", GRANDCHILD])
        assert waits_for(lambda: len(procfs.tagged(run.id)) >= 2)
        process.kill()
        assert procfs.tagged(run.id)
        run.close()
        assert not procfs.tagged(run.id)

    def test_survives_the_thread_that_spawned_it(self, run: Run) -> None:
        """The parent-death signal follows the program, not the thread that asked."""
        spawned: list[int] = []
        thread = threading.Thread(target=lambda: spawned.append(run.spawn(["sleep", "60"]).pid))
        thread.start()
        thread.join()
        time.sleep(0.1)
        assert procfs.start_time(spawned[0]) is not None

    def test_a_start_that_fails_is_an_error(self, run: Run) -> None:
        """And leaves no process behind in the run."""
        with pytest.raises(TestbedError, match="not installed"):
            run.spawn(["no-such-program"])
        assert run.processes == []


class TestOwner:
    def test_children_die_with_a_killed_owner(self, tmp_path: Path) -> None:
        """SIGKILL of the owner reaches its children without any help."""
        code = (
            "import sys,time; from pathlib import Path; from bench.testbed.base import Run\n"
            f"run = Run.begin(Path({str(tmp_path)!r}) / 'runs')\n"
            "print(run.id, run.spawn(['sleep', '60']).pid, flush=True); time.sleep(60)"
        )
        with Run.begin(tmp_path / "outer", signals=False) as outer:
            owner = outer.spawn([sys.executable, "-c", code], pipes=True)
            run_id, pid = owner.stdout.readline().split()
            child = Identity.of(int(pid))
            assert child.alive()
            owner.signal(signal.SIGKILL)
            assert child.wait_gone(2.0), f"child of run {run_id!r} survived"

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, -2)])
    def test_a_signal_tears_down_and_a_second_one_cannot_stop_it(
        self, tmp_path: Path, number: signal.Signals, status: int
    ) -> None:
        """The namespaces, the child and the run directory are gone when the program ends."""
        code = (
            "import sys,time; from pathlib import Path; from bench.testbed.base import Chain, Run\n"
            f"with Run.begin(Path({str(tmp_path)!r}) / 'runs') as run, Chain(run).build() as chain:\n"
            "    run.on_close(lambda: time.sleep(0.5))\n"
            "    chain.server.spawn(['sleep', '60'])\n"
            "    print(chain.gateway.name, flush=True); time.sleep(60)"
        )
        with Run.begin(tmp_path / "outer", signals=False) as outer:
            owner = outer.spawn([sys.executable, "-c", code], pipes=True)
            name = owner.stdout.readline().decode().strip()
            assert Path("/run/netns", name).exists()
            owner.signal(number)
            time.sleep(0.2)
            owner.signal(number)
            assert owner.wait(10) == status
            assert not Path("/run/netns", name).exists()
            assert list((tmp_path / "runs").iterdir()) == []

    @pytest.mark.parametrize("insist", [False, True])
    def test_a_signal_during_the_teardown_waits_for_its_end(self, tmp_path: Path, insist: bool) -> None:
        """It is not lost, the program ends by it afterwards. The third one ends it at once; reap goes on."""
        code = (
            "import time; from pathlib import Path; from bench.testbed.base import Chain, Run\n"
            f"with Run.begin(Path({str(tmp_path)!r}) / 'runs') as run:\n"
            "    name = Chain(run).build().gateway.name\n"
            f"    run.on_close(lambda: print(name, flush=True) or time.sleep({60 if insist else 0.5}))\n"
        )
        with Run.begin(tmp_path / "outer", signals=False) as outer:
            owner = outer.spawn([sys.executable, "-c", code], pipes=True)
            name = owner.stdout.readline().decode().strip()
            owner.signal(signal.SIGTERM)
            while insist and owner.alive():  # signals that come too fast count as one
                owner.signal(signal.SIGTERM)
                time.sleep(0.05)
            assert owner.wait(10) == 143
            assert Path("/run/netns", name).exists() == insist
            reap(tmp_path / "runs")
            assert not Path("/run/netns", name).exists()


def test_a_closed_chain_takes_its_processes_along(run: Run) -> None:
    """A process started in a namespace ends with it, one started elsewhere goes on."""
    with Chain(run).build() as chain:
        inside, outside = chain.gateway.spawn(["sleep", "60"]), run.spawn(["sleep", "60"], place=HERE)
    assert not inside.alive()
    assert outside.alive()
