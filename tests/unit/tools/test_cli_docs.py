# SPDX-License-Identifier: Apache-2.0
"""docs/cli.md says what the commands say."""

from tools import cli_docs


def test_the_document_is_current() -> None:
    """`make docs` writes it anew."""
    text = cli_docs.DOCUMENT.read_text(encoding="utf-8")
    assert text == cli_docs.document(text), "docs/cli.md is not current: make docs"
    assert "### neurowall generations diff\n" in text
