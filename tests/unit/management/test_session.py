# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from neurowall.logic.lockout import Session
from neurowall.management.session import own_session, read_session

GIVEN = "203.0.113.7 50000 192.0.2.1 22"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc of this process, its parent sudo, a shell, and the first process."""
    for name, parent, environment in (
        ("self", 30, b"HOME=/root\0"),
        ("30", 20, b"SUDO_USER=me\0"),
        ("20", 1, b"SHELL=/bin/bash\0SSH_CONNECTION=" + GIVEN.encode() + b"\0TERM=xterm\0"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "status").write_text(f"Name:\tx\nPPid:\t{parent}\n")
        (folder / "environ").write_bytes(environment)
    return tmp_path


def test_the_own_environment_comes_first(proc: Path) -> None:
    """A shell inside a session knows best."""
    assert own_session({"SSH_CONNECTION": "a b c d"}, proc) == "a b c d"
    assert own_session({"SSH_CONNECTION": ""}, proc) is None


def test_sudo_does_not_hide_the_session(proc: Path) -> None:
    """It cleans the environment; an ancestor still has it."""
    assert own_session({}, proc) == GIVEN


def test_without_a_session_there_is_none(proc: Path) -> None:
    """On the console, or where an environment cannot be read."""
    (proc / "20" / "environ").unlink()
    assert own_session({}, proc) is None
    (proc / "30" / "status").unlink()
    assert own_session({}, proc) is None


def test_a_ring_of_parents_ends(proc: Path) -> None:
    """A process may go while it is looked at."""
    (proc / "20" / "environ").write_bytes(b"")
    (proc / "20" / "status").write_text("PPid:\t30\n")
    assert own_session({}, proc) is None


def test_a_session_is_read() -> None:
    """IPv4, also as a server of both families sees it, and IPv6 with the interface of a link."""
    assert read_session(GIVEN) == Session("203.0.113.7", 50_000, "192.0.2.1", 22)
    assert read_session("::ffff:203.0.113.7 50000 ::ffff:192.0.2.1 22") == read_session(GIVEN)
    linked = Session("fe80::1%eth0", 1, "fe80::2%eth0", 22)
    assert read_session("fe80::1%eth0 1 FE80::2%eth0 22") == linked


@pytest.mark.parametrize(
    "text",
    ["", "203.0.113.7 1 192.0.2.1", f"{GIVEN} 5", "host 1 192.0.2.1 22", "203.0.113.7 -1 192.0.2.1 22",
     "203.0.113.7 1 192.0.2.1 65536", "203.0.113.7 ² 192.0.2.1 22", "203.0.113.0/24 1 192.0.2.1 22"],
)  # fmt: skip
def test_what_is_no_session_is_refused(text: str) -> None:
    """With how it should look."""
    with pytest.raises(ValueError, match="expected client, port, server, port"):
        read_session(text)
