# SPDX-License-Identifier: Apache-2.0
"""`neurowall-bench`: list, plan, run, calibrate, compare, report, reap and replay.

Exit codes: 0 pass, 1 fail, 2 wrong usage, 3 void or too noisy, 4 cannot run, 130 and 143 interrupted.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, get_args

import typer
from rich.console import Console
from rich.markup import escape

from bench import compare as comparing
from bench import result as results
from bench import scenario as scenarios
from bench.points import ProfileName, SystemName
from bench.progress import Mode, reporter
from bench.report import files, screens, terminal
from bench.result import Result, ResultError, Verdict
from bench.scenario import Scenario, ScenarioError
from bench.session import Given, Session, SessionError

if TYPE_CHECKING:
    from bench.netns import NetnsLab
    from bench.operations.scenario import Operations
    from neurowall.model.entries import EntrySet

EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 1, "void": 3, "too-noisy": 3, "skipped": 4}
CANNOT_RUN = 4
TESTBEDS = ("netns",)

Chosen = list[tuple[str, "Scenario | Operations"]]

app = typer.Typer(
    help=f"Benchmarks that can come out against us.\n\n{(__doc__ or '').split(chr(10), 2)[2].strip()}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out, err = Console(), Console(stderr=True)

Names = Annotated[list[str], typer.Argument(metavar="SCENARIO...", help="names (see `list`) or paths")]
ProfileOption = Annotated[ProfileName, typer.Option("--profile", "-p", help="how long it may take")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="override: profiles.quick.blocks=8")
]
ListOption = Annotated[
    Path | None, typer.Option("--list", metavar="FILE", help="block list to use, filled up to the counts")
]
SeedOption = Annotated[int | None, typer.Option(help="of lists, sources and order; default random, recorded")]
OutOption = Annotated[Path | None, typer.Option("--out", help="new directory; default bench-results/TIME")]
TestbedOption = Annotated[str, typer.Option(help=f"one of: {', '.join(TESTBEDS)}")]
ProgressOption = Annotated[Mode, typer.Option(help="on stderr; json is one event a line")]
NoiseOption = Annotated[bool, typer.Option("--too-noisy-ok", help="exit 0 when the verdict is too noisy")]


@app.command("list")
def list_() -> None:
    """Scenarios that come with Neurowall: what each asks, and its bars."""
    for name in scenarios.names():
        found = _load(name, {})
        out.print(f"[bold]{name}[/]  {escape(' '.join(found.purpose.split()))}")
        out.print(f"    systems: {', '.join(found.systems)}", highlight=False)
        out.print(f"    points:  {', '.join(found.points)}", highlight=False)
        for bar in found.bars:
            out.print(f"    {bar.figure}: {bar.key} {bar.text}", highlight=False)


@app.command()
def plan(
    names: Names,
    profile: ProfileOption = "quick",
    override: SetOption = None,
    list_file: ListOption = None,
    seed: SeedOption = None,
) -> None:
    """What would run, what would be skipped and why, and how long it would take. Changes nothing."""
    session = Session(Path(), profile, _seed(seed), _given(list_file), lambda _: None)
    seconds = 0.0
    for name, found in _load_all(names, override):
        if isinstance(found, Scenario):
            made = session.plan(name, found, _available)
            screens.plan(out, made, session)
            seconds += made.seconds
        else:
            seconds += screens.operations(out, name, found, profile)
    out.print(f"expected duration: {seconds:.0f} s", highlight=False)


@app.command()
def run(  # noqa: PLR0917  typer calls it by name
    names: Names,
    profile: ProfileOption = "quick",
    directory: OutOption = None,
    override: SetOption = None,
    testbed: TestbedOption = "netns",
    list_file: ListOption = None,
    seed: SeedOption = None,
    progress: ProgressOption = "auto",
    too_noisy_ok: NoiseOption = False,
) -> None:
    """Measure and judge; write each result.json, and summary.json, report.md, report.html over all."""
    if testbed not in TESTBEDS:
        _refuse(f"there is no testbed '{testbed}' (known: {', '.join(TESTBEDS)})")
    chosen = _load_all(names, override)
    found = _measure(chosen, profile, directory, _seed(seed), _given(list_file), progress)
    _finish(results.worst([result.verdict for result in found]), too_noisy_ok)


@app.command()
def calibrate(
    directory: OutOption = None,
    systems: Annotated[list[str] | None, typer.Option("--system", help="only these")] = None,
    blocks: Annotated[int, typer.Option(min=2, max=200, help="about 4 s a system and block")] = 6,
    rounds: Annotated[int, typer.Option(min=1, max=200)] = 4,
    seed: SeedOption = None,
    progress: ProgressOption = "auto",
) -> None:
    """Every system against itself, A/A: what differences this machine can tell. Writes calibration.json."""
    from bench import calibrate as calibrating

    known = get_args(SystemName)
    chosen = systems or [system for system in known if system != "nft-linear"]
    if unknown := [system for system in chosen if system not in known]:
        _refuse(f"there is no system '{unknown[0]}' (known: {', '.join(known)})")
    with _lab(directory, "quick", _seed(seed), None, progress) as (session, lab):
        rules = session.rules(calibrating.COUNTS)
        refused = {system: why for system in chosen if (why := _available(system, rules))}
        present = [system for system in chosen if system not in refused]
        settings = calibrating.Settings(present, session.seed, blocks, rounds)
        found = calibrating.calibrate(lab, session.environment, rules, settings, session.tell)
        path = calibrating.save(found, session.directory)
    screens.calibration(out, found, refused, path)
    raise typer.Exit(0 if found.systems else CANNOT_RUN)


@app.command()
def compare(old: Path, new: Path, force: Annotated[bool, typer.Option("--force")] = False) -> None:
    """Two result files: what changed beyond their intervals. Refuses results of different machines."""
    with _clear_errors():
        first = _read(old)
        screens.comparison(out, first.scenario, comparing.compare(first, _read(new), force=force))


@app.command()
def report(directory: Path) -> None:
    """Write summary.json, report.md and report.html of a run's directory again."""
    with _clear_errors():
        found = files.read(directory)
        terminal.show(out, files.write(directory, found), found, directory)


