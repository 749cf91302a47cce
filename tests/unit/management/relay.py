# SPDX-License-Identifier: Apache-2.0
"""A unix socket in front of another that loses answers: what a request did is done, and nobody is told."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MOST = 1 << 20  # bytes of a request or an answer here


@contextmanager
def losing(front: Path, behind: Path, answers: int) -> Iterator[None]:
    """Pass connections on from *front* to *behind*; of the first *answers* of them no answer comes back."""
    front.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(front))
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, behind, answers))
        thread.start()
        try:
            yield
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _serve(listener: socket.socket, behind: Path, lose: int) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            with client, socket.socket(socket.AF_UNIX) as server:
                server.connect(str(behind))
                server.sendall(_whole(client))
                answer = _whole(server)
                if lose > 0:
                    lose -= 1
                    continue
                client.sendall(answer)


def _whole(peer: socket.socket) -> bytes:
    """A request or an answer with its body."""
    text = b""
    while b"\r\n\r\n" not in text:
        text += peer.recv(_MOST)
    head, _, body = text.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.splitlines()
            if line.lower().startswith(b"content-length")
        ),
        0,
    )
    while len(body) < length:
        body += peer.recv(_MOST)
    return head + b"\r\n\r\n" + body
