"""Stored entries to the typed rule set that decisions read."""

from collections.abc import Callable, Mapping
from ipaddress import ip_network
from typing import Any, Final

from watchword_server.configuration.build_access import build_application, build_demand, build_group, build_policy
from watchword_server.configuration.consistency import Page
from watchword_server.configuration.document.applications import Application as ApplicationEntry
from watchword_server.configuration.document.callers import Caller as CallerEntry
from watchword_server.configuration.document.callers import IdentityToken
from watchword_server.configuration.document.certificates import Certificate, read_bundle
from watchword_server.configuration.document.checks import ClientCertificateCheck, ClientCertificateV2Check
from watchword_server.configuration.document.conditions import AccessGroup
from watchword_server.configuration.document.conditions import Policy as PolicyEntry
from watchword_server.configuration.document.durations import parse_seconds
from watchword_server.configuration.document.entities import Entity as EntityEntry
from watchword_server.configuration.document.gateway import GatewayRule as GatewayRuleEntry
from watchword_server.configuration.document.lists import GatewayList as ListEntry
from watchword_server.configuration.document.lists import canonical
from watchword_server.configuration.document.sections import Setting
from watchword_server.configuration.document.service_tokens import ServiceToken as ServiceTokenEntry
from watchword_server.core.model.checks import (
    Check,
    ClientCertificateConfig,
    ListPlace,
    OcspResponder,
    OnClone,
    RevocationPolicy,
    SigningCertificate,
    Trust,
)
from watchword_server.core.model.decisions import Outcome
from watchword_server.core.model.names import CertificateId, CheckId, Instant
from watchword_server.core.rules import (
    Assertion,
    Caller,
    DeviceTokenUse,
    Entity,
    EntityRole,
    GatewayAction,
    GatewayFilter,
    GatewayList,
    GatewayRule,
    Link,
    ServiceToken,
    UserTokens,
)
from watchword_server.ports.rules import StoredObject


def build_entry(page: Page, certificate_revisions: Mapping[str, int]) -> object | None:
    """The core's value of an entry that was found consistent; None: decisions have no use for it, as of a disabled rule.

    Of the same entry at the same revision it is the same value, for a check as long as its certificate's is too.
    """
    stored, entry = page.stored, page.entry
    if isinstance(entry, ClientCertificateV2Check | ClientCertificateCheck):
        return _check(stored, entry, certificate_revisions)
    return _BUILDERS[type(entry)](stored, entry)


# ---- Certificates and checks ------------------------------------------------------------------------------------------


def _certificate(stored: StoredObject, entry: Certificate) -> SigningCertificate:
    bundle = read_bundle(entry.pem)
    ocsp = entry.ocsp
    return SigningCertificate(
        CertificateId(stored.id),
        stored.name,
        bundle.signing.der,
        intermediates=bundle.intermediates,
        list_signers=bundle.list_signers,
        list_places=tuple(ListPlace(place.url, place.path, parse_seconds(place.refresh)) for place in entry.list_places),
        responder=None if ocsp is None else OcspResponder(ocsp.url, parse_seconds(ocsp.refresh)),
    )


def _check(
    stored: StoredObject, entry: ClientCertificateV2Check | ClientCertificateCheck, certificate_revisions: Mapping[str, int]
) -> Check:
    """A verdict depends on the check and on the certificate it names: the later change of the two is its revision."""
    return Check(
        id=CheckId(stored.id),
        name=stored.name,
        revision=max(stored.revision, certificate_revisions[entry.input.certificate_id]),
        kind=entry.type,
        platforms=entry.platforms,
        schedule_seconds=entry.schedule_seconds,
        expiration_seconds=entry.expiration_seconds,
        config=_config(entry),
    )


