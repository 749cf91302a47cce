# SPDX-License-Identifier: Apache-2.0
"""What a testbed raises."""


class TestbedError(Exception):
    """A testbed could not be built, used or removed; the message says what, why and what to do next."""

    __test__ = False  # the name begins with Test, pytest need not look at it
