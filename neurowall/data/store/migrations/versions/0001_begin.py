# SPDX-License-Identifier: Apache-2.0
"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_COUNTED = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "meta",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("expires", sa.Double),
        sa.Column("last_used", sa.Double),
        sa.Column("last_source", sa.String(64)),
        sa.Column("revoked", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )
    _audit()
    _history()


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("node", sa.String(100), nullable=False),
        sa.Column("id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("when", sa.Double, nullable=False),
        sa.Column("phase", sa.String(8), nullable=False),
        sa.Column("begin", sa.BigInteger),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(120), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("target", sa.String(500), nullable=False),
        sa.Column("before", sa.BigInteger),
        sa.Column("after", sa.BigInteger),
        sa.Column("result", sa.String(8)),
        sa.Column("status", sa.Integer),
        sa.Column("late", sa.Boolean, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("prev", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("node", "id", name="pk_audit"),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("node", sa.String(100), nullable=False),
        sa.Column("id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("when", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("node", name="pk_audit_checkpoints"),
    )


def _history() -> None:
    op.create_table(
        "bans",
        sa.Column("id", _COUNTED, nullable=False),
        sa.Column("node", sa.String(100), nullable=False),
        sa.Column("entry", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("list", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(120), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("until", sa.Double),
        sa.Column("ended", sa.Double),
        sa.Column("ended_by", sa.String(120)),
        sa.PrimaryKeyConstraint("id", name="pk_bans"),
    )
    op.create_index("ix_bans_entry", "bans", ["entry"])
    op.create_index("ix_bans_oldest", "bans", ["node", "kind", "id", "ended", "until"])
    op.create_table(
        "generations",
        sa.Column("node", sa.String(100), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("when", sa.Double, nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("filename", sa.String(500), nullable=False),
        sa.Column("note", sa.String(500), nullable=False),
        sa.Column("rules", sa.Integer, nullable=False),
        sa.Column("lists", sa.Text, nullable=False),
        sa.Column("policy", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("node", "number", name="pk_generations"),
    )
    op.create_table(
        "replies",
        sa.Column("node", sa.String(100), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("actor", sa.String(120), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("cut", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("node", "key", "actor", name="pk_replies"),
    )
    op.create_index("ix_replies_oldest", "replies", ["node", "created", "size"])


def downgrade() -> None:
    """Take all tables away, and what they hold."""
    for table in ("replies", "generations", "bans", "audit_checkpoints", "audit", "tokens", "meta"):
        op.drop_table(table)
