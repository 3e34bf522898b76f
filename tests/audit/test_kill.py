"""`kill -9` while operators work: no acknowledged change without its record, no record without its change, a whole log."""

import os
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Final

import pytest

from server.operators import Operators
from support.processes import wait_until
from support.server import WatchwordServer
from watchword_server.adapters.store_sql.audit_file import verify_store
from watchword_server.core.audit import Verification

KILLS: Final = 50 if os.environ.get("WATCHWORD_SOAK") else 3
SEED: Final = 20261124


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WatchwordServer]:
    with WatchwordServer(tmp_path / "data") as running:
        yield running


@dataclass(slots=True)
class Work:
    """What operators were told is done."""

    operators: Operators
    groups: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)

    def run(self, name: str) -> None:
        """One change after the other, until the server is gone."""
        number = 0
        with suppress(OSError, HTTPException, ValueError):
            while True:
                number += 1
                group = f"{name}-{number}"
                self.operators.apply({"groups": [{"name": group, "include": [{"everyone": {}}]}]})
                self.groups.add(group)
                token = self.operators.enrollment_token()
                self.tokens.add(token.id)
                self.operators.revoke_token(token)
                self.revoked.add(token.id)


def test_no_change_is_without_its_record_and_no_record_without_its_change(server: WatchwordServer) -> None:
    chance = random.Random(SEED)
    work = Work(Operators(server.data))
    head = None
    for kill in range(KILLS):
        workers = [threading.Thread(target=work.run, args=(f"{kill}-{number}",)) for number in range(4)]
        for worker in workers:
            worker.start()
        wanted = len(work.revoked) + chance.randrange(5, 30)
        wait_until(lambda wanted=wanted: len(work.revoked) >= wanted, what=f"{wanted} changes")  # type: ignore[misc] # bound now
        server.kill()
        for worker in workers:
            worker.join()
        verification = Verification(head)
        assert verify_store(server.data / "watchword.db", verification) == []
        head = verification.last
        look(server.data, work)
        server.start()
    assert len(work.tokens) > 5 * KILLS


def look(data: Path, work: Work) -> None:
    """Compares what was acknowledged, what there is, and what the log says."""
    with closing(sqlite3.connect(data / "watchword.db")) as connection:

        def column(query: str) -> set[str]:
            rows = connection.execute(query).fetchall()
            found = {row[0] for row in rows}
            assert len(found) == len(rows), f"twice: {query}"
            return found

        def recorded(action: str, member: str = "target_id") -> set[str]:
            return column(f"SELECT {member} FROM audit WHERE action = '{action}'")

        made = column("SELECT id FROM enrollment_tokens")
        assert made == recorded("enrollment_token.created") >= work.tokens
        ended = column("SELECT id FROM enrollment_tokens WHERE revoked")
        assert ended == recorded("enrollment_token.revoked") >= work.revoked
        named = column("SELECT name FROM objects WHERE kind = 'groups'")
        assert named == recorded("entry.created", "json_extract(record, '$.target.name')") >= work.groups
        revisions = column("SELECT number FROM revisions")
        assert revisions == recorded("entry.created", "json_extract(record, '$.revision')")
