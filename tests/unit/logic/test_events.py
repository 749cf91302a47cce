# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import pytest

from neurowall.logic.events import MOST_SUBSCRIBERS, RECENT, EventHub, TooManySubscribers
from neurowall.model.events import Event, EventKind, Filter, Names, Told
from neurowall.model.reasons import Reason

ANY = Filter()
SOURCE, OTHER, HOST = "203.0.113.7", "203.0.113.8", "192.0.2.1"


def event(number: int = 0, source: str = SOURCE, reason: Reason = Reason.BLOCK_LIST) -> Event:
    """A drop; *number* tells it from others."""
    return Event(number, EventKind.DROP, reason, 2, source, HOST, 17, 1, 2, 60, number)


def told(*events: Event) -> list[Told]:
    """With names that no test looks at."""
    return [Told(each, 0.0, "wan0", "") for each in events]


def numbers(found: list[Told]) -> list[int]:
    """Which events these are."""
    return [each.event.number for each in found]


def nobody() -> None:
    """Wake nobody."""


def test_every_subscriber_gets_what_it_wants_in_order() -> None:
    """By reason, by address of either end, by kind; and is woken only for that."""
    hub, woken = EventHub(), []
    wanted = {
        "all": ANY,
        "reason": Filter(reason="spoofed"),
        "source": Filter(address=OTHER),
        "destination": Filter(address=HOST),
        "kind": Filter(kind="ban"),
        "both": Filter(reason="spoofed", address=OTHER),
    }

    def wake(name: str) -> Callable[[], None]:
        return lambda: woken.append(name)

    made = {name: hub.subscribe(each, wake(name)) for name, each in wanted.items()}
    hub.publish(told(event(1), event(2, OTHER), event(3, reason=Reason.SPOOFED)))
    got = {name: numbers(each.take(10)[1]) for name, each in made.items()}
    assert got == {
        "all": [1, 2, 3],
        "reason": [3],
        "source": [2],
        "destination": [1, 2, 3],
        "kind": [],
        "both": [],
    }
    assert sorted(woken) == ["all", "destination", "reason", "source"]


def test_a_slow_subscriber_loses_its_own_oldest_events() -> None:
    """It is told how many, once; another one gets all of them."""
    hub = EventHub()
    slow, quick = hub.subscribe(ANY, nobody, size=3), hub.subscribe(ANY, nobody, size=10)
    hub.publish(told(*(event(number) for number in range(2))))
    hub.publish(told(*(event(number) for number in range(2, 8))))
    assert slow.take(2) == (5, told(event(5), event(6)))
    assert slow.take(2) == (0, told(event(7)))
    assert numbers(quick.take(100)[1]) == list(range(8))
    assert hub.lost == 5


def test_the_last_events_are_kept_and_no_more() -> None:
    """Those that fit a filter, oldest first."""
    hub = EventHub()
    hub.publish(told(*(event(number) for number in range(RECENT + 5))))
    hub.publish(told(event(-1, OTHER)))
    assert numbers(hub.recent(ANY, RECENT + 100)) == [*range(6, RECENT + 5), -1]
    assert numbers(hub.recent(ANY, 2)) == [RECENT + 4, -1]
    assert numbers(hub.recent(Filter(address=OTHER), 2)) == [-1]


def test_places_are_bounded_and_given_back() -> None:
    """One more is refused until one goes."""
    hub = EventHub()
    made = [hub.subscribe(ANY, nobody) for _ in range(MOST_SUBSCRIBERS)]
    with pytest.raises(TooManySubscribers):
        hub.subscribe(ANY, nobody)
    hub.unsubscribe(made[0])
    hub.unsubscribe(made[0])
    assert hub.subscribers == MOST_SUBSCRIBERS - 1
    hub.subscribe(ANY, nobody)
    hub.publish(told(event(1)))
    assert numbers(made[0].take(1)[1]) == []


def test_the_end_wakes_everybody() -> None:
    """Whoever comes afterwards is not left waiting either."""
    hub, woken = EventHub(), []
    early = hub.subscribe(ANY, lambda: woken.append(1))
    assert not early.is_closed
    hub.close()
    assert woken == [1]
    assert early.is_closed
    assert hub.subscribe(ANY, nobody).is_closed


def test_numbers_get_their_names() -> None:
    """Only what the reason or the kind means by a number; an interface that is not known is a number."""
    names = Names(interfaces={2: "wan0"}, lists={5: "abuse"}, limits={1: "syn"})
    monitored = event(5, reason=Reason.LIMITED)
    ban = Event(0, EventKind.BAN, Reason.LIMITED, 9, SOURCE, HOST, 6, 1, 2, 60, 1)
    over = Event(0, EventKind.LIMIT_OVER, Reason.LIMITED, 2, SOURCE, HOST, 6, 1, 2, 60, 7)
    found = names.tell([event(5), event(6), monitored, ban, over], ahead=10.0)
    assert [each.name for each in found] == ["abuse", "", "", "syn", "#7"]
    assert [each.interface for each in found] == ["wan0", "wan0", "wan0", "#9", "wan0"]
    assert found[0].time == pytest.approx(10.000000005)
