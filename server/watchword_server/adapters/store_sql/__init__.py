"""The store on SQL: SQLite today, one writer and several readers; `store.py` is the way in."""