@app.command()
def reap(
    run_id: Annotated[str | None, typer.Option("--run", metavar="ID", help="only this run")] = None,
    force: Annotated[bool, typer.Option("--force", help="with --run: also if its owner is alive")] = False,
) -> None:
    """Remove what killed runs left behind: their namespaces, mounts and processes, and nothing else."""
    from bench.testbed.reap import reap as remove

    with _clear_errors():
        removed = remove(run_id=run_id, force=force)
        for item in removed:
            out.print(f"{item.run_id}: removed {item.kind} {item.name}", highlight=False)
        out.print(f"{len(removed)} things removed" if removed else "nothing to remove")


@app.command()
def replay(
    stored: Annotated[Path, typer.Argument(metavar="RESULT", help="a result.json")],
    directory: OutOption = None,
    list_file: ListOption = None,
    progress: ProgressOption = "auto",
    too_noisy_ok: NoiseOption = False,
) -> None:
    """Run a stored result again with its scenario, profile, seed and list, then compare the two."""
    old = _read(stored)
    found = scenarios.restore(old.run.scenario)
    if found.digest != old.run.scenario_sha256:
        _refuse(f"{stored}: the scenario in it does not have the digest that it was run with")
    given = _same_list(old, list_file)
    (new,) = _measure([(old.scenario, found)], old.profile, directory, old.run.seed, given, progress)
    with _clear_errors():
        screens.comparison(out, old.scenario, comparing.compare(old, new, force=True))
    _finish(new.verdict, too_noisy_ok)


def main() -> None:
    """Entry point of the script."""
    app()


def _measure(
    chosen: Chosen,
    profile: ProfileName,
    directory: Path | None,
    seed: int,
    given: Given | None,
    progress: Mode,
) -> list[Result]:
    """Run scenarios in namespaces; files are written whatever ends it."""
    with _lab(directory, profile, seed, given, progress) as (session, lab):
        plans = {n: session.plan(n, found, _available) for n, found in chosen if isinstance(found, Scenario)}
        if plans and len(plans) == len(chosen) and not any(made.groups for made in plans.values()):
            reasons = (reason for made in plans.values() for reason in made.skipped.values())
            _refuse(f"nothing can be measured here: {next(reasons, 'no points')}")
        try:
            for name, found in chosen:
                if isinstance(found, Scenario):
                    session.measure(plans[name], lab)
                else:
                    session.operate(name, found)
        finally:
            if session.results:
                summary = files.write(session.directory, session.results)
    terminal.show(out, summary, session.results, session.directory)
    return session.results


