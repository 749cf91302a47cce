# SPDX-License-Identifier: Apache-2.0
"""Decisions: compiler, difference, engine, explain; may import `data`, `kernel` and `model`."""
