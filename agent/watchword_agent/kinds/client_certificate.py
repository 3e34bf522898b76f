"""What a client certificate check brings: the certificates found, each with a proof that its key is here."""

from watchword import possession
from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError, SigningFailedError
from watchword_agent.identity import Identity
from watchword_agent.kinds.base import ProofBinding
from watchword_agent.stores import store_for
from watchword_agent.stores.base import Candidate


def collect(check: pb.Check, identity: Identity, binding: ProofBinding, evidence: pb.CheckEvidence) -> None:
    """Fills in `evidence.client_certificate`; no candidates means not found. Raises `CollectionFailedError`."""
    wanted = check.client_certificate
    found = store_for(wanted, platform=identity.platform).find(wanted, identity.variables)
    evidence.client_certificate.SetInParent()
    for candidate in found:
        brought = evidence.client_certificate.candidates.add(
            chain=candidate.chain,
            location=candidate.location,
            private_key=candidate.private_key,
            ocsp_responses=candidate.ocsp_responses,
        )
        if wanted.check_private_key:
            _prove(check.id, candidate, binding, brought)


def watched(check: pb.Check, identity: Identity) -> frozenset[str]:
    """The files whose change may change what `collect` brings."""
    wanted = check.client_certificate
    try:
        return store_for(wanted, platform=identity.platform).watched(wanted, identity.variables)
    except CollectionFailedError:
        return frozenset()  # `collect` reports it


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
    except SigningFailedError:
        brought.private_key = pb.PRIVATE_KEY_STATE_UNSUPPORTED
        return
    brought.possession_scheme, brought.possession_signature = proof.scheme, proof.signature
