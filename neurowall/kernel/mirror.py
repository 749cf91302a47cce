# SPDX-License-Identifier: Apache-2.0
"""What the mirrors of shared structs have in common, see layout.py."""

import ctypes as c
from typing import ClassVar


class Mirror(c.Structure):
    """A struct of the header; C_NAME is its name there."""

    C_NAME: ClassVar[str]
    BIG_ENDIAN: ClassVar[frozenset[str]] = frozenset()
