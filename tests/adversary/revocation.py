"""Lies about revocation: lists that are old, missing or forged, and answers that are about something else."""

import json
from collections.abc import Callable
from typing import Final

from cryptography import x509
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from adversary.arena import LISTED, LISTED_CHAIN, PREFERRED, STALE_LIST, STAPLED, Arena, stapled, told
from adversary.attack import Attack, Outcome
from adversary.authorities import LISTED as LISTED_CA
from adversary.authorities import revocation_list
from adversary.forged import certify
from adversary.telling import Perform, certificate
from server.scene import COMMON_NAME
from support.device import HONEST
from support.pki import DAY, HOUR, Authority, Credential, root_authority

_UNKNOWN: Final = "revocation_unknown"
_OCSP_SIGNING: Final = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)


def _with(responses: Callable[[Arena, Credential], list[bytes]], *, check: str = STAPLED) -> Perform:
    """A certificate whose CA has no list; the device brings these responses. With the CA's own good one it passes."""

    async def perform(arena: Arena) -> Outcome:
        credential, fields = arena.authorities.honest(check)
        device = await arena.device(check, credential, **fields)
        lie = stapled(*responses(arena, credential))
        async with device.attesting() as stream:
            answer = await stream.attest(lie)
        honest = stapled(arena.authorities.response(credential)) if check == STAPLED else HONEST
        return Outcome(
            told(answer, device, check),
            check,
            [device],
            [credential] if check != STAPLED else [],
            honestly=lambda: arena.passes_with(device, credential, check, honest),
        )

    return perform


def _revoked(arena: Arena) -> Credential:
    return arena.authorities.revoked


def _of_a_revoked_intermediate(arena: Arena) -> Credential:
    return arena.authorities.revoked_issuing.issue(COMMON_NAME)


def _good_for_the_revoked(arena: Arena, check: str) -> Perform:
    credential = arena.authorities.revoked
    return certificate(
        _revoked, check=check, lie=stapled(arena.authorities.response(credential, issuer=arena.authorities.listed))
    )


async def _revoked_with_a_good_staple(arena: Arena) -> Outcome:
    return await _good_for_the_revoked(arena, PREFERRED)(arena)


def _another_serial_number(arena: Arena, _: Credential) -> list[bytes]:
    return [arena.authorities.response(arena.authorities.silent.issue("another"))]


def _another_ca_as_responder(arena: Arena, credential: Credential) -> list[bytes]:
    return [arena.authorities.response(credential, responder=root_authority("Silent CA").credential)]


def _client_as_responder(arena: Arena, credential: Credential) -> list[bytes]:
    client = arena.authorities.silent.issue("Responder")
    return [arena.authorities.response(credential, responder=client, certificates=[client])]


def _responder_of_another_ca(arena: Arena, credential: Credential) -> list[bytes]:
    foreign = certify(root_authority("Silent CA").credential, "Responder", _OCSP_SIGNING)
    return [arena.authorities.response(credential, responder=foreign, certificates=[foreign])]


def _expired(arena: Arena, credential: Credential) -> list[bytes]:
    return [arena.authorities.response(credential, this_update=-3 * HOUR, next_update=-HOUR)]


def _of_tomorrow(arena: Arena, credential: Credential) -> list[bytes]:
    return [arena.authorities.response(credential, this_update=HOUR, next_update=DAY)]


def _for_ever(arena: Arena, credential: Credential) -> list[bytes]:
    return [arena.authorities.response(credential, next_update=None)]


def _not_known(arena: Arena, credential: Credential) -> list[bytes]:
    return [arena.authorities.response(credential, status=ocsp.OCSPCertStatus.UNKNOWN)]


def _revoked_behind_an_old_good_one(arena: Arena, credential: Credential) -> list[bytes]:
    return [
        *_expired(arena, credential),
        arena.authorities.response(credential, status=ocsp.OCSPCertStatus.REVOKED),
    ]


def _too_many(arena: Arena, credential: Credential) -> list[bytes]:
    return [b"\x30\x00"] * 4 + [arena.authorities.response(credential)]


async def _forged_list(arena: Arena, *, signer: Callable[[Arena], Credential], because: str) -> Outcome:
    """Whoever answers where lists are fetched gives the operator one in which nobody is revoked."""
    arenas = arena.authorities
    forged = revocation_list(arenas.listed, [], signer=signer(arena), number=7)
    refused = json.loads(arena.bring_list(LISTED_CA, forged))
    assert because in json.dumps(refused), refused
    return await certificate(_revoked, check=LISTED)(arena)


async def _older_list(arena: Arena) -> Outcome:
    """A list of the CA's own from before the revocation."""
    older = revocation_list(arena.authorities.listed, [], number=0, this_update=-3 * HOUR)
    assert "number 0" in arena.bring_list(LISTED_CA, older)
    return await certificate(_revoked, check=LISTED)(arena)


def _listed_issuing(arena: Arena) -> Credential:
    return arena.authorities.listed_issuing.credential


