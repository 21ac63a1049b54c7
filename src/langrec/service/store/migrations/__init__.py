"""The changes of the store's schema, one file each under `versions/`, in the words of Alembic.

How a change of the schema is added, in one commit:

1. Change the tables in `schema.py` and set `schema.REVISION` to the next number (four digits). Two changes that are
   made at once meet in that line: the second to land takes the number after.
2. Write `versions/NNNN_what.py` with `revision = "NNNN"`, `down_revision` = the number before, and `upgrade()`:
   `op.create_table`, `op.create_index`, or `with op.batch_alter_table(name) as table: table.add_column(...)` (SQLite
   can alter little without batches). A new column of a table that may hold rows is nullable or has a
   `server_default`, in `schema.py` too. The file spells its tables out: it must not import `schema.py`, which moves
   on. There is no `downgrade`: the way back is a dump.
3. `pytest tests/service/test_service_migrations.py` compares what all changes together make with what `schema.py`
   says, in SQLite and in PostgreSQL.

A new store is made from `schema.py` at once and carries its revision; `langrec store migrate` brings an older one here.
"""
