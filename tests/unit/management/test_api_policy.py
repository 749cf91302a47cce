# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import pytest

from neurowall.data.store.store import Store
from neurowall.logic.engine import Engine
from neurowall.logic.lockout import Session
from neurowall.logic.packettext import PacketInvalid
from neurowall.management.api.answers import About
from neurowall.management.api.app import create_app
from neurowall.management.api.exposition import exposition
from neurowall.management.api.metrics import collector_of
from neurowall.model.counters import Counter
from neurowall.model.errors import (
    LockOut,
    NeurowallError,
    PendingError,
    PolicyError,
    RulesetError,
    StateError,
)
from neurowall.model.intent import GenerationRecord
from tests.unit.management.conftest import Api, done, refused
from tests.unit.management.policies import PENDING, TEXT, FakePolicies


@pytest.fixture
def policies() -> FakePolicies:
    """What answers for policies."""
    return FakePolicies()


@pytest.fixture
def api(engine: Engine, about: About, policies: FakePolicies) -> Api:
    """The API over it."""
    return Api(create_app(engine, about, policies))


class TestApply:
    def test_the_text_and_the_way_are_handed_on(self, api: Api, policies: FakePolicies) -> None:
        """Body, file name and session from headers, the rest from the query."""
        answer = done(
            api.post(
                "/policy/apply?confirm=60&force=true&note=new%20mail",
                content=TEXT,
                headers={"x-policy-file": "/etc/n%C3%A9w.yaml", "x-session": "203.0.113.7 5000 192.0.2.1 22"},
            )
        )
        assert policies.told == [
            (
                "apply",
                {
                    "text": TEXT,
                    "filename": "/etc/néw.yaml",
                    "confirm": 60.0,
                    "force": True,
                    "session": Session("203.0.113.7", 5000, "192.0.2.1", 22),
                    "note": "new mail",
                    "confined": False,
                },
            )
        ]
        assert answer == {
            "generation": 6,
            "dry_run": False,
            "differences": [
                {
                    "sign": "+",
                    "part": "rules",
                    "name": "web",
                    "text": "accept tcp 443 from external to internal",
                }
            ],
            "added": 1,
            "removed": 2,
            "objects": 30,
            "seconds": 0.25,
            "pending": None,
            "warnings": ["set partners is used nowhere"],
        }

    def test_without_headers_and_query_it_is_a_plain_apply(self, api: Api, policies: FakePolicies) -> None:
        """Nothing is confirmed, forced or spared unless asked."""
        done(api.post("/policy/apply", content=TEXT))
        (told,) = policies.told
        assert told[1] | {"text": ""} == {
            "text": "",
            "filename": "policy.yaml",
            "confirm": None,
            "force": False,
            "session": None,
            "note": "",
            "confined": False,
        }

    def test_a_dry_run_changes_nothing(self, api: Api, policies: FakePolicies) -> None:
        """The engine is asked for a plan, and never told to apply."""
        headers = {"x-session": "203.0.113.7 5000 192.0.2.1 22"}
        assert done(api.post("/policy/apply?dry_run=true", content=TEXT, headers=headers))["dry_run"] is True
        assert [verb for verb, _ in policies.told] == ["plan"]
        assert policies.told[0][1]["session"] == Session("203.0.113.7", 5000, "192.0.2.1", 22)
        done(api.post("/policy/apply?dry_run=true&force=true", content=TEXT, headers=headers))
        assert policies.told[1][1]["session"] is None

    def test_what_waits_is_told(self, api: Api, policies: FakePolicies) -> None:
        """How long, and what comes back."""
        policies.pending = PENDING
        answer = done(api.post("/policy/apply?confirm=42s", content=TEXT))
        assert answer["pending"] == {"seconds": 42.0, "generation": 6, "revert_to": 5}

    @pytest.mark.parametrize("confirm", ["0", "0.5", "-1", "2d", "soon", "nan", "inf", "1e9", ""])
    def test_a_confirm_that_cannot_be_is_refused(
        self, api: Api, policies: FakePolicies, confirm: str
    ) -> None:
        """From a second to a day; nothing reaches the engine."""
        problem = refused(api.post(f"/policy/apply?confirm={confirm}", content=TEXT), 422, "invalid-request")
        assert problem["errors"][0]["field"] == "query.confirm"
        assert policies.told == []

    @pytest.mark.parametrize(
        "session",
        ["203.0.113.7", "203.0.113.7 x 192.0.2.1 22", "no 1 192.0.2.1 22", "203.0.113.7 0 192.0.2.1 22"],
    )
    def test_a_session_that_is_none_is_refused(self, api: Api, policies: FakePolicies, session: str) -> None:
        """Guessing here could lock somebody out."""
        answer = api.post("/policy/apply", content=TEXT, headers={"x-session": session})
        assert refused(answer, 422, "invalid-request")["errors"][0]["field"] == "x-session"
        assert policies.told == []

    def test_unknown_query_parameters_are_refused(self, api: Api, policies: FakePolicies) -> None:
        """A misspelt dry_run must not apply."""
        refused(api.post("/policy/apply?dryrun=true", content=TEXT), 422, "invalid-request")
        assert policies.told == []

    def test_bytes_that_are_no_text_are_refused(self, api: Api, policies: FakePolicies) -> None:
        """With the byte."""
        problem = refused(api.post("/policy/apply", content=b"rules: \xff"), 422, "invalid-policy")
        assert "byte 7 is 0xff" in problem["detail"]
        assert policies.told == []

    @pytest.mark.parametrize(
        ("failure", "status", "kind"),
        [
            (LockOut("it would cut your session"), 409, "lock-out"),
            (PendingError("one waits"), 409, "pending"),
            (RulesetError("nft refused"), 500, "nftables-failed"),
        ],
    )
    def test_refusals_have_their_kind(
        self, api: Api, policies: FakePolicies, failure: NeurowallError, status: int, kind: str
    ) -> None:
        """Programs branch on it."""
        policies.failure = failure
        assert refused(api.post("/policy/apply", content=TEXT), status, kind)["detail"] == str(failure)

    def test_a_missing_library_is_said(self, api: Api, policies: FakePolicies) -> None:
        """It is another repair than a refused rule."""
        policies.failure = RulesetError("install python3-nftables", library=True)
        assert refused(api.post("/policy/apply", content=TEXT), 500, "nftables-failed")["library"] is True

    def test_every_line_of_a_bad_policy_is_told(self, api: Api, policies: FakePolicies) -> None:
        """The detail is the line itself if there is only one."""
        policies.failure = PolicyError(["policy.yaml:3: rules[0].to: no", "policy.yaml:9: nat: no"])
        problem = refused(api.post("/policy/apply", content=TEXT), 422, "invalid-policy")
        assert problem["detail"] == "the policy cannot be used: 2 problems"
        assert [each["why"] for each in problem["errors"]] == list(policies.failure.lines)
        policies.failure = PolicyError(["policy.yaml:3: rules[0].to: no"])
        problem = refused(api.post("/policy/apply", content=TEXT), 422, "invalid-policy")
        assert problem["detail"] == "the policy cannot be used: policy.yaml:3: rules[0].to: no"


