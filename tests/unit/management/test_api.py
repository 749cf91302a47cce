# SPDX-License-Identifier: Apache-2.0

import pytest

from neurowall.logic.engine import Engine
from neurowall.management.api.answers import About
from neurowall.management.api.app import create_metrics_app
from neurowall.model.counters import Counter
from neurowall.model.errors import KernelError
from neurowall.model.policy import load_policy
from neurowall.model.reasons import Reason
from tests.unit.management.conftest import POLICY, Api, StandIn, done, refused


class TestHealth:
    def test_liveness_asks_nobody(self, api: Api) -> None:
        """It says that the loop turns, whatever the engine does."""
        assert done(api.get("/liveness")) == {"alive": True}

    def test_a_healthy_daemon_is_ready(self, api: Api) -> None:
        """Health and readiness agree."""
        assert done(api.get("/health"))["state"] == "ok"
        assert done(api.get("/readiness"))["ready"] is True

    def test_a_lost_interface_is_said_everywhere(self, api: Api, dataplane: StandIn) -> None:
        """Not ready with the reason, degraded in health and status; the daemon still answers."""
        dataplane.lose_interface()
        problem = refused(api.get("/readiness"), 503, "degraded")
        assert problem["errors"] == [{"why": "wan0: it has gone"}]
        assert done(api.get("/health")) == {
            "state": "degraded",
            "instance": "main",
            "problems": ["wan0: it has gone"],
        }
        assert done(api.get("/status"))["state"] == "degraded"


