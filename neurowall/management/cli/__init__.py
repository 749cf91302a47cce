# SPDX-License-Identifier: Apache-2.0
"""The command `neurowall`: options, client of the API, what a terminal shows."""