@contextmanager
def _lab(
    directory: Path | None, profile: ProfileName, seed: int, given: Given | None, progress: Mode
) -> Iterator[tuple[Session, NetnsLab]]:
    """A session with a testbed of namespaces, which are gone afterwards whatever ends it."""
    from bench.measure.environment import fingerprint
    from bench.netns import NetnsLab
    from bench.testbed.base import Run
    from bench.traffic.wire import own_cpus

    if os.geteuid() != 0:
        _refuse("namespaces and XDP need root: run it with sudo")
    directory = _new_directory(directory)
    command = ("neurowall-bench", *sys.argv[1:])
    with _clear_errors(), reporter(progress, sys.stderr) as listener:
        session = Session(directory, profile, seed, given, listener.tell, command)
        with Run.begin(logs=directory / "logs") as session.testbed, own_cpus():
            lab, session.environment = NetnsLab(session.testbed), fingerprint()
            yield session, lab


def _available(system: str, rules: EntrySet) -> str | None:
    """Why a system cannot be measured with these rules on this machine."""
    from bench.sut import registry
    from bench.sut.base import Rules

    return registry.create(system).available(Rules(rules))


def _load(name: str, overrides: dict[str, str]) -> Scenario | Operations:
    try:
        return scenarios.load(scenarios.locate(name), overrides)
    except ScenarioError as error:
        _refuse(str(error))


def _load_all(names: list[str], override: list[str] | None) -> Chosen:
    overrides = {}
    for given in override or []:
        field, equals, value = given.partition("=")
        if not equals:
            _refuse(f"--set {given}: expected FIELD=VALUE")
        overrides[field] = value
    chosen = [(Path(name).stem, _load(name, overrides)) for name in dict.fromkeys(names)]
    if len({name for name, _ in chosen}) < len(chosen):
        _refuse("two of the scenarios have the same name, their results would overwrite each other")
    return chosen


def _given(path: Path | None) -> Given | None:
    """LIST=FILE, with what is wrong in it shown."""
    if path is None:
        return None
    with _clear_errors():
        given = Given.read(path)
    for problem in given.problems[:5]:
        err.print(f"{path}:{problem.line}: {problem.why}: {problem.text}", markup=False, highlight=False)
    more = len(given.problems) - 5
    if more > 0:
        err.print(f"{path}: and {more} more bad lines", markup=False, highlight=False)
    err.print(
        f"{path}: {len(given.entries):,} entries, {given.duplicates:,} duplicates, "
        f"{len(given.problems):,} bad lines left out",
        markup=False,
        highlight=False,
    )
    return given


def _same_list(old: Result, path: Path | None) -> Given | None:
    """The list that a stored result was run with."""
    wanted = old.run.given_list
    if wanted is None:
        return None
    given = _given(path or Path(wanted.file))
    if given is not None and given.sha256 != wanted.sha256:
        _refuse(f"{given.file}: not the list of that run, SHA-256 {wanted.sha256[:16]}; use --list")
    return given


def _seed(seed: int | None) -> int:
    return secrets.randbits(48) if seed is None else seed


def _new_directory(directory: Path | None) -> Path:
    """Make the run's directory; results of another run are never overwritten."""
    path = directory or Path("bench-results") / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            _refuse(f"{path}: exists and is not empty; give --out a new directory")
    except OSError as error:
        _refuse(f"{path}: {error.strerror}; give --out a directory that can be made")
    return path


def _read(path: Path) -> Result:
    try:
        return results.load(path)
    except ResultError as error:
        _refuse(str(error))


def _finish(verdict: Verdict, too_noisy_ok: bool) -> NoReturn:
    raise typer.Exit(0 if verdict == "too-noisy" and too_noisy_ok else EXIT_CODES[verdict])


def _refuse(message: str) -> NoReturn:
    """One clear error, exit 4."""
    err.print(f"neurowall-bench: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(CANNOT_RUN)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What is nobody's defect ends in one line; a signal in its exit code, once everything is torn down."""
    from bench.testbed.errors import TestbedError

    try:
        yield
    except (comparing.Incomparable, ResultError, SessionError, TestbedError) as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        err.print("interrupted: everything is torn down, partial results are marked void")
        raise typer.Exit(130) from None
    except SystemExit as stop:
        if not isinstance(stop.code, int) or stop.code <= 128:  # not from a signal: a closed pipe, for one
            raise
        err.print(
            f"ended by {signal.Signals(stop.code - 128).name}: everything is torn down, "
            "partial results are marked void"
        )
        raise typer.Exit(stop.code) from None
