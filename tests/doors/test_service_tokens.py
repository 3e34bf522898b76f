"""What a machine shows in place of a user: its service token, verified on each request, told to nobody."""

import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from doors.stage import ALICE_HOST, BYPASS_HOST, MUTE_SECRET, SERVICE_HOST, SERVICE_TOKEN, Ask, Stage, Told
from services.world import USER
from support.processes import wait_until
from watchword_server.core.model.names import Instant
from watchword_server.core.rules import ServiceToken
from watchword_server.errors import NotFoundError
from watchword_server.services.resolving import ServiceCredential
from watchword_server.services.service_tokens import IssuedCredential, recognise

ID, SECRET = "CF-Access-Client-Id", "CF-Access-Client-Secret"
WRONG = "0" * 64
UNKNOWN = "0" * 32 + ".access"


@pytest.fixture(params=["envoy", "nginx"])
def door(request: pytest.FixtureRequest, stage: Stage) -> Callable[[Ask], Told]:
    """One of the two."""
    asked: Callable[[Ask], Told] = getattr(stage, request.param)
    return asked


def issue(stage: Stage, name: str = SERVICE_TOKEN, **options: Any) -> IssuedCredential:
    return stage.run(stage.world.house.operators.tokens.service_tokens.issue(name, **options))


@pytest.fixture(scope="module")
def issued(stage: Stage) -> IssuedCredential:
    """The credential of the token that the application lets in."""
    return issue(stage)


def ask(client_id: str, client_secret: str, *, host: str = SERVICE_HOST, **fields: Any) -> Ask:
    """A request without a user and without a device."""
    return Ask(host=host, user=None, headers=((ID, client_id), (SECRET, client_secret)), **fields)


def shown(record: Mapping[str, Any]) -> tuple[Any, bool]:
    return record["request"]["service_token"], record["request"]["service_token_refused"]


# ---- Who gets in -------------------------------------------------------------------------------------------------------


def test_a_valid_token_is_let_in_without_user_and_device(
    stage: Stage, door: Callable[[Ask], Told], issued: IssuedCredential
) -> None:
    told = door(ask(issued.client_id, issued.client_secret))
    assert told.allowed
    record = stage.record(told)
    assert record["reason"] == "policy_service_auth"
    assert shown(record) == ({"id": issued.token_id, "name": SERVICE_TOKEN}, False)


def test_any_caller_may_pass_one_on(stage: Stage, door: Callable[[Ask], Told], issued: IssuedCredential) -> None:
    """It is the client's own, and verified here: no assertion of the proxy's."""
    assert door(ask(issued.client_id, issued.client_secret, secrets=(MUTE_SECRET,))).allowed


def test_without_one_nobody_is_let_in_and_nothing_is_said_to_be_refused(stage: Stage, door: Callable[[Ask], Told]) -> None:
    told = door(Ask(host=SERVICE_HOST))
    assert (told.allowed, told.reason) == (False, "no_policy_matched")
    assert shown(stage.record(told)) == (None, False)


@pytest.mark.parametrize(
    "fault", ["unknown", "wrong", "of another token", "upper case", "no secret", "no id", "swapped", "empty secret"]
)
def test_any_other_is_refused(stage: Stage, door: Callable[[Ask], Told], issued: IssuedCredential, fault: str) -> None:
    other = issue(stage, "weekly")
    sent: list[tuple[str, str]] = {
        "unknown": [(ID, UNKNOWN), (SECRET, issued.client_secret)],
        "wrong": [(ID, issued.client_id), (SECRET, WRONG)],
        "of another token": [(ID, issued.client_id), (SECRET, other.client_secret)],
        "upper case": [(ID, issued.client_id), (SECRET, issued.client_secret.upper())],
        "no secret": [(ID, issued.client_id)],
        "no id": [(SECRET, issued.client_secret)],
        "swapped": [(SECRET, issued.client_id), (ID, issued.client_secret)],
        "empty secret": [(ID, issued.client_id), (SECRET, "")],
    }[fault]
    told = door(Ask(host=SERVICE_HOST, user=None, headers=sent))
    assert (told.allowed, told.reason) == (False, "service_token_refused")
    assert shown(stage.record(told)) == (None, True)


