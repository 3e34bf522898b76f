"""AuthZEN's door: whatever a caller says as JSON, or as bytes, it is answered or told that it is malformed."""

import json
from copy import deepcopy
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from core.test_codec import damaged
from doors.stage import Stage
from fuzz.effort import spoiled, tries
from services.world import SECRET
from watchword_server.peer import Peer

QUESTION: Final[dict[str, Any]] = {
    "subject": {
        "type": "user",
        "id": "ada@corp.example",
        "properties": {"role": "admin", "device_id": "dev_1", "email": "a@b.c"},
    },
    "action": {"name": "GET", "properties": {"soft": True}},
    "resource": {"type": "route", "id": "https://wiki.corp.example/pages/7", "properties": {"owner": {"team": "red"}}},
    "context": {
        "device": {"id": "dev_1"},
        "source_ip": "192.0.2.7",
        "client_certificate": "MIIB",
        "facts": {"http.src_ip.geo.country": "PT"},
        "service_token": {"id": "a", "secret": "b"},
        "user_token": "a.b.c",
    },
    "evaluations": [{}, {"action": {"name": "read"}}, {"resource": {"type": "record", "id": "1"}}],
    "options": {"evaluations_semantic": "execute_all"},
    "page": {"limit": 1, "token": ""},
}
ENDPOINTS: Final = ("evaluation", "evaluations", "search/subject", "search/resource", "search/action")
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["record", "url", "read", "http://a/", "device"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.sampled_from(["a.b", "id"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def questions(draw: st.DrawFn) -> Any:
    """One that was right once: members replaced by anything, left out or added, at any depth."""
    question = deepcopy(QUESTION)
    for _ in range(draw(st.integers(0, 4))):
        place: Any = question
        while True:
            keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.booleans()):
                place = place[key]
                continue
            match draw(st.sampled_from(["replace", "remove", "add"])):
                case "replace":
                    place[key] = draw(values)
                case "remove":
                    del place[key]
                case _ if isinstance(place, dict):
                    place[draw(st.text(max_size=4))] = draw(values)
                case _:
                    place.append(draw(values))
            break
    return question


def answered(stage: Stage, endpoint: str, body: bytes, secret: str = SECRET) -> tuple[int, Any]:
    async def read_body(limit: int) -> bytes | None:
        return body if len(body) <= limit else None

    metadata = {"authorization": (f"Bearer {secret}",), "content-type": ("application/json",)}
    door = stage.world.house.http_doors.authzen
    peer = Peer("192.0.2.9", metadata=metadata)
    answer = stage.run(door.answer(peer, method="POST", path=f"/access/v1/{endpoint}", read_body=read_body))
    return answer.status, json.loads(answer.body)


@tries(400)
@given(questions() | values, st.sampled_from(ENDPOINTS))
def test_any_json_is_answered_or_malformed(stage: Stage, question: object, endpoint: str) -> None:
    """Nothing is allowed: no rule of this server allows what is asked here."""
    status, told = answered(stage, endpoint, json.dumps(question).encode())
    assert status in {200, 400}
    assert isinstance(told, dict) is (status == 200)
    if status == 200:
        assert not told.get("decision", False)
        assert not any(each["decision"] for each in told.get("evaluations", ()))
        assert not told.get("results", [])


@tries(200)
@given(damaged(json.dumps(QUESTION).encode()) | spoiled(json.dumps(QUESTION)).map(str.encode), st.sampled_from(ENDPOINTS))
def test_any_bytes_are_answered_or_malformed(stage: Stage, body: bytes, endpoint: str) -> None:
    assert answered(stage, endpoint, body)[0] in {200, 400}


@tries(100)
@given(st.binary(max_size=40), st.sampled_from(ENDPOINTS), st.text(max_size=20))
def test_a_stranger_is_refused_whatever_the_body(stage: Stage, body: bytes, endpoint: str, secret: str) -> None:
    assert answered(stage, endpoint, body, secret)[0] == 401
