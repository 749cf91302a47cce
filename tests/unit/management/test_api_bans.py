# SPDX-License-Identifier: Apache-2.0
from neurowall.model.limits import LimitBan
from tests.unit.management.conftest import Api, StandIn, done, refused


class TestBans:
    def test_tell_of_every_kind(self, api: Api, dataplane: StandIn) -> None:
        """What the engine has, in pages."""
        done(api.post("/block", json={"addresses": ["198.51.100.7"], "reason": "scans"}))
        done(api.post("/block", json={"addresses": ["198.51.100.8"], "ttl": "1h"}))
        done(api.post("/allow", json={"addresses": ["203.0.113.0/28"]}))
        end = dataplane.limiter.clock() + 60
        dataplane.limiter.banned["192.0.2.66"] = LimitBan("192.0.2.66", end, "")
        answer = done(api.get("/bans"))
        assert [(each["entry"], each["kind"], each["list"]) for each in answer["bans"]] == [
            ("198.51.100.7", "block", "operator-block"),
            ("198.51.100.8", "block", "operator-block-timed"),
            ("203.0.113.0/28", "allow", "operator-allow"),
            ("192.0.2.66", "limit", None),
        ]
        assert answer["next"] is None
        assert answer["bans"][0]["expires"] is None
        assert 3500 < answer["bans"][1]["seconds_left"] <= 3600
        first = done(api.get("/bans?limit=3"))
        rest = done(api.get("/bans", params={"limit": 3, "after": first["next"]}))
        both = [each["entry"] for each in first["bans"] + rest["bans"]]
        assert both == [each["entry"] for each in answer["bans"]]
        assert rest["next"] is None

    def test_may_be_asked_by_kind_and_address(self, api: Api) -> None:
        """Whoever looks for one address sees what holds it."""
        done(api.post("/block", json={"addresses": ["198.51.100.0/24", "192.0.2.1"]}))
        found = done(api.get("/bans?kind=block&address=198.51.100.9"))["bans"]
        assert [each["entry"] for each in found] == ["198.51.100.0/24"]
        assert done(api.get("/bans?kind=allow"))["bans"] == []

    def test_refuse_what_cannot_be(self, api: Api) -> None:
        """Each wrong parameter by its name."""
        for query, field in (
            ("address=nobody", "query.address"),
            ("kind=ban", "query.kind"),
            ("limit=0", "query.limit"),
            ("page=2", "query.page"),
        ):
            problem = refused(api.get(f"/bans?{query}"), 422, "invalid-request")
            assert [each["field"] for each in problem["errors"]] == [field]
        refused(api.get("/bans?after=somewhere"), 422, "invalid-list")

    def test_a_reason_has_an_end(self, api: Api) -> None:
        """Two hundred characters."""
        body = {"addresses": ["198.51.100.7"], "reason": "x" * 201}
        problem = refused(api.post("/block", json=body), 422, "invalid-request")
        assert [each["field"] for each in problem["errors"]] == ["reason"]
