"""Receipts of deletions, leases, retrainings, and what the log says of quality and drift."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Makes four tables, and an index by which changed users are found."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_index("users_revision", "users", ["revision"])
    op.create_table(
        "receipts",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("receipt_id", sa.Text, nullable=False, unique=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("said", sa.JSON, nullable=False),
        sa.Column("audit_seq", sa.BigInteger, nullable=False),
        sa.Column("retrained_in", sa.Text),
        sa.Column("retrained_at", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("receipts_user", "receipts", ["user_id"])
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "retrainings",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("release", sa.Text),
        sa.Column("detail", sa.JSON, nullable=False),
    )
    op.create_table(
        "quality",
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("report", sa.JSON, nullable=False),
    )
