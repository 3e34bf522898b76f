"""What devices sign, made as an honest agent makes it but for what is said to be wrong with it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from histories.events import Shown
from histories.pool import Pool
from support.signing import possession_scheme, sign_envelope, sign_possession
from watchword import possession
from watchword.envelope import EVIDENCE_TYPE, GOODBYE_TYPE, pre_authentication_encoding
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.model.evidence import Envelope
from watchword_server.core.model.names import CheckId, SessionId

AUDIENCE: Final = "watchword/histories"
Claims = tuple[tuple[CheckId, tuple[Shown, ...]], ...]
_MANY: Final = 20_000  # signed messages that are remembered


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which conversation something is said, and by whom. `key_id` is what it says; `signed_by`: a device, or nobody."""

    device: str
    key_id: str
    signed_by: str
    session_id: SessionId
    epoch: int
    nonce: bytes
    sequence: int


@dataclass(slots=True)
class Messages:
    """Signs for all devices; the same message is made and signed once, as long as it is remembered."""

    pool: Pool
    evidence: Callable[[Place, int, Claims], Envelope] = field(init=False)
    goodbye: Callable[[Place], Envelope] = field(init=False)

    def __post_init__(self) -> None:
        self.evidence = functools.lru_cache(_MANY)(self._evidence)
        self.goodbye = functools.lru_cache(_MANY)(self._goodbye)

    def _evidence(self, place: Place, age: int, said: Claims) -> Envelope:
        message = wire.Evidence(
            device_id=place.device,
            key_id=place.key_id,
            audience=AUDIENCE,
            session_id=place.session_id,
            epoch=place.epoch,
            nonce=place.nonce,
            sequence=place.sequence,
            inventory=wire.Inventory(platform="linux", hostname=place.device),
            checks=[
                wire.CheckEvidence(
                    check_id=check_id,
                    age_ms=age * 1000,
                    client_certificate=wire.ClientCertificateEvidence(
                        candidates=[self._candidate(one, check_id, place) for one in shown]
                    ),
                )
                for check_id, shown in said
            ],
        )
        return self._signed(message.SerializeToString(), EVIDENCE_TYPE, place)

    def _goodbye(self, place: Place) -> Envelope:
        message = wire.Goodbye(
            device_id=place.device,
            key_id=place.key_id,
            audience=AUDIENCE,
            session_id=place.session_id,
            epoch=place.epoch,
            nonce=place.nonce,
            sequence=place.sequence,
        )
        return self._signed(message.SerializeToString(), GOODBYE_TYPE, place)

    def _signed(self, payload: bytes, payload_type: str, place: Place) -> Envelope:
        key = self.pool.device_keys.get(place.signed_by, self.pool.wrong_key)
        return Envelope(payload, payload_type, "", sign_envelope(key, pre_authentication_encoding(payload_type, payload)))

    def _candidate(self, shown: Shown, check_id: CheckId, place: Place) -> wire.CertificateCandidate:
        credential = self.pool.certificates[shown.certificate].credential
        candidate = wire.CertificateCandidate(chain=credential.chain, location="/etc/corp/client.pem")
        if shown.proof == "missing":
            return candidate
        key = self.pool.wrong_key if shown.proof == "other_key" else credential.key
        statement = possession.statement(
            nonce=bytes(32) if shown.proof == "other_nonce" else place.nonce,
            audience=AUDIENCE,
            device_id=place.device,
            session_id=place.session_id,
            check_id=check_id,
            certificate_der=credential.der,
        )
        scheme = possession_scheme(credential.key) or ""
        candidate.possession_scheme = scheme
        candidate.possession_signature = sign_possession(key, scheme, statement)
        return candidate
