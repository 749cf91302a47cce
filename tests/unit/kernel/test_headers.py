# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest

from neurowall.kernel import headers
from neurowall.model.errors import Unsupported


def make(modules: Path, release: str, part: str = "source") -> Path:
    """A kernel's folder with the file that bcc includes first."""
    folder = modules / release / part / "include/linux"
    folder.mkdir(parents=True)
    (folder / "kconfig.h").write_text("")
    return modules / release


def test_the_running_kernels_own_come_first(tmp_path: Path) -> None:
    """Whatever else is installed."""
    own = make(tmp_path, "6.1.0-18-amd64")
    make(tmp_path, "6.12.0-1-amd64")
    assert headers.find("6.1.0-18-amd64", tmp_path) == own


def test_else_the_newest_are_taken(tmp_path: Path) -> None:
    """Compared as numbers; folders without headers are none, as those of a kernel alone are."""
    make(tmp_path, "6.1.0-57-amd64")
    newest = make(tmp_path, "6.12.9-amd64", part="build")
    make(tmp_path, "6.9.1-1-amd64")
    (tmp_path / "7.0.0/build").mkdir(parents=True)
    assert headers.find("6.18.44", tmp_path) == newest


@pytest.mark.parametrize("exists", [True, False])
def test_none_at_all_names_the_package(tmp_path: Path, exists: bool) -> None:
    """Whether or not there is a folder for modules."""
    with pytest.raises(Unsupported, match=r"apt install linux-headers-6\.18\.44"):
        headers.find("6.18.44", tmp_path if exists else tmp_path / "none")


def test_two_trees_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the build tree has comes first; the merged one is gone afterwards."""
    monkeypatch.delenv(headers.VARIABLE, raising=False)
    folder = make(tmp_path, "6.1")
    for part, name in (("build", "generated"), ("source", "generated"), ("source", "net")):
        (folder / part / "include" / name).mkdir(parents=True, exist_ok=True)
    with headers.for_bcc(folder):
        merged = Path(os.environ[headers.VARIABLE])
        found = {path.name: path.resolve() for path in (merged / "include").iterdir()}
        assert found == {
            "generated": folder / "build/include/generated",
            "linux": folder / "source/include/linux",
            "net": folder / "source/include/net",
        }
    assert not merged.exists()
    assert headers.VARIABLE not in os.environ


def test_the_users_own_choice_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BCC_KERNEL_SOURCE is bcc's own variable."""
    monkeypatch.setenv(headers.VARIABLE, "/elsewhere")
    with headers.for_bcc(tmp_path):
        assert os.environ[headers.VARIABLE] == "/elsewhere"
    assert os.environ[headers.VARIABLE] == "/elsewhere"
