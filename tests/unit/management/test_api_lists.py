# SPDX-License-Identifier: Apache-2.0
from collections.abc import AsyncIterator

import pytest

from neurowall.logic.engine import Engine
from neurowall.management.api import app as api_module
from neurowall.management.api.answers import About
from neurowall.management.api.app import create_app
from tests.unit.management.conftest import Api, Json, StandIn, done, refused


class TestLists:
    def test_load_show_replace_remove(self, api: Api, dataplane: StandIn) -> None:
        """A list's whole life."""
        answer = done(
            api.put("/lists/feed?create=true", content="198.51.100.1\n198.51.100.2 # two\n\n; three\n")
        )
        assert (answer["generation"], answer["added"]) == (2, 2)
        shown = done(api.get("/lists/feed"))
        assert (shown["verdict"], shown["origin"]) == ("block", "runtime")
        assert shown["items"] == ["198.51.100.1", "198.51.100.2"]
        answer = done(api.put("/lists/feed?create=false", content="198.51.100.2\n198.51.100.3\n"))
        assert (answer["added"], answer["removed"], answer["unchanged"]) == (1, 1, 1)
        assert dataplane.lookup("198.51.100.1") is None
        assert done(api.delete("/lists/feed"))["removed"] == 2
        assert dataplane.lookup("198.51.100.3") is None
        refused(api.get("/lists/feed"), 404, "no-such-list")

    def test_put_makes_or_replaces(self, api: Api) -> None:
        """Without create it is HTTP's own PUT: the same request twice is the same state."""
        for expected in ((1, 0), (0, 1)):
            answer = done(api.put("/lists/feed", content="198.51.100.1"))
            assert (answer["added"], answer["unchanged"]) == expected

    def test_an_allow_list_allows(self, api: Api) -> None:
        """The verdict is given at creation and kept by a replacement."""
        done(api.put("/lists/partners?verdict=allow", content="203.0.113.9"))
        assert done(api.get("/explain/203.0.113.9"))["verdict"] == "pass"
        done(api.put("/lists/partners", content="203.0.113.8"))
        assert done(api.get("/explain/203.0.113.8"))["verdict"] == "pass"
        refused(api.put("/lists/partners?verdict=block", content="203.0.113.8"), 409, "list-conflict")

    @pytest.mark.parametrize("name", ["declared", "operator-block"])
    def test_creating_what_exists_is_a_conflict(self, api: Api, name: str) -> None:
        """`lists load` never replaces by accident."""
        refused(api.put(f"/lists/{name}?create=true", content="198.51.100.1"), 409, "list-conflict")

    def test_replacing_what_is_not_there_is_404(self, api: Api) -> None:
        """A misspelt name makes no second list; the answer names those that exist."""
        problem = refused(api.put("/lists/fed?create=false", content="198.51.100.1"), 404, "no-such-list")
        assert "declared" in problem["detail"]

    @pytest.mark.parametrize("name", ["Feed", "a b", "x" * 41, "a.b"])
    def test_a_bad_name_is_refused(self, api: Api, name: str) -> None:
        """The rule is in the answer."""
        problem = refused(api.put(f"/lists/{name}", content="198.51.100.1"), 422, "list-refused")
        assert "a-z" in problem["detail"]

    def test_declared_lists_cannot_be_removed(self, api: Api) -> None:
        """They would be back after the next start."""
        refused(api.delete("/lists/declared"), 409, "list-conflict")
        refused(api.delete("/lists/nowhere"), 404, "no-such-list")

    def test_garbage_lines_refuse_the_whole_list(self, api: Api, engine: Engine, dataplane: StandIn) -> None:
        """Each bad line by number with its reason; nothing is half-loaded."""
        text = "198.51.100.1\nexample.org\n198.51.100.2\n1.2.3.4-1.2.3.9\n"
        problem = refused(api.put("/lists/feed", content=text), 422, "invalid-list")
        assert [(each["line"], each["text"]) for each in problem["errors"]] == [
            (2, "example.org"),
            (4, "1.2.3.4-1.2.3.9"),
        ]
        assert all(each["why"] for each in problem["errors"])
        assert dataplane.lookup("198.51.100.1") is None
        assert engine.status().generation == 1

    def test_garbage_lines_are_skipped_on_purpose_only(self, api: Api) -> None:
        """skip_invalid loads the rest and says what it left out."""
        text = "198.51.100.1\nexample.org\n198.51.100.1\n198.51.100.9/24\n"
        answer = done(api.put("/lists/feed?skip_invalid=true", content=text))
        assert answer["added"] == 2
        assert (answer["skipped_count"], answer["skipped"][0]["line"]) == (1, 2)
        assert answer["duplicates"] == 1
        assert (answer["host_bits_count"], answer["host_bits"]) == (1, [4])
        assert len(answer["notes"]) == 3

    def test_a_list_of_garbage_is_refused_even_so(self, api: Api) -> None:
        """skip_invalid must not empty a list when a feed serves an error page."""
        done(api.put("/lists/feed", content="198.51.100.1"))
        answer = api.put("/lists/feed?skip_invalid=true", content="<html>\n<body>\n</html>\n")
        refused(answer, 422, "invalid-list")
        assert done(api.get("/lists/feed"))["items"] == ["198.51.100.1"]

    def test_many_bad_lines_are_counted_not_all_sent(self, api: Api) -> None:
        """The first hundred and the total."""
        problem = refused(api.put("/lists/feed", content="nonsense\n" * 1000), 422, "invalid-list")
        assert len(problem["errors"]) == 100
        assert problem["error_count"] == 1000

    def test_pages_join_into_the_whole_list(self, api: Api) -> None:
        """`next` is the following page's `after`; no entry is lost or repeated."""
        entries = {f"198.51.100.{i}" for i in range(25)} | {"2001:db8::/64", "198.51.0.0/16"}
        done(api.put("/lists/feed", content="\n".join(entries)))
        pages, after = [], None
        while True:
            query = {"limit": 10} | ({"after": after} if after else {})
            page = done(api.get("/lists/feed", params=query))
            pages.append(page["items"])
            after = page["next"]
            if after is None:
                break
        assert [len(items) for items in pages] == [10, 10, 7]
        assert {entry for items in pages for entry in items} == entries

    def test_over_capacity_names_the_key_to_raise(self, api: Api, engine: Engine) -> None:
        """Refused before the kernel is touched."""
        text = "\n".join(f"10.1.{i >> 8}.{i & 255}" for i in range(1001))
        problem = refused(api.put("/lists/feed", content=text), 409, "capacity")
        assert (problem["capacity"], problem["limit"], problem["list"]) == ("hosts4", 1000, "feed")
        assert problem["wanted"] >= 1001
        assert "capacity.hosts4" in problem["detail"]
        assert engine.status().generation == 1

    def test_a_full_kernel_map_reverts_and_names_the_key(self, api: Api, dataplane: StandIn) -> None:
        """The kernel said no half-way: an error, and the old lists are in force."""
        dataplane.limits = {"hosts4": 0}
        problem = refused(api.put("/lists/feed", content="198.51.100.1"), 507, "map-full")
        assert (problem["capacity"], problem["limit"]) == ("hosts4", 0)
        assert "capacity.hosts4" in problem["detail"]
        dataplane.limits = {}
        refused(api.get("/lists/feed"), 404, "no-such-list")
        assert done(api.get("/status"))["generation"] == 1


