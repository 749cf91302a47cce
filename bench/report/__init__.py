# SPDX-License-Identifier: Apache-2.0
"""One result.json turned into a table, Markdown and HTML; computes no figure of its own."""
