"""The store's tables, as SQLAlchemy Core describes them: SQLite and PostgreSQL hold the same ones."""

from __future__ import annotations

import sqlalchemy as sa

# The newest file of `migrations/versions`, whose docstring says how a table or a column is added.
REVISION = "0005"

metadata = sa.MetaData()
_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# The current state of every item. A deleted item keeps its row, so that no later import brings it back.
items = sa.Table(
    "items",
    metadata,
    sa.Column("item_id", sa.Text, primary_key=True),
    sa.Column("title", sa.Text, nullable=False, default=""),
    sa.Column("texts", sa.JSON, nullable=False),
    sa.Column("categories", sa.JSON, nullable=False),
    sa.Column("image", sa.Text, nullable=False, default=""),
    sa.Column("at", sa.BigInteger, nullable=False, default=-1),
    sa.Column("hidden", sa.Boolean, nullable=False, default=False),
    sa.Column("fields", sa.JSON, nullable=False),
    sa.Column("labels", sa.JSON),
    sa.Column("comment", sa.Text, nullable=False, default=""),
    sa.Column("n_events", sa.Integer, nullable=False, default=0),
    sa.Column("deleted", sa.Boolean, nullable=False, default=False),
    sa.Column("source", sa.Text, nullable=False),  # release: as imported; api: somebody wrote it since
    sa.Column("content", sa.Text, nullable=False),  # hash of what a recommender reads
    sa.Column("created", sa.BigInteger, nullable=False),  # revision of the first write
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("encoder", sa.Text),
    sa.Column("vectors", sa.LargeBinary),  # safetensors, by space; made by `encoder`
    sa.Index("items_revision", "revision"),
    sa.Index("items_created", "created"),
    sa.Index("items_title", "title").ddl_if(dialect="sqlite"),
    sa.Index("items_n_events", "n_events"),
    sa.Index("items_at", "at"),
)

# PostgreSQL refuses rows of an index beyond 2,704 bytes, and a title may be as long as any text.
TITLE_START = 200
sa.Index("items_title_start", sa.func.left(items.c.title, TITLE_START)).ddl_if(dialect="postgresql")

item_categories = sa.Table(
    "item_categories",
    metadata,
    sa.Column("category", sa.Text, primary_key=True),
    sa.Column("item_id", sa.Text, primary_key=True),
    sa.Index("item_categories_item", "item_id"),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("labels", sa.JSON),
    sa.Column("comment", sa.Text, nullable=False, default=""),
    sa.Column("n_events", sa.Integer, nullable=False, default=0),
    sa.Column("deleted", sa.Boolean, nullable=False, default=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Index("users_revision", "revision"),
)

# The log. `seq` is the order of arrival, which listings page through.
events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", _number, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("item_id", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("comment", sa.Text, nullable=False, default=""),
    sa.Column("revision", sa.BigInteger, nullable=False),
    # The time stands second, so that one index is both the key and the way to a user's newest events.
    sa.UniqueConstraint("user_id", "at", "item_id", "type", name="events_key"),
    sa.Index("events_item", "item_id", "at"),
    sqlite_autoincrement=True,
)

# Keys of events that somebody deleted: an import passes over them.
removed_events = sa.Table(
    "removed_events",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("item_id", sa.Text, primary_key=True),
    sa.Column("type", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, primary_key=True),
)

# What a client gave an id to, so that a retry counts once: events, and whole requests. Never the id, its hash.
done_once = sa.Table(
    "done_once",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("content", sa.Text, nullable=False),  # hash of the request; empty for an event
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Index("done_once_at", "at"),
)

# Rows of bulk imports that could not be taken, as they stood in their source.
refused_rows = sa.Table(
    "refused_rows",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("row", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
)

# What was shown: one row per answer; a list's place is the position.
impressions = sa.Table(
    "impressions",
    metadata,
    sa.Column("seq", _number, primary_key=True, autoincrement=True),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("release", sa.Text, nullable=False),
    sa.Column("offset", sa.Integer, nullable=False),
    sa.Column("items", sa.JSON, nullable=False),
    sa.Column("scores", sa.JSON, nullable=False),
    sa.Column("propensities", sa.JSON, nullable=False),
    sa.Index("impressions_user", "user_id", "at"),
)

# Items that wait for a person's decision.
reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("seq", _number, primary_key=True, autoincrement=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", sa.BigInteger),
)

# Who did what; ids and counts only. Each row holds the hash of the one before (see `audit.py`).
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", _number, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("detail", sa.JSON),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

# Rows of the audit are only ever added. SQLite's REPLACE deletes without asking the trigger for deletes, so a row that
# is there already is refused too.
APPEND_ONLY = {
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


@sa.event.listens_for(audit, "after_create")
def guard_audit(_: sa.Table, connection: sa.Connection, **__: object) -> None:
    """Makes the database refuse to change or delete rows of the audit."""
    for statement in APPEND_ONLY.get(connection.dialect.name, ()):
        connection.exec_driver_sql(statement)


# API keys, beside those of the settings: never the key, its sha256. Rows stay when a key ends.
keys = sa.Table(
    "keys",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),  # start of the digest
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
    sa.Column("n_used", sa.BigInteger, nullable=False, default=0),
)

# Finished statistics buckets, so that any worker can show the sum of all.
stats = sa.Table(
    "stats",
    metadata,
    sa.Column("at", sa.BigInteger, primary_key=True),
    sa.Column("worker", sa.Text, primary_key=True),
    sa.Column("bucket", sa.JSON, nullable=False),
)

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.JSON),
)

# Counters that a write moves: one row each, so that reading the newest revision costs one key lookup.
counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

# What a deletion of a user removed, said and proved later; the audit's row of the deletion holds the hash of `said`.
receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("seq", _number, primary_key=True, autoincrement=True),
    sa.Column("receipt_id", sa.Text, nullable=False, unique=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("said", sa.JSON, nullable=False),
    sa.Column("audit_seq", sa.BigInteger, nullable=False),
    sa.Column("retrained_in", sa.Text),  # the release that was trained without the user
    sa.Column("retrained_at", sa.BigInteger),
    sa.Index("receipts_user", "user_id"),
    sqlite_autoincrement=True,
)

# What one process at a time may do, such as retraining: who does it, and until when without a word from them.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
)

# Every retraining, and what became of it.
retrainings = sa.Table(
    "retrainings",
    metadata,
    sa.Column("seq", _number, primary_key=True, autoincrement=True),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("state", sa.Text, nullable=False),  # running, promoted, kept, failed or stopped
    sa.Column("release", sa.Text),
    sa.Column("detail", sa.JSON, nullable=False),
)

# How well lists do and how far the data drifted, as computed from the log now and then.
quality = sa.Table(
    "quality",
    metadata,
    sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("report", sa.JSON, nullable=False),
)
