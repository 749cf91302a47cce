# SPDX-License-Identifier: Apache-2.0
"""The tables. The chain in `migrations/` makes the same; a test compares the two on both engines.

Times are Unix seconds. Texts have bounds, so that rows do: retention counts rows and means bytes.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

# Known here, so that a start need not import alembic to learn that there is nothing to do. Oldest first.
REVISIONS = ("0001",)
HEAD = REVISIONS[-1]

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)

# Only an INTEGER PRIMARY KEY counts by itself in SQLite.
_COUNTED = BigInteger().with_variant(Integer, "sqlite")

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("key"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(12), nullable=False),
    Column("name", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("scopes", String(200), nullable=False),  # with spaces between
    Column("created", Double, nullable=False),
    Column("created_by", String(120), nullable=False),
    Column("expires", Double),
    Column("last_used", Double),
    Column("last_source", String(64)),
    Column("revoked", Double),
    PrimaryKeyConstraint("id"),
)

audit = Table(
    "audit",
    metadata,
    Column("node", String(100), nullable=False),
    Column("id", BigInteger, nullable=False, autoincrement=False),
    Column("when", Double, nullable=False),
    Column("phase", String(8), nullable=False),
    Column("begin", BigInteger),
    Column("request_id", String(64), nullable=False),
    Column("actor", String(120), nullable=False),
    Column("source", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("target", String(500), nullable=False),
    Column("before", BigInteger),
    Column("after", BigInteger),
    Column("result", String(8)),
    Column("status", Integer),
    Column("late", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
    Column("prev", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    PrimaryKeyConstraint("node", "id"),
)

# Up to which row a chain was pruned, and the hash that the first row kept must follow.
audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("node", String(100), nullable=False),
    Column("id", BigInteger, nullable=False, autoincrement=False),
    Column("hash", String(64), nullable=False),
    Column("when", Double, nullable=False),
    PrimaryKeyConstraint("node"),
)

bans = Table(
    "bans",
    metadata,
    Column("id", _COUNTED, nullable=False),
    Column("node", String(100), nullable=False),
    Column("entry", String(64), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("list", String(64), nullable=False),
    Column("actor", String(120), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("since", Double, nullable=False),
    Column("until", Double),
    Column("ended", Double),
    Column("ended_by", String(120)),
    PrimaryKeyConstraint("id"),
    Index(None, "entry"),
    Index("ix_bans_oldest", "node", "kind", "id", "ended", "until"),  # what retention looks at
)

generations = Table(
    "generations",
    metadata,
    Column("node", String(100), nullable=False),
    Column("number", BigInteger, nullable=False, autoincrement=False),
    Column("when", Double, nullable=False),
    Column("source", String(32), nullable=False),
    Column("filename", String(500), nullable=False),
    Column("note", String(500), nullable=False),
    Column("rules", Integer, nullable=False),
    Column("lists", Text, nullable=False),  # JSON
    Column("policy", LargeBinary, nullable=False),  # the text, with zlib
    Column("size", BigInteger, nullable=False),  # bytes of `policy` and `lists`
    PrimaryKeyConstraint("node", "number"),
)

replies = Table(
    "replies",
    metadata,
    Column("node", String(100), nullable=False),
    Column("key", String(255), nullable=False),
    Column("actor", String(120), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created", Double, nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", Text, nullable=False),  # JSON
    Column("body", LargeBinary, nullable=False),  # with zlib
    Column("size", BigInteger, nullable=False),  # bytes of the whole row
    Column("cut", Boolean, nullable=False),
    PrimaryKeyConstraint("node", "key", "actor"),
    Index("ix_replies_oldest", "node", "created", "size"),  # counted without a look at the bodies
)