class TestStatus:
    def test_it_tells_everything_with_names(self, api: Api, dataplane: StandIn) -> None:
        """Instance, interfaces with zone and mode, lists, tables, and packets by reason."""
        dataplane.reasons[Reason.BLOCK_LIST] = Counter(7, 420)
        status = done(api.get("/status"))
        assert status["instance"] == "main"
        assert status["version"] == "1.2.3"
        assert status["engine"] == "buckets"
        assert status["generation"] == 1
        assert status["uptime_seconds"] >= 0
        assert [(each["name"], each["zone"], each["mode"]) for each in status["interfaces"]] == [
            ("wan0", "external", "native"),
            ("lan0", "internal", "generic"),
        ]
        assert {"reason": "block-list", "verdict": "drop", "packets": 7, "bytes": 420} in status["packets"]
        assert len(status["packets"]) == len(Reason)
        assert {"table": "prefixes4", "entries": 1, "capacity": 100, "grown_from": None} in status["tables"]
        assert {each["name"]: each["entries"] for each in status["lists"]} == {
            "operator-allow": {"4": 0, "6": 0},
            "operator-block": {"4": 0, "6": 0},
            "declared": {"4": 1, "6": 1},
            "operator-allow-timed": {"4": 0, "6": 0},
            "operator-block-timed": {"4": 0, "6": 0},
        }
        assert status["timed"] == {
            "block": 0,
            "allow": 0,
            "next": {"expires": None, "remaining_seconds": None},
        }

    def test_a_table_that_outgrew_the_policy_says_so(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """The capacity is that of the maps in force, beside what they were made for."""
        text = POLICY.replace("hosts4: 1000", "hosts4: 400").replace("hosts6: 100", "hosts6: 300")
        other = load_policy(text, "policy.yaml")
        assert (other.capacity.hosts4, other.capacity.hosts6) == (400, 300)
        monkeypatch.setattr(Engine, "policy", property(lambda _: other))
        tables = {each["table"]: each for each in done(api.get("/status"))["tables"]}
        assert (tables["hosts4"]["capacity"], tables["hosts4"]["grown_from"]) == (1000, 400)
        assert tables["prefixes4"]["grown_from"] is None
        assert tables["hosts6"]["grown_from"] is None  # smaller than declared: kept until it is made anew

    def test_zones_follow_the_policy(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """An apply may move an interface; what the daemon was started with is history."""
        text = POLICY.replace("{name: lan0, zone: internal}", "{name: lan0, zone: external}")
        monkeypatch.setattr(Engine, "policy", property(lambda _: load_policy(text, "policy.yaml")))
        zones = [each["zone"] for each in done(api.get("/status"))["interfaces"]]
        assert zones == ["external", "external"]

    def test_a_list_shows_what_it_decided(self, api: Api, dataplane: StandIn) -> None:
        """The counters of its class are its own."""
        class_id = dataplane.class_of("203.0.113.9")
        dataplane.counted = {class_id: Counter(3, 180)}
        rows = {each["name"]: each for each in done(api.get("/lists"))["lists"]}
        assert (rows["declared"]["packets"], rows["declared"]["bytes"]) == (3, 180)
        assert (rows["declared"]["matched_packets"], rows["declared"]["matched_bytes"]) == (3, 180)
        assert rows["operator-block"]["packets"] == 0
        assert rows["operator-block"]["matched_packets"] == 0

    def test_a_list_shows_what_it_matched(self, api: Api, engine: Engine, dataplane: StandIn) -> None:
        """Another list decided those packets."""
        engine.allow(["203.0.113.9"])
        dataplane.counted = {dataplane.class_of("203.0.113.9"): Counter(4, 240)}
        rows = {each["name"]: each for each in done(api.get("/lists"))["lists"]}
        assert (rows["operator-allow"]["packets"], rows["operator-allow"]["matched_packets"]) == (4, 4)
        assert (rows["declared"]["packets"], rows["declared"]["matched_packets"]) == (0, 4)

    def test_housekeeping_that_fails_is_a_problem(self, api: Api, about: About) -> None:
        """Packets are filtered as intended, so it stays ready; but something is wrong."""
        about.say_housekeeping("ended entries cannot be taken out: no space left")
        for path in ("/status", "/health"):
            answer = done(api.get(path))
            assert answer["state"] == "degraded"
            assert answer["problems"] == ["ended entries cannot be taken out: no space left"]
        assert done(api.get("/readiness"))["ready"]
        about.say_housekeeping(None)
        assert done(api.get("/health"))["state"] == "ok"

    def test_a_policy_that_was_not_reloaded_is_a_warning(self, api: Api, about: About) -> None:
        """Packets are filtered as intended, so it is no problem; but it must be seen."""
        about.policy_problem = "policy.yaml is not in force: policy.yaml:3: no"
        status = done(api.get("/status"))
        assert status["warnings"] == ["policy.yaml is not in force: policy.yaml:3: no"]
        assert status["state"] == "ok"

    def test_counters_that_cannot_be_read_are_an_error(
        self, api: Api, dataplane: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Never zeros that look like silence."""

        def broken() -> None:
            raise KernelError("map lookup: Bad file descriptor")

        monkeypatch.setattr(dataplane, "reason_counters", broken)
        assert "Bad file" in refused(api.get("/status"), 500, "failed")["detail"]
        assert api.get("/metrics").status_code == 500


class TestImperative:
    def test_block_explain_unblock(self, api: Api, dataplane: StandIn) -> None:
        """A ban reaches the kernel before the answer does, and leaves it again."""
        answer = done(api.post("/block", json={"addresses": ["198.51.100.7", "2001:db8::7"]}))
        assert (answer["added"], answer["removed"], answer["unchanged"]) == (2, 0, 0)
        assert answer["generation"] == 2
        assert answer["seconds"] > 0
        assert dataplane.lookup("198.51.100.7")
        assert done(api.get("/explain/198.51.100.7"))["verdict"] == "drop"
        assert done(api.post("/unblock", json={"addresses": ["198.51.100.7"]}))["removed"] == 1
        assert dataplane.lookup("198.51.100.7") is None
        assert done(api.get("/explain/198.51.100.7"))["verdict"] == "pass"
        assert done(api.get("/explain/2001:db8::7"))["list"] == "operator-block"

    def test_allow_beats_block_until_unallow(self, api: Api) -> None:
        """A declared prefix is opened for one host, and closed again."""
        done(api.post("/allow", json={"addresses": ["203.0.113.9"]}))
        found = done(api.get("/explain/203.0.113.9"))
        assert (found["verdict"], found["list"]) == ("pass", "operator-allow")
        assert done(api.get("/explain/203.0.113.10"))["verdict"] == "drop"
        done(api.post("/unallow", json={"addresses": ["203.0.113.9"]}))
        assert done(api.get("/explain/203.0.113.9"))["verdict"] == "drop"

    def test_a_block_that_an_allow_shadows_says_so(self, api: Api) -> None:
        """Accepted, but not silently without effect."""
        done(api.post("/allow", json={"addresses": ["192.0.2.0/24"]}))
        answer = done(api.post("/block", json={"addresses": ["192.0.2.9"]}))
        assert answer["addresses"][0]["shadowed_by"] == ["operator-allow"]
        assert answer["notes"] == ["192.0.2.9 still passes: allow list operator-allow holds it"]

    def test_an_unblock_that_leaves_it_blocked_says_so(self, api: Api) -> None:
        """Another list holds it."""
        answer = done(api.post("/unblock", json={"addresses": ["203.0.113.9"]}))
        assert answer["addresses"][0]["still_blocked_by"] == ["declared"]
        assert answer["notes"] == [
            "203.0.113.9 itself is in neither operator-block nor operator-block-timed: nothing was removed",
            "203.0.113.9 is still blocked by list declared",
        ]

    def test_one_bad_address_changes_nothing(self, api: Api, dataplane: StandIn) -> None:
        """All or nothing, and the bad one is named by its place."""
        addresses = ["198.51.100.7", "1.2.3", "010.0.0.1"]
        problem = refused(api.post("/block", json={"addresses": addresses}), 422, "invalid-address")
        assert [(each["field"], each["text"]) for each in problem["errors"]] == [
            ("addresses[1]", "1.2.3"),
            ("addresses[2]", "010.0.0.1"),
        ]
        assert dataplane.lookup("198.51.100.7") is None
        assert done(api.get("/status"))["generation"] == 1


BODIES: list[tuple[bytes, str]] = [
    (b'{"addresses": ', "body"),
    (b"", "body"),
    (b"[]", "body"),
    (b"{}", "addresses"),
    (b'{"addresses": "198.51.100.7"}', "addresses"),
    (b'{"addresses": []}', "addresses"),
    (b'{"addresses": [1]}', "addresses[0]"),
    (b'{"addresses": ["198.51.100.7", null]}', "addresses[1]"),
    (b'{"addresses": ["198.51.100.7"], "until": "1h"}', "until"),
    (b'{"addresses": ["198.51.100.7"], "ttl": ""}', "ttl"),
    (b'{"addresses": ["198.51.100.7"], "ttl": "soon"}', "ttl"),
    (b'{"addresses": ["198.51.100.7"], "ttl": "0s"}', "ttl"),
    (b'{"addresses": ["198.51.100.7"], "ttl": "-1h"}', "ttl"),
    (b'{"addresses": ["198.51.100.7"], "ttl": "3651d"}', "ttl"),
    (b'{"addresses": ["198.51.100.7"], "ttl": 0}', "ttl"),
    (b'{"addresses": ["198.51.100.7"], "ttl": -1}', "ttl"),
    (b'{"addresses": ["198.51.100.7"], "ttl": NaN}', "ttl"),
    (b'{"addresses": ["198.51.100.7"], "ttl": 1e400}', "ttl"),
    (b'{"addresses": ["198.51.100.7"], "ttl": 1' + b"0" * 400 + b"}", "ttl"),
    (b'{"addresses": ["198.51.100.7"], "ttl": true}', "ttl"),
    (b'{"addresses": ["198.51.100.7"], "ttl": ["1h"]}', "ttl"),
    (b'{"addresses": {"a": 1}}', "addresses"),
]


class TestBadRequests:
    @pytest.mark.parametrize(("body", "field"), BODIES)
    def test_a_malformed_body_names_the_field(
        self, api: Api, engine: Engine, body: bytes, field: str
    ) -> None:
        """422, the field, and nothing changed."""
        answer = api.post("/block", content=body, headers={"content-type": "application/json"})
        problem = refused(answer, 422, "invalid-request")
        assert field in [each["field"] for each in problem["errors"]]
        assert engine.status().generation == 1

    def test_every_imperative_change_is_as_strict(self, api: Api) -> None:
        """They share one body."""
        for verb, field in (("block", "for"), ("allow", "for"), ("unblock", "ttl"), ("unallow", "ttl")):
            json = {"addresses": ["198.51.100.7"], field: "1h"}
            problem = refused(api.post(f"/{verb}", json=json), 422, "invalid-request")
            assert problem["errors"] == [{"field": field, "why": "unknown field"}]

    def test_many_wrong_types_are_one_error(self, api: Api) -> None:
        """The loop answers nobody else while it lists them."""
        problem = refused(api.post("/block", json={"addresses": [1] * 1000}), 422, "invalid-request")
        assert [each["field"] for each in problem["errors"]] == ["addresses[0]"]

    def test_a_bad_ttl_says_how_to_write_one(self, api: Api) -> None:
        """In the field's own reason."""
        body = {"addresses": ["198.51.100.7"], "ttl": "1 hour"}
        problem = refused(api.post("/allow", json=body), 422, "invalid-request")
        assert [each["field"] for each in problem["errors"]] == ["ttl"]
        assert "12h" in problem["errors"][0]["why"]
        assert "Value error" not in problem["detail"]

    @pytest.mark.parametrize(
        ("method", "url", "field"),
        [
            ("GET", "/status?verbose=1", "query.verbose"),
            ("GET", "/lists?x=1", "query.x"),
            ("GET", "/lists/declared?limit=ten", "query.limit"),
            ("GET", "/lists/declared?limit=0", "query.limit"),
            ("GET", "/lists/declared?page=2", "query.page"),
            ("PUT", "/lists/new?verdict=drop", "query.verdict"),
            ("PUT", "/lists/new?verdikt=allow", "query.verdikt"),
            ("PUT", "/lists/new?skip_invalid=perhaps", "query.skip_invalid"),
            ("PUT", "/lists/new?monitor=perhaps", "query.monitor"),
            ("DELETE", "/lists/declared?force=true", "query.force"),
            ("POST", "/reload?dryrun=true", "query.dryrun"),
        ],
    )
    def test_an_unknown_or_wrong_query_is_not_ignored(
        self, api: Api, engine: Engine, method: str, url: str, field: str
    ) -> None:
        """`?dryrun=true` must not apply, `?verdikt=allow` must not block."""
        problem = refused(api.request(method, url), 422, "invalid-request")
        assert [each["field"] for each in problem["errors"]] == [field]
        assert engine.status().generation == 1

    @pytest.mark.parametrize(
        ("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/status", 405)]
    )
    def test_paths_and_methods_that_are_not_there(
        self, api: Api, method: str, path: str, status: int
    ) -> None:
        """Problem documents too, naming what was asked."""
        answer = api.request(method, path)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.status_code == status
        assert path in answer.json()["detail"]

    @pytest.mark.parametrize(
        "address", ["1.2.3", "203.0.113.0/24", "example.org", "%00", "a/b/c", "fe80::1%25eth0"]
    )
    def test_explain_wants_one_address(self, api: Api, address: str) -> None:
        """A prefix, a name or rubbish is refused with the reason."""
        refused(api.get(f"/explain/{address}"), 422, "invalid-list")

    def test_a_bug_is_a_problem_without_internals(
        self, api: Api, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The answer names the kind, the log has the rest."""

        def bug() -> None:
            raise ZeroDivisionError("secret detail")

        monkeypatch.setattr(engine, "status", bug)
        problem = refused(api.get("/health"), 500, "internal")
        assert "ZeroDivisionError" in problem["detail"]
        assert "secret" not in str(problem)


def test_reload_replaces_the_program(api: Api, dataplane: StandIn) -> None:
    """The answer shows the interfaces after it."""
    rows = done(api.post("/reload"))["interfaces"]
    assert [(each["name"], each["zone"]) for each in rows] == [("wan0", "external"), ("lan0", "internal")]
    assert dataplane.operations.count("reload_program") == 1


def test_the_loopback_listener_has_metrics_only(engine: Engine, about: About) -> None:
    """Anybody on the machine may connect to it, so it must not change or tell more."""
    api = Api(create_metrics_app(engine, about))
    assert api.get("/metrics").status_code == 200
    for path in ("/status", "/lists", "/explain/203.0.113.9", "/docs"):
        assert api.get(path).status_code == 404
    assert api.post("/block", json={"addresses": ["203.0.113.9"]}).status_code == 404