def test_a_refused_one_neither_helps_nor_harms_where_nobody_asks_for_one(stage: Stage, door: Callable[[Ask], Told]) -> None:
    assert door(ask(UNKNOWN, WRONG, host=BYPASS_HOST)).allowed
    assert door(Ask(host=ALICE_HOST, user=USER, headers=((ID, UNKNOWN), (SECRET, WRONG)))).allowed
    assert door(ask(UNKNOWN, WRONG, host=ALICE_HOST)).reason == "service_token_refused"


def test_empty_headers_are_none(stage: Stage, door: Callable[[Ask], Told]) -> None:
    told = door(ask("", ""))
    assert told.reason == "no_policy_matched"
    assert shown(stage.record(told)) == (None, False)


@pytest.mark.parametrize("name", [ID, SECRET])
def test_one_that_is_there_twice_is_malformed(stage: Stage, form: str, issued: IssuedCredential, name: str) -> None:
    """Which of the two the application's own gateway would read, nobody knows."""
    right = ((ID, issued.client_id), (SECRET, issued.client_secret))
    for value in (dict(right)[name], "another", UNKNOWN):
        for headers in ((*right, (name, value)), ((name.lower(), value), *right)):
            twice = Ask(host=SERVICE_HOST, user=None, headers=headers)
            for told in (stage.envoy(twice, form=form), stage.nginx(twice)):
                assert (told.allowed, told.reason) == (False, "request_malformed")


@pytest.mark.parametrize("value", ["a,b", "a b", "caf\u00e9", "a\x00", "a" * 257])
def test_what_no_credential_looks_like_is_malformed(stage: Stage, door: Callable[[Ask], Told], value: str) -> None:
    assert door(ask(value, WRONG)).reason == "request_malformed"
    assert door(ask(UNKNOWN, value)).reason == "request_malformed"


# ---- Its life ----------------------------------------------------------------------------------------------------------


def test_a_new_credential_ends_the_one_before_at_once(stage: Stage, door: Callable[[Ask], Told]) -> None:
    first = issue(stage)
    assert door(ask(first.client_id, first.client_secret)).allowed
    revision = stage.world.house.rules.in_force.current.rules.revision
    second = issue(stage, first.token_id)
    assert stage.world.house.rules.in_force.current.rules.revision > revision
    assert (second.token_id, second.name) == (first.token_id, first.name)
    assert second.client_id != first.client_id
    assert door(ask(first.client_id, first.client_secret)).reason == "service_token_refused"
    assert door(ask(second.client_id, first.client_secret)).reason == "service_token_refused"
    assert door(ask(second.client_id, second.client_secret)).allowed


def test_applying_the_rules_again_keeps_the_credential(stage: Stage, door: Callable[[Ask], Told]) -> None:
    kept = issue(stage)
    stage.run(stage.world.apply(stage.world.rules, prune=True))
    assert door(ask(kept.client_id, kept.client_secret)).allowed


def test_it_lives_as_long_as_its_entry_says_or_as_it_was_asked_for(stage: Stage) -> None:
    now = stage.world.house.clock.now()
    for name, options, lifetime in (
        (SERVICE_TOKEN, {}, 8760 * 3600),
        ("weekly", {}, 168 * 3600),
        ("weekly", {"expires_in_seconds": 60}, 60),
        ("for-ever", {"expires_in_seconds": 60}, 60),
    ):
        expires_at = issue(stage, name, **options).expires_at
        assert expires_at is not None
        assert 0 <= expires_at - now - lifetime < 60
    assert issue(stage, "for-ever").expires_at is None


@pytest.mark.parametrize("name", ["backups", "", "nobody at all", "/"])
def test_a_token_that_is_not_in_the_rules_has_no_credential(stage: Stage, name: str) -> None:
    with pytest.raises(NotFoundError):
        issue(stage, name)


def test_a_name_that_is_nearly_right_is_told(stage: Stage) -> None:
    with pytest.raises(NotFoundError, match="did you mean `backup`"):
        issue(stage, "bakcup")


