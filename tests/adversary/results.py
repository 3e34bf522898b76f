"""No result, an old one, a weak one, no answer at all; and words that nobody knows."""

from collections.abc import Mapping
from typing import Any, Final

import grpc

from adversary.arena import BY_HOSTNAME, LAPTOP, SHORT, UNPROVEN, YOUNG, Arena, host_of, told
from adversary.attack import Attack, Outcome
from adversary.telling import Perform
from doors.stage import Ask
from faults.proxy import USER
from support.device import Lie, fields
from support.pki import HOUR
from support.processes import wait_until
from watchword.v1 import posture_pb2 as wire

_MINUTE_MS: Final = 60_000


async def _no_result(arena: Arena) -> Outcome:
    """The device never says a word about the check that is demanded."""
    device, credential = await arena.honest(LAPTOP)
    return Outcome(arena.decided(credential, BY_HOSTNAME), BY_HOSTNAME, [device], [credential])


async def _expired(arena: Arena) -> Outcome:
    """It passed a moment ago, by what it looked at almost a minute ago; the result lasts a minute."""
    credential = arena.certificate()
    device = await arena.device(SHORT, credential, age_ms=_MINUTE_MS - 1000)
    async with device.attesting() as stream:
        assert told(await stream.attest(), device, SHORT) == "passed"
    wait_until(lambda: arena.standing(device, SHORT) != "passed", what="the result expired")
    reason = arena.decided(credential, SHORT)
    device.age_ms = 5
    return Outcome(reason, SHORT, [device], [credential], honestly=lambda: arena.passes_with(device, credential, SHORT))


async def _weak(arena: Arena) -> Outcome:
    """Shown without a proof it passes its check as signed; the application demands a proven one."""
    credential = arena.certificate()
    device = await arena.device(UNPROVEN, credential, also=[LAPTOP])
    device.found_for[LAPTOP] = (credential,)
    async with device.attesting() as stream:
        answer = await stream.attest()
    assert told(answer, device, LAPTOP) == "passed"  # so that the device is known by it
    return Outcome(arena.decided(credential, UNPROVEN), UNPROVEN, shown=[credential])


async def _picture(arena: Arena) -> Outcome:
    """A picture of a certificate passes a check without a proof, and tells nobody who the device is."""
    credential = arena.certificate()
    device = await arena.device(UNPROVEN, credential)
    async with device.attesting() as stream:
        assert told(await stream.attest(), device, UNPROVEN) == "passed"
    return Outcome(arena.decided(credential, UNPROVEN), UNPROVEN, shown=[credential])


async def _old_evidence(arena: Arena) -> Outcome:
    """A minute old, where the application demands half of one."""
    credential = arena.certificate()
    device = await arena.device(YOUNG, credential, age_ms=_MINUTE_MS)
    async with device.attesting() as stream:
        assert told(await stream.attest(), device, YOUNG) == "passed"
    return Outcome(arena.decided(credential, YOUNG), YOUNG, shown=[credential])


async def _collection_error(arena: Arena, code: str) -> Outcome:
    device, credential = await arena.honest(LAPTOP)
    device.found_for = {LAPTOP: wire.CollectionError(code=code)}
    async with device.attesting() as stream:
        answer = await stream.attest()
    return Outcome(told(answer, device), LAPTOP, [device], [credential])


async def _frozen(arena: Arena) -> Outcome:
    """The verifier is stopped in the middle of everything: no answer is no allow."""
    _, credential = await arena.honest(LAPTOP)
    arena.scene.server.freeze()
    try:
        arena.envoy(Ask(credential=credential, host=host_of(LAPTOP), user=USER), seconds=0.2)
    except grpc.RpcError as error:
        reason = error.code().name.lower()
    else:
        reason = "an answer"
    finally:
        arena.scene.server.thaw()
    return Outcome(reason, LAPTOP)


async def _unrelated_pass(arena: Arena) -> Outcome:
    """One check fails; then another passes, again and again."""
    credential, expired = arena.certificate(), arena.certificate(not_before=-2 * HOUR, not_after=-HOUR)
    device = await arena.device(LAPTOP, expired, also=[BY_HOSTNAME])
    device.found_for[BY_HOSTNAME] = (credential,)
    async with device.attesting() as stream:
        assert told(await stream.attest(), device) == "certificate_expired"
        for _ in range(2):
            claims = [
                claim for claim in stream.evidence().checks if claim.client_certificate.candidates[0].chain[0] == credential.der
            ]
            answer = await stream.attest(claims=claims)
            assert told(answer, device, BY_HOSTNAME) == "passed"
    assert arena.decided(credential, BY_HOSTNAME) == ""
    result = arena.scene.operators.results(device.device_id)[LAPTOP]
    assert arena.decided(credential, LAPTOP) == "check_failed"
    return Outcome(str(result["reason"]), LAPTOP, [device], [credential, expired])


