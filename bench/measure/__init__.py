# SPDX-License-Identifier: Apache-2.0
"""Counters, CPU, environment and the packet ledger: samples, never verdicts; may import `bench.testbed`."""
