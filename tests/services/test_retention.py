# SPDX-License-Identifier: Apache-2.0
"""How much is kept: rows are as small as is stated, and there are no more than is stated."""

import random
import time

import pytest
from sqlalchemy import create_engine, text

from neurowall.data.store.database import LARGEST, WAL_KEPT, Database
from neurowall.data.store.replies import UNWRITTEN
from neurowall.data.store.retention import AUDIT_ROW, BAN_ROW, REPLY_FACTOR, TOKEN_ROW, Keep
from neurowall.data.store.store import Store
from neurowall.data.store.tokens import MOST
from neurowall.model.audit import Act, Outcome
from neurowall.model.history import BanChange, Reply
from neurowall.model.intent import GenerationRecord
from neurowall.model.tokens import TokenRecord, digest_of
from tests.services.conftest import MakeStore
from tests.services.waiting import settled, until

LONG = "ü" * 5000
NOW = 1_800_000_000.123456
GB = 1_000_000_000


def count(url: str, table: str) -> int:
    """Rows of a table."""
    engine = create_engine(Database(url, 5.0).url)
    with engine.connect() as connection:
        found = int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
    engine.dispose()
    return found


def scalar(store: Store, query: str) -> int:
    """What a query gives."""
    return store._reader.run(lambda connection: int(connection.exec_driver_sql(query).scalar_one()))


def look(store: Store) -> bool:
    """Have it delete a part of what is too much."""
    store._writer.run(store._retention.step)
    return True


def grown(store: Store, before: int) -> int:
    """By how many bytes a database grew, without what its log holds for a moment."""
    store._writer.run(lambda connection: connection.exec_driver_sql("SELECT 1"))
    return _pages(store) - before


def _pages(store: Store) -> int:
    """Bytes of all pages of the database."""

    def ask(connection: object) -> int:
        if store._database.is_sqlite:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()  # type: ignore[attr-defined]
            return int(pages) * 4096
        return store._database.size(connection)  # type: ignore[arg-type]

    return store._reader.run(ask)


def test_all_of_it_is_within_a_gigabyte() -> None:
    """What is stated in the manual, by the constants."""
    keep = Keep()
    total = (
        (keep.audit + keep.batch) * AUDIT_ROW
        + (keep.bans + keep.limit_bans + 5 * keep.batch) * BAN_ROW
        + 1.25 * keep.generation_bytes
        + REPLY_FACTOR * keep.reply_bytes
        + (keep.dead_tokens + MOST) * TOKEN_ROW
    )
    assert total < LARGEST
    assert LARGEST + 2 * WAL_KEPT < 0.9 * GB


def test_an_audit_row_is_no_larger_than_stated(store: Store) -> None:
    """With every text as long as it may be, and longer."""
    before = _pages(store)
    for number in range(150):
        act = Act(LONG, LONG, LONG, LONG, LONG, 2**40, {"a": "x" * 1900})
        store.audit.end(store.audit.begin(act), Outcome("unknown", 500, 2**40, {"b": number}))
    settled(store)
    assert 500 < grown(store, before) / 300 <= AUDIT_ROW


def test_a_ban_is_no_larger_than_stated(store: Store) -> None:
    """Of the longest entry, by the longest name, for the longest reason."""
    before = _pages(store)
    entries = [f"2001:db8:ffff:ffff:ffff:ffff:{number >> 8:x}:{number & 255:x}/128" for number in range(2000)]
    store.bans.record(BanChange(each, "block", LONG, LONG, NOW, LONG, NOW) for each in entries)
    settled(store)
    assert 400 < grown(store, before) / 2000 <= BAN_ROW


def test_bans_are_pruned_from_the_oldest(url: str, make_store: MakeStore) -> None:
    """A part at a time, until there are few enough."""
    store = make_store(url, keep=Keep(bans=100, batch=50))
    store.bans.record(
        BanChange(f"10.0.{number >> 8}.{number & 255}", "block", "x", "u", NOW) for number in range(1000)
    )
    settled(store)
    until(lambda: look(store) and count(url, "bans") <= 100)
    assert store.bans.page(1).rows[0].entry == "10.0.3.231"


def test_a_flood_of_bans_by_limits_leaves_the_others_alone(url: str, make_store: MakeStore) -> None:
    """Who sends packets chooses how many there are; those by operators are what one wants to know of."""
    store = make_store(url, keep=Keep(bans=100, limit_bans=50, batch=50))
    store.bans.record([BanChange("198.51.100.1", "block", "operator-block", "u", NOW)])
    flood = [f"10.0.{number >> 8}.{number & 255}" for number in range(1000)]
    store.bans.record(BanChange(each, "limit", "syn", "daemon", NOW, until=NOW + 60) for each in flood)
    settled(store)
    until(lambda: look(store) and count(url, "bans") <= 51)
    rows = store.bans.page(100).rows
    assert [row.entry for row in rows] == [*reversed(flood[-50:]), "198.51.100.1"]


def test_bans_that_ended_go_before_those_in_force(url: str, make_store: MakeStore) -> None:
    """An old ban for good stays; what is in force is only pruned where it alone is too much."""
    store = make_store(url, keep=Keep(bans=100, batch=50))
    old = [f"198.51.100.{number}" for number in range(80)]
    store.bans.record(BanChange(each, "block", "operator-block", "u", NOW) for each in old)
    past = time.time() - 100
    ended = [f"10.0.0.{number}" for number in range(200)]
    store.bans.record(BanChange(each, "block", "timed", "u", past, until=past + 60) for each in ended[:100])
    store.bans.record(BanChange(each, "block", "list", "u", past) for each in ended[100:])
    store.bans.record(BanChange(each, "block", "list", "u", past, ended=True) for each in ended[100:])
    settled(store)
    until(lambda: look(store) and count(url, "bans") <= 100)
    assert [row.entry for row in store.bans.page(200).rows] == [*reversed(ended[-20:]), *reversed(old)]
    more = [f"203.0.113.{number}" for number in range(60)]
    store.bans.record(BanChange(each, "block", "operator-block", "u", NOW) for each in more)
    settled(store)
    until(lambda: look(store) and count(url, "bans") <= 100)
    assert [row.entry for row in store.bans.page(200).rows] == [*reversed(more), *reversed(old[-40:])]


