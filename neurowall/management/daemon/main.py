# SPDX-License-Identifier: Apache-2.0
"""`neurowall run`: checks, start in an order that leaves nothing half-applied, serve, and a clean end.

Order: policy, this machine, the instance's lock, loopback sockets (still in the caller's network
namespace), the network namespace, interfaces, maps, lists into the maps, programs onto the interfaces,
and at last the API's socket: whoever can connect finds everything enforced.
"""

import asyncio
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from neurowall.data import tablememo
from neurowall.data.generations import GenerationStore
from neurowall.data.state import StateStore
from neurowall.data.store.store import Store
from neurowall.data.tablememo import TableMemo
from neurowall.kernel import netlink, sysctl
from neurowall.kernel.dataplane import DataPlane
from neurowall.kernel.nft import Nftables
from neurowall.kernel.nftwatch import watch_ruleset
from neurowall.logic import memory
from neurowall.logic.around import Around
from neurowall.logic.declared import Declared, boot
from neurowall.logic.engine import Engine
from neurowall.logic.worker import Worker
from neurowall.management.api import server, sockets
from neurowall.management.api.answers import About
from neurowall.management.api.app import create_app, create_metrics_app
from neurowall.management.api.server import Listener
from neurowall.management.api.tls import Certificate
from neurowall.management.daemon import logs, preflight
from neurowall.management.daemon.down import SYSCTLS, end_enforcement
from neurowall.management.daemon.history import note_taken_back, record_limit_bans
from neurowall.management.daemon.housekeeping import Housekeeper
from neurowall.management.daemon.notify import notify
from neurowall.management.daemon.reloading import Reloading, declared_capacity
from neurowall.management.daemon.storage import Recorder, started_by, store_for
from neurowall.management.daemon.telemetry import Teller
from neurowall.management.daemon.watch import QUIET_SECONDS, AfterQuiet, Watcher
from neurowall.management.errors import CannotRun, CommandError, UsageProblem
from neurowall.management.instance import Instance, Record, locked, not_ours
from neurowall.model.audit import Outcome
from neurowall.model.errors import ListError, NeurowallError, PolicyError, Unsupported
from neurowall.model.intent import PolicyState
from neurowall.model.policy import Policy

log = logging.getLogger("neurowall")


@dataclass(frozen=True)
class Options:
    """The command line of `neurowall run`."""

    instance: Instance
    config: Path | None
    state_dir: Path
    netns: str | None = None
    metrics_listen: str | None = None
    listen: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log_format: str = "text"
    database: str | None = None
    allow_missing_interfaces: bool = False
    verbose: bool = False

    @property
    def state(self) -> Path:
        """Where this instance keeps its intended state."""
        return self.state_dir / self.instance.name


