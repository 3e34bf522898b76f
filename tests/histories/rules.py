"""The rules of a history: a small state that events change, and the document that says the same to the server."""

from dataclasses import dataclass, field, replace
from typing import Any, Final

from histories.pool import Pool

APPLICATIONS: Final = {"wiki": "first", "pay": "first", "lab": "second"}  # and the check that each asks for
IDENTITY: Final = "ada@corp.example"


@dataclass(frozen=True, slots=True)
class CheckRules:
    """What a check asks for. `expiration` None: never; `common_name` None: any."""

    ca: str = "one"
    common_name: str | None = None
    usages: tuple[str, ...] = ("clientAuth",)
    proof: bool = True
    trust: str = "issuer"
    revocation: str = "prefer"
    on_clone: str = "fail"
    schedule: int = 300
    expiration: int | None = 900


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """What an application asks of the evidence. None: nothing."""

    max_age: int | None = None
    level: str | None = None


@dataclass(frozen=True, slots=True)
class RulesState:
    """All rules at one moment."""

    cas: frozenset[str] = frozenset({"one", "two"})
    checks: dict[str, CheckRules] = field(
        default_factory=lambda: {"first": CheckRules(), "second": CheckRules(on_clone="flag", expiration=300, schedule=60)}
    )
    policies: dict[str, PolicyRules] = field(
        default_factory=lambda: {"wiki": PolicyRules(), "pay": PolicyRules(120, "proven"), "lab": PolicyRules()}
    )

    def with_check(self, name: str, **values: Any) -> "RulesState":
        """One check changed; results never expire before the next are due."""
        check = replace(self.checks[name], **values)
        if check.expiration is not None:
            check = replace(check, expiration=max(check.expiration, check.schedule))
        return replace(self, checks={**self.checks, name: check})

    def with_policy(self, name: str, policy: PolicyRules) -> "RulesState":
        """One application asks for something else."""
        return replace(self, policies={**self.policies, name: policy})

    def without_ca(self, name: str) -> "RulesState":
        """A CA removed; the checks that ask for it ask for the other one from now on."""
        (other,) = {"one", "two"} - {name}
        checks = {check: replace(rules, ca=other) if rules.ca == name else rules for check, rules in self.checks.items()}
        return replace(self, cas=frozenset({other}), checks=checks)


_documents: Final[dict[object, dict[str, Any]]] = {}


def document(state: RulesState, pool: Pool) -> dict[str, Any]:
    """The rule file that says `state`; the same object for the same, so do not change it."""
    question = (id(pool), state.cas, tuple(state.checks.items()), tuple(state.policies.items()))
    if question not in _documents:
        _documents[question] = _document(state, pool)
    return _documents[question]


def _document(state: RulesState, pool: Pool) -> dict[str, Any]:
    return {
        "certificates": [{"name": name, "pem": pool.authorities[name].pem.decode()} for name in sorted(state.cas)],
        "checks": [_check(name, rules) for name, rules in state.checks.items()],
        "policies": [_policy(name, rules) for name, rules in state.policies.items()],
        "applications": [
            {"name": name, "type": "self_hosted", "domain": f"{name}.corp.example", "policies": [name]} for name in APPLICATIONS
        ],
        "callers": [
            {
                "name": "edge",
                "authenticate": {"secret_sha256": "00" * 32},
                "may_assert": ["client_certificate"],
                "resolvers": ["client_certificate"],
            }
        ],
        "unmatched": "deny",
    }


def _check(name: str, rules: CheckRules) -> dict[str, Any]:
    return {
        "name": name,
        "type": "client_certificate_v2",
        "match": [{"platform": "linux"}],
        "schedule": f"{rules.schedule}s",
        "expiration": "never" if rules.expiration is None else f"{rules.expiration}s",
        "input": {
            "operating_system": "linux",
            "certificate_id": rules.ca,
            **({} if rules.common_name is None else {"cn": rules.common_name}),
            "extended_key_usage": list(rules.usages),
            "check_private_key": rules.proof,
            "trust": rules.trust,
            "revocation": rules.revocation,
            "on_clone": rules.on_clone,
            "locations": {"paths": ["/etc/corp/client.pem", "/etc/corp/client.key"]},
        },
    }


def _policy(name: str, rules: PolicyRules) -> dict[str, Any]:
    evidence = {
        **({} if rules.max_age is None else {"max_age": f"{rules.max_age}s"}),
        **({} if rules.level is None else {"level": rules.level}),
    }
    return {
        "name": name,
        "decision": "allow",
        "include": [{"everyone": {}}],
        "require": [{"device_posture": {"integration_uid": APPLICATIONS[name]}}],
        **({"evidence": evidence} if evidence else {}),
    }
