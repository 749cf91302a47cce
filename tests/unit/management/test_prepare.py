# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest

from neurowall.kernel import pins
from neurowall.management.daemon.prepare import Owner, _give, _owner
from neurowall.management.errors import UsageProblem
from neurowall.model.errors import Unsupported

OWNER = Owner(64998, 64997)


def owner_of(path: Path) -> Owner:
    """Who owns a file, or a link itself."""
    found = path.lstat()
    return Owner(found.st_uid, found.st_gid)


@pytest.mark.root
def test_everything_below_is_given(tmp_path: Path) -> None:
    """Files and folders at any depth, and the folder itself; a second time there is nothing to do."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("")
    assert _give(tmp_path / "a", OWNER) >= 3
    assert {owner_of(path) for path in (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/file")} == {OWNER}
    assert _give(tmp_path / "a", OWNER) == 0


@pytest.mark.root
def test_what_leads_elsewhere_is_not_given(tmp_path: Path) -> None:
    """A daemon's user may leave links in its own folder: root must not give their targets away."""
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    for each in (outside, folder):
        each.mkdir()
    (outside / "secret").write_text("")
    (outside / "other").write_text("")
    (folder / "link").symlink_to(outside / "secret")
    (folder / "directory").symlink_to(outside)
    os.link(outside / "other", folder / "hard")
    _give(folder, OWNER)
    assert owner_of(folder) == OWNER
    for path in (outside, outside / "secret", outside / "other"):
        assert owner_of(path) != OWNER, path


@pytest.mark.root
def test_no_bpffs_is_mounted_where_a_link_leads(tmp_path: Path) -> None:
    """The instance's folder is another user's: a link there must not have root mount over the system's."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "bpf").symlink_to(outside)
    with pytest.raises(Unsupported, match="cannot mount a bpffs"):
        pins.mount(tmp_path / "bpf")
    assert not pins.is_mounted(outside)


def test_users_by_name_and_by_number() -> None:
    """A name that nobody has says how to make it."""
    assert _owner("root") == Owner(0, 0)
    assert _owner("64998:64997") == OWNER
    with pytest.raises(UsageProblem, match="systemd-sysusers"):
        _owner("nobody-has-this-name")
