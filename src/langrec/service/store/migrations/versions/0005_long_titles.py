"""Titles of any length in PostgreSQL: its index holds their beginnings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Puts an index of the first 200 characters in the place of one of whole titles; SQLite takes rows of any size."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("items_title", table_name="items")
        op.create_index("items_title_start", "items", [sa.text('"left"(title, 200)')])
