# SPDX-License-Identifier: Apache-2.0
"""Packet generators and receivers behind one protocol.

May import `bench.testbed` and the generic kernel bindings.
"""
