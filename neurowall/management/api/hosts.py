# SPDX-License-Identifier: Apache-2.0
"""What a request without TLS may call this gateway: an address, or localhost.

Of a name a browser proves nothing here: whoever owns one lets it point to 127.0.0.1 for a moment, and his
pages then talk to a loopback listener as if it were theirs (DNS rebinding). With TLS the certificate has the
name, and the kernel knows who is at the unix socket.
"""

import ipaddress
import re

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from neurowall.management.api import problems
from neurowall.management.api.browsers import HEADERS
from neurowall.management.api.gate import request_id

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:]+))(?::[0-9]{1,5})?", re.IGNORECASE)


class LocalNames:
    """ASGI middleware: 421 for who calls this listener by a name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event."""
        headers = Headers(scope=scope) if scope["type"] == "http" else None
        if headers is None or is_local(headers.get("host", "")):
            await self._app(scope, receive, send)
        else:
            await _refusal(headers)(scope, receive, send)


def is_local(host: str) -> bool:
    """Whether a Host header is an IP address or localhost, with a port or without."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    six, other = found.groups()
    if other and other.lower() == "localhost":
        return True
    try:
        ipaddress.IPv6Address(six) if six else ipaddress.IPv4Address(other)
    except ValueError:
        return False
    return True


def _refusal(headers: Headers) -> Response:
    detail = (
        "without TLS this listener answers for addresses and localhost alone, so that no web page reaches it "
        "through a name of its own; use http://127.0.0.1:PORT or http://localhost:PORT"
    )
    response = problems.answer(421, "misdirected-request", "Misdirected Request", detail)
    response.headers.update({**HEADERS, "cache-control": "no-store", "x-request-id": request_id(headers)})
    return response
