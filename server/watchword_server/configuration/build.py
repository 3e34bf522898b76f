"""Stored entries to the typed rule set that decisions read."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_network

from cryptography.hazmat.primitives.serialization import Encoding

from watchword_server.configuration.consistency import Placed, inconsistencies, read_objects
from watchword_server.configuration.document.applications import Application as ApplicationEntry
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.document.callers import Caller as CallerEntry
from watchword_server.configuration.document.certificates import Certificate, signing_certificate
from watchword_server.configuration.document.checks import ClientCertificateCheck, ClientCertificateV2Check
from watchword_server.configuration.document.conditions import AccessGroup, DevicePosture, Email, EmailDomain, Ip
from watchword_server.configuration.document.conditions import Everyone as EveryoneEntry
from watchword_server.configuration.document.conditions import Group as InGroupEntry
from watchword_server.configuration.document.conditions import Policy as PolicyEntry
from watchword_server.configuration.document.conditions import Selector as SelectorEntry
from watchword_server.configuration.document.gateway import GatewayRule as GatewayRuleEntry
from watchword_server.configuration.document.gateway import host_in_traffic
from watchword_server.configuration.document.sections import Setting
from watchword_server.core.model import (
    CertificateId,
    Check,
    CheckId,
    ClientCertificateConfig,
    OnClone,
    Outcome,
    SigningCertificate,
    Trust,
)
from watchword_server.core.rules import (
    Application,
    Assertion,
    Caller,
    Conditions,
    EmailDomainIs,
    EmailIs,
    Everyone,
    GatewayAction,
    GatewayRule,
    Group,
    InGroup,
    IpIn,
    Policy,
    PolicyDecision,
    PostureCheckPassed,
    RuleSet,
    Selector,
)
from watchword_server.errors import ConfigurationError, Problem
from watchword_server.ports import StoredObject


def build_rule_set(objects: Sequence[StoredObject], revision: int) -> RuleSet:
    """The rule set of all stored entries; without a stored `unmatched`, deny. Lists have no part in it yet.

    Raises `ConfigurationError` if an entry is not valid, or if they do not hold together.
    """
    placed = read_objects(objects)
    problems = inconsistencies(placed)
    if problems:
        raise ConfigurationError(problems)
    certificate_revisions = {item.stored.id: item.stored.revision for item in placed if item.section is Section.CERTIFICATES}
    certificates = [_certificate(item.stored, item.entry) for item in placed if isinstance(item.entry, Certificate)]
    checks = [
        _check(item.stored, item.entry, certificate_revisions)
        for item in placed
        if isinstance(item.entry, ClientCertificateV2Check | ClientCertificateCheck)
    ]
    policies = [_policy(item.stored, item.entry) for item in placed if isinstance(item.entry, PolicyEntry)]
    groups = [_group(item.stored, item.entry) for item in placed if isinstance(item.entry, AccessGroup)]
    return RuleSet(
        revision=revision,
        certificates={certificate.id: certificate for certificate in certificates},
        checks={check.id: check for check in checks},
        applications=tuple(_application(item.stored, item.entry) for item in placed if isinstance(item.entry, ApplicationEntry)),
        policies={policy.id: policy for policy in policies},
        groups={group.id: group for group in groups},
        gateway_rules=tuple(
            _gateway_rule(item.stored, item.entry) for item in placed if isinstance(item.entry, GatewayRuleEntry)
        ),
        callers=tuple(_caller(item.stored, item.entry) for item in placed if isinstance(item.entry, CallerEntry)),
        unmatched=_unmatched(placed),
    )


# ---- Certificates and checks ------------------------------------------------------------------------------------------


def _certificate(stored: StoredObject, entry: Certificate) -> SigningCertificate:
    der = signing_certificate(entry.pem).public_bytes(Encoding.DER)
    return SigningCertificate(CertificateId(stored.id), stored.name, der)


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
    )


# ---- Access -----------------------------------------------------------------------------------------------------------


def _policy(stored: StoredObject, entry: PolicyEntry) -> Policy:
    return Policy(stored.id, stored.name, PolicyDecision(entry.decision), _conditions(entry))


def _group(stored: StoredObject, entry: AccessGroup) -> Group:
    return Group(stored.id, stored.name, _conditions(entry))


def _application(stored: StoredObject, entry: ApplicationEntry) -> Application:
    return Application(stored.id, stored.name, entry.domain, tuple(entry.policies))


def _conditions(entry: PolicyEntry | AccessGroup) -> Conditions:
    return Conditions(
        include=tuple(map(_selector, entry.include)),
        require=tuple(map(_selector, entry.require)),
        exclude=tuple(map(_selector, entry.exclude)),
    )


def _selector(entry: SelectorEntry) -> Selector:
    match entry:
        case SelectorEntry(email=Email(email=email)):
            return EmailIs(email.casefold())
        case SelectorEntry(email_domain=EmailDomain(domain=domain)):
            return EmailDomainIs(domain.casefold())
        case SelectorEntry(ip=Ip(ip=ip)):
            return IpIn(ip_network(ip))
        case SelectorEntry(device_posture=DevicePosture(integration_uid=check_id)):
            return PostureCheckPassed(CheckId(check_id))
        case SelectorEntry(group=InGroupEntry(id=group_id)):
            return InGroup(group_id)
        case SelectorEntry(everyone=EveryoneEntry()):
            return Everyone()
        case _:  # it has exactly one key, and each is above; never let an unknown one count as everyone
            raise ConfigurationError([Problem((), f"the selector `{entry.kind}` cannot be built: update the server")])


# ---- The rest ---------------------------------------------------------------------------------------------------------


def _gateway_rule(stored: StoredObject, entry: GatewayRuleEntry) -> GatewayRule:
    return GatewayRule(
        id=stored.id,
        name=stored.name,
        precedence=entry.precedence,
        enabled=entry.enabled,
        action=GatewayAction(entry.action),
        host=host_in_traffic(entry.traffic),
    )


def _caller(stored: StoredObject, entry: CallerEntry) -> Caller:
    secret, mtls = entry.authenticate.secret_sha256, entry.authenticate.mtls
    return Caller(
        id=stored.id,
        name=stored.name,
        may_assert=frozenset(map(Assertion, entry.may_assert)),
        resolvers=tuple(dict.fromkeys(entry.resolvers)),
        identity_header=None if entry.identity is None else entry.identity.email_header,
        secret_sha256=None if secret is None else bytes.fromhex(secret),
        subject_alternative_name=None if mtls is None else mtls.san,
        unix_socket=entry.authenticate.unix_socket is True,
    )


def _unmatched(placed: Sequence[Placed]) -> Outcome:
    return next((Outcome(item.entry.value) for item in placed if isinstance(item.entry, Setting)), Outcome.DENY)
