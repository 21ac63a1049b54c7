"""The store: its tables, how they change, what is read and written, and copies of the whole."""
