# SPDX-License-Identifier: Apache-2.0
"""Whoever may ask least must not write into the operator's terminal, log or audit what looks like another."""

import io
import logging
from urllib.parse import quote

import pytest
import typer

from neurowall.logic.engine import Engine
from neurowall.management.api.answers import About
from neurowall.management.api.app import create_app
from neurowall.management.api.gate import _quoted_path
from neurowall.management.cli.drawing import say, table
from neurowall.management.cli.options import fail
from neurowall.management.cli.output import make_console
from neurowall.management.daemon import logs
from neurowall.management.errors import CommandError
from tests.unit.management.conftest import Api, refused
from tests.unit.management.policies import TEXT, FakePolicies
from tests.unit.management.test_api_auth import Held

EVIL = "x\x1b[2J\n2026-12-01 00:00:00,000 INFO neurowall: all is well\x9b31m\u202e"
WRITTEN = r"x\x1b[2J\x0a2026-12-01 00:00:00,000 INFO neurowall: all is well\x9b31m\u202e"


def test_tables_and_lines_of_the_terminal() -> None:
    """What the daemon tells is shown, not obeyed; our own line ends stay."""
    console = make_console()
    with console.capture() as drawn:
        say(console, f"{EVIL}\n")
        table(console, ("Reason", ">Number"), [(EVIL, 1)])
    text = drawn.get()
    assert text.count(WRITTEN) == 2
    assert text.startswith(f"{WRITTEN}\n\n")
    assert not set(text) & set("\x1b\x9b\u202e")


def test_errors_of_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines after the first are set in: none looks like an error of its own."""
    with pytest.raises(typer.Exit):
        fail(CommandError(f"it failed: {EVIL}\nerror: more", (EVIL,)))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == r"error: it failed: x\x1b[2J"
    assert all(line.startswith("  ") for line in lines[1:])
    assert not any(set(line) & set("\x1b\x9b\u202e") for line in lines)


def test_lines_of_the_log() -> None:
    """One message is one line; a trace is set in."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.Text())
    record = logging.LogRecord("neurowall", logging.INFO, "", 1, "told %s", (EVIL,), None)
    handler.emit(record)
    record.exc_info = (ValueError, ValueError(EVIL), None)
    handler.emit(record)
    first, second, *trace = stream.getvalue().splitlines()
    assert first.endswith(f"told {WRITTEN}")
    assert second.endswith(f"told {WRITTEN}")
    assert trace
    assert all(line.startswith("  ") for line in trace)
    assert not set(stream.getvalue()) & set("\x1b\x9b\u202e")


@pytest.fixture
def policies() -> FakePolicies:
    """What answers for policies."""
    return FakePolicies()


@pytest.fixture
def api(engine: Engine, about: About, policies: FakePolicies) -> Api:
    """The API over it."""
    return Api(create_app(engine, about, policies))


@pytest.mark.parametrize("path", ["/block", "/allow"])
def test_a_reason_is_one_line(api: Api, path: str) -> None:
    """It is in the history of bans and in the audit."""
    answer = api.post(path, json={"addresses": ["192.0.2.7"], "reason": EVIL})
    assert refused(answer, 422, "invalid-request")["errors"][0]["field"] == "reason"


def test_a_note_and_a_files_name_are_one_line(api: Api, policies: FakePolicies) -> None:
    """They are kept with the generation."""
    for url, headers, field in (
        (f"/policy/apply?note={quote(EVIL)}", {}, "query.note"),
        ("/policy/apply", {"x-policy-file": quote(EVIL)}, "x-policy-file"),
    ):
        answer = api.post(url, content=TEXT, headers=headers)
        assert refused(answer, 422, "invalid-request")["errors"][0]["field"] == field
    assert policies.told == []


def test_a_path_is_told_as_it_was_sent(
    engine: Engine, about: About, caplog: pytest.LogCaptureFixture
) -> None:
    """Percent-encoded: a token that may only read chooses no character of the log."""
    held = Held()
    api = Api(create_app(engine, about, tokens=held))
    header = {"authorization": f"Bearer {held.make('read')}"}
    path = f"/lists/{quote(EVIL, safe='')}"
    refused(api.delete(path, headers=header), 403, "insufficient-scope")
    (told,) = [each.getMessage() for each in caplog.records if "not allowed" in each.getMessage()]
    assert f"DELETE {path}," in told
    assert told.isprintable()


def test_a_path_without_its_raw_form() -> None:
    """Not every server gives it; bytes that should have been encoded are written out."""
    assert _quoted_path({"type": "http", "path": "/a\x1b\n"}) == "/a%1B%0A"
    assert _quoted_path({"type": "http", "path": "", "raw_path": b"/\x9b\x1b?q"}) == r"/\x9b\x1b"
