# SPDX-License-Identifier: Apache-2.0
"""The parts of the daemon that need no kernel; the daemon itself is in tests/net."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from neurowall.data.store.notes import BURST as NOTES
from neurowall.data.store.store import Store
from neurowall.logic.engine import Engine
from neurowall.management.api.answers import About
from neurowall.management.api.tls import Certificate
from neurowall.management.daemon import main as daemon
from neurowall.management.daemon.main import Options
from neurowall.management.daemon.reloading import Reloading
from neurowall.management.errors import CommandError, ExitCode
from neurowall.management.instance import Instance, Record
from neurowall.model.errors import (
    CapacityError,
    KernelError,
    ListInvalid,
    PolicyError,
    StateError,
    Unsupported,
)
from tests.services.waiting import until
from tests.unit.management import certificates
from tests.unit.management.conftest import StandIn


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PolicyError(["policy.yaml:1: x: y"]), ExitCode.USAGE),
        (ListInvalid("list 'x': x.txt:1: 'y': z"), ExitCode.USAGE),
        (CapacityError("hosts4", 10, 11, "x"), ExitCode.FAILED),
        (StateError("state.json is damaged"), ExitCode.FAILED),
        (KernelError("load: Invalid argument"), ExitCode.FAILED),
        (Unsupported("cannot mount a bpffs"), ExitCode.CANNOT_RUN),
        (FileNotFoundError("neurowall.bpf.o is not in ..."), ExitCode.CANNOT_RUN),
    ],
)
def test_every_refusal_has_its_exit_code(error: Exception, code: ExitCode) -> None:
    """Input is 2, this machine is 4, everything else 1; the message survives."""
    with pytest.raises(CommandError) as caught, daemon._as_command_errors():
        raise error
    assert caught.value.exit_code is code
    assert str(error) in "\n".join((str(caught.value), *caught.value.details))


def test_a_bug_is_not_disguised() -> None:
    """An unexpected exception keeps its traceback."""
    with pytest.raises(ZeroDivisionError), daemon._as_command_errors():
        raise ZeroDivisionError


def test_each_instance_has_its_own_state(tmp_path: Path) -> None:
    """Two daemons with the default state directory do not share their lists."""
    states = {
        Options(Instance(name, tmp_path), tmp_path / "policy.yaml", tmp_path / "state").state
        for name in ("main", "lab")
    }
    assert len(states) == 2


class TestNamespace:
    @pytest.fixture
    def instance(self, tmp_path: Path) -> Instance:
        """An instance whose last daemon guarded namespace `one`."""
        instance = Instance("main", tmp_path)
        instance.create()
        instance.record(Record(netns="one", state_dir="", config=""))
        return instance

    def test_links_of_another_one_are_not_adopted(self, instance: Instance) -> None:
        """Its g0 and ours may have the same index."""
        (instance.directory / "bpf/links").mkdir(parents=True)
        (instance.directory / "bpf/links/g0").touch()
        daemon._check_namespace(instance, "one")
        for other, named in (("two", "namespace 'one'"), (None, "namespace 'one'")):
            with pytest.raises(CommandError, match=named) as caught:
                daemon._check_namespace(instance, other)
            assert "neurowall down" in str(caught.value)

    def test_without_links_any_namespace_will_do(self, instance: Instance) -> None:
        """Nothing is enforced, so there is nothing to mistake."""
        daemon._check_namespace(instance, "two")
        daemon._check_namespace(instance, None)


class TestPolicyReload:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        """A store on an empty database."""
        store = Store(f"sqlite:///{tmp_path}/db/neurowall.db", "gw")
        store.open()
        yield store
        store.close()

    @pytest.fixture
    def config(self, tmp_path: Path) -> Path:
        """The policy of conftest.py with one more list."""
        path = tmp_path / "policy.yaml"
        path.write_text(
            "interfaces:\n  - {name: wan0, zone: external}\n  - {name: lan0, zone: internal}\n"
            "lists:\n  - {name: fresh, verdict: block, entries: [198.51.100.0/24]}\n"
            "capacity:\n"
            "  {hosts4: 1000, prefixes4: 100, hosts6: 100, prefixes6: 100, classes: 64, grow: false}\n"
        )
        return path

    def test_new_lists_are_in_force(
        self, config: Path, engine: Engine, about: About, dataplane: StandIn
    ) -> None:
        """Those that it no longer declares are gone."""
        Reloading(config, engine, about).reload()
        assert about.policy_problem is None
        assert dataplane.lookup("198.51.100.7")
        assert dataplane.lookup("203.0.113.9") is None

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ("zone: external", "zone: outside", "interfaces[0].zone"),
            ("capacity:", "engine: classic\ncapacity:", "restart"),
            ("198.51.100.0/24", "198.51.100.0/99", "lists[0].entries[0]"),
        ],
    )
    def test_a_bad_one_changes_nothing_and_is_remembered(
        self,
        config: Path,
        engine: Engine,
        about: About,
        dataplane: StandIn,
        old: str,
        new: str,
        expected: str,
    ) -> None:
        """The present policy stays in force until the file is mended."""
        good = config.read_text()
        config.write_text(good.replace(old, new))
        Reloading(config, engine, about).reload()
        assert about.policy_problem
        assert expected in about.policy_problem
        assert dataplane.lookup("203.0.113.9")
        config.write_text(good)
        Reloading(config, engine, about).reload()
        assert about.policy_problem is None

    def test_a_larger_capacity_is_known_from_then_on(
        self, config: Path, engine: Engine, about: About, dataplane: StandIn
    ) -> None:
        """The status compares the tables with the policy in force, not with that of the start."""
        config.write_text(config.read_text().replace("hosts4: 1000", "hosts4: 2000"))
        Reloading(config, engine, about).reload()
        assert about.policy_problem is None
        assert about.capacity == {
            "hosts4": 2000,
            "prefixes4": 100,
            "hosts6": 100,
            "prefixes6": 100,
            "classes": 64,
        }
        assert dataplane.capacity.hosts4 >= 2000

    def test_each_one_is_in_the_audit(self, config: Path, engine: Engine, about: About, store: Store) -> None:
        """However many there are: each may change what is enforced. Refused ones and certificates too."""
        made = certificates.self_signed(config.parent, "gateway")
        certificate = Certificate(made.cert, made.key)
        reloading = Reloading(config, engine, about, certificate, store.audit)
        for _ in range(NOTES + 5):
            reloading.reload()
        config.unlink()
        made.key.unlink()
        reloading.reload()
        until(lambda: store.audit.queued == 0)
        rows = store.audit.page(100).rows
        for action in ("policy-reload", "certificate-reload"):
            results = [row.result for row in rows if row.action == action]
            assert results == ["refused", *["ok"] * (NOTES + 5)]

    def test_a_file_that_is_gone_changes_nothing(
        self, config: Path, engine: Engine, about: About, dataplane: StandIn
    ) -> None:
        """As for one that is wrong."""
        config.unlink()
        Reloading(config, engine, about).reload()
        assert about.policy_problem
        assert dataplane.lookup("203.0.113.9")
