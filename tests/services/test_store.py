# SPDX-License-Identifier: Apache-2.0
"""What a store keeps, and gives back, on both engines."""

import time

import pytest

from neurowall.data.store.store import Store
from neurowall.model.audit import Act, AuditFilter, Outcome
from neurowall.model.errors import StorageRefused
from neurowall.model.history import BanChange, Reply
from neurowall.model.intent import GenerationRecord, ListRecord
from neurowall.model.tokens import TokenRecord, digest_of
from tests.services.conftest import MakeStore
from tests.services.waiting import settled, until

NOW = 1_800_000_000.25
ODD = "ü\u2028'\"; DROP TABLE audit; -- \0\ud800"


def token(name: str = "ci", letter: str = "a", expires: float | None = None) -> TokenRecord:
    """A token; its secret is its name."""
    scopes = frozenset({"read", "rules:write"})
    return TokenRecord(letter * 12, name, digest_of(name), scopes, time.time(), "uid:0 root", expires)


def generation(number: int, text: str = "interfaces: []\n", when: float = NOW) -> GenerationRecord:
    """A policy that was in force."""
    lists = (ListRecord("feed", "block", "policy", "ab" * 32),)
    return GenerationRecord(number, when, "apply", "policy.yaml", "note", text, 3, lists)


class TestTokens:
    def test_are_given_back_as_they_were_made(self, store: Store, make_store: MakeStore, url: str) -> None:
        """A token is there at once, for this store and for another one on the same database."""
        made = token(expires=NOW + 0.125)
        store.tokens.create(made)
        assert store.tokens.snapshot() == {made.id: made}
        assert store.tokens.all() == (made,)
        assert make_store(url, "other").tokens.snapshot() == {made.id: made}

    def test_are_revoked_once_and_at_once(self, store: Store) -> None:
        """The snapshot knows it before revoke returns; a second time there is nothing to revoke."""
        store.tokens.create(token())
        assert store.tokens.revoke("a" * 12)
        assert not store.tokens.snapshot()["a" * 12].is_valid(time.time())
        assert not store.tokens.revoke("a" * 12)
        assert not store.tokens.revoke("b" * 12)

    def test_what_another_node_revokes_is_known_within_seconds(
        self, store: Store, make_store: MakeStore, url: str
    ) -> None:
        """Two nodes share the tokens."""
        store.tokens.create(token())
        make_store(url, "other").tokens.revoke("a" * 12)
        until(lambda: not store.tokens.snapshot()["a" * 12].is_valid(time.time()))

    def test_a_name_is_used_once_at_a_time(self, store: Store) -> None:
        """Refused while the other is valid; a refusal is no fault of the database."""
        store.tokens.create(token())
        with pytest.raises(StorageRefused, match="'ci' is in use"):
            store.tokens.create(token(letter="b"))
        assert store.problem is None
        store.tokens.revoke("a" * 12)
        store.tokens.create(token(letter="b"))

    def test_use_is_written_some_time_later(self, store: Store, make_store: MakeStore, url: str) -> None:
        """The last use of each; of a token that nobody has, none."""
        store.tokens.create(token())
        for source in ("192.0.2.1", "2001:db8::1"):
            store.tokens.touch("a" * 12, NOW, source)
        store.tokens.touch("b" * 12, NOW, "unix")
        until(lambda: store.tokens.all()[0].last_source == "2001:db8::1")
        assert store.tokens.all()[0].last_used == NOW


