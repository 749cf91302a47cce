# SPDX-License-Identifier: Apache-2.0
"""Updates watched at every line of the kernel layer, and killed at any of them.

At each line that neurowall/kernel executes while the engine changes a list, packets from every source must
get what the old lists or the new ones say; killed there, the next start must finish the change.
"""

import contextlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType, ModuleType
from typing import Any

import pytest

from neurowall import kernel
from neurowall.data.state import StateStore
from neurowall.kernel import buckets6, libbpf, mapset
from neurowall.kernel.buckets import BucketTable, Seeds
from neurowall.kernel.buckets6 import Table6
from neurowall.kernel.dataplane import DataPlane
from neurowall.kernel.guards import Role
from neurowall.kernel.prefixes import PrefixTable
from neurowall.logic.engine import Engine
from neurowall.model.errors import ApplyError
from neurowall.model.policy import Capacity, Interface, Policy
from neurowall.model.reasons import Verdict
from tests.bpf import frames, oracle
from tests.bpf.conftest import ENGINES
from tests.bpf.frames import probe
from tests.sampling import some

CAPACITY = Capacity(hosts4=500, prefixes4=500, hosts6=100, prefixes6=100, classes=64)
EXTERNAL = Interface(name="nw-none", zone="external")  # never attached
ROLE = Role(unparsed=Verdict.DROP)
KERNEL = str(Path(kernel.__file__).parent)
BUSY = [f"198.51.{96 + i // 8}.{i % 8 * 32}" for i in range(128)]  # sixteen /24s
LENGTHS = (16, 20, 21, 21, 22, 22, 22, 23, 23, 23, 24, 24, 24, 25, 25, 26, 26, 27, 28, 30)
LINES = 16  # of a bucket table: most hosts find a slot, some only their second line or the spill map
LISTS = {"first": "block", "second": "allow", "third": "block"}
ACTIONS = {libbpf.XDP_DROP: "drop", libbpf.XDP_PASS: "pass"}
State = dict[str, tuple[str, ...]]


# Where most stores are: half of the deaths are in here.
WRITERS = {
    "classic": ("ClassicLists.put", "ClassicLists._update", "ClassicLists.delete", "ClassicLists._count"),
    "buckets": (
        "BucketTable.put", "BucketTable._write", "BucketTable.delete", "PrefixTable._put_length",
        "PrefixTable._store", "PrefixTable._paint", "PrefixTable.delete", "PrefixTable._uncover",
        "Table6.put", "Table6.delete", "BucketLists.put", "BucketLists._put6",
    ),
}  # fmt: skip


class Killed(BaseException):
    """The process ends here; no handler of the product may see an ordinary exception."""


class Daemon:
    """Engine and data plane over one run and one state directory, as a daemon has them."""

    def __init__(self, policy: Policy, folder: Path) -> None:
        self.engine_name = policy.engine
        self.plane = DataPlane.open(policy, folder / "run")
        self.store = StateStore(folder / "state")
        self.engine = Engine(policy, self.plane, self.store)
        self.engine.start()
        self.program = self.plane._program(ROLE)

    def die(self) -> None:
        """Leave what a killed process leaves: pins and files, no descriptors."""
        self.plane.close()
        self.store.close()

    def action(self, source: str) -> str:
        """What a UDP packet from *source* gets."""
        return ACTIONS[libbpf.program_run(self.program, probe(source))[0]]


