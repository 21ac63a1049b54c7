"""Keys with names, scopes, limits and ends; an audit that only grows, each row with the hash of the one before."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit "
        "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
        "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit "
        "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
        "CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq) "
        "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$",
        "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION audit_append_only()",
        "CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()",
    ),
}


def upgrade() -> None:
    """Makes both tables anew and moves what they held; the chain begins with the oldest row."""
    connection = op.get_bind()
    _keys(connection)
    _audit(connection)


def _keys(connection: sa.Connection) -> None:
    old = [dict(row) for row in connection.execute(sa.text("SELECT digest, role, made_at FROM keys")).mappings()]
    op.drop_table("keys")
    keys = op.create_table(
        "keys",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("rate", sa.Float),
        sa.Column("burst", sa.Integer),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("last_used", sa.BigInteger),
        sa.Column("n_used", sa.BigInteger, nullable=False),
    )
    more: dict[str, Any] = {"name": "from before", "scopes": [], "tenant": "", "n_used": 0}
    for row in old:
        connection.execute(keys.insert().values(**row, **more, key_id=row["digest"][:12]))


def _audit(connection: sa.Connection) -> None:
    names = ("seq", "at", "actor", "action", "target")
    before = sa.table("audit", *(sa.column(name) for name in names), sa.column("detail", sa.JSON))
    old = [dict(row) for row in connection.execute(sa.select(before).order_by(before.c.seq)).mappings()]
    op.drop_table("audit")
    audit = op.create_table(
        "audit",
        sa.Column("seq", _number, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("detail", sa.JSON),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    last = "0" * 64
    for seq, row in enumerate(old, start=1):
        row |= {"seq": seq, "before": last}
        content = [row[name] for name in ("seq", "at", "actor", "action", "target", "detail", "before")]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        last = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        connection.execute(audit.insert().values(**row, hash=last))
    if old:
        connection.execute(sa.text("INSERT INTO counters (name, value) VALUES ('audit', :seq)"), {"seq": len(old)})
    for statement in _APPEND_ONLY.get(connection.dialect.name, ()):
        connection.exec_driver_sql(statement)
