# SPDX-License-Identifier: Apache-2.0
"""Which files of the machine a policy makes the daemon read, by who sends it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from neurowall.data.state import StateStore
from neurowall.logic.around import Around
from neurowall.logic.declared import declare
from neurowall.logic.engine import Engine
from neurowall.management.api.answers import About
from neurowall.management.api.app import create_app
from neurowall.management.api.asked import Peer
from tests.unit.logic.faketables import FakeTables
from tests.unit.management.conftest import POLICY, Api, StandIn, done, refused

HIDDEN = "MC4CAQAwBQYDK2VwBCIEIHiddenFromTheOthers"
HEAD = "interfaces: [{name: wan0, zone: external}, {name: lan0, zone: internal}]\n"


@dataclass
class Others(Api):
    """Somebody who is not root: a member of the group, who may do no more than a token here."""

    async def as_root(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the server does for his connection."""
        scope["state"], scope["client"] = {"peer": Peer(64998, 1, "somebody")}, None
        await self.app(scope, receive, send)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the daemon's own policy file is."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "feed.txt").write_text("203.0.113.7\n")
    (folder / "gw.key").write_text(f"{HIDDEN}\n203.0.113.1/{HIDDEN[:20]}\n")
    (tmp_path / "elsewhere.txt").write_text("203.0.113.9\n")
    (folder / "link.txt").symlink_to(tmp_path / "elsewhere.txt")
    return folder


@pytest.fixture
def engine(dataplane: StandIn, folder: Path, tmp_path: Path) -> Iterator[Engine]:
    """A started engine whose policy file is in *folder*."""
    around = Around(tables=FakeTables(), config=folder / "policy.yaml")
    declared = declare(POLICY, str(folder / "policy.yaml"), "start")
    engine = Engine(declared, dataplane, StateStore(tmp_path / "state"), around=around)
    engine.start()
    yield engine
    engine.close()


@pytest.fixture
def others(engine: Engine, about: About) -> Others:
    """The API for those who are not root."""
    return Others(create_app(engine, about))


def naming(file: Path | str) -> str:
    """A policy whose list is that file."""
    return HEAD + f"lists: [{{name: k, verdict: block, file: {json.dumps(str(file))}}}]\n"


@pytest.mark.parametrize("how", ["?dry_run=true", ""])
def test_files_beside_the_daemons_own_policy(others: Others, folder: Path, how: str) -> None:
    """They are the operator's lists; relative names are beside the file that the request names."""
    done(others.post(f"/policy/apply{how}", content=naming(folder / "feed.txt")))
    headers = {"x-policy-file": str(folder / "new.yaml")}
    done(others.post(f"/policy/apply{how}", content=naming("feed.txt"), headers=headers))


@pytest.mark.parametrize("how", ["?dry_run=true", ""])
@pytest.mark.parametrize(
    "file", ["elsewhere.txt", "etc/../elsewhere.txt", "etc/link.txt", "etc", "gone", "\0"]
)
def test_no_other_file_is_read(
    others: Others, engine: Engine, folder: Path, tmp_path: Path, file: str, how: str
) -> None:
    """Nor told whether it is there, nor kept for the next start."""
    before = engine.status().generation
    text = naming(f"{tmp_path}/{file}")
    problem = refused(others.post(f"/policy/apply{how}", content=text), 422, "invalid-policy")
    assert f"others may name files below {folder}" in problem["detail"]
    assert engine.status().generation == before


def test_a_saved_copy_is_no_way_around(others: Others, folder: Path, tmp_path: Path) -> None:
    """The list is known already: a file that cannot be used would be a warning then."""
    done(others.post("/policy/apply", content=naming(folder / "feed.txt")))
    refused(others.post("/policy/apply", content=naming(tmp_path / "gone")), 422, "invalid-policy")
    answer = others.post("/policy/apply", content=naming(folder / "gw.key"))
    assert "last good copy" in done(answer)["warnings"][0]
    assert HIDDEN[:20] not in answer.text + others.get("/policy").text.replace(naming(folder / "gw.key"), "")


@pytest.mark.parametrize("how", ["?dry_run=true", ""])
def test_lines_are_not_shown(others: Others, api: Api, folder: Path, how: str) -> None:
    """The number and why; root reads the file anyway."""
    text = naming(folder / "gw.key")
    answer = others.post(f"/policy/apply{how}", content=text)
    problem = refused(answer, 422, "invalid-list")
    assert [(each["line"], each["text"]) for each in problem["errors"]] == [(1, ""), (2, "")]
    assert problem["errors"][1]["why"] == "prefix length is not a plain number"
    assert HIDDEN[:20] not in answer.text
    assert HIDDEN in refused(api.post(f"/policy/apply{how}", content=text), 422, "invalid-list")["detail"]


def test_going_back_reads_no_more(others: Others, api: Api, tmp_path: Path) -> None:
    """What root put in force from elsewhere is root's to bring back."""
    number = done(api.post("/policy/apply", content=naming(tmp_path / "elsewhere.txt")))["generation"]
    done(api.post("/policy/apply", content=HEAD))
    for how in ("?dry_run=true", ""):
        answer = others.post(f"/policy/rollback{how}", json={"generation": number})
        assert "elsewhere.txt" in refused(answer, 422, "invalid-policy")["detail"]
    done(api.post("/policy/rollback", json={"generation": number}))


def test_without_a_policy_file_of_its_own(engine: Engine, others: Others, folder: Path) -> None:
    """There is no folder that the operator gave."""
    engine._policies._config = None
    answer = others.post("/policy/apply", content=naming(folder / "feed.txt"))
    assert "may name none" in refused(answer, 422, "invalid-policy")["detail"]
