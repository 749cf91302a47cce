# SPDX-License-Identifier: Apache-2.0
"""The command `neurowall`: every command's options and help; what they do is in the other modules.

Nothing heavy is imported at the top: `neurowall --help` must answer at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from neurowall.management.cli import render
from neurowall.management.cli.audit import audit_app
from neurowall.management.cli.bans import bans_app, edit_app
from neurowall.management.cli.doctor import doctor_app
from neurowall.management.cli.events import events_app
from neurowall.management.cli.generations import generations_app
from neurowall.management.cli.lists import lists_app
from neurowall.management.cli.look import look_app
from neurowall.management.cli.options import (
    Call,
    CaOption,
    InstanceOption,
    OutputOption,
    RunDirOption,
    Shared,
    TokenFileOption,
    UrlOption,
    command,
)
from neurowall.management.cli.output import working
from neurowall.management.cli.policy import policy_app
from neurowall.management.cli.target import STATE_DIR
from neurowall.management.cli.token import token_app
from neurowall.management.cli.top import top_app
from neurowall.management.cli.trace import trace_app
from neurowall.management.instance import DEFAULT_STATE_DIR, DEFAULT_USER

app = typer.Typer(
    help="Neurowall, a layered gateway firewall: run it, see it, and change what it blocks.",
    epilog="Exit codes: 0 ok, 1 refused or failed, 2 wrong usage or input, 3 no daemon answers, 4 cannot run "
    "here.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"neurowall {version('neurowall')}")
        raise typer.Exit


@app.callback()
def _shared(
    context: typer.Context,
    instance: InstanceOption = None,
    run_dir: RunDirOption = None,
    output: OutputOption = None,
    url: UrlOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = Shared(instance, run_dir, output, url, ca, token_file)


@command(
    app,
    examples=(
        "neurowall run --config policy.yaml",
        "neurowall run --config lab.yaml --netns gateway --instance lab --metrics-listen 127.0.0.1:9469",
    ),
    local=True,
)
def run(
    call: Call,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="The policy. [default: the one that was in force]",
            show_default=False,
        ),
    ] = None,
    netns: Annotated[
        str | None,
        typer.Option("--netns", metavar="NAME", help="Guard the interfaces of this network namespace."),
    ] = None,
    state_dir: Annotated[
        Path,
        typer.Option(
            "--state-dir",
            metavar="DIR",
            envvar=STATE_DIR,
            help="Where the intended state is kept.",
        ),
    ] = DEFAULT_STATE_DIR,
    *,
    metrics_listen: Annotated[
        str | None,
        typer.Option("--metrics-listen", metavar="ADDRESS:PORT", help="Serve /metrics on loopback too."),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="ADDRESS:PORT",
            envvar="NEUROWALL_LISTEN",
            help="Serve the API and the console to operators with a token.",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert",
            metavar="FILE",
            envvar="NEUROWALL_TLS_CERT",
            help="Certificate of --listen with its chain, PEM; needed beyond loopback.",
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", metavar="FILE", envvar="NEUROWALL_TLS_KEY", help="Its key, PEM."),
    ] = None,
    log_format: Annotated[
        str,
        typer.Option(
            "--log-format",
            metavar="text|json",
            envvar="NEUROWALL_LOG_FORMAT",
            help="Lines for people, or JSON for programs.",
        ),
    ] = "text",
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="URL",
            envvar="NEUROWALL_DATABASE",
            help="Keep tokens, audit and history there: sqlite:////path/to/file or "
            "postgresql://user@host/name. [default: SQLite in the state directory]",
            show_default=False,
        ),
    ] = None,
    allow_missing_interfaces: Annotated[
        bool,
        typer.Option("--allow-missing-interfaces", help="Start degraded if an interface does not exist yet."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every request and step.")] = False,
) -> None:
    """Run the daemon in the foreground.

    A policy that `neurowall apply` put in force stays, until the file is changed. It logs to standard error.
    SIGTERM and SIGINT end it while enforcement goes on in the kernel (`neurowall down` ends that too); SIGHUP
    makes it read the policy file and the certificate again.
    """
    from neurowall.management.daemon.main import Options, serve

    serve(
        Options(
            instance=call.instance,
            config=config,
            state_dir=state_dir,
            netns=netns,
            metrics_listen=metrics_listen,
            listen=listen,
            tls_cert=tls_cert,
            tls_key=tls_key,
            log_format=log_format,
            database=database,
            allow_missing_interfaces=allow_missing_interfaces,
            verbose=verbose,
        )
    )


@command(app, changes=True)
def reload(call: Call) -> None:
    """Replace the program in the kernel by the one now installed.

    No packet passes unfiltered meanwhile. To read the policy again, send the daemon SIGHUP.
    """
    with call.client() as client, working("replacing the program"):
        answer = client.post("reload")
    call.show(answer, render.reloaded)


@command(
    app,
    examples=("sudo neurowall prepare", "sudo neurowall prepare --instance lab --user gateway"),
    local=True,
)
def prepare(
    call: Call,
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", help="Whose daemon it will be; or UID:GID.")
    ] = DEFAULT_USER,
    state_dir: Annotated[
        Path,
        typer.Option(
            "--state-dir",
            metavar="DIR",
            envvar=STATE_DIR,
            help="Where the intended state is kept.",
        ),
    ] = DEFAULT_STATE_DIR,
) -> None:
    """As root, make what a daemon of another user needs: its bpffs and its directories.

    That user then runs `neurowall run` with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON and nothing more, as the
    unit neurowall@.service does. Files of an earlier daemon are given to that user. Undo: `neurowall down`.
    """
    from neurowall.management.daemon.prepare import prepare as make

    call.show(make(call.instance, state_dir, user), render.prepared)


@command(app, examples=("neurowall down --instance lab",), local=True)
def down(call: Call) -> None:
    """End enforcement and remove what enforced it.

    Stops the daemon, detaches, and removes what Neurowall made for this instance. The intended state on disk
    stays: the next `neurowall run` enforces it again.
    """
    from neurowall.management.daemon.down import take_down

    call.show(take_down(call.instance), render.taken_down)


app.add_typer(look_app)
app.add_typer(top_app)
app.add_typer(events_app)
app.add_typer(trace_app)
app.add_typer(edit_app)
app.add_typer(bans_app, name="bans")
app.add_typer(lists_app, name="lists")
app.add_typer(policy_app)
app.add_typer(generations_app, name="generations")
app.add_typer(audit_app, name="audit")
app.add_typer(token_app, name="token")
app.add_typer(doctor_app)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