class TestAudit:
    def test_a_change_is_two_rows(self, store: Store) -> None:
        """With all that was said of it, newest first."""
        act = Act("block", "token:x ci", "192.0.2.1", "203.0.113.7", "req-1", 41, {"ttl": 60})
        entry = store.audit.begin(act)
        store.audit.end(entry, Outcome("ok", 200, 42, {"added": 1}))
        settled(store)
        end, begin = store.audit.page(10).rows
        assert (begin.phase, begin.id, begin.result) == ("begin", entry.id, None)
        assert (end.phase, end.begin, end.result, end.status) == ("end", entry.id, "ok", 200)
        assert (end.before, end.after, end.detail, end.late) == (41, 42, '{"added":1,"ttl":60}', False)
        assert (end.actor, end.source, end.target, end.request_id) == (
            "token:x ci",
            "192.0.2.1",
            "203.0.113.7",
            "req-1",
        )

    def test_whatever_text_is_kept_and_verified(self, store: Store) -> None:
        """NUL, lone surrogates, quotes, and far too much of it."""
        store.audit.note(Act(ODD, ODD, ODD, ODD * 1000, ODD, detail={"text": ODD * 1000}), Outcome("refused"))
        settled(store)
        assert store.audit.page(1).rows
        assert store.audit.verify().ok

    def test_pages_and_filters(self, store: Store) -> None:
        """Every row once, over any number of pages."""
        for number in range(7):
            entry = store.audit.begin(Act("allow" if number % 2 else "block", "uid:0 root"))
            store.audit.end(entry, Outcome("failed" if number == 3 else "ok"))
        settled(store)
        seen, after = list[int](), None
        while True:
            page = store.audit.page(4, after)
            seen += [row.id for row in page.rows]
            if (after := page.next) is None:
                break
        assert seen == list(range(14, 0, -1))
        assert [row.action for row in store.audit.page(9, None, AuditFilter(result="failed")).rows] == [
            "allow"
        ]
        assert len(store.audit.page(99, None, AuditFilter(action="block")).rows) == 8
        assert not store.audit.page(9, None, AuditFilter(actor="nobody")).rows

    def test_what_a_dead_daemon_began_ends_as_unknown(self, url: str, make_store: MakeStore) -> None:
        """Rows begin without an end only while a change is made."""
        store = make_store(url)
        entry = store.audit.begin(Act("block", "uid:0 root"))
        store.close()
        end = make_store(url).audit.page(1).rows[0]
        assert (end.phase, end.begin, end.result, end.late) == ("end", entry.id, "unknown", True)

    def test_failed_authentications_are_few_rows(self, store: Store) -> None:
        """Ten, then one a minute; other kinds of notes are not held up."""
        for _ in range(1000):
            store.audit.note(Act("authentication-failed", "nobody", "198.51.100.1"), Outcome("refused", 401))
        store.audit.note(Act("start", "neurowall"), Outcome("ok"))
        settled(store)
        assert [row.action for row in store.audit.page(99).rows] == ["start", *["authentication-failed"] * 10]


class TestBans:
    def test_history_and_what_is_in_force(self, store: Store) -> None:
        """A ban, a longer one in its place, and its end."""
        key = ("203.0.113.7", "operator-block-timed")
        store.bans.record([BanChange(key[0], "block", key[1], "uid:0 root", NOW, "scan", NOW + 60)])
        store.bans.record([BanChange(key[0], "block", key[1], "uid:0 root", NOW + 1, "again", NOW + 120)])
        settled(store)
        assert store.bans.metadata([key[0], "192.0.2.1"])[key].reason == "again"
        store.bans.record([BanChange(key[0], "block", key[1], "token:x ci", NOW + 2, ended=True)])
        settled(store)
        assert store.bans.metadata([key[0]]) == {}
        second, first = store.bans.page(10).rows
        assert (first.since, first.until, first.ended, first.reason) == (NOW, NOW + 60, NOW + 1, "scan")
        assert (second.ended, second.ended_by) == (NOW + 2, "token:x ci")

    def test_who_reads_sees_what_was_recorded_before(self, store: Store) -> None:
        """Though nobody waited for it to be written."""
        for number in range(20):
            entry = f"203.0.113.{number}"
            store.bans.record([BanChange(entry, "block", "operator-block", "uid:0 root", NOW, "scan")])
            assert store.bans.metadata([entry])[entry, "operator-block"].reason == "scan"
            assert store.bans.page(1).rows[0].entry == entry

    def test_bans_by_limits_are_lifted_by_somebody(self, store: Store) -> None:
        """All of a host and within a prefix, unless they had ended by themselves; others stay."""
        hosts = ["192.0.2.1", "192.0.2.2", "192.0.3.1", "2001:db8::1", "2001:db8:0:1::1"]
        for limit in ("syn", "udp"):
            store.bans.record(
                BanChange(each, "limit", limit, "daemon", NOW, until=NOW + 60) for each in hosts
            )
        store.bans.record([BanChange("192.0.2.9", "limit", "syn", "daemon", NOW, until=NOW + 5)])
        store.bans.record([BanChange("192.0.2.1", "block", "operator-block", "uid:0 root", NOW)])

        def lift(*entries: str) -> set[tuple[str, str]]:
            gone = [BanChange(each, "limit", "", "token:x ci", NOW + 9, ended=True) for each in entries]
            store.bans.record(gone)
            settled(store)
            rows = store.bans.page(99).rows
            return {
                (row.entry, row.list) for row in rows if (row.ended, row.ended_by) == (NOW + 9, "token:x ci")
            }

        wanted = {("192.0.2.1", "syn"), ("192.0.2.1", "udp")}
        assert lift("192.0.2.1", "198.51.100.1") == wanted
        wanted |= {(host, limit) for host in ("192.0.2.2", "2001:db8::1") for limit in ("syn", "udp")}
        assert lift("192.0.2.0/24", "2001:db8::/64", "198.51.100.1") == wanted

    def test_of_an_address_are_those_of_prefixes_around_it_too(self, store: Store) -> None:
        """And no others."""
        entries = ["198.51.100.0/24", "198.51.100.7", "198.51.100.8", "2001:db8::/32", "0.0.0.0/0"]
        store.bans.record(BanChange(each, "block", "operator-block", "uid:0 root", NOW) for each in entries)
        settled(store)

        def of(address: str) -> set[str]:
            return {row.entry for row in store.bans.page(10, None, address).rows}

        assert of("198.51.100.7") == {"198.51.100.0/24", "198.51.100.7", "0.0.0.0/0"}
        assert of("198.51.100.0/24") == {"198.51.100.0/24", "0.0.0.0/0"}
        assert of("2001:db8::1") == {"2001:db8::/32"}
        assert of("nonsense") == set()

    def test_a_large_request_pages_whole(self, store: Store) -> None:
        """More than one part, the same entry twice among them."""
        entries = [f"10.0.{number >> 8}.{number & 255}" for number in range(1200)]
        changes = [
            BanChange(each, "block", "operator-block", "uid:0 root", NOW) for each in (*entries, "10.0.0.1")
        ]
        store.bans.record(changes)
        settled(store)
        first = store.bans.page(1000)
        assert len(first.rows) + len(store.bans.page(1000, first.next).rows) == 1201
        assert len(store.bans.metadata(entries)) == 1200