def serve(options: Options) -> None:
    """Run the daemon until SIGTERM or SIGINT. Raises CommandError if it cannot start."""
    logs.to_stderr(options.log_format, verbose=options.verbose)
    preflight.check(admin=options.netns is not None, bpffs=options.instance.bpffs)
    _end_by_exception()
    memory.one_heap()  # before the first thread
    with ExitStack() as stack, _as_command_errors():
        stack.enter_context(locked(options.instance))
        declared = _policy_to_start_with(options)
        policy = declared.policy
        metrics = _metrics_socket(stack, options.metrics_listen)
        certificate = _certificate(options)
        _check_namespace(options.instance, options.netns)
        store = store_for(options.database, options.state, options.instance.name)
        stack.callback(store.close)
        store.start()  # in the network namespace of the caller, where its server is
        options.instance.record(Record(options.netns, str(options.state), str(options.config or "")))
        if options.netns:
            netlink.enter_namespace(options.netns)
        _check_interfaces(policy, allow_missing=options.allow_missing_interfaces)
        remote = _api_socket(stack, options.listen, encrypted=certificate is not None)
        dataplane, engine = _enforce(stack, options, declared)
        store.open()  # the state directory is locked now: nobody else writes as this node
        store.audit.fact(started_by(version("neurowall")), Outcome("ok", after=engine.status().generation))
        about = About(
            instance=options.instance.name,
            version=version("neurowall"),
            zones={interface.name: interface.zone for interface in policy.interfaces},
            capacity=declared_capacity(policy),
            storage=store.facts,
        )
        engine.on_events = partial(record_limit_bans, store.bans)
        threads = (
            _interface_watcher(dataplane, engine),
            _table_watcher(engine),
            Housekeeper(engine, about.say_housekeeping, partial(note_taken_back, store.audit, engine)),
            Teller(engine),
            _recorder(store, options, engine),
        )
        for thread in threads:
            thread.start()
            stack.callback(thread.stop)
        for thread in threads:  # told at first, all of them: they end together
            stack.callback(thread.end)
        listener = stack.enter_context(sockets.unix_socket(options.instance.socket))
        stack.callback(options.instance.socket.unlink, missing_ok=True)
        app = create_app(engine, about, store=store)
        listeners = [Listener(app, listener)]
        if remote:
            listeners.append(Listener(app, remote, server.REMOTE, certificate))
        if metrics:
            listeners.append(Listener(create_metrics_app(engine, about), metrics))
        log.info("ready: generation %d, API on %s", engine.status().generation, options.instance.socket)
        notify("READY=1")
        # What was made until now stays: a collection that looks at it again takes 50 ms in which nobody is
        # answered.
        gc.freeze()
        reloading = Reloading(options.config, engine, about, certificate, store.audit)
        asyncio.run(_serve_until_told(listeners, reloading, options))
    log.info("exiting; enforcement goes on (`neurowall down` ends it)")
    gc.freeze()  # nor at anything now


def _policy_to_start_with(options: Options) -> Declared:
    """What was in force, unless the policy file says something newer."""
    store, state = StateStore(options.state), PolicyState()
    if store.exists():
        state = store.load().policy
    return boot(options.config, state, GenerationStore(options.state))


def _interface_watcher(dataplane: DataPlane, engine: Engine) -> Watcher:
    def reconcile() -> None:
        dataplane.reconcile_interfaces()
        engine.settle()

    return Watcher(netlink.watch_links, reconcile, dataplane.interfaces)


def _table_watcher(engine: Engine) -> Watcher:
    def watch(changed: Callable[..., None], stop: threading.Event) -> None:
        def suspect() -> None:
            engine.suspect()
            changed()

        watch_ruleset(suspect, stop)

    watcher = Watcher(watch, engine.repair, tuple)
    engine.on_change = AfterQuiet(watcher.poke, QUIET_SECONDS)
    return watcher


def _recorder(store: Store, options: Options, engine: Engine) -> Recorder:
    """What copies each generation into the database, after the change that made it."""
    recorder = Recorder(store, GenerationStore(options.state), lambda: engine.status().generation)
    before = engine.on_change

    def changed() -> None:
        before()
        recorder.poke()

    engine.on_change = changed
    return recorder


