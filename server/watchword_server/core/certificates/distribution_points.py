"""Where a certificate says that its revocation lists are, and where a list says that it belongs (RFC 5280, 4.2.1.13 and 5.2.5).

Nothing is fetched from there: the names only tell which list speaks for which certificate. A place is a text, such as
`uri:http://ca.example/1.crl`, equal for names that match.
"""

from collections.abc import Iterator

from cryptography import x509

from watchword_server.core.certificates.names import canonical_name
from watchword_server.core.certificates.parsed import ParsedCertificate


def places_of_certificate(certificate: ParsedCertificate) -> frozenset[str]:
    """The places of lists that cover a certificate for every reason, its issuer's name always among them (RFC 5280, 6.3.3).

    Raises `CertificateRefusedError` if its extensions cannot be read.
    """
    points = certificate.extension(x509.CRLDistributionPoints) or ()
    found = set(places(None, None, certificate.x509.issuer))
    for point in points:
        # Lists of another issuer, or for some reasons only, are not accepted: such a point names none that counts.
        if point.crl_issuer is None and point.reasons is None:
            found |= places(point.full_name, point.relative_name, certificate.x509.issuer)
    return frozenset(found)


def places(
    full_name: "list[x509.GeneralName] | None", relative_name: x509.RelativeDistinguishedName | None, issuer: x509.Name
) -> frozenset[str]:
    """The names of a distribution point; the issuer's name if there are none."""
    if full_name is not None:
        return frozenset(_texts(full_name))
    name = issuer if relative_name is None else x509.Name([*issuer.rdns, relative_name])
    return frozenset({_directory_name(name)})


def _texts(names: "list[x509.GeneralName]") -> Iterator[str]:
    for name in names:
        match name:
            case x509.UniformResourceIdentifier():
                yield f"uri:{name.value}"
            case x509.DirectoryName():
                yield _directory_name(name.value)
            case _:  # a name of another type matches nothing
                pass


def _directory_name(name: x509.Name) -> str:
    return f"name:{canonical_name(name).hex()}"
