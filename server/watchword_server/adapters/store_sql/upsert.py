"""Insert or update, in SQL that every database speaks."""

from collections.abc import Mapping

from sqlalchemy import BindParameter, Connection, Table, bindparam, insert, update


class Upsert:
    """Writes whole rows of one table by primary key. Made once: building a statement costs more than running it.

    Its two statements are one step only within a write transaction.
    """

    def __init__(self, table: Table) -> None:
        key = set(table.primary_key)
        same_key = [column == bindparam(f"key_{column.name}") for column in table.c if column in key]
        others: dict[str, BindParameter[object]] = {c.name: bindparam(f"new_{c.name}") for c in table.c if c not in key}
        self._update = update(table).where(*same_key).values(others)
        self._insert = insert(table)

    def put(self, connection: Connection, key: Mapping[str, object], values: Mapping[str, object]) -> None:
        """Updates the row with this key, or inserts it; `values` names every other column."""
        bound = {f"key_{name}": value for name, value in key.items()} | {f"new_{name}": value for name, value in values.items()}
        if connection.execute(self._update, bound).rowcount == 0:
            connection.execute(self._insert, {**key, **values})
