"""Finding a path through certificates that strangers chose: names say what could follow what, signatures what does.

Candidates are found by name from the client certificate upwards, and followed by signature from the trusted CA downwards: what
was made up fails at its first signature, whatever it refers to.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from watchword_server.core.certificates.der import elements
from watchword_server.core.certificates.names import CanonicalName
from watchword_server.core.certificates.parsed import ParsedCertificate
from watchword_server.core.certificates.path_validation import check_intermediate, check_path, is_valid
from watchword_server.core.certificates.refusal import Attempt, CertificateRefusedError
from watchword_server.core.certificates.remembered import Remembered
from watchword_server.core.certificates.strength import check_signed
from watchword_server.core.certificates.work import Work
from watchword_server.core.model.names import Fingerprint, Instant

_MAX_ATTEMPTS_TOLD: Final = 16
_STEP_COST: Final = 3  # microseconds to look at what may follow
_AUTHORITY_KEY_IDENTIFIER: Final = bytes.fromhex("551d23")
_SUBJECT_KEY_IDENTIFIER: Final = bytes.fromhex("551d0e")
_KEY_IDENTIFIER: Final = 0x80

# That a CA signed another's certificate stays true: issuer and certificate.
_SIGNED: Final[Remembered[tuple[Fingerprint, Fingerprint], Fingerprint]] = Remembered(1024)

_Path = tuple[ParsedCertificate, ...]


def build_path(
    leaf: ParsedCertificate,
    anchor: ParsedCertificate,
    candidates: Sequence[ParsedCertificate],
    usages: Collection[x509.ObjectIdentifier],
    *,
    max_length: int,
    unreadable: Iterable[Attempt] = (),
    work: Work,
    now: Instant,
) -> _Path:
    """A valid path of at most `max_length` certificates: the client certificate first, the trusted CA last.

    Of several, one in which certificates are valid and identify one another's keys is found first. `unreadable`: told among the
    attempts. Raises `CertificateRefusedError`.
    """
    search = _Search(leaf, anchor, usages, max_length, now, work)
    search.attempts.extend(unreadable)
    search.follow_names(candidates)
    return search.run()


@dataclass(slots=True)
class _Search:
    leaf: ParsedCertificate
    anchor: ParsedCertificate
    usages: Collection[x509.ObjectIdentifier]
    max_length: int
    now: Instant
    work: Work
    attempts: list[Attempt] = field(default_factory=list)
    # By the issuer's name, and for each how many certificates there are at least from it down to the client certificate.
    below: dict[CanonicalName, list[ParsedCertificate]] = field(default_factory=dict)
    height: dict[int, int] = field(default_factory=dict)
    signatures: dict[tuple[int, int], CertificateRefusedError | None] = field(default_factory=dict)
    faults: dict[int, CertificateRefusedError | None] = field(default_factory=dict)
    only_sound: bool = True
    left_out: bool = False  # a certificate with a fault
    cut: bool = False  # a path, for its length

    def follow_names(self, candidates: Sequence[ParsedCertificate]) -> None:
        """Finds what leads by name from the client certificate to the trusted one. Raises `CertificateRefusedError`."""
        level, height = [self.leaf], 1
        missing = self.leaf
        named: dict[CanonicalName, list[ParsedCertificate]] = {}
        for candidate in candidates:
            named.setdefault(candidate.subject, []).append(candidate)
        while level:
            for certificate in level:
                self.height[id(certificate)] = height
                self.below.setdefault(certificate.issuer, []).append(certificate)
            missing = level[0]
            level = [one for certificate in level for one in named.pop(certificate.issuer, ())]
            height += 1
        found = self.below.get(self.anchor.subject)
        if found is None:
            raise CertificateRefusedError(
                "chain_incomplete",
                expected=self.anchor.subject_text(),
                received=f"no certificate of {missing.issuer_text()}",
                attempts=self.attempts,
            )
        shortest = min(self.height[id(certificate)] for certificate in found) + 1
        if shortest > self.max_length:
            raise CertificateRefusedError(
                "chain_too_long", expected=f"at most {self.max_length} certificates", received=f"{shortest}"
            )

    def run(self) -> _Path:
        """Tries paths until one holds. Raises `CertificateRefusedError` with the one that came furthest."""
        path = self._descend((self.anchor,))
        if path is None and self.left_out:
            # Nothing will be found with these either, but perhaps a better reason why not.
            self.only_sound = False
            path = self._descend((self.anchor,))
        if path is not None:
            return path
        if not self.attempts:
            raise CertificateRefusedError(
                "chain_too_long" if self.cut else "chain_incomplete", expected=self.anchor.subject_text()
            )
        told = self.attempts[:_MAX_ATTEMPTS_TOLD]
        best = max(self.attempts, key=lambda attempt: CertificateRefusedError(attempt.reason).rank)
        raise CertificateRefusedError(best.reason, expected=best.expected, received=best.received, attempts=told)

    def _descend(self, path: _Path) -> _Path | None:
        for child in self._children(path):
            self.work.spend(_STEP_COST)
            if child is not self.leaf and self.only_sound and self._fault(child) is not None:
                self.left_out = True
                continue
            longer = (child, *path)
            if child is not self.leaf:
                found = self._descend(longer)
                if found is not None:
                    return found
                continue
            try:
                check_path(longer, self.usages, work=self.work, now=self.now)
            except CertificateRefusedError as error:
                self._tell(longer, error)
            else:
                return longer
        return None

    def _children(self, path: _Path) -> Iterator[ParsedCertificate]:
        """What the first of a path signed, on the way to the client certificate, the most promising first."""
        issuer = path[0]

        def promise(child: ParsedCertificate) -> tuple[bool, bool, int]:
            return (not _identifies(child, issuer), not is_valid(child, self.now), self.height[id(child)])

        for child in sorted(self.below.get(issuer.subject, ()), key=promise):
            if any(child.subject == other.subject and child.public_key == other.public_key for other in path):
                continue  # the same CA once more: whatever it signed, it could sign above
            if len(path) + self.height[id(child)] > self.max_length:
                self.cut = True
                continue
            if self._signature_fault(child, issuer, path) is None:
                yield child

    def _signature_fault(
        self, child: ParsedCertificate, issuer: ParsedCertificate, path: _Path
    ) -> CertificateRefusedError | None:
        pair = (id(child), id(issuer))
        if pair not in self.signatures:
            self.signatures[pair] = None
            try:
                _check_signed(child, issuer, self.work, remember=child is not self.leaf)
            except CertificateRefusedError as error:
                self.signatures[pair] = error
                self._tell((child, *path), error)
        return self.signatures[pair]

    def _fault(self, child: ParsedCertificate) -> CertificateRefusedError | None:
        """Why an intermediate cannot be part of any path."""
        if id(child) not in self.faults:
            self.faults[id(child)] = None
            try:
                check_intermediate(child, self.usages, now=self.now)
            except CertificateRefusedError as error:
                self.faults[id(child)] = error
        return self.faults[id(child)]

    def _tell(self, path: _Path, error: CertificateRefusedError) -> None:
        if error.reason == "chain_too_complex":  # which is no path's fault: nobody knows what the next one would be
            raise error
        subjects = tuple(certificate.subject_text() for certificate in path)
        self.attempts.append(Attempt(subjects, error.reason, error.expected, error.received))


def _check_signed(child: ParsedCertificate, issuer: ParsedCertificate, work: Work, *, remember: bool) -> None:
    pair = (issuer.fingerprint, child.fingerprint)
    if remember and _SIGNED.get(pair) is not None:
        return
    check_signed(child, issuer, work)
    if remember:
        _SIGNED.put(pair, issuer.fingerprint)


def _identifies(child: ParsedCertificate, issuer: ParsedCertificate) -> bool:
    """Whether the key identifiers agree or one is missing: a hint, and no condition (RFC 5280, 4.2.1.1)."""
    authority = child.outline.extensions.get(_AUTHORITY_KEY_IDENTIFIER)
    subject = issuer.outline.extensions.get(_SUBJECT_KEY_IDENTIFIER)
    if authority is None or subject is None:
        return True
    try:
        (identifiers,) = elements(authority, 0, len(authority))
        (own,) = elements(subject, 0, len(subject))
        first, *_ = elements(authority, identifiers.content, identifiers.end)
    except ValueError:
        return True
    return first.tag != _KEY_IDENTIFIER or authority[first.content : first.end] == subject[own.content : own.end]