def _end_by_exception() -> None:
    """Let SIGTERM unwind a start under way, so that what it made is undone; SIGHUP has no meaning yet."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextmanager
def _as_command_errors() -> Iterator[None]:
    """Turn what the layers below refuse into errors that end the command with the right exit code."""
    try:
        yield
    except PolicyError as error:
        raise UsageProblem("the policy cannot be used", error.lines) from error
    except ListError as error:
        raise UsageProblem(str(error)) from error
    except PermissionError as error:
        raise CannotRun(not_ours(Path(), error)) from error
    except (Unsupported, FileNotFoundError) as error:
        raise CannotRun(str(error)) from error
    except NeurowallError as error:
        raise CommandError(str(error)) from error


def _metrics_socket(stack: ExitStack, address: str | None) -> socket.socket | None:
    if address is None:
        return None
    listener = stack.enter_context(sockets.loopback_socket(address))
    log.info("metrics on http://%s:%d/metrics", *listener.getsockname()[:2])
    return listener


def _certificate(options: Options) -> Certificate | None:
    """What the listener for operators is encrypted with, if it is."""
    certificate, key = options.tls_cert, options.tls_key
    if not (certificate or key):
        return None
    if not (certificate and key and options.listen):
        raise UsageProblem("--listen, --tls-cert and --tls-key belong together: give all three")
    return Certificate(certificate, key)


def _api_socket(stack: ExitStack, address: str | None, *, encrypted: bool) -> socket.socket | None:
    if address is None:
        return None
    listener = stack.enter_context(sockets.api_socket(address, encrypted=encrypted))
    scheme = "https" if encrypted else "http"
    log.info("API on %s://%s port %d, for those with a token", scheme, *listener.getsockname()[:2])
    return listener


def _check_namespace(instance: Instance, netns: str | None) -> None:
    """Refuse to adopt links of another network namespace: interfaces are known by index, which repeat."""
    before = instance.recorded()
    if before and before.netns != netns and _enforced(instance):
        where = f"network namespace '{before.netns}'" if before.netns else "the host's network namespace"
        raise CommandError(
            f"instance '{instance.name}' still enforces in {where}; end that with `neurowall down`, start it "
            "there again, or choose another --instance"
        )


def _check_interfaces(policy: Policy, *, allow_missing: bool) -> None:
    missing = [each.name for each in policy.interfaces if netlink.interface_index(each.name) is None]
    if missing and not allow_missing:
        raise CommandError(
            f"no interface {', '.join(missing)} here; there are: {', '.join(netlink.interface_names())}. "
            "Correct the policy, or start degraded with --allow-missing-interfaces"
        )


def _enforce(stack: ExitStack, options: Options, declared: Declared) -> tuple[DataPlane, Engine]:
    """Bring kernel and interfaces to what the policy and the saved state intend.

    Leaves *stack* to give up the files at the end. A first start that fails takes away what it made;
    a restart that fails leaves what was in force before it.
    """
    fresh = not _enforced(options.instance)
    with ExitStack() as undo:
        if fresh:
            undo.callback(end_enforcement, options.instance)
        dataplane = DataPlane.open(declared.policy, options.instance.directory)
        log.info("maps: %s", "adopted those in force" if dataplane.adopted else "made new ones")
        worker = Worker()
        around = Around(
            tables=Nftables(),
            reader=Nftables(),
            forwarding=partial(_forward, options.instance),
            memo=TableMemo(options.instance.directory / tablememo.NAME),
            config=options.config,
        )
        engine = Engine(declared, dataplane, StateStore(options.state), parser=worker.parse, around=around)
        stack.callback(engine.close)
        stack.callback(worker.close)  # first: a list that is still being read must not reach a closed engine
        engine.start()
        _check_attached(dataplane, fresh=fresh, allow_missing=options.allow_missing_interfaces)
        undo.pop_all()
    return dataplane, engine


def _enforced(instance: Instance) -> bool:
    """Whether an earlier daemon's programs are still attached, or its table is in force."""
    links = instance.bpffs / "links"
    return (links.is_dir() and any(links.iterdir())) or (instance.directory / tablememo.NAME).exists()


def _check_attached(dataplane: DataPlane, *, fresh: bool, allow_missing: bool) -> None:
    """Refuse a first start that guards less than the policy says; a restart goes on with what it has."""
    unguarded = [each for each in dataplane.interfaces() if each.problem]
    present = [each for each in unguarded if each.ifindex is not None]
    if fresh and (present if allow_missing else unguarded):
        wrong = tuple(f"{each.name}: {each.problem}" for each in unguarded)
        raise CommandError("not every interface can be guarded, so none is", wrong)


async def _serve_until_told(listeners: list[Listener], reloading: Reloading, options: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        reloading.engine.events.close()  # or who follows them would hold the exit up
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    reloads: set[asyncio.Future[None]] = set()

    def reload() -> None:
        task = asyncio.ensure_future(asyncio.to_thread(reloading.reload))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    await server.run(listeners, stop, verbose=options.verbose)
    await asyncio.gather(*reloads)


def _forward(instance: Instance, policy: Policy) -> None:
    """Have the kernel forward as the policy says; what it was before is kept until `neurowall down`."""
    names = [interface.name for interface in policy.interfaces]
    families = [{"ipv4": 4, "ipv6": 6}[family] for family in policy.forwarding]
    sysctl.forward(names, instance.directory / SYSCTLS, families)