def _namesake(_: Arena) -> Credential:
    return root_authority("Listed CA").credential


async def _revoked_since(arena: Arena) -> Outcome:
    """It passed, and its application is open; then its CA revokes it. Nobody has to attest for the doors to close."""
    issuer = Authority(arena.authorities.listed_issuing.credential, is_root=False)
    credential = issuer.issue(COMMON_NAME)
    device = await arena.device(LISTED_CHAIN, credential)
    await arena.passes_with(device, credential, LISTED_CHAIN)
    arena.authorities.gone.append(credential)
    assert arena.bring_list(LISTED_CA, revocation_list(issuer, arena.authorities.gone, number=2)) == ""
    assert arena.standing(device, LISTED_CHAIN) == "failed"
    assert arena.decided(credential, LISTED_CHAIN) == "certificate_revoked"
    async with device.attesting() as stream:
        answer = await stream.attest()
    return Outcome(told(answer, device, LISTED_CHAIN), LISTED_CHAIN, [device], [credential])


ATTACKS: Final = (
    Attack(
        "revoked-certificate",
        (),
        "Has a certificate that its CA revoked.",
        "certificate_revoked",
        certificate(_revoked, check=LISTED),
    ),
    Attack(
        "revoked-certificate-where-knowing-is-preferred",
        (54,),
        "As before, where not to know would be no failure.",
        "certificate_revoked",
        certificate(_revoked, check=PREFERRED),
    ),
    Attack(
        "certificate-of-a-revoked-intermediate",
        (),
        "Has a good certificate of an intermediate that the root revoked.",
        "issuer_revoked",
        certificate(_of_a_revoked_intermediate, check=LISTED_CHAIN),
    ),
    Attack(
        "certificate-revoked-since-it-passed",
        (53,),
        "Passed before its certificate was revoked.",
        "certificate_revoked",
        _revoked_since,
    ),
    Attack(
        "old-list-where-knowing-is-required",
        (53,),
        "Kept the server from hearing of a newer list.",
        _UNKNOWN,
        certificate(lambda arena: arena.authorities.stale.issue(COMMON_NAME), check=STALE_LIST),
    ),
    Attack(
        "no-list-where-knowing-is-required",
        (53,),
        "Kept the server from hearing of any list.",
        _UNKNOWN,
        _with(lambda _arena, _credential: []),
    ),
    Attack(
        "list-forged-by-an-intermediate",
        (),
        "Has an intermediate's key and signs a list in the CA's name.",
        "certificate_revoked",
        lambda arena: _forged_list(arena, signer=_listed_issuing, because="signature"),
    ),
    Attack(
        "list-forged-by-a-namesake",
        (),
        "Made a CA with our CA's name and signs a list.",
        "certificate_revoked",
        lambda arena: _forged_list(arena, signer=_namesake, because="signature"),
    ),
    Attack(
        "list-from-before-the-revocation",
        (),
        "Kept an old list of the CA and brings it again.",
        "certificate_revoked",
        _older_list,
    ),
    Attack(
        "response-for-another-serial-number",
        (),
        "Staples a good response about another certificate.",
        _UNKNOWN,
        _with(_another_serial_number),
    ),
    Attack(
        "response-by-a-namesake-of-the-ca",
        (),
        "Made a CA with our CA's name and answers itself.",
        _UNKNOWN,
        _with(_another_ca_as_responder),
    ),
    Attack(
        "response-by-a-client-certificate",
        (),
        "Signs the response with the key of a client certificate of the CA.",
        _UNKNOWN,
        _with(_client_as_responder),
    ),
    Attack(
        "response-by-a-responder-of-another-ca",
        (),
        "Has a responder's certificate of a CA with our CA's name.",
        _UNKNOWN,
        _with(_responder_of_another_ca),
    ),
    Attack("expired-response", (18,), "Staples a response from when the certificate was good.", _UNKNOWN, _with(_expired)),
    Attack("response-of-tomorrow", (), "Staples a response that is not valid yet.", _UNKNOWN, _with(_of_tomorrow)),
    Attack(
        "response-without-an-end", (18,), "Staples a response that does not say how long it holds.", _UNKNOWN, _with(_for_ever)
    ),
    Attack("response-that-does-not-know", (53,), "Staples a response that says `unknown`.", _UNKNOWN, _with(_not_known)),
    Attack(
        "revocation-behind-an-old-good-response",
        (18,),
        "Staples an expired good response in front of the revocation.",
        "certificate_revoked",
        _with(_revoked_behind_an_old_good_one),
    ),
    Attack(
        "good-response-for-a-certificate-on-the-list",
        (55,),
        "Staples a good response for a certificate that is on the list.",
        "certificate_revoked",
        _revoked_with_a_good_staple,
    ),
    Attack(
        "more-responses-than-are-read",
        (),
        "Hides a good response behind four that are none.",
        "evidence_malformed",
        _with(_too_many),
    ),
)