def test_a_gateway_prunes_what_is_its_own(url: str, make_store: MakeStore) -> None:
    """However much another one keeps on the same database."""
    keep = Keep(bans=10, limit_bans=10, generations=2, batch=50)
    stores = [make_store(url, "busy", keep=keep), make_store(url, "quiet", keep=keep)]
    for store, number in ((stores[1], 5), (stores[0], 50)):
        hosts = [f"10.0.0.{each}" for each in range(number)]
        store.bans.record(BanChange(each, "block", "x", "u", NOW) for each in hosts)
        store.bans.record(BanChange(each, "limit", "x", "u", NOW) for each in hosts)
        for each in range(1, 2 + number // 10):
            store.generations.record(GenerationRecord(each, NOW + number, "apply", "p", "", "x", 1, ()))
        settled(store)
    for store in stores:
        until(lambda store=store: look(store) and count(url, "bans") <= 30)  # type: ignore[misc]
    assert scalar(stores[0], "SELECT count(*) FROM bans WHERE node = 'quiet'") == 10
    assert [len(store.generations.known()) for store in stores] == [2, 1]


def test_policies_are_kept_by_number_and_by_size(url: str, make_store: MakeStore) -> None:
    """The newest stays, however large it is."""
    store = make_store(url, keep=Keep(generations=5, generation_bytes=3000))
    for number in range(1, 10):
        store.generations.record(GenerationRecord(number, NOW + number, "apply", "p", "", "x", 1, ()))
    until(lambda: look(store) and count(url, "generations") == 5)
    noise = "".join(digest_of(str(number)) for number in range(200))
    store.generations.record(GenerationRecord(10, NOW + 10, "apply", "p", "", noise, 1, ()))
    until(lambda: look(store) and count(url, "generations") == 1)
    assert store.generations.get(10)


def test_answers_are_kept_for_a_day_and_by_size(url: str, make_store: MakeStore) -> None:
    """Old ones go first; a very long one is kept without its body, and says so."""
    store = make_store(url, keep=Keep(reply_bytes=3000))
    noise = "".join(digest_of(str(number)) for number in range(50)).encode()
    now = time.time()
    store.replies.put(Reply("old", "a", "d", now - 90_000, 200, {}, b""))
    for number in range(5):
        store.replies.put(Reply(f"k{number}", "a", "d", now + number, 200, {}, noise))
    settled(store)
    until(lambda: look(store) and count(url, "replies") == 1)
    assert store.replies.get("k4", "a")


@pytest.mark.parametrize(("body", "text"), [(0, LONG), (2_100, "u")])
def test_an_answer_is_no_larger_than_stated(store: Store, body: int, text: str) -> None:
    """Neither many small ones with long keys nor those that fit badly into pages."""
    before, now = _pages(store), time.time()
    for number in range(UNWRITTEN // 2):
        noise = random.Random(number).randbytes(body)
        store.replies.put(Reply(f"{number}{text}", text, "d" * 64, now, 200, {"etag": '"7"'}, noise))
    settled(store)
    counted = scalar(store, "SELECT sum(size) FROM replies")
    assert counted < grown(store, before) <= REPLY_FACTOR * counted


def test_answers_are_pruned_by_number_and_a_part_at_a_time(url: str, make_store: MakeStore) -> None:
    """Those of another gateway on the same database are not."""
    other = make_store(url, "other", keep=Keep(replies=1000))
    other.replies.put(Reply("key", "a", "d", time.time() - 60, 200, {}, b""))
    settled(other)
    store, now = make_store(url, keep=Keep(replies=100, batch=50)), time.time()
    for number in range(400):
        age = 0 if number >= 150 else 90_000  # the first of them are over
        store.replies.put(Reply(f"k{number}", "a", "d", now - age + number, 200, {}, b""))
    settled(store)
    part = store._writer.run(lambda connection: store.replies.prune(connection, 100, 1 << 20, 50))
    assert part <= 50
    until(lambda: look(store) and count(url, "replies") <= 101)
    assert count(url, "replies") == 101
    assert store.replies.get("k300", "a")
    assert other.replies.get("key", "a")


def test_dead_tokens_are_forgotten_at_last(url: str, make_store: MakeStore) -> None:
    """Those that are in use never are."""
    store = make_store(url, keep=Keep(dead_tokens=2))
    for letter in "abcdef":
        record = TokenRecord(letter * 12, letter, digest_of(letter), frozenset({"read"}), NOW, "u")
        store.tokens.create(record)
        if letter != "a":
            store.tokens.revoke(record.id)
    until(lambda: look(store) and count(url, "tokens") == 3)
    assert any(each.id == "a" * 12 for each in store.tokens.all())


@pytest.mark.soak
def test_a_full_audit_is_verified_and_pruned_in_time(url: str, make_store: MakeStore) -> None:
    """As many rows as are kept; nobody is refused meanwhile."""
    store = make_store(url)
    for _ in range(Keep().audit // 2 // 1000 + 2):
        for _ in range(1000):
            act = Act("block", "uid:0 root")
            store.audit.end(store.audit.begin(act), Outcome("ok"))
        settled(store, 60)
    until(lambda: look(store) and count(url, "audit") <= Keep().audit + Keep().batch, 60)
    assert store.audit.verify().ok
