# SPDX-License-Identifier: Apache-2.0

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from neurowall.management.api import asked
from neurowall.management.api.asked import Actor, Asked
from neurowall.management.daemon import logs
from neurowall.management.errors import UsageProblem

Written = tuple[logging.Logger, io.StringIO, logging.StreamHandler[io.StringIO]]


@pytest.fixture
def written() -> Iterator[Written]:
    """A logger, what it wrote, and its handler."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("neurowall.test_logs")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield logger, stream, handler
    logger.removeHandler(handler)


def in_a_request(work: object, *, known: bool = True) -> None:
    """Call it as a route would."""
    actor = Actor("token:abcdefghijkl ci", "192.0.2.1", frozenset({"read"}), "abcdefghijkl")
    token = asked.enter(Asked("r-1", "192.0.2.1", actor if known else None))
    try:
        work()  # type: ignore[operator]
    finally:
        asked.leave(token)


def test_json_lines_say_which_request(written: Written) -> None:
    """Each is one object with the same members, null where there is nothing."""
    logger, stream, handler = written
    handler.setFormatter(logs.JsonLines())
    logger.info("ready: generation %d", 1)
    in_a_request(lambda: logger.warning('a\nb \u2028 \u00e9 "q"'))
    first, second = (json.loads(line) for line in stream.getvalue().splitlines()[:2])
    assert set(first) == {"ts", "level", "logger", "message", "request_id", "actor"}
    assert (first["level"], first["message"]) == ("INFO", "ready: generation 1")
    assert first["logger"] == "neurowall.test_logs"
    assert first["request_id"] is first["actor"] is None
    assert first["ts"].endswith("Z")
    assert len(first["ts"]) == len("2026-01-01T00:00:00.000Z")
    assert (second["request_id"], second["actor"]) == ("r-1", "token:abcdefghijkl ci")
    assert second["message"] == 'a\nb \u2028 \u00e9 "q"'


def test_a_trace_stays_in_its_line(written: Written) -> None:
    """A program that reads lines gets it whole."""
    logger, stream, handler = written
    handler.setFormatter(logs.JsonLines())
    try:
        int("no")
    except ValueError:
        logger.exception("it failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["exception"]


def test_text_says_which_request_too(written: Written) -> None:
    """And the source of those whom nobody knows."""
    logger, stream, handler = written
    handler.setFormatter(logs.Text())
    logger.info("ready")
    in_a_request(lambda: logger.info("made"))
    in_a_request(lambda: logger.info("refused"), known=False)
    first, second, third = stream.getvalue().splitlines()
    assert first.endswith("INFO neurowall.test_logs: ready")
    assert second.endswith(": made [token:abcdefghijkl ci, request r-1]")
    assert third.endswith(": refused [192.0.2.1, request r-1]")


def test_other_threads_are_in_no_request(written: Written) -> None:
    """Only those that work for it, which get its context."""
    logger, stream, handler = written
    handler.setFormatter(logs.JsonLines())

    def elsewhere() -> None:
        thread = threading.Thread(target=logger.info, args=("tick",))
        thread.start()
        thread.join()

    in_a_request(elsewhere)
    assert json.loads(stream.getvalue())["request_id"] is None


def test_a_format_that_there_is_not() -> None:
    """Before anything else is done."""
    with pytest.raises(UsageProblem, match="text or json"):
        logs.to_stderr("xml", verbose=False)