@pytest.fixture
def short_lived(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[IssuedCredential]:
    """A credential of ten seconds, eleven seconds later."""
    credential = issue(stage, expires_in_seconds=10)
    told = stage.nginx(ask(credential.client_id, credential.client_secret))
    assert told.allowed
    decisions = stage.world.house.ext_authz.decisions
    monkeypatch.setattr(decisions, "clock", _Later(stage, seconds=11))
    yield credential
    monkeypatch.undo()
    issue(stage)


class _Later:
    def __init__(self, stage: Stage, *, seconds: float) -> None:
        self._clock, self._seconds = stage.world.house.clock, seconds

    def now(self) -> Instant:
        return Instant(self._clock.now() + self._seconds)


def test_an_expired_one_is_refused(stage: Stage, door: Callable[[Ask], Told], short_lived: IssuedCredential) -> None:
    told = door(ask(short_lived.client_id, short_lived.client_secret))
    assert (told.allowed, told.reason) == (False, "service_token_refused")
    assert shown(stage.record(told)) == (None, True)


def test_it_ends_at_its_very_instant(stage: Stage) -> None:
    credential = issue(stage)
    assert credential.expires_at is not None
    sent, snapshot = (
        ServiceCredential(credential.client_id, credential.client_secret),
        stage.world.house.rules.in_force.current,
    )
    assert recognise(sent, snapshot, now=Instant(credential.expires_at - 0.001)) is not None
    assert recognise(sent, snapshot, now=credential.expires_at) is None


def test_a_token_without_a_credential_is_nobodys(stage: Stage) -> None:
    """Not even of who sends nothing, or bytes that are all zero."""
    nameless = ServiceToken(id="1", name="n", client_id="known", secret_sha256=None, expires_at=None)
    snapshot = stage.world.house.rules.in_force.current
    by_id = {**snapshot.service_token_by_client_id, "known": nameless}
    changed = replace(snapshot, service_token_by_client_id=by_id)
    for secret in ("", "\x00" * 32, "0" * 64):
        assert recognise(ServiceCredential("known", secret), changed, now=stage.world.house.clock.now()) is None


def test_an_unknown_id_is_compared_like_a_known_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    credential = issue(stage)
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    for client_id, secret in ((credential.client_id, credential.client_secret), (credential.client_id, WRONG), (UNKNOWN, WRONG)):
        stage.nginx(ask(client_id, secret))
    assert compared == [(32, 32)] * 3


# ---- Who learns of it --------------------------------------------------------------------------------------------------


def test_no_secret_is_in_any_answer_log_or_memory(stage: Stage, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    credential = issue(stage)
    secret, client_id = credential.client_secret, credential.client_id
    asked = ask(client_id, secret)
    told = [stage.envoy(asked, form=form), stage.nginx(asked), stage.nginx(ask(UNKNOWN, secret))]
    told += [stage.nginx(Ask(host=SERVICE_HOST, headers=((ID, client_id), (SECRET, secret), (SECRET, secret))))]
    assert [each.allowed for each in told] == [True, True, False, False]
    kept = [repr(stage.recent(each)) + json.dumps(stage.record(each)) for each in told[:3]]
    house = stage.world.house
    wait_until_written(stage, told[2].headers["x-watchword-decision-id"])
    written = [house.decision_log.path.read_text(), house.posture_log.path.read_text()]
    spoken = capsys.readouterr()
    for text in (*map(str, told), *kept, *written, spoken.out, spoken.err, repr(ServiceCredential(client_id, secret))):
        assert secret not in text
    for text in (*map(str, told), *kept, *written, spoken.out, spoken.err):
        assert client_id not in text


def wait_until_written(stage: Stage, decision_id: str) -> None:
    log = stage.world.house.decision_log
    wait_until(lambda: decision_id in log.path.read_text(), what="the decision log's own thread writes the line")


def test_envoy_is_told_to_remove_it_from_what_it_lets_through(stage: Stage, form: str, issued: IssuedCredential) -> None:
    """Whether or not anybody asked for it."""
    current = issue(stage)
    for told in (
        stage.envoy(ask(current.client_id, current.client_secret), form=form),
        stage.envoy(ask(UNKNOWN, WRONG, host=BYPASS_HOST), form=form),
        stage.envoy(Ask(host=BYPASS_HOST), form=form),
    ):
        assert told.allowed
        assert told.removed >= {ID.lower(), SECRET.lower()}
