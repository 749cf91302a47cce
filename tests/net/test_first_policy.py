# SPDX-License-Identifier: Apache-2.0
"""The policy that `neurowall init` writes, put in force by `neurowall apply` while somebody works over it."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.testbed.chain import Chain
from bench.testbed.namespace import Namespace
from bench.testbed.process import Completed
from bench.testbed.run import Run
from tests.net.conftest import MakeDaemon
from tests.net.daemon import NEUROWALL, Daemon

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "ip")]

SSH, WEB = 2222, 8080
ECHO = f"""
import selectors, socket
waiting = selectors.DefaultSelector()
for port in ({SSH}, {WEB}):
    waiting.register(socket.create_server(("", port)), selectors.EVENT_READ, True)
print("ready", flush=True)
while True:
    for key, _ in waiting.select():
        if key.data:
            waiting.register(key.fileobj.accept()[0], selectors.EVENT_READ, False)
        elif said := key.fileobj.recv(100):
            key.fileobj.send(said)
        else:
            waiting.unregister(key.fileobj)
            key.fileobj.close()
"""
CLIENT, GATEWAY = "198.18.0.2", "198.18.0.1"
SESSION = f"SSH_CONNECTION={CLIENT} 50000 {GATEWAY} {SSH}"


@pytest.fixture
def gateway(chain: Chain) -> Iterator[Namespace]:
    """The gateway, with something that answers on two ports."""
    process = chain.gateway.spawn((sys.executable, "-c", ECHO), name="echo")
    while "ready" not in process.tail():
        assert process.alive(), process.tail()
    yield chain.gateway
    process.kill()


@contextmanager
def connected(namespace: Namespace, port: int) -> Iterator[socket.socket]:
    """A connection from there to the gateway. Raises OSError if there is none."""
    with namespace.enter():
        client = socket.socket()
    with client:
        client.settimeout(2)
        client.connect((GATEWAY, port))
        yield client


def echoes(client: socket.socket) -> bool:
    """Whether it comes back."""
    client.send(b"?")
    return client.recv(1) == b"?"


def over_ssh(run: Run, daemon: Daemon, *arguments: str) -> Completed:
    """A command as it is given in a session from outside."""
    argv = ("env", SESSION, *NEUROWALL, *arguments, "--run-dir", str(daemon.run_dir))
    return run.exec(argv, timeout=60)


@pytest.fixture
def first(run: Run, gateway: Namespace, tmp_path: Path) -> Path:
    """The policy, as it is written over a session from outside."""
    file = tmp_path / "first.yaml"
    done = run.exec(("env", SESSION, *NEUROWALL, "init", "--netns", gateway.name, str(file)), timeout=60)
    assert done.returncode == 0, done.stderr
    return file


def test_nobody_is_locked_out_by_the_first_policy(
    run: Run, chain: Chain, make_daemon: MakeDaemon, gateway: Namespace, first: Path
) -> None:
    """The session goes on, another one can be made, and what strangers should not reach is closed."""
    daemon: Daemon = make_daemon()
    daemon.start()
    with connected(chain.client, SSH) as session, connected(chain.client, WEB) as before:
        assert echoes(session)
        assert echoes(before)
        done = over_ssh(run, daemon, "apply", str(first), "--confirm", "60s")
        assert done.returncode == 0, done.stderr
        assert echoes(session)
        with connected(chain.client, SSH) as another:
            assert echoes(another)
        with pytest.raises(TimeoutError), connected(chain.client, WEB):
            pass
        assert daemon.cli("confirm").returncode == 0
        assert echoes(session)
    rules = {each["name"]: each["packets"] for each in daemon.ok("rules")["rules"]}
    assert rules["ssh"] or rules["failsafe"]
    assert rules["input"] >= 1
    assert daemon.ok("status")["pending"] is None
    found = daemon.ok("explain", f"tcp {CLIENT}:4711 -> {GATEWAY}:{WEB} via g0")
    assert (found["verdict"], found["decided_by"]) == ("drop", "defaults")


def test_a_policy_that_cuts_the_session_is_refused(
    run: Run, chain: Chain, make_daemon: MakeDaemon, gateway: Namespace, tmp_path: Path
) -> None:
    """With what would cut it; --force applies it, and an unconfirmed one comes back by itself."""
    daemon: Daemon = make_daemon()
    daemon.start()
    file = tmp_path / "closed.yaml"
    file.write_text(daemon.config.read_text() + "rules: []\n")
    refused = over_ssh(run, daemon, "apply", str(file))
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    with connected(chain.client, SSH) as client:
        assert echoes(client)
    forced = over_ssh(run, daemon, "apply", str(file), "--force", "--confirm", "2s")
    assert forced.returncode == 0, forced.stderr
    with pytest.raises(TimeoutError), connected(chain.client, SSH):
        pass
    daemon.wait_for("was not confirmed", 10)
    with connected(chain.client, SSH) as client:
        assert echoes(client)
