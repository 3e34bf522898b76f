"""The store: the contract every store keeps, and what is particular to SQLite."""
