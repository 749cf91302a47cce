# SPDX-License-Identifier: Apache-2.0
"""The database: history, tokens, audit. What is enforced never waits for it."""
