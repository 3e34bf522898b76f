"""Operators who write at the same time: what they are told, and what is there in the end, has one order that explains it.

A hypothesis state machine drives the real API of a house in this process. Its steps are rounds of up to three changes at once,
rollbacks to any quiet moment before, and restarts. WATCHWORD_SOAK plays 200 histories instead of 5.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from audit.conftest import Office
from services.world import World
from support.pki import Pki
from watchword_server.adapters.store_sql.audit_file import verify_store
from watchword_server.core.audit import Verification
from writers.model import KINDS, OK, REFERS, Change, Ends, Entry, Outcome, State, named, of_kind

_T = TypeVar("_T")
_HISTORIES: Final = 200 if os.environ.get("WATCHWORD_SOAK") else 5
_PATHS: Final = {
    "lists": "/gateway/lists",
    "gateway_rules": "/gateway/rules",
    "groups": "/access/groups",
    "policies": "/access/policies",
    "applications": "/access/apps",
}
_NAMES: Final = ("a", "b", "c")
_ITEMS: Final = ("one.example", "two.example", "three.example")
_NOBODY: Final = "00000000-0000-4000-8000-000000000000"
_PKI: Final = Pki.make()

changes = st.tuples(
    st.sampled_from(["create", "create", "create", "replace", "delete", "append", "apply"]),
    st.sampled_from(KINDS),
    st.sampled_from(_NAMES),
    st.integers(0, 3),
    st.integers(0, 3),
    st.frozensets(st.sampled_from(_ITEMS), min_size=1),
    st.booleans(),
)


class Writers(RuleBasedStateMachine):
    """`state` is what the entries are now; `quiet` are the rules revisions at which nobody was writing, with what was there."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="writers-"))
        self.state: State = {}
        self.looked = False
        self.quiet: list[tuple[int, State]] = []
        self.world: Any = None
        self.office = self.wait(self._open())

    def wait(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Runs something in the house's loop."""
        return self.loop.run_until_complete(coroutine)

    async def _open(self) -> Office:
        self.world = World.open(self.directory, _PKI)
        office = Office(await self.world.__aenter__())
        await office.hire("write")
        return office

    @rule(round_=st.lists(changes, min_size=1, max_size=3))
    def several_at_once(self, round_: list[Any]) -> None:
        """Each is sent before any is answered."""
        requests = [self._change(*each) for each in round_]

        async def all_of_them() -> list[Outcome]:
            return list(await asyncio.gather(*(self._send(change) for change in requests)))

        outcomes = self.wait(all_of_them())
        ends = Ends.of(self.state, list(zip(requests, outcomes, strict=True)))
        there = self.wait(self._stored())
        assert ends.found, f"no order explains these answers: {list(zip(requests, outcomes, strict=True))} from {self.state}"
        assert named(there) in [named(end) for end in ends.found]
        self.state, self.looked = there, True

    @rule(back=st.integers(0, 50))
    def roll_back(self, back: int) -> None:
        """To what was there at a quiet moment."""
        if not self.quiet:
            return
        revision, before = self.quiet[back % len(self.quiet)]
        path = f"/api/v1/revisions/{revision}/rollback"
        answer = self.wait(self.office.call("POST", path, {}, token=self.office.tokens["write"]))
        assert answer.status_code == 200, answer.text
        self.state, self.looked = self.wait(self._stored()), True
        assert self.state == before

    @rule()
    def restart(self) -> None:
        """What was there is there."""
        self.wait(self.world.__aexit__(None, None, None))
        self.office = self.wait(self._open())

    @invariant()
    def what_is_told_is_what_is_stored_and_in_force(self) -> None:
        """And the quiet moment is remembered."""
        if not self.looked:
            assert self.wait(self._stored()) == self.state
        self.looked = False
        rules = self.office.world.house.rules
        in_force = rules.in_force.current.rules
        assert {rule.name for rule in in_force.gateway_rules} == {
            entry.name for entry in self.state.values() if entry.kind == "gateway_rules"
        }
        assert {application.name for application in in_force.applications} == {
            entry.name for entry in self.state.values() if entry.kind == "applications"
        }
        revision = in_force.revision
        if revision and (not self.quiet or self.quiet[-1][0] != revision):
            self.quiet.append((revision, self.state))

    def teardown(self) -> None:
        """The audit log is whole."""
        self.wait(self.world.__aexit__(None, None, None))
        self.loop.close()
        verification = Verification()
        verify_store(self.directory / "data" / "watchword.db", verification)
        assert verification.finish() == []
        shutil.rmtree(self.directory)

    def _change(self, verb: str, kind: str, name: str, which: int, target: int, items: frozenset[str], again: bool) -> Change:
        if verb in {"append", "apply"}:
            kind = "lists"
        here = [*of_kind(self.state, kind), _NOBODY]
        refers = None
        if kind in REFERS:
            there = [*of_kind(self.state, REFERS[kind]), _NOBODY]
            refers = there[target % len(there)]
        with_items = items if kind in {"lists", "groups"} else frozenset[str]()
        entry_id = None if verb in {"create", "apply"} else here[which % len(here)]
        return Change(verb, kind, entry_id, name, refers, with_items, again)

    async def _send(self, change: Change) -> Outcome:
        path, one = self.office.account + _PATHS[change.kind], f"{self.office.account}{_PATHS[change.kind]}/{change.id}"
        send: Callable[..., Any] = self.office.call
        token = self.office.tokens["write"]
        if change.verb == "apply":
            document = {"lists": [{"name": change.name, "type": "DOMAIN", "items": _listed(change.items)}]}
            answer = await send("POST", "/api/v1/rules/apply", {"document": document}, token=token)
            return Outcome(answer.status_code)
        if change.verb == "create":
            headers = {"x-stainless-retry-count": "1"} if change.again else {}
            answer = await send("POST", path, _wire(change), token=token, headers=headers)
        elif change.verb == "replace":
            answer = await send("PUT", one, _wire(change), token=token)
        elif change.verb == "append":
            answer = await send("PATCH", one, {"append": _listed(change.items)}, token=token)
        else:
            answer = await send("DELETE", one, token=token)
        assert answer.status_code < 500, answer.text
        return Outcome(answer.status_code, answer.json()["result"]["id"] if answer.status_code == OK else None)

    async def _stored(self) -> State:
        """As the API lists it."""
        found: dict[str, Entry] = {}
        for kind, path in _PATHS.items():
            answer = await self.office.call("GET", self.office.account + path, token=self.office.tokens["write"])
            for entry in answer.json()["result"]:
                found[entry["id"]] = await self._entry(kind, entry)
        return found

    async def _entry(self, kind: str, entry: dict[str, Any]) -> Entry:
        match kind:
            case "lists":
                at = f"{self.office.account}/gateway/lists/{entry['id']}/items"
                items = (await self.office.call("GET", at, token=self.office.tokens["write"])).json()["result"]
                return Entry(kind, entry["name"], None, frozenset(item["value"] for item in items))
            case "groups":
                return Entry(kind, entry["name"], None, frozenset(rule["email_domain"]["domain"] for rule in entry["include"]))
            case "gateway_rules":
                return Entry(kind, entry["name"], entry["traffic"].rsplit("$", 1)[1])
            case "policies":
                return Entry(kind, entry["name"], entry["include"][0]["group"]["id"])
        return Entry(kind, entry["name"], entry["policies"][0]["id"])


def _listed(items: frozenset[str]) -> list[dict[str, str]]:
    return [{"value": item} for item in sorted(items)]


def _wire(change: Change) -> dict[str, Any]:
    match change.kind:
        case "lists":
            return {"name": change.name, "type": "DOMAIN", "items": _listed(change.items)}
        case "gateway_rules":
            traffic = f"http.request.host in ${change.refers}"
            return {"name": change.name, "action": "block", "enabled": True, "filters": ["http"], "traffic": traffic}
        case "groups":
            return {"name": change.name, "include": [{"email_domain": {"domain": item}} for item in sorted(change.items)]}
        case "policies":
            return {"name": change.name, "decision": "allow", "include": [{"group": {"id": change.refers}}]}
    return {
        "name": change.name,
        "type": "self_hosted",
        "domain": f"{change.name}.corp.example",
        "policies": [{"id": change.refers, "precedence": 1}],
    }


TestWriters = Writers.TestCase
TestWriters.settings = settings(
    max_examples=_HISTORIES,
    stateful_step_count=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
