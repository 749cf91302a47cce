# SPDX-License-Identifier: Apache-2.0
"""What a failed request means, in words that name the next step."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from neurowall.management.cli.target import TOKEN, Target
from neurowall.management.errors import CommandError, ExitCode, Unreachable

SHOWN_ERRORS = 20
_NAME_MISMATCH = (62, 64)  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH
_NOT_NOW = (9, 10)  # not yet valid, expired

Json = dict[str, Any]


class Refused(CommandError):
    """The daemon answered with a problem (RFC 9457); nothing was changed."""

    def __init__(self, status: int, problem: Json, headers: Mapping[str, str] | None = None) -> None:
        message = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        super().__init__(message, (*_details(message, problem), *_next_step(status, headers or {})))
        self.status = status
        self.problem = problem
        # 400 and 422 speak of the caller's input; all others of the daemon's state or the caller's rights.
        self.exit_code = ExitCode.USAGE if status in (400, 422) else ExitCode.FAILED

    @property
    def kind(self) -> str:
        """The last part of the problem's type, such as `lock-out`."""
        return str(self.problem.get("type", "")).rpartition(":")[2]


def _details(message: str, problem: Json) -> tuple[str, ...]:
    """What is wrong with the input, a line each, unless *message* says all of it already."""
    errors = problem.get("errors") or []
    count = int(problem.get("error_count") or len(errors))
    if not any(error.get("line") for error in errors) and all(error["why"] in message for error in errors):
        return ()
    shown = [_line(error) for error in errors[:SHOWN_ERRORS]]
    return (*shown, f"... and {count - len(shown):,} more") if count > len(shown) else tuple(shown)


def _line(error: Json) -> str:
    where = f"line {error['line']}: " if error.get("line") else ""
    text = f"{error['text']!r}: " if error.get("text") else ""
    return f"{where}{text}{error.get('why', '')}"


def _next_step(status: int, headers: Mapping[str, str]) -> tuple[str, ...]:
    wait = headers.get("retry-after", "")
    match status:
        case 401:
            given = f"the token is that of --token-file, else of {TOKEN}"
            return (f"{given}; `neurowall token list` on the gateway says whether it still holds",)
        case 403:
            return ("`neurowall token create NAME --scope SCOPE` on the gateway makes a token that may",)
        case 412:
            return ("look what changed (`neurowall status`), then give --if-match the present generation",)
        case 429 | 503 if wait.isdigit():
            return (f"try again in {wait} s",)
        case _:
            return ()


def not_reached(target: Target, error: Exception) -> Unreachable:
    """Why there is no connection."""
    if target.url is None:
        return _no_socket(target, error)
    return Unreachable(_no_server(target, error))


def _no_socket(target: Target, error: Exception) -> Unreachable:
    path = target.instance.socket
    if "Permission denied" in str(error):
        return Unreachable(
            f"no permission to use {path}; run this as root or as a member of group 'neurowall'"
        )
    return Unreachable(
        f"no daemon answers on {path}; start one with `neurowall run --config FILE --instance "
        f"{target.instance.name}`, or name another with --instance or --run-dir"
    )


def _no_server(target: Target, error: Exception) -> str:
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return _no_trust(target, cause)
            case ssl.SSLError():
                return f"no TLS connection to {target.url}: {cause.reason or cause}; is that the API's port?"
            case socket.gaierror():
                return f"no address is known for the host of {target.url}: {cause.strerror}"
            case ConnectionRefusedError():
                return f"nothing listens at {target.url}: was the daemon there started with --listen?"
            case _:
                continue
    return f"no connection to {target.url}: {error or type(error).__name__}"


def _no_trust(target: Target, error: ssl.SSLCertVerificationError) -> str:
    why = error.verify_message.rstrip(".")
    if error.verify_code in _NAME_MISMATCH:
        return (
            f"the certificate at {target.url} is not for {target.host} ({why}): use a name that it holds, or "
            "have one made that holds this"
        )
    if error.verify_code in _NOT_NOW:
        return f"the certificate at {target.url} is not valid now: {why}"
    return (
        f"the certificate at {target.url} is not trusted ({why}): give the certificate of whoever signed it "
        "with --ca FILE; for one that is self-signed, that is itself"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
