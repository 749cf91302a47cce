# SPDX-License-Identifier: Apache-2.0
"""Systems under test behind one protocol; may import `bench.testbed` and `neurowall.model`."""
