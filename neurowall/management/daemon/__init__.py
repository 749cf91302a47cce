# SPDX-License-Identifier: Apache-2.0
"""The daemon's shell: its start, its end, and what it does on the side."""
