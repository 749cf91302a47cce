# SPDX-License-Identifier: Apache-2.0
import pickle

import pytest

from neurowall.model import errors

PROBLEM = errors.Problem(3, "x", "not an address")


@pytest.mark.parametrize(
    "error",
    [
        errors.CapacityError("hosts4", 10, 11, "feed"),
        errors.ListInvalid("list 'feed': 1 line is no entry", [PROBLEM]),
        errors.ListConflict("the name is taken"),
        errors.PolicyError(["policy.yaml:1: a", "policy.yaml:2: b"]),
        errors.MapFull("hosts4", 10),
        errors.ApplyError("put failed", reverted=True),
        errors.StateError("state.json is damaged"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_passes_whole_between_processes(error: errors.NeurowallError) -> None:
    """A compiler in another process raises the same error, with all that it says."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
