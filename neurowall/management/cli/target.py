# SPDX-License-Identifier: Apache-2.0
"""Which daemon a command talks to, by which way, with which token, and under which conditions it changes."""

import os
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from neurowall.management.errors import UsageProblem
from neurowall.management.instance import DEFAULT_RUN_DIR, Instance

DEFAULT_INSTANCE = "main"
URL, CA, TOKEN, TOKEN_FILE = "NEUROWALL_URL", "NEUROWALL_CA", "NEUROWALL_TOKEN", "NEUROWALL_TOKEN_FILE"
RUN_DIR, STATE_DIR = "NEUROWALL_RUN_DIR", "NEUROWALL_STATE_DIR"
_TOKEN_BYTES = 4096  # a token has 59; whoever names another file shall not have it read whole


@dataclass(frozen=True)
class Target:
    """An instance on this machine, by its unix socket; or with a url a daemon anywhere, by TLS and token.

    ca: certificates that are trusted instead of the system's. Raises UsageProblem for a url that is none.
    """

    instance: Instance
    url: str | None = None
    ca: Path | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        if self.url is not None:
            _check(self.url)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.url or str(self.instance.socket)

    @property
    def host(self) -> str:
        """The name or address in the URL."""
        return urlsplit(self.url or "").hostname or ""

    def arguments(self) -> list[str]:
        """The options that name it on another command line of the same shell."""
        given: dict[str, object] = {"--url": self.url, "--ca": self.ca, "--token-file": self.token_file}
        if self.url is None:
            given = {"--instance": self.instance.name, "--run-dir": self.instance.run_dir}
        usual = {
            "--instance": DEFAULT_INSTANCE,
            "--run-dir": os.environ.get(RUN_DIR) or str(DEFAULT_RUN_DIR),
            "--url": os.environ.get(URL),
            "--ca": os.environ.get(CA),
        }
        words = {option: str(value) for option, value in given.items() if value is not None}
        return [part for each in words.items() if each[1] != usual.get(each[0]) for part in each]

    def token(self) -> str:
        """The token of --token-file, else of the environment. Raises UsageProblem, which never quotes it."""
        file = self.token_file or (Path(os.environ[TOKEN_FILE]) if os.environ.get(TOKEN_FILE) else None)
        if file is None and (given := os.environ.get(TOKEN)):
            return _checked(given, f"the environment's {TOKEN}")
        if file is None:
            raise UsageProblem(
                f"{self.url} asks for a token: give --token-file FILE or set {TOKEN}; "
                "`neurowall token create NAME` on the gateway makes one"
            )
        try:
            with file.open("rb") as opened:
                text = opened.read(_TOKEN_BYTES).decode(errors="replace")
        except OSError as error:
            raise UsageProblem(f"cannot read token file {file}: {error.strerror}") from error
        return _checked(text, f"token file {file}")


@dataclass(frozen=True)
class Terms:
    """How a change is asked for. if_match: only while this generation is in force.

    key: what tells a repeated request from another one; None has one made for each request.
    """

    dry_run: bool = False
    if_match: int | None = None
    key: str | None = None


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageProblem(f"--url {url}: {error}") from error
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise UsageProblem(f"--url {url}: expected such as https://gateway.example:8443")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageProblem("--url takes neither credentials nor a query: a token comes from a file")
    if parts.scheme == "http" and not _is_loopback(parts):
        raise UsageProblem(
            f"--url {url}: a token is not sent unencrypted to another machine: use https://, or a tunnel to "
            "loopback"
        )


def _is_loopback(parts: SplitResult) -> bool:
    host = str(parts.hostname)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if not token.startswith("nw_") or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageProblem(f"{where} does not hold a token: one begins with nw_")
    return token
