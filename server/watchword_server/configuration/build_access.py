"""Applications, policies, groups and their selectors, as decisions read them."""

from ipaddress import ip_network

from watchword_server.configuration.document import selectors as written
from watchword_server.configuration.document.applications import Application as ApplicationEntry
from watchword_server.configuration.document.applications import PolicyLink, precedence_of
from watchword_server.configuration.document.conditions import AccessGroup, InlinePolicy
from watchword_server.configuration.document.conditions import Policy as PolicyEntry
from watchword_server.configuration.document.destinations import destination_of
from watchword_server.configuration.document.evidence import Evidence
from watchword_server.core import facts
from watchword_server.core.certificates.names import lower_case
from watchword_server.core.model.decisions import ResolutionStrength
from watchword_server.core.model.names import CheckId
from watchword_server.core.model.results import EvidenceLevel
from watchword_server.core.rules import (
    NO_DEMAND,
    AnyClientCertificate,
    AnyServiceToken,
    Application,
    CommonNameIs,
    Conditions,
    DeviceOwner,
    EmailDomainIs,
    EmailInList,
    EmailIs,
    Everyone,
    EvidenceDemand,
    FactHas,
    FactIs,
    Group,
    InGroup,
    IpIn,
    IpInList,
    Policy,
    PolicyDecision,
    PostureCheckPassed,
    Selector,
    ServiceTokenIs,
)
from watchword_server.errors import ConfigurationError, Problem
from watchword_server.ports.rules import StoredObject


def build_application(stored: StoredObject, entry: ApplicationEntry) -> Application:
    """An application; its policies by ascending precedence, those without one after them in the order of the list."""
    destinations = dict.fromkeys(destination_of(text) for _, text in entry.covered())
    last = max(filter(None, map(precedence_of, entry.policies)), default=0) + 1
    numbered = sorted(enumerate(entry.policies, start=1), key=lambda item: precedence_of(item[1]) or last)
    policies = tuple(_in_application(stored, number, policy) for number, policy in numbered)
    return Application(stored.id, stored.name, tuple(destinations), policies)


def _in_application(stored: StoredObject, number: int, policy: str | PolicyLink | InlinePolicy) -> str | Policy:
    match policy:
        case str():
            return policy
        case PolicyLink():
            return policy.id
        case InlinePolicy():
            return _policy(f"{stored.id}/{number}", policy.name or f"policy {number} of {stored.name}", policy)


def build_policy(stored: StoredObject, entry: PolicyEntry) -> Policy:
    """A reusable policy."""
    return _policy(stored.id, stored.name, entry)


def build_group(stored: StoredObject, entry: AccessGroup) -> Group:
    """A group."""
    return Group(stored.id, stored.name, _conditions(entry))


def build_demand(evidence: Evidence | None) -> EvidenceDemand:
    """What an entry's `evidence` asks for."""
    if evidence is None:
        return NO_DEMAND
    level = "proven" if evidence.level == "hardware" else evidence.level
    return EvidenceDemand(
        level=None if level is None else EvidenceLevel(level),
        max_age_seconds=evidence.max_age_seconds,
        hardware_key=evidence.level == "hardware",
        binding=ResolutionStrength[(evidence.binding or "none").upper()],
    )


def _policy(policy_id: str, name: str, entry: PolicyEntry | InlinePolicy) -> Policy:
    decision = PolicyDecision(entry.decision)
    return Policy(policy_id, name, decision, _conditions(entry), build_demand(entry.evidence), entry.report_only)


def _conditions(entry: PolicyEntry | InlinePolicy | AccessGroup) -> Conditions:
    return Conditions(
        include=tuple(map(build_selector, entry.include)),
        require=tuple(map(build_selector, entry.require)),
        exclude=tuple(map(build_selector, entry.exclude)),
    )


def build_selector(entry: written.Selector) -> Selector:
    """A selector. Those on facts that only a caller can know read them by the names of `core/facts.py`."""
    match entry.value:
        case written.Everyone():
            return Everyone()
        case written.Group(id=group_id):
            return InGroup(group_id)
        case written.Email(email=email):
            return EmailIs(email.casefold())
        case written.EmailDomain(domain=domain):
            return EmailDomainIs(domain.casefold())
        case written.EmailList(id=list_id):
            return EmailInList(list_id)
        case written.Ip(ip=ip):
            return IpIn(ip_network(ip))
        case written.IpList(id=list_id):
            return IpInList(list_id)
        case written.DevicePosture(integration_uid=check_id, evidence=evidence):
            return PostureCheckPassed(CheckId(check_id), build_demand(evidence))
        case written.DeviceOwner():
            return DeviceOwner()
        case written.Certificate():
            return AnyClientCertificate()
        case written.CommonName(common_name=common_name):
            return CommonNameIs(lower_case(common_name))
        case written.ServiceToken(token_id=token_id):
            return ServiceTokenIs(token_id)
        case written.AnyValidServiceToken():
            return AnyServiceToken()
        case _:
            return _on_a_fact(entry)


def _on_a_fact(entry: written.Selector) -> Selector:
    kind = entry.kind
    match entry.value:
        case written.Geo(country_code=code):
            return FactIs(kind, facts.COUNTRY, frozenset({code.encode()}))
        case written.LoginMethod(id=provider):
            return FactIs(kind, facts.LOGIN_METHOD, frozenset({provider.encode()}))
        case written.UserRiskScore(user_risk_score=scores):
            return FactIs(kind, facts.USER_RISK_SCORE, frozenset(score.encode() for score in scores))
        case written.AuthMethod(auth_method=method):
            return FactHas(kind, facts.AUTH_METHODS, method.encode())
        case written.AuthContext(ac_id=context, identity_provider_id=provider):
            return FactHas(kind, facts.AUTH_CONTEXTS, context.encode(), provider_id=provider)
        case written.AzureAd(id=group, identity_provider_id=provider):
            return FactHas(kind, f"{facts.GROUPS}.id", group.encode(), provider_id=provider)
        case written.Okta(name=group, identity_provider_id=provider):
            return FactHas(kind, f"{facts.GROUPS}.name", group.encode(), provider_id=provider)
        case written.Gsuite(email=group, identity_provider_id=provider):
            return FactHas(kind, f"{facts.GROUPS}.email", group.encode(), provider_id=provider)
        case written.GithubOrganization(name=name, team=team, identity_provider_id=provider):
            value = name if team is None else f"{name}/{team}"
            return FactHas(kind, facts.GITHUB_ORGANIZATIONS, value.encode(), provider_id=provider)
        case written.Saml(attribute_name=name, attribute_value=value, identity_provider_id=provider):
            return FactHas(kind, facts.SAML_ATTRIBUTES, value.encode(), name.encode(), provider)
        case written.Oidc(claim_name=name, claim_value=value, identity_provider_id=provider):
            return FactHas(kind, facts.OIDC_CLAIMS, f"{name}={value}".encode(), provider_id=provider)
        case written.ExternalEvaluation(evaluate_url=url):
            return FactHas(kind, facts.EXTERNAL_EVALUATIONS, url.encode())
        case written.LinkedAppToken(app_uid=application):
            return FactHas(kind, facts.LINKED_APP_TOKENS, application.encode())
        case written.CloudflareAccountMember(account_id=account):
            return FactHas(kind, facts.ACCOUNTS, None if account is None else account.encode())
        case _:  # it has exactly one key, and each is above; never let an unknown one count as everyone
            raise ConfigurationError([Problem((), f"the selector `{kind}` cannot be built: update the server")])
