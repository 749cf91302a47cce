# SPDX-License-Identifier: Apache-2.0

import pytest

from neurowall.model.tokens import TokenRecord, digest_of, new_text, split_text


def record(secret: str, *, expires: float | None = None, revoked: float | None = None) -> TokenRecord:
    """A token of that secret."""
    digest = digest_of(secret)
    return TokenRecord(
        "abcdefghijkl", "ci", digest, frozenset({"read"}), 1.0, "uid:0 root", expires=expires, revoked=revoked
    )


def test_a_new_token_splits_into_id_and_secret() -> None:
    """Also where the secret holds a '_' itself, which one of many does."""
    texts = [new_text() for _ in range(200)]
    assert any(text.count("_") > 2 for text in texts)
    for text in texts:
        parts = split_text(text)
        assert parts
        assert "nw_{}_{}".format(*parts) == text
    assert len({split_text(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    "text",
    ["", "nw_", "nw_abcdefghijkl_", f"nw_ABCDEFGHIJKL_{'x' * 43}", f"nw_abcdefghijkl_{'x' * 42}", "é" * 59],
)
def test_what_is_no_token(text: str) -> None:
    """Nothing is looked up for it."""
    assert split_text(text) is None


def test_only_its_own_secret() -> None:
    """Of as many letters, but others."""
    assert record("s" * 43).owns("s" * 43)
    assert not record("s" * 43).owns("t" * 43)


def test_only_in_its_time() -> None:
    """Until it expires, and never once it was revoked."""
    assert record("s" * 43).is_valid(1e12)
    assert record("s" * 43, expires=10.0).is_valid(9.9)
    assert not record("s" * 43, expires=10.0).is_valid(10.0)
    assert not record("s" * 43, revoked=5.0).is_valid(1.0)
