"""What a client certificate check brings: the certificates found, each with a proof that its key is here."""

import datetime as dt
from contextlib import ExitStack

from watchword import possession
from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError, SigningFailedError
from watchword_agent.identity import Identity
from watchword_agent.kinds.base import ProofBinding
from watchword_agent.stores import look_everywhere, looks_for, watched_by
from watchword_agent.stores.base import Access, Candidate, Visit, Watched
from watchword_agent.stores.selection import Selection, select


def collect(check: pb.Check, identity: Identity, access: Access, binding: ProofBinding, evidence: pb.CheckEvidence) -> None:
    """Fills in `evidence.client_certificate`; no candidates means not found. Raises `CollectionFailedError`."""
    wanted = check.client_certificate
    with ExitStack() as exits:
        found = look(wanted, identity, Visit(identity.variables, access, exits, allow_pkcs1=wanted.allow_pkcs1))
        evidence.client_certificate.SetInParent()
        for candidate in found.candidates():
            brought = evidence.client_certificate.candidates.add(
                chain=candidate.chain,
                location=candidate.location,
                private_key=candidate.private_key,
                ocsp_responses=candidate.ocsp_responses,
            )
            if wanted.check_private_key:
                _prove(check.id, candidate, binding, brought)


def look(wanted: pb.ClientCertificateCheck, identity: Identity, visit: Visit) -> Selection:
    """What lies where the check has to be looked for, and what of it is worth sending. Raises `CollectionFailedError`."""
    contents = look_everywhere(looks_for(wanted, platform=identity.platform, variables=visit.variables), visit)
    return select(contents, wanted, visit.variables, now=dt.datetime.now(tz=dt.UTC))


def watched(check: pb.Check, identity: Identity, access: Access) -> Watched:
    """What may change what `collect` brings."""
    with ExitStack() as exits:
        try:
            looks = looks_for(check.client_certificate, platform=identity.platform, variables=identity.variables)
        except CollectionFailedError:
            return Watched()  # `collect` reports it
        return watched_by(looks, Visit(identity.variables, access, exits))


def _prove(check_id: str, candidate: Candidate, binding: ProofBinding, brought: pb.CertificateCandidate) -> None:
    if candidate.sign is None:
        return
    statement = possession.statement(
        nonce=binding.nonce,
        audience=binding.audience,
        device_id=binding.device_id,
        session_id=binding.session_id,
        check_id=check_id,
        certificate_der=candidate.chain[0],
    )
    try:
        proof = candidate.sign(statement)
    except SigningFailedError as failure:
        brought.private_key = failure.state
        return
    brought.possession_scheme, brought.possession_signature = proof.scheme, proof.signature
