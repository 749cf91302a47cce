# SPDX-License-Identifier: Apache-2.0
import asyncio
import socket
import stat
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from neurowall.management.api import server, sockets
from neurowall.management.api.server import Listener
from neurowall.management.errors import CommandError, ExitCode, UsageProblem


def test_the_unix_socket_is_for_owner_and_group(tmp_path: Path) -> None:
    """Mode 0660: others on the machine cannot change the firewall."""
    path = tmp_path / "api.sock"
    with sockets.unix_socket(path):
        mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_the_socket_of_a_dead_daemon_is_taken_over(tmp_path: Path) -> None:
    """SIGKILL leaves the name behind; the next start must not trip over it."""
    path = tmp_path / "api.sock"
    sockets.unix_socket(path).close()
    with sockets.unix_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_path_too_long_for_a_socket_is_a_usage_error(tmp_path: Path) -> None:
    """The kernel's limit is named with the remedy instead of 'AF_UNIX path too long'."""
    with pytest.raises(UsageProblem, match="shorter --run-dir"):
        sockets.unix_socket(tmp_path / ("x" * 120))


@pytest.mark.parametrize("address", ["0.0.0.0:9469", "192.0.2.1:9469", "[::]:9469", "[2001:db8::1]:1"])
def test_metrics_are_refused_beyond_loopback(address: str) -> None:
    """There is neither TLS nor a login on that listener."""
    with pytest.raises(UsageProblem, match="not a loopback address"):
        sockets.loopback_socket(address)


@pytest.mark.parametrize(
    "address", ["", "9469", "localhost:9469", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:"]
)
def test_a_malformed_listen_address_shows_the_form(address: str) -> None:
    """The error shows what is expected."""
    with pytest.raises(UsageProblem, match=r"expected ADDRESS:PORT, such as 127\.0\.0\.1:9469"):
        sockets.loopback_socket(address)


@pytest.mark.parametrize(
    ("address", "family"), [("127.0.0.1:0", socket.AF_INET), ("[::1]:0", socket.AF_INET6)]
)
def test_metrics_listen_on_loopback(address: str, family: socket.AddressFamily) -> None:
    """Both families; port 0 takes a free one."""
    with sockets.loopback_socket(address) as listener:
        assert listener.family == family
        assert listener.getsockname()[1] > 0


def test_a_taken_or_impossible_port_is_one_clear_error() -> None:
    """The message names the option and the address."""
    with sockets.loopback_socket("127.0.0.1:0") as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(CommandError, match=f"--metrics-listen {address}.*another port") as caught:
            sockets.loopback_socket(address)
    assert caught.value.exit_code == ExitCode.FAILED
    with pytest.raises(CommandError, match="another port"):
        sockets.loopback_socket("127.0.0.1:70000")


def test_serving_ends_when_told_and_finishes_what_runs(tmp_path: Path) -> None:
    """A request under way at SIGTERM still gets its answer."""
    app, path = FastAPI(), tmp_path / "api.sock"

    @app.get("/slow")
    async def slow() -> str:
        stop.set()
        await asyncio.sleep(0.2)
        return "done"

    async def scenario() -> str:
        serving = asyncio.create_task(
            server.run([Listener(app, sockets.unix_socket(path))], stop, verbose=False)
        )
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
            answer = await client.get("http://neurowall/slow")
        await asyncio.wait_for(serving, 5)
        return str(answer.json())

    stop = asyncio.Event()
    assert asyncio.run(scenario()) == "done"
