# SPDX-License-Identifier: Apache-2.0
"""The HTTP API: routes, answers, problems, metrics, listeners. Decides nothing."""
