# SPDX-License-Identifier: Apache-2.0
"""The console's files, and the headers of every answer."""

import re

import pytest

from neurowall.management.api import console
from neurowall.management.api.browsers import HEADERS
from tests.unit.management.conftest import Api, StandIn, refused

HELD = console.read_files()
# A browser asks for these without being told to by a link.
SELF_CONTAINED = re.compile(
    r"""(?:src|href|from|import|url)\s*[=(\s]\s*["']?(https?:|//|data:)""", re.IGNORECASE
)


def test_the_page_is_there_and_people_are_led_to_it(api: Api) -> None:
    """From `/`, and without the slash."""
    for path in ("/", "/console"):
        answer = api.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, "/console/")
    page = api.get("/console/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.text == api.get("/console/index.html").text


@pytest.mark.parametrize("name", sorted(HELD))
def test_a_file_is_sent_once_until_it_changes(api: Api, name: str) -> None:
    """A browser asks each time, and is told that nothing changed."""
    first = api.get(f"/console/{name}")
    assert first.content == HELD[name].body
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for given in (tag, f'"other", W/{tag}'):
        again = api.get(f"/console/{name}", headers={"if-none-match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert api.get(f"/console/{name}", headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("name", sorted(HELD))
def test_a_file_asks_for_nothing_elsewhere(name: str) -> None:
    """The policy would forbid it, and a gateway may have no way out."""
    assert not SELF_CONTAINED.search(HELD[name].body.decode())


def test_other_names_are_not_found(api: Api) -> None:
    """Whatever lies beside the files."""
    for name in ("none.js", "..%2fapi%2fapp.py", "%2e%2e/api/app.py", "__init__.py", "index.html/"):
        refused(api.get(f"/console/{name}"), 404, "not-found")


def test_every_answer_has_the_headers(api: Api, dataplane: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, answers, refusals and bugs."""
    answers = [api.get(path) for path in ("/", "/console/", "/status", "/none", "/top?limit=x")]
    monkeypatch.setattr(dataplane, "reason_counters", lambda: 1 / 0)
    answers.append(api.get("/top"))
    assert [answer.status_code for answer in answers] == [307, 200, 200, 404, 422, 500]
    for answer in answers:
        assert HEADERS.items() <= dict(answer.headers).items()
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert {answers[number].headers["cache-control"] for number in (2, 3, 5)} == {"no-store"}