def _config(entry: ClientCertificateV2Check | ClientCertificateCheck) -> ClientCertificateConfig:
    if isinstance(entry, ClientCertificateCheck):
        return ClientCertificateConfig(
            certificate_id=CertificateId(entry.input.certificate_id),
            common_name=entry.input.cn,
            subject_alternative_names=(),
            extended_key_usage=(),
            check_private_key=True,
            paths=(),
            trust_stores=(),
            trust=Trust.ISSUER,
            on_clone=OnClone.FAIL,
            allow_pkcs1=False,
        )
    return ClientCertificateConfig(
        certificate_id=CertificateId(entry.input.certificate_id),
        common_name=entry.input.cn,
        subject_alternative_names=tuple(entry.input.subject_alternative_names),
        extended_key_usage=tuple(entry.input.extended_key_usage),
        check_private_key=entry.input.check_private_key,
        paths=tuple(entry.input.locations.paths),
        trust_stores=tuple(entry.input.locations.trust_stores),
        trust=Trust(entry.input.trust),
        on_clone=OnClone(entry.input.on_clone),
        allow_pkcs1=entry.input.allow_pkcs1,
        revocation=RevocationPolicy(entry.input.revocation),
    )


# ---- Gateway ------------------------------------------------------------------------------------------------------------


def _gateway_rule(stored: StoredObject, entry: GatewayRuleEntry) -> GatewayRule | None:
    if not entry.enabled:
        return None
    return GatewayRule(
        id=stored.id,
        name=stored.name,
        precedence=entry.precedence,
        filter=GatewayFilter(entry.filters[0]),
        action=GatewayAction(entry.action),
        traffic=entry.traffic,
        identity=entry.identity,
        device_posture=entry.device_posture,
        demand=build_demand(entry.evidence),
        report_only=entry.report_only,
    )


def _list(stored: StoredObject, entry: ListEntry) -> GatewayList:
    return GatewayList(stored.id, stored.name, entry.type, tuple(canonical(entry.type, item.value) for item in entry.items))


# ---- The rest ---------------------------------------------------------------------------------------------------------


def _service_token(stored: StoredObject, entry: ServiceTokenEntry) -> ServiceToken:
    credential = entry.credential
    if credential is None:
        return ServiceToken(stored.id, stored.name, None, None, None)
    expires_at = None if credential.expires_at is None else Instant(credential.expires_at)
    return ServiceToken(stored.id, stored.name, credential.client_id, bytes.fromhex(credential.secret_sha256), expires_at)


def _caller(stored: StoredObject, entry: CallerEntry) -> Caller:
    secret, mtls = entry.authenticate.secret_sha256, entry.authenticate.mtls
    return Caller(
        id=stored.id,
        name=stored.name,
        may_assert=frozenset(map(Assertion, entry.may_assert)),
        resolvers=frozenset(map(Link, entry.resolvers)),
        identity_header=None if entry.identity is None else entry.identity.email_header,
        device_tokens=None if entry.device_tokens is None else DeviceTokenUse(**entry.device_tokens.model_dump()),
        user_tokens=None if entry.identity is None or entry.identity.token is None else _user_tokens(entry.identity.token),
        facts_header=None if entry.facts is None else entry.facts.header,
        secret_sha256=None if secret is None else bytes.fromhex(secret),
        subject_alternative_name=None if mtls is None else mtls.san,
        unix_socket=entry.authenticate.unix_socket is True,
        device_networks=tuple(map(ip_network, entry.device_networks)),
    )


def _user_tokens(token: IdentityToken) -> UserTokens:
    return UserTokens(
        header=token.header,
        cookie=token.cookie,
        issuer=token.issuer,
        audience=token.audience,
        jwks_url=token.jwks_url,
        algorithms=tuple(token.algorithms),
        leeway_seconds=parse_seconds(token.leeway),
        email_claim=token.email_claim,
        groups_claim=token.groups_claim,
    )


def _entity(stored: StoredObject, entry: EntityEntry) -> Entity:
    return Entity(stored.id, EntityRole(entry.role), entry.type or "", entry.id or stored.name, entry.properties)


def _unmatched(_: StoredObject, entry: Setting) -> Outcome:
    return Outcome(entry.value)


_BUILDERS: Final[Mapping[type, Callable[[StoredObject, Any], object | None]]] = {
    Certificate: _certificate,
    AccessGroup: build_group,
    PolicyEntry: build_policy,
    ApplicationEntry: build_application,
    ListEntry: _list,
    GatewayRuleEntry: _gateway_rule,
    CallerEntry: _caller,
    ServiceTokenEntry: _service_token,
    EntityEntry: _entity,
    Setting: _unmatched,
}