class TestMonitor:
    def test_a_list_is_tried_then_enforced(self, api: Api, dataplane: StandIn) -> None:
        """Loaded to monitor, enforced, and back again."""
        done(api.put("/lists/feed?monitor=true", content="198.51.100.1"))
        assert done(api.get("/lists/feed"))["monitor"] is True
        assert dataplane.lookup("198.51.100.1")
        assert dataplane.verdict("198.51.100.1") is None
        for monitor, verdict in ((False, "drop"), (True, None)):
            answer = done(api.patch("/lists/feed", json={"monitor": monitor}))
            assert (answer["added"], answer["removed"]) == (0, 0)
            assert dataplane.verdict("198.51.100.1") == verdict
            assert done(api.get("/lists/feed"))["monitor"] is monitor

    def test_a_replacement_keeps_the_mode(self, api: Api, dataplane: StandIn) -> None:
        """And refuses to change it in passing, naming the command that does."""
        done(api.put("/lists/feed?monitor=true", content="198.51.100.1"))
        done(api.put("/lists/feed", content="198.51.100.2"))
        done(api.put("/lists/feed?monitor=true", content="198.51.100.3"))
        assert dataplane.lookup("198.51.100.3")
        assert dataplane.verdict("198.51.100.3") is None
        answer = api.put("/lists/feed?monitor=false", content="198.51.100.4")
        assert "neurowall lists set feed --enforce" in refused(answer, 409, "list-conflict")["detail"]
        assert dataplane.lookup("198.51.100.4") is None

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "monitor"),
            ({"monitor": "true"}, "monitor"),
            ({"monitor": True, "verdict": "allow"}, "verdict"),
        ],
    )
    def test_a_wrong_body_names_the_field(self, api: Api, body: dict[str, object], field: str) -> None:
        """Nothing but `monitor` can be changed, and nothing is guessed."""
        problem = refused(api.patch("/lists/declared", json=body), 422, "invalid-request")
        assert field in [each["field"] for each in problem["errors"]]

    def test_lists_that_cannot_be_monitored(self, api: Api) -> None:
        """One that is not there, and the built-in ones."""
        refused(api.patch("/lists/nowhere", json={"monitor": True}), 404, "no-such-list")
        refused(api.patch("/lists/operator-block", json={"monitor": True}), 409, "list-conflict")


