# SPDX-License-Identifier: Apache-2.0
"""Frozen domain types, no I/O; imports no other layer, and every layer may import it."""