@pytest.fixture(params=ENGINES)
def policy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Policy:
    """Small maps, so that lines and spill maps fill."""
    monkeypatch.setattr(mapset, "lines_for", lambda _entries: LINES)
    monkeypatch.setattr(buckets6, "lines_for", lambda _entries: LINES // 4)
    seeds = Seeds((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F), (1, 2))  # and the same in every run
    monkeypatch.setattr(Seeds, "random", lambda: seeds)
    return Policy(interfaces=(EXTERNAL,), engine=request.param, capacity=CAPACITY)


@pytest.fixture
def start(policy: Policy, tmp_path: Path) -> Iterator[Callable[[], Daemon]]:
    """Start a daemon; the last one takes everything away in the end."""
    started: list[Daemon] = []

    def begin() -> Daemon:
        started.append(Daemon(policy, tmp_path))
        return started[-1]

    yield begin
    if started:
        started[-1].plane.detach()


def lines(r: Random, name: str) -> tuple[str, ...]:
    """Entries of one list: busy hosts, prefixes round them, a few of IPv6; an allow list holds less.

    Few sources are under both verdicts at once, so that most entries decide something.
    """
    allow = LISTS[name] == "allow"
    entries = r.sample(BUSY, r.choice((0, 8) if allow else (0, 10, 40, 70)))
    count = r.choice((0, 3, 6) if allow else (0, 4, 9))
    entries += [f"{r.choice(BUSY)}/{r.choice(LENGTHS)}" for _ in range(count)]
    entries += [f"{r.choice(frames.HOSTS6)}/{r.choice((48, 64, 127, 128))}" for _ in range(r.randrange(6))]
    return tuple(entries or BUSY[:1])


def expected(state: State, source: str) -> str:
    """What the oracle says about a source."""
    lists = tuple(oracle.NamedList(LISTS[name], entries) for name, entries in state.items())
    return oracle.judge(probe(source), oracle.Policy(lists))[0]


def change(engine: Engine, name: str, entries: tuple[str, ...]) -> None:
    """Load or replace a list."""
    text = "\n".join(entries)
    if any(each.name == name for each in engine.lists()):
        engine.replace_list(name, text)
    else:
        engine.load_list(name, LISTS[name], text)


@contextmanager
def traced(at_line: Callable[[FrameType], None]) -> Iterator[None]:
    """Call *at_line* before every line of the kernel layer that this thread executes."""

    def local(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            at_line(frame)
        return local

    def on_call(frame: FrameType, _event: str, _argument: object) -> Any:
        return local if frame.f_code.co_filename.startswith(KERNEL) else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


def sources(r: Random) -> list[str]:
    """Those that are probed."""
    return r.sample(frames.HOSTS4, 3) + r.sample(frames.HOSTS6, 2) + r.sample(BUSY, 12)


def watched(daemon: Daemon, r: Random, state: State, name: str, entries: tuple[str, ...]) -> State:
    """Change one list, with packets of some sources at every line; answers the new lists."""
    new = state | {name: entries}
    allowed = {s: {expected(state, s), expected(new, s)} for s in sources(r)}

    wrong: list[str] = []  # not raised at once: the engine would take it for a failure of its own

    def look(frame: FrameType) -> None:
        for source, either in allowed.items():
            if not wrong and (got := daemon.action(source)) not in either:
                wrong.append(f"{source} got {got} at {frame.f_code.co_qualname}:{frame.f_lineno}")

    with traced(look):
        change(daemon.engine, name, entries)
    assert not wrong, f"{wrong[0]}\nold: {state}\nnew: {new}"
    for source in (*frames.HOSTS4, *frames.HOSTS6, *BUSY):
        assert daemon.action(source) == expected(new, source), (source, new)
    return new


def killed(daemon: Daemon, name: str, entries: tuple[str, ...], at: int, only: str) -> bool:
    """Change one list and end before line *at* of those in the function *only*; whether it came to that."""
    left = at

    def count(frame: FrameType) -> None:
        nonlocal left
        left -= only in ("", frame.f_code.co_qualname)
        if not left:
            raise Killed

    with traced(count), contextlib.suppress(Killed):
        change(daemon.engine, name, entries)
    return left == 0


def run_watched(daemon: Daemon, r: Random, changes: int) -> None:
    """A chain of changes."""
    state: State = {}
    for _ in range(changes):
        name = r.choice(list(LISTS))
        state = watched(daemon, r, state, name, lines(r, name))


def run_killed(start: Callable[[], Daemon], r: Random, changes: int) -> int:
    """A chain of changes, each killed somewhere and finished by the next start; answers how many were."""
    daemon, state, deaths = start(), State(), 0
    for _ in range(changes):
        name = r.choice(list(LISTS))
        entries = lines(r, name)
        old, new, before = state, state | {name: entries}, daemon.engine.status().generation
        only = r.choice(("", *WRITERS[daemon.engine_name]))
        at = r.randrange(1, r.choice((5, 20) if only else (100, 1000)))
        if killed(daemon, name, entries, at, only):
            deaths += 1
            for source in sources(r):
                assert daemon.action(source) in {expected(old, source), expected(new, source)}, source
            daemon.die()
            daemon = start()
            assert daemon.plane.adopted
        # The intent is on disk before anything else happens: unless it died before, the change is finished.
        state = new if daemon.engine.status().generation > before else old
        for source in (*frames.HOSTS4, *frames.HOSTS6, *BUSY):
            assert daemon.action(source) == expected(state, source), (source, old, new)
    return deaths


def test_at_every_line_a_source_gets_the_old_or_the_new_verdict(start: Callable[[], Daemon]) -> None:
    """The same changes every time."""
    run_watched(start(), Random("watched"), 25)


def test_a_change_killed_at_any_line_is_finished_by_the_next_start(start: Callable[[], Daemon]) -> None:
    """The same changes and lines every time."""
    assert run_killed(start, Random("killed"), 40) > 10


@pytest.mark.soak
def test_many_changes_watched_at_every_line(start: Callable[[], Daemon]) -> None:
    """Others every time; the seed is in the output."""
    seed = Random().getrandbits(64)
    print(f"seed {seed}")  # noqa: T201
    run_watched(start(), Random(seed), 200)


@pytest.mark.soak
def test_many_changes_killed_at_any_line(start: Callable[[], Daemon]) -> None:
    """Others every time; the seed is in the output."""
    seed = Random().getrandbits(64)
    print(f"seed {seed}")  # noqa: T201
    run_killed(start, Random(seed), 300)


def mutate(monkeypatch: pytest.MonkeyPatch, owner: type | ModuleType, name: str, old: str, new: str) -> None:
    """Replace a piece of the source of a method, or of a function wherever it was imported to."""
    original = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(original))
    assert source.count(old) == 1, f"the mutation of {owner.__name__}.{name} no longer fits: {old!r}"
    module = owner if isinstance(owner, ModuleType) else sys.modules[owner.__module__]
    made: dict[str, Any] = {}
    exec(compile(source.replace(old, new), str(module.__file__), "exec"), vars(module), made)  # noqa: S102
    monkeypatch.setattr(owner, name, made[name])
    for other in [each for key, each in sys.modules.items() if key.startswith("neurowall.")]:
        if getattr(other, name, None) is original:
            monkeypatch.setattr(other, name, made[name])


# Owner, method, what is replaced and by what; all in what only the buckets engine does.
MUTATIONS: dict[str, tuple[type, str, str, str]] = {
    "a host's slot is rewritten in two stores": (
        BucketTable,
        "_write",
        "        self._words[slots[inside]] = values[inside]",
        "        self._words[slots[inside]] = 0\n        self._words[slots[inside]] = values[inside]",
    ),
    "an IPv6 entry's tag is rewritten in two stores": (
        Table6,
        "put",
        '        self._lines["tag"][line[rows], slot[rows]] = tags[rows]',
        (
            '        self._lines["tag"][line[rows], slot[rows]] = 0\n'
            '        self._lines["tag"][line[rows], slot[rows]] = tags[rows]'
        ),
    ),
    "a host is in its second line before the first says so": (
        BucketTable,
        "put",
        "    self._mark(first[left], OVERFLOW)",
        "",
    ),
    "a net is painted in two stores": (
        PrefixTable,
        "_store",
        "    self._nets[nets] = (",
        "    self._nets[nets] = 0\n    self._nets[nets] = (",
    ),
    "a shorter prefix paints over a longer one": (
        PrefixTable,
        "_store",
        "~self._covered(nets, length)",
        "np.ones(len(nets), np.bool_)",
    ),
    "nets are not painted again": (
        PrefixTable,
        "_uncover",
        "    self._paint(removed, length, cover_class)",
        "    pass",
    ),
    "the flag of longer prefixes is cleared too early": (
        PrefixTable,
        "_unflag",
        "nets[~busy]",
        "nets",
    ),
}
LEFT_BEHIND = (PrefixTable, "_repair", "live[wrong] = ", "unused = ")


@pytest.mark.parametrize("policy", ["buckets"], indirect=True)
@pytest.mark.parametrize("what", some(MUTATIONS, every=2))
def test_a_careless_writer_is_caught(
    start: Callable[[], Daemon], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """By the same changes, watched; what the engine's own read back notices is an ApplyError."""
    mutate(monkeypatch, *MUTATIONS[what])
    daemon = start()
    with pytest.raises((AssertionError, ApplyError)):
        run_watched(daemon, Random("watched"), 25)


@pytest.mark.parametrize("policy", ["buckets"], indirect=True)
def test_a_start_that_repairs_nothing_is_caught(
    start: Callable[[], Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same changes, killed."""
    mutate(monkeypatch, *LEFT_BEHIND)
    with pytest.raises((AssertionError, ApplyError)):
        run_killed(start, Random("killed"), 40)
