# SPDX-License-Identifier: Apache-2.0
"""Tokens of the API: their text, what is kept of them, and the scopes that they may have.

The text is `nw_<id>_<secret>`. The id names the token in answers, logs and audit; of the secret nothing but
its SHA-256 is kept: 32 random bytes need no slow hash, since nobody can try them all.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass

SCOPES = {
    "read": "see everything but tokens and audit",
    "rules:write": "change lists, bans and policies",
    "intel:write": "change feeds of threat intelligence",
    "ha:admin": "steer high availability",
    "audit:read": "read and verify the audit",
    "bench:run": "run benchmarks",
    "tokens:write": "list, make and revoke tokens, none with more scopes than one's own",
}
MAX_NAME = 64  # characters
_ID_LETTERS = string.ascii_lowercase + string.digits
_MAKER = re.compile(r"token:([a-z0-9]{12})(?: |$)")
_TEXT = re.compile(r"nw_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class TokenRecord:
    """What is kept of a token. Times are Unix seconds; expires and revoked are None if they are not.

    digest: SHA-256 of the secret, in hex. created_by: the actor. last_source: an address, or `unix`.
    """

    id: str
    name: str
    digest: str
    scopes: frozenset[str]
    created: float
    created_by: str
    expires: float | None = None
    last_used: float | None = None
    last_source: str | None = None
    revoked: float | None = None

    def owns(self, secret: str) -> bool:
        """Whether this secret is its own; takes as long for any secret."""
        return hmac.compare_digest(digest_of(secret), self.digest)

    def is_valid(self, now: float) -> bool:
        """Whether it is neither revoked nor over."""
        return self.revoked is None and (self.expires is None or now < self.expires)


def new_text() -> str:
    """A token that nobody has."""
    made = "".join(secrets.choice(_ID_LETTERS) for _ in range(12))
    return f"nw_{made}_{secrets.token_urlsafe(32)}"


def split_text(text: str) -> tuple[str, str] | None:
    """Id and secret of a token's text; None if it is none."""
    found = _TEXT.fullmatch(text)
    return (found[1], found[2]) if found else None


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def maker_of(actor: str) -> str | None:
    """The id of the token that an actor is; None if it is something else."""
    found = _MAKER.match(actor)
    return found[1] if found else None


def descendants(records: Iterable[TokenRecord], identifier: str) -> list[TokenRecord]:
    """The tokens that a token made, that those made, and so on; those that have ended too, nearest first."""
    made: dict[str, list[TokenRecord]] = {}
    for each in records:
        if maker := maker_of(each.created_by):
            made.setdefault(maker, []).append(each)
    found = made.pop(identifier, [])
    for each in found:  # it grows meanwhile; a maker is taken out, so that no circle goes round
        found += made.pop(each.id, ())
    return found
