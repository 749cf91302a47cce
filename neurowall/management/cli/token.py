# SPDX-License-Identifier: Apache-2.0
"""The commands `neurowall token ...`: who may use the API from elsewhere, and for what."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neurowall.management.cli import render_history
from neurowall.management.cli.options import AfterOption, Call, LimitOption, command
from neurowall.management.errors import CommandError, UsageProblem

token_app = typer.Typer(
    help="Make, show and revoke tokens: who may use the API from elsewhere, and for what.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Scope(StrEnum):
    """What a token allows. None contains another."""

    READ = "read"
    RULES = "rules:write"
    INTEL = "intel:write"
    HA = "ha:admin"
    AUDIT = "audit:read"
    BENCH = "bench:run"
    TOKENS = "tokens:write"


@command(
    token_app,
    "create",
    examples=(
        "neurowall token create monitoring",
        "neurowall token create alice --scope read --scope rules:write --expires 90d",
        "neurowall token create ci --expires 1h --save ci.token",
    ),
    changes=True,
    of_generation=False,
)
def token_create(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is; the audit shows it.")],
    scope: Annotated[
        list[Scope] | None,
        typer.Option("--scope", help="What it allows; may be repeated. [default: read]", show_default=False),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="DURATION",
            help="When it ends: 12h, 90d. [default: with the token that makes it, or never]",
            show_default=False,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FILE",
            help="Write it to a new file that only you can read.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a token. It is shown this once: only its hash is kept.

    One that a token makes ends with that at the latest, and is revoked with it.

    Give it to `neurowall --url` with --token-file or in NEUROWALL_TOKEN, to other programs as the header
    `Authorization: Bearer TOKEN`.
    """
    body: dict[str, Any] = {"name": name, "scopes": [each.value for each in scope or [Scope.READ]]}
    body |= {"expires": expires} if expires is not None else {}
    kept = save if save and not call.terms.dry_run else None
    with _new_file(kept) as write, call.client() as client:
        answer = client.post("tokens", json=body)
        if kept:
            write(answer.pop("token"))
            answer["saved"] = str(kept)
    call.show(answer, render_history.token_made)


@command(token_app, "list", examples=("neurowall token list",))
def token_list(call: Call, limit: LimitOption = 100, after: AfterOption = None) -> None:
    """Show tokens: what they allow, when they end, and when and from where they were used last."""
    with call.client() as client:
        answer = client.pages("tokens", items="tokens", limit=limit, after=after)
    call.show(answer, render_history.tokens)


@command(
    token_app,
    "revoke",
    examples=("neurowall token revoke 4f7k2m9x1q8z",),
    changes=True,
    of_generation=False,
)
def token_revoke(
    call: Call, identifier: Annotated[str, typer.Argument(metavar="ID", help="See `neurowall token list`.")]
) -> None:
    """Revoke a token and all that it made: from now on whoever has one of them is refused."""
    with call.client() as client:
        answer = client.delete("tokens", identifier)
    call.show(answer, render_history.token_revoked)


@command(token_app, "whoami", examples=("neurowall token whoami --token-file alice.token",))
def token_whoami(call: Call) -> None:
    """Say who you are to the daemon, and what you may: of a token its scopes and its end."""
    with call.client() as client:
        call.show(client.get("whoami"), render_history.whoami)


@contextmanager
def _new_file(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Writes a line into a file that was not there, and is not there if what is done meanwhile fails.

    It is made before the token, which is shown once.
    """
    if path is None:
        yield lambda _line: None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise UsageProblem(f"{path} is there already and stays as it is: name another file") from error
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        try:
            yield lambda line: print(line, file=file, flush=True)
        except BaseException:
            path.unlink()
            raise