class TestGenerations:
    def test_are_kept_once_with_their_text(self, store: Store) -> None:
        """The same one again changes nothing; another of its number takes its place."""
        for number in (1, 2, 3, 3):
            store.generations.record(generation(number, f"# {number} {ODD[:3]}\n"))
        assert store.generations.get(2) == generation(2, f"# 2 {ODD[:3]}\n")
        assert store.generations.get(4) is None
        page = store.generations.page(2)
        assert [(each.generation, each.text) for each in page.records] == [(3, ""), (2, "")]
        assert [each.generation for each in store.generations.page(2, page.next).records] == [1]
        store.generations.record(generation(3, "# new\n", NOW + 1))
        assert store.generations.known() == {1: NOW, 2: NOW, 3: NOW + 1}
        kept = store.generations.get(3)
        assert kept is not None
        assert kept.text == "# new\n"


class TestReplies:
    def test_are_there_at_once_and_after_a_restart(self, url: str, make_store: MakeStore) -> None:
        """By key and actor."""
        store, now = make_store(url), time.time()
        reply = Reply("key-1", "uid:0 root", "d1", now, 200, {"etag": '"7"'}, b'{"generation": 7}')
        store.replies.put(reply)
        assert store.replies.get("key-1", "uid:0 root") == reply
        store.close()
        again = make_store(url)
        assert again.replies.get("key-1", "uid:0 root") == reply
        assert again.replies.get("key-1", "token:x ci") is None

    def test_are_those_of_one_node(self, url: str, make_store: MakeStore) -> None:
        """What one gateway did was not done on another, also under the same key."""
        one, other, now = make_store(url), make_store(url, "other"), time.time()
        first = Reply("key-1", "uid:0 root", "d1", now, 200, {}, b"one")
        one.replies.put(first)
        settled(one)
        assert other.replies.get("key-1", "uid:0 root") is None
        second = Reply("key-1", "uid:0 root", "d1", now, 200, {}, b"other")
        other.replies.put(second)
        settled(other)
        assert one.replies.get("key-1", "uid:0 root") == first
        assert other.replies.get("key-1", "uid:0 root") == second

    def test_end_after_a_day(self, store: Store) -> None:
        """Whether the row is pruned already or not."""
        store.replies.put(Reply("key-1", "a", "d1", time.time() - 24 * 3600 - 1, 200, {}, b""))
        assert store.replies.get("key-1", "a") is None
        settled(store)
        assert store.replies.get("key-1", "a") is None


def test_facts(store: Store) -> None:
    """What metrics and status tell of it."""
    facts = store.facts()
    assert facts.problem is None
    assert (facts.audit_queued, facts.waiting, facts.lost) == (0, 0, 0)
    until(lambda: store.facts().size is not None)