class TestBack:
    def test_confirm(self, api: Api, policies: FakePolicies) -> None:
        """What is kept, and that nothing waits any more."""
        policies.pending = PENDING
        answer = done(api.post("/policy/confirm"))
        assert (answer["generation"], answer["confirmed"], answer["pending"]) == (5, True, None)
        assert "text" not in answer

    def test_rollback_without_a_body_goes_one_back(self, api: Api, policies: FakePolicies) -> None:
        """And so does an empty one."""
        done(api.post("/policy/rollback"))
        done(api.post("/policy/rollback", json={}))
        expected = {"generation": None, "dry_run": False, "force": False, "session": None, "confined": False}
        assert policies.told == [("rollback", expected)] * 2

    def test_rollback_to_a_generation(self, api: Api, policies: FakePolicies) -> None:
        """With everything that apply takes too; between two generations the older one was in force."""
        headers = {"x-session": "203.0.113.7 5000 192.0.2.1 22"}
        url = "/policy/rollback?dry_run=true&force=true"
        assert done(api.post(url, json={"generation": 4}, headers=headers))["dry_run"]
        session = Session("203.0.113.7", 5000, "192.0.2.1", 22)
        expected = {"generation": 4, "dry_run": True, "force": True, "session": session, "confined": False}
        assert policies.told == [("rollback", expected)]

    @pytest.mark.parametrize("number", [1, 2, 6, 99])
    def test_rollback_to_what_is_not_there(self, api: Api, policies: FakePolicies, number: int) -> None:
        """404 with those that are, and nothing changes."""
        problem = refused(
            api.post("/policy/rollback", json={"generation": number}), 404, "no-such-generation"
        )
        assert problem["detail"].endswith("there are: 3, 5")
        assert policies.told == []

    @pytest.mark.parametrize("body", [{"generation": "3"}, {"generation": 0}, {"generations": 3}, [3]])
    def test_a_body_that_is_none(self, api: Api, policies: FakePolicies, body: Any) -> None:
        """Nothing is guessed."""
        refused(api.post("/policy/rollback", json=body), 422, "invalid-request")
        assert policies.told == []


