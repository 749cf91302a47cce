# SPDX-License-Identifier: Apache-2.0
"""Pages over everybody who is banned, on a data plane in memory."""

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurowall.logic.banlist import SECTIONS, BanQuery
from neurowall.logic.engine import Engine
from neurowall.logic.results import Ban
from neurowall.model.errors import ListInvalid
from neurowall.model.limits import LimitBan
from tests.unit.logic.conftest import StartEngine
from tests.unit.logic.fake import FakeDataPlane

ENTRIES = ("192.0.2.1", "192.0.2.0/28", "192.0.2.9", "2001:db8::1", "2001:db8::/64", "10.0.0.0/8", "9.9.9.9")


@pytest.fixture
def engine(start: StartEngine, plane: FakeDataPlane) -> Engine:
    """Bans of every kind."""
    plane.clock = plane.limiter.clock = lambda: 1000.0
    engine = start()
    engine.block(ENTRIES)
    engine.block(["198.51.100.1", "2001:db8:1::/48"], 60.0)
    engine.allow(["192.0.2.9", "203.0.113.0/24"])
    engine.allow(["203.0.113.7"], 3600.0)
    for address in ("198.51.100.9", "2001:db8::2", "198.51.100.200"):
        plane.limiter.banned[address] = LimitBan(address, 1030.0, "syn")
    return engine


def everyone(engine: Engine, query: BanQuery) -> list[Ban]:
    """All pages put together; each but the last is full."""
    found: list[Ban] = []
    while True:
        page = engine.bans(query)
        found += page.bans
        if page.next is None:
            return found
        assert len(page.bans) == query.limit
        query = replace(query, after=page.next)


class TestPages:
    def test_hold_all_in_one_order(self, engine: Engine) -> None:
        """Whatever the size of pages: every ban once."""
        whole = engine.bans(BanQuery(limit=1000)).bans
        assert len(whole) == len(ENTRIES) + 2 + 2 + 1 + 3
        for limit in range(1, 17):
            assert everyone(engine, BanQuery(limit=limit)) == list(whole)

    def test_tell_list_limit_and_end(self, engine: Engine) -> None:
        """Of each kind."""
        by = {(ban.kind, ban.entry): ban for ban in engine.bans(BanQuery()).bans}
        assert by["block", "9.9.9.9"] == Ban("9.9.9.9", "block", "operator-block", None, None)
        timed = Ban("198.51.100.1", "block", "operator-block-timed", None, 1060.0)
        assert by["block", "198.51.100.1"] == timed
        assert by["allow", "203.0.113.7"].expires == 4600.0
        assert by["limit", "2001:db8::2"] == Ban("2001:db8::2", "limit", None, "syn", 1030.0)

    def test_go_on_where_somebody_was_taken_out(self, engine: Engine) -> None:
        """A place stays one when its entry has gone."""
        page = engine.bans(BanQuery(limit=3))
        rest = engine.bans(BanQuery(after=page.next))
        engine.unblock([page.bans[-1].entry])
        assert engine.bans(BanQuery(after=page.next)) == rest

    def test_leave_out_what_is_over(self, engine: Engine, plane: FakeDataPlane) -> None:
        """The kernel does not honour it any more, though nobody took it out yet."""
        plane.clock = lambda: 1100.0
        engine._clock = plane.clock
        assert "198.51.100.1" not in [ban.entry for ban in engine.bans(BanQuery()).bans]

    @pytest.mark.parametrize("kind", ["block", "allow", "limit"])
    def test_of_one_kind(self, engine: Engine, kind: str) -> None:
        """The same as all, less the others."""
        whole = engine.bans(BanQuery()).bans
        wanted = [ban for ban in whole if ban.kind == kind]
        assert everyone(engine, BanQuery(limit=2, kind=kind)) == wanted  # type: ignore[arg-type]
        assert wanted

    @given(
        st.sampled_from(
            (*ENTRIES, "192.0.2.0/24", "2001:db8::/32", "198.51.100.0/24", "0.0.0.0/1", "1.2.3.4", "8000::/1")
        ),
        st.integers(1, 5),
    )
    @settings(max_examples=60, derandomize=True)
    def test_around_an_address(self, address: str, limit: int) -> None:
        """Those that hold it and those inside it, against the standard library."""
        engine, wanted = _SHARED[0], ip_network(address)
        whole = engine.bans(BanQuery(limit=1000)).bans
        expected = [
            ban
            for ban in whole
            if (other := ip_network(ban.entry)).version == wanted.version and other.overlaps(wanted)
        ]
        assert everyone(engine, BanQuery(limit=limit, address=address)) == expected

    @pytest.fixture(autouse=True)
    def _share(self, engine: Engine) -> None:
        _SHARED[:] = [engine]

    @pytest.mark.parametrize(
        "after", ["", "nobody/1.2.3.4", "limits", "operator-block/", "operator-block/x/y"]
    )
    def test_behind_no_place_are_refused(self, engine: Engine, after: str) -> None:
        """Not answered with the first page, over and over."""
        with pytest.raises(ListInvalid):
            engine.bans(BanQuery(after=after))

    def test_around_no_address_are_refused(self, engine: Engine) -> None:
        """With the reason."""
        with pytest.raises(ListInvalid, match="address 'me'"):
            engine.bans(BanQuery(address="me"))

    def test_begin_in_every_section(self, engine: Engine) -> None:
        """A place in any of them leads to the rest."""
        for section in SECTIONS:
            assert engine.bans(BanQuery(limit=1, after=f"{section}/0.0.0.1")).bans


_SHARED: list[Engine] = []