class TestBodies:
    def test_a_body_over_the_limit_is_413(
        self, engine: Engine, about: About, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By its declared length, and also when it is not declared."""
        monkeypatch.setattr(api_module, "MAX_LIST", 2 << 20)
        monkeypatch.setattr(api_module, "MAX_BODY", 1 << 20)
        api = Api(create_app(engine, about))
        body = b"198.51.100.1\n" * (1 << 18)

        async def undeclared() -> AsyncIterator[bytes]:
            yield body[: 1 << 20]
            yield body[1 << 20 :]

        for content in (body, undeclared()):
            problem = refused(api.put("/lists/feed", content=content), 413, "request-entity-too-large")
            assert "larger than 2 MiB" in problem["detail"]
        json = {"addresses": ["198.51.100.1"] * 100_000}
        problem = refused(api.post("/block", json=json), 413, "request-entity-too-large")
        assert "larger than 1 MiB" in problem["detail"]
        assert engine.status().generation == 1


class TestDryRun:
    @pytest.mark.parametrize(
        ("method", "url", "body"),
        [
            ("POST", "/block", {"json": {"addresses": ["198.51.100.7"]}}),
            ("POST", "/allow", {"json": {"addresses": ["203.0.113.7"], "ttl": 60}}),
            ("POST", "/unblock", {"json": {"addresses": ["203.0.113.7"]}}),
            ("POST", "/unallow", {"json": {"addresses": ["203.0.113.7"]}}),
            ("PUT", "/lists/new", {"content": "198.51.100.7"}),
            ("PUT", "/lists/declared", {"content": "198.51.100.7"}),
            ("PATCH", "/lists/declared", {"json": {"monitor": True}}),
        ],
    )
    def test_has_the_shape_of_the_change_and_changes_nothing(
        self, api: Api, engine: Engine, method: str, url: str, body: Json
    ) -> None:
        """The same members; generation is the present one."""
        tried = done(api.request(method, url, params={"dry_run": "true"}, **body))
        assert (tried["dry_run"], tried["generation"], engine.status().generation) == (True, 1, 1)
        made = done(api.request(method, url, **body))
        assert not made["dry_run"]
        assert tried.keys() == made.keys()
        for answer in (tried, made):
            for member in ("generation", "dry_run", "seconds", "addresses"):
                answer.pop(member)
        assert tried == made

    def test_of_a_removal_and_a_reload(self, api: Api, engine: Engine) -> None:
        """The list is there afterwards."""
        done(api.put("/lists/new", content="198.51.100.7"))
        assert done(api.delete("/lists/new?dry_run=true"))["removed"] == 1
        assert any(each.name == "new" for each in engine.lists())
        assert done(api.post("/reload?dry_run=true"))["dry_run"]
