# SPDX-License-Identifier: Apache-2.0
import json
import platform

import pytest

from bench.measure import environment


def test_names_machine_and_software() -> None:
    """It can be written to result.json and says what ran where."""
    found = environment.fingerprint(steal_seconds=0.05)
    assert json.loads(json.dumps(found)) == found
    assert found["kernel"]["release"] == platform.release()
    assert found["cpu"]["model"]
    assert found["cpu"]["cpus"] >= 1
    assert found["memory_mib"] > 100
    assert found["versions"]["python"] == platform.python_version()


def test_the_machine_digest_follows_the_hardware_and_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same twice, and another one on another kernel; load does not matter."""
    first = environment.fingerprint(0.01)["machine"]
    assert environment.fingerprint(0.01)["machine"] == first
    monkeypatch.setattr(environment, "kernel", lambda: {"release": "9.9"})
    assert environment.fingerprint(0.01)["machine"] != first
