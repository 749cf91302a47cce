# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest

from neurowall.data.sources import read_policy, read_source
from neurowall.model.errors import ListError, PolicyError
from neurowall.model.listfile import MAX_LIST


def test_reads_a_policy(tmp_path: Path) -> None:
    """The policy's own directory is where its lists are."""
    path = tmp_path / "policy.yaml"
    path.write_text(
        "interfaces: [{name: wan0, zone: external}]\nlists: [{name: a, verdict: block, file: a.txt}]\n"
    )
    assert read_policy(path).lists[0].file == tmp_path / "a.txt"


def test_an_unreadable_policy_names_the_file(tmp_path: Path) -> None:
    """A missing file, and a directory, are clear errors."""
    with pytest.raises(PolicyError, match=r"gone\.yaml: cannot be read: No such file"):
        read_policy(tmp_path / "gone.yaml")
    with pytest.raises(PolicyError, match="Is a directory"):
        read_policy(tmp_path)


def test_problems_name_the_path_as_given(tmp_path: Path) -> None:
    """Messages of a bad policy begin with its path."""
    path = tmp_path / "policy.yaml"
    path.write_text("interfaces: []\n")
    with pytest.raises(PolicyError) as caught:
        read_policy(path)
    assert caught.value.lines[0].startswith(f"{path}:1: interfaces: ")


def test_an_unreadable_list_names_the_file(tmp_path: Path) -> None:
    """The same for the file of a list."""
    (tmp_path / "a.txt").write_bytes(b"192.0.2.1\n")
    assert read_source(tmp_path / "a.txt") == b"192.0.2.1\n"
    with pytest.raises(ListError, match=r"b\.txt: cannot be read: No such file"):
        read_source(tmp_path / "b.txt")


@pytest.mark.timeout(20)
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """Neither a device without an end nor a FIFO that nobody writes to holds the daemon up."""
    os.mkfifo(tmp_path / "fifo")
    for path in (Path("/dev/zero"), tmp_path / "fifo"):
        with pytest.raises(ListError, match="not a regular file"):
            read_source(path)
    with pytest.raises(ListError, match="Is a directory"):
        read_source(tmp_path)
    with pytest.raises(ListError, match="cannot be read"):
        read_source(tmp_path / "a\0b")


def test_a_file_has_an_end(tmp_path: Path) -> None:
    """As much as a list over the API may have, and no byte more."""
    path = tmp_path / "large.txt"
    path.touch()
    os.truncate(path, MAX_LIST)
    assert len(read_source(path)) == MAX_LIST
    os.truncate(path, MAX_LIST + 1)
    with pytest.raises(ListError, match="more than 64 MiB"):
        read_source(path)