async def _silence_about_it(arena: Arena) -> Outcome:
    """After the failure its evidence leaves the check out."""
    device, credential = await arena.honest(LAPTOP)
    device.found_for = {}
    async with device.attesting() as stream:
        assert told(await stream.attest(), device) == "certificate_not_found"
        assert isinstance(await stream.attest(claims=[]), wire.Ack)
    result = arena.scene.operators.results(device.device_id)[LAPTOP]
    return Outcome(str(result["reason"]), LAPTOP, [device], [credential])


async def _stale_check_revision(arena: Arena) -> Outcome:
    """Says that it looked for an older revision of the check."""
    credential = arena.certificate()
    device = await arena.device(LAPTOP, credential)
    async with device.attesting() as stream:
        answer = await stream.attest(Lie(check=fields(check_id="another")))
    assert isinstance(answer, wire.Ack)
    assert not list(answer.results)
    return Outcome(
        arena.standing(device, LAPTOP), LAPTOP, [device], [credential], honestly=lambda: arena.passes_with(device, credential)
    )


def _rules(**given: Any) -> Perform:
    """Rules in which a word stands that nobody knows are refused whole; what was in force stays."""

    async def perform(arena: Arena) -> Outcome:
        check: Mapping[str, Any] = {
            "name": LAPTOP,
            "type": "client_certificate_v2",
            "input": {"certificate_id": "corp-device-ca", **given},
        }
        response = arena.operate("POST", "/rules/apply", json={"document": {"checks": [check]}})
        assert response.status_code == 400, response.text
        device, credential = await arena.honest(LAPTOP)
        return Outcome(_code(response.json()), LAPTOP, unharmed=(device, credential))

    return perform


def _policy(**given: Any) -> Perform:
    async def perform(arena: Arena) -> Outcome:
        policy: Mapping[str, Any] = {"name": f"with-{LAPTOP}", "decision": "allow", "include": [{"everyone": {}}], **given}
        response = arena.operate("POST", "/rules/apply", json={"document": {"policies": [policy]}})
        assert response.status_code == 400, response.text
        credential = arena.certificate()
        return Outcome(_code(response.json()), LAPTOP, shown=[credential])

    return perform


def _code(answer: Mapping[str, Any]) -> str:
    return str(answer["error"]["code"])


_INVALID: Final = "configuration_invalid"

ATTACKS: Final = (
    Attack("no-result", (53,), "Attests, and never about the check that is demanded.", "no_result", _no_result),
    Attack(
        "claim-about-another-check",
        (53,),
        "Answers for a check that nobody asked for in place of the one.",
        "absent",
        _stale_check_revision,
    ),
    Attack("expired-result", (53,), "Passed once, and says nothing more.", "result_expired", _expired),
    Attack("signed-where-proven-is-demanded", (53,), "Passes a check that asks for no proof.", "evidence_too_weak", _weak),
    Attack(
        "picture-where-proven-is-demanded",
        (53,),
        "As before, with the picture of a certificate alone.",
        "unknown_device",
        _picture,
    ),
    Attack(
        "old-evidence-where-young-is-demanded",
        (18, 53),
        "Looked a minute ago where half of one is demanded.",
        "evidence_too_old",
        _old_evidence,
    ),
    Attack(
        "collection-error",
        (53,),
        "Says that it could not look.",
        "path_unreadable",
        lambda arena: _collection_error(arena, "path_unreadable"),
    ),
    Attack(
        "collection-error-that-sounds-good",
        (53, 54),
        "Says that what kept it from looking is `passed`.",
        "collection_failed",
        lambda arena: _collection_error(arena, "passed"),
    ),
    Attack("verifier-that-does-not-answer", (53,), "Keeps the server from answering.", "deadline_exceeded", _frozen),
    Attack(
        "unrelated-pass-after-a-failure",
        (55,),
        "Fails one check and passes another, later.",
        "certificate_expired",
        _unrelated_pass,
    ),
    Attack(
        "silence-after-a-failure", (55,), "Fails a check and says no more about it.", "certificate_not_found", _silence_about_it
    ),
    Attack(
        "unknown-revocation-policy",
        (54,),
        "Gets a word for how to check revocation into the rules that nobody knows.",
        _INVALID,
        _rules(revocation="sometimes"),
    ),
    Attack(
        "unknown-trust", (54,), "Gets a word for whom to trust into the rules that nobody knows.", _INVALID, _rules(trust="any")
    ),
    Attack(
        "unknown-word-for-clones",
        (54,),
        "Gets a word for what clones mean into the rules that nobody knows.",
        _INVALID,
        _rules(on_clone="ignore"),
    ),
    Attack(
        "unknown-option-of-a-check",
        (54,),
        "Gets an option into the rules that nobody knows, such as to enforce nothing.",
        _INVALID,
        _rules(enforcement="warn"),
    ),
    Attack(
        "unknown-decision-of-a-policy",
        (54,),
        "Gets a decision into a policy that nobody knows.",
        _INVALID,
        _policy(decision="permit"),
    ),
    Attack(
        "unknown-evidence-level",
        (54,),
        "Gets a level of evidence into a policy that nobody knows.",
        _INVALID,
        _policy(evidence={"level": "any"}),
    ),
)