class TestQuestions:
    def test_the_policy_in_force(self, api: Api, policies: FakePolicies) -> None:
        """With its text, where it came from, and whether it waits."""
        assert done(api.get("/policy")) == {
            "generation": 5,
            "when": "2023-11-14T22:13:20Z",
            "source": "apply",
            "file": "/etc/policy.yaml",
            "note": "first",
            "sha256": "ab" * 32,
            "rules": 3,
            "lists": 0,
            "text": TEXT,
            "confirmed": True,
            "pending": None,
            "warnings": ["look here"],
        }
        policies.pending = PENDING
        assert done(api.get("/policy"))["confirmed"] is False

    def test_generations_have_no_texts(self, api: Api) -> None:
        """A hundred policies would be megabytes."""
        answer = done(api.get("/policy/generations"))
        assert [each["generation"] for each in answer["generations"]] == [5, 3]
        assert answer["in_force"] == 5
        assert all("text" not in each for each in answer["generations"])

    def test_generations_come_in_pages(self, api: Api) -> None:
        """`next` is the `after` of the older ones."""
        first = done(api.get("/policy/generations?limit=1"))
        assert ([each["generation"] for each in first["generations"]], first["next"]) == ([5], 5)
        rest = done(api.get("/policy/generations?limit=1&after=5"))
        assert ([each["generation"] for each in rest["generations"]], rest["next"]) == ([3], None)

    def test_older_generations_are_the_databases(
        self, engine: Engine, about: About, policies: FakePolicies, tmp_path: Path
    ) -> None:
        """In the same pages, with their texts; only what the daemon keeps can come back."""
        store = Store(f"sqlite:///{tmp_path}/neurowall.db", "gateway")
        store.open()
        for number in (1, 2, 3):
            text = TEXT.replace("ports: 25", f"ports: {number}")
            store.generations.record(GenerationRecord(number, 1_600_000_000.0, "apply", "p", "", text, 3, ()))
        api = Api(create_app(engine, about, policies, store=store))
        pages, after = list[list[int]](), dict[str, int]()
        while True:
            page = done(api.get("/policy/generations", params={"limit": 2, **after}))
            pages.append([each["generation"] for each in page["generations"]])
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        assert (pages, page["oldest_kept"], page["history"]) == ([[5, 3], [2, 1]], 3, "ok")
        assert "ports: 2," in done(api.get("/policy/generations/2"))["text"]
        assert done(api.get("/policy/generations/1/diff?to=3"))["differences"]
        refused(api.get("/policy/generations/4"), 404, "no-such-generation")
        refused(api.post("/policy/rollback", json={"generation": 2}), 404, "no-such-generation")
        store.close()
        page = done(api.get("/policy/generations"))
        assert ([each["generation"] for each in page["generations"]], page["history"]) == (
            [5, 3],
            "unavailable",
        )
        refused(api.get("/policy/generations/2"), 503, "storage-unavailable")

    def test_two_generations_are_compared(self, api: Api, policies: FakePolicies) -> None:
        """In words, and line by line; with the one in force where no other is named."""
        policies.texts[3] = TEXT.replace("ports: 25", "ports: 26")
        answer = done(api.get("/policy/generations/3/diff"))
        assert (answer["from"], answer["to"]) == (3, 5)
        assert [(each["sign"], each["part"], each["name"]) for each in answer["differences"]] == [
            ("~", "nat.port_forwards", "mail")
        ]
        changed = [line for line in answer["text_diff"].splitlines() if line[:1] in "+-"]
        assert changed[:2] == ["--- generation 3", "+++ generation 5"]
        assert [line.split("ports: ")[1][:2] for line in changed[2:]] == ["26", "25"]
        back = done(api.get("/policy/generations/5/diff?to=3"))
        assert (back["from"], back["to"]) == (5, 3)
        same = done(api.get("/policy/generations/5/diff?to=5"))
        assert (same["differences"], same["text_diff"]) == ([], "")
        refused(api.get("/policy/generations/3/diff?to=4"), 404, "no-such-generation")

    def test_a_generation_that_this_version_does_not_take_is_named(
        self, api: Api, policies: FakePolicies
    ) -> None:
        """Nothing to compare then."""
        policies.texts[3] = "interfaces: 7"
        problem = refused(api.get("/policy/generations/3/diff"), 422, "invalid-policy")
        assert "generation 3" in problem["detail"]

    def test_nat_in_its_order_with_what_it_counted(self, api: Api, policies: FakePolicies) -> None:
        """By the policy's own names; only port forwards are counted."""
        policies.counters = {"forward-mail": Counter(4, 160)}
        (row,) = done(api.get("/nat"))["nat"]
        assert (row["kind"], row["name"], row["packets"], row["bytes"]) == ("port-forward", "mail", 4, 160)
        assert (row["what"]["from"], row["what"]["to"]) == (["external"], "192.0.2.9")
        assert "25" in row["text"]

    def test_one_generation_has_its_text(self, api: Api) -> None:
        """And one that is not there is 404; one between two put no policy in force."""
        assert done(api.get("/policy/generations/3"))["text"] == TEXT
        refused(api.get("/policy/generations/4"), 404, "no-such-generation")
        refused(api.get("/policy/generations/x"), 422, "invalid-request")

    def test_the_schema_knows_every_part(self, api: Api) -> None:
        """It is that of this version."""
        assert {"interfaces", "rules", "nat"} <= set(done(api.get("/policy/schema"))["properties"])

    def test_rules_in_their_order_with_what_they_matched(self, api: Api, policies: FakePolicies) -> None:
        """Rules, port forwards, defaults, and what is built in; a rule without a counter has no counts."""
        policies.counters = {
            "state-invalid": Counter(1, 40),
            "default-input": Counter(2, 80),
            "rule-trial": Counter(3, 120),
            "forward-mail": Counter(4, 160),
            "rule-web": Counter(5, 200),
        }
        answer = done(api.get("/rules"))
        assert answer["filters"] is True
        assert [(each["kind"], each["name"], each["packets"]) for each in answer["rules"]] == [
            ("rule", "web", 5),
            ("rule", "trial", 3),
            ("rule", "later", None),
            ("port-forward", "mail", 4),
            ("default", "input", 2),
            ("built-in", "state-invalid", 1),
        ]
        web, trial, later = answer["rules"][:3]
        assert (web["action"], web["bytes"]) == ("accept", 200)
        assert web["text"] == "accept tcp 443 from external to internal"
        assert (trial["monitor"], later["enabled"]) == (True, False)
        assert answer["rules"][4]["action"] == "drop"

    def test_a_packet_is_explained(self, api: Api, policies: FakePolicies) -> None:
        """Every step, and what decides."""
        text = "tcp 203.0.113.7:4711 -> 192.0.2.10:443 via wan0"
        answer = done(api.get("/explain-packet", params={"packet": text}))
        assert policies.told == [("explain", {"packet": text})]
        assert (answer["verdict"], answer["decided_by"], answer["name"]) == ("accept", "rules", "web")
        assert [step["stage"] for step in answer["steps"]] == ["arrival", "rules"]

    def test_what_is_no_packet(self, api: Api, policies: FakePolicies) -> None:
        """The fault is in the question."""
        policies.failure = PacketInvalid("'x': not a packet")
        problem = refused(api.get("/explain-packet", params={"packet": "x"}), 422, "invalid-packet")
        assert problem["detail"] == "'x': not a packet"
        refused(api.get("/explain-packet"), 422, "invalid-request")

    def test_status_has_policy_and_stateful_layer(self, api: Api, policies: FakePolicies) -> None:
        """And what waits to be confirmed."""
        policies.pending, policies.repairs = PENDING, 2
        status = done(api.get("/status"))
        assert status["policy"]["generation"] == 5
        assert "text" not in status["policy"]
        assert status["pending"] == {"seconds": 42.0, "generation": 6, "revert_to": 5}
        assert status["stateful"] == {"table": True, "rules": 3, "fallback": [], "drift_repairs": 2}

    def test_a_history_that_cannot_be_read_hides_nothing_else(self, api: Api, policies: FakePolicies) -> None:
        """Status and metrics go on; the status says why it does not know."""
        policies.unreadable = StateError("generations/5.json is damaged")
        status = done(api.get("/status"))
        assert status["policy"] is None
        assert status["pending"] is None
        assert status["warnings"] == ["generations/5.json is damaged"]
        assert status["stateful"]["table"] is True
        text = api.get("/metrics").text
        assert "neurowall_drift_repairs_total 0.0" in text
        assert "neurowall_policy_generation" not in text


def test_metrics_of_rules_and_policy(engine: Engine, about: About, policies: FakePolicies) -> None:
    """By rule, port forward and default; a rule without a counter has no sample, not a zero."""
    policies.pending, policies.repairs = PENDING, 2
    policies.counters = {
        "rule-web": Counter(5, 200),
        "default-input": Counter(2, 80),
        "spoofed": Counter(1, 1),
    }
    body, _ = exposition(collector_of(engine, about, policies), "")
    lines = set(body.decode().splitlines())
    assert {
        'neurowall_rule_packets_total{kind="rule",rule="web"} 5.0',
        'neurowall_rule_bytes_total{kind="rule",rule="web"} 200.0',
        'neurowall_rule_packets_total{kind="default",rule="input"} 2.0',
        'neurowall_rule_packets_total{kind="built-in",rule="spoofed"} 1.0',
        "neurowall_drift_repairs_total 2.0",
        "neurowall_policy_generation 5.0",
        "neurowall_policy_pending_seconds 42.0",
    } <= lines
    assert 'rule="trial"' not in body.decode()
