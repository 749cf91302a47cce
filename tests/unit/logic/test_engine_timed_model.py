# SPDX-License-Identifier: Apache-2.0
"""Any series of requests, with and without an end, against a linear scan of them."""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from neurowall.data.state import StateStore
from neurowall.logic.engine import Engine
from neurowall.model.policy import Bans, ListSpec
from tests.unit.logic.conftest import policy_of
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.machine import agrees
from tests.unit.logic.oracle import ADDRESSES, RawList, judge
from tests.unit.logic.test_engine_timed import Clock

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["block", "block", "allow", "unblock", "unallow", "expire", "wait"]),
        st.lists(
            st.sampled_from([f"203.0.113.{i}/{n}" for i in (0, 4, 5, 8) for n in (24, 29, 30, 31, 32)]),
            min_size=1,
            max_size=3,
        ),
        st.sampled_from([None, 10.0, 30.0]),
    ),
    max_size=12,
)


class Requests:
    """An engine and, beside it, what was asked of it in plain form, for the oracle."""

    FEEDS = (
        RawList("feed", "block", ("203.0.113.4/30", "203.0.113.9/32")),
        RawList("watched", "block", ("203.0.113.0/28", "203.0.113.5/32"), monitor=True),
    )
    ADDRESSES = tuple(address for address in ADDRESSES if ":" not in address)

    def __init__(self, directory: Path) -> None:
        self.plane, self.clock, self.directory = FakeDataPlane(), Clock(), directory
        self.plane.clock = self.clock
        self.permanent: dict[str, set[str]] = {"block": set(), "allow": set()}
        self.ends: dict[str, dict[str, float]] = {"block": {}, "allow": {}}
        self.begin()

    def begin(self) -> None:
        """Start, again too."""
        specs = [
            ListSpec(name=raw.name, verdict=raw.verdict, entries=raw.texts, monitor=raw.monitor)  # type: ignore[arg-type]
            for raw in self.FEEDS
        ]
        bans = Bans(repeat_factor=1, max_ttl="0s", memory="0s")
        policy = policy_of(*specs).model_copy(update={"bans": bans})
        self.engine = Engine(policy, self.plane, StateStore(self.directory), clock=self.clock)
        self.engine.start()

    def lists(self) -> list[RawList]:
        """What is requested, as raw lists."""
        permanent = [
            RawList(f"operator-{kind}", kind, tuple(self.permanent[kind])) for kind in ("allow", "block")
        ]
        timed = [
            RawList(f"operator-{kind}-timed", kind, tuple(held), ends=tuple(held.values()))
            for kind, held in (("allow", self.ends["allow"]), ("block", self.ends["block"]))
        ]
        return [*permanent, *self.FEEDS, *timed]

    def verdicts(self, ahead: float) -> dict[str, str | None]:
        """What a scan says of every address, some seconds from now."""
        return {a: judge(self.lists(), a, self.clock.now + ahead).verdict for a in self.ADDRESSES}

    def make(self, action: str, texts: list[str], ttl: float | None) -> None:
        """Make one request; at every step each address has the verdict before or after it, now and later."""
        before = {ahead: self.verdicts(ahead) for ahead in (0.0, 15.0)}
        ask = self.note(action, texts, ttl)
        after = {ahead: self.verdicts(ahead) for ahead in before}

        def check() -> None:
            for ahead, verdicts in before.items():
                self.clock.now += ahead
                for address in self.ADDRESSES:
                    assert self.plane.verdict(address) in (verdicts[address], after[ahead][address]), address
                self.clock.now -= ahead

        self.plane.after_row = check
        ask()
        self.plane.after_row = lambda: None

    def note(self, action: str, texts: list[str], ttl: float | None) -> Callable[[], object]:
        """Take the request into the plain form; answers how to make it."""
        if action in ("expire", "wait"):
            self.clock.now += 10.0 if action == "wait" else 0.0
            return self.engine.expire if action == "expire" else lambda: 0
        kind = action.removeprefix("un")
        permanent, ends = self.permanent[kind], self.ends[kind]
        for text in {str(ip_network(text, strict=False)) for text in texts}:
            if action.startswith("un"):
                permanent.discard(text)
                ends.pop(text, None)
            elif ttl is None:
                permanent.add(text)
                ends.pop(text, None)
            elif text not in permanent:
                ends[text] = max(ends.get(text, 0.0), self.clock.now + ttl)
        ask = getattr(self.engine, action)
        return (lambda: ask(texts)) if action.startswith("un") else (lambda: ask(texts, ttl))

    def check(self) -> None:
        """The kernel, explain and the lists say what a linear scan of the raw requests says."""
        for address in self.ADDRESSES:
            truth = judge(self.lists(), address, self.clock.now)
            explained = self.engine.explain(address)
            assert self.plane.verdict(address) == truth.verdict == explained.verdict, address
            assert explained.list == truth.list
            assert {cover.list for cover in explained.covers} == truth.members
            assert explained.monitored_by == (("watched",) if "watched" in truth.members else ())
            assert explained.in_kernel


@settings(max_examples=40)
@given(ACTIONS)
def test_any_series_of_requests_means_what_it_says(
    actions: list[tuple[str, list[str], float | None]],
) -> None:
    """After each request and any time, and at every step in between, the kernel does what was asked."""
    with TemporaryDirectory() as directory:
        requests = Requests(Path(directory))
        for action, texts, ttl in actions:
            requests.make(action, texts, ttl)
            requests.check()
        requests.engine.close()
        requests.begin()
        requests.check()
        assert agrees(requests.engine, requests.plane)
        requests.engine.close()
