# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest

from bench.testbed import journal
from bench.testbed.errors import TestbedError
from bench.testbed.journal import Journal, Resource
from bench.testbed.procfs import Identity


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / journal.FILE_NAME


@pytest.fixture
def record(path: Path) -> Journal:
    """A journal that this process owns."""
    return Journal.begin(path, "cafe", Identity.of(os.getpid()), ["bench", "run"])


def test_what_is_created_and_not_removed_is_open_in_order(path: Path, record: Journal) -> None:
    """Reading gives the owner and the resources that may still exist."""
    record.create("netns", "a", "b")
    record.create("mount", "/somewhere")
    record.removed("netns", "a")
    contents = journal.read(path)
    assert contents.run_id == "cafe"
    assert contents.owner == Identity.of(os.getpid())
    assert contents.command == ["bench", "run"]
    assert contents.resources == [Resource("netns", "b"), Resource("mount", "/somewhere")]


def test_a_started_process_gains_its_identity(path: Path, record: Journal) -> None:
    """The record made before the start is completed by the one made after it."""
    record.create("process", "sleep", argv=["sleep", "1"])
    assert journal.read(path).resources[0].details == {"argv": ["sleep", "1"]}
    record.started("sleep", Identity(42, 7, "boot"))
    assert journal.read(path).resources == [Resource("process", "sleep", {"pid": 42, "start_time": 7})]


@pytest.mark.parametrize("cut", range(1, 45))
def test_a_torn_last_line_is_a_resource_never_created(path: Path, record: Journal, cut: int) -> None:
    """Cut anywhere inside the last line, everything before it still counts."""
    record.create("netns", "a")
    whole = path.read_bytes()
    record.create("netns", "b")
    length = len(path.read_bytes()) - len(whole)
    path.write_bytes(path.read_bytes()[: len(whole) + min(cut, length - 2)])
    assert journal.read(path).resources == [Resource("netns", "a")]


def test_an_unreadable_line_in_the_middle_is_an_error_naming_it(path: Path, record: Journal) -> None:
    """A journal that is damaged, not torn, is not guessed at."""
    record.create("netns", "a")
    path.write_bytes(path.read_bytes() + b"garbage\n")
    record.create("netns", "b")
    with pytest.raises(TestbedError, match=r"journal.jsonl:3: unreadable"):
        journal.read(path)


@pytest.mark.parametrize("head", [b"", b'{"op":"cre', b'{"op":"create","kind":"netns","name":"a"}\n'])
def test_a_journal_without_an_owner_is_an_error(path: Path, head: bytes) -> None:
    """Nothing is removed on behalf of an unknown owner."""
    path.write_bytes(head)
    with pytest.raises(TestbedError, match="no owner"):
        journal.read(path)


def test_another_format_is_refused(path: Path, record: Journal) -> None:
    """A later program's journal is not misread."""
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2'))
    with pytest.raises(TestbedError, match="journal format 2"):
        journal.read(path)


def test_an_existing_journal_is_not_overwritten(path: Path, record: Journal) -> None:
    """Two runs never share one."""
    with pytest.raises(FileExistsError):
        Journal.begin(path, "beef", Identity.of(os.getpid()), [])
