"""Scenario files: rules, standing and a request, and what has to come of it (docs/rehearsal.md)."""

import datetime as dt
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, field_validator

from watchword_server.configuration.directories import UnusableDirectoryError, yaml_files
from watchword_server.configuration.document.base import Model, Name, Refused, did_you_mean, faults, one_of, quoted
from watchword_server.configuration.document.durations import parse_seconds
from watchword_server.configuration.document.evidence import Binding
from watchword_server.configuration.document.expressions import DEFAULT_LANGUAGE
from watchword_server.configuration.document.problems import problems_of
from watchword_server.configuration.document.values import email_address
from watchword_server.configuration.yaml_file import RuleFile, read_rule_file
from watchword_server.core.facts import REPORTABLE, is_about_the_user
from watchword_server.core.model.devices import KeyProtection
from watchword_server.core.rules import LanguageSettings, RuleSet
from watchword_server.errors import ConfigurationError, Problem
from watchword_server.rehearsal.reasons import DECISION_REASONS, LINK_REASONS
from watchword_server.rehearsal.requests import Target, address_of, target_of
from watchword_server.rehearsal.snapshots import LoadedRules, RefusedFileError, load_rules
from watchword_server.services.facts import fact_value

_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_OF_THE_USER = "identity."
_MEANING_EMAIL = frozenset({"mail", "e-mail", "email_address", "user", "address"})

# ---- The format ---------------------------------------------------------------------------------------------------------


def _seconds(value: object) -> object:
    if isinstance(value, str):
        return parse_seconds(value)
    raise ValueError("an age is written like `60s`, `5m` or `1h30m`")


def _instant(text: str) -> str:
    try:
        if dt.datetime.fromisoformat(text).tzinfo is not None:
            return text
    except ValueError:
        pass
    raise ValueError(f"{quoted(text)} is not a time with its zone: write one like `2026-11-23T12:00:00Z`")


def _known_fact(name: str) -> str:
    if name not in REPORTABLE:
        raise ValueError(f"{quoted(name)} is no fact that a caller reports: {did_you_mean(name, REPORTABLE)}")
    return name


def _typed(facts: dict[str, Any]) -> dict[str, Any]:
    found: list[tuple[tuple[str | int, ...], str]] = []
    for name, value in facts.items():
        try:
            fact_value(_known_fact(name), value)
        except ValueError as error:
            found.append(((name,), str(error)))
    if found:
        raise faults(found)
    return facts


def _method(text: str) -> str:
    if not _METHOD.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a method: write it in capitals, like `GET`")
    return text


def _address(text: str) -> str:
    address_of(text)
    return text


def _url(text: str) -> str:
    target_of(text)
    return text


_Text = Annotated[str, Field(min_length=1, max_length=2000)]


def _reason(known: Collection[str], text: str) -> str:
    if text not in known:
        remedy = did_you_mean(text, known).replace("look for its name in the reference", "docs/reasons.md has them")
        raise ValueError(f"{quoted(text)} is no reason that it can have: {remedy}")
    return text


_LinkReason = Annotated[_Text, AfterValidator(partial(_reason, LINK_REASONS))]
_DecisionReason = Annotated[_Text, AfterValidator(partial(_reason, DECISION_REASONS))]


class Result(Model):
    """The newest result of a check: passed or failed, so long ago. `level` stands in for the device's `strength`."""

    passed: bool
    age: Annotated[int, BeforeValidator(_seconds)]
    reason: _Text | None = None
    level: Annotated[Literal["proven", "signed", "reported"], one_of("proven", "signed", "reported")] | None = None


class Certificate(Model):
    """The client certificate on the connection. `refused`: with this reason, and so the link is invalid."""

    common_name: _Text | None = None
    refused: _LinkReason | None = None


def _true(value: bool) -> bool:  # noqa: FBT001 - the value of the field
    if not value:
        raise ValueError("a token that is not refused has a name: write it, or `refused: true`")
    return value


class RefusedToken(Model):
    """A service token that is unknown, wrong, expired or half there."""

    refused: Annotated[bool, AfterValidator(_true)]


def _token(value: object) -> object:
    """Chooses the model first, so that a problem is told of that model alone."""
    if isinstance(value, Refused | RefusedToken):
        return value
    if isinstance(value, dict):
        return RefusedToken.model_validate(value)
    if not isinstance(value, str) or not value:
        raise ValueError("it is not the name of a service token: write one, or `{ refused: true }`")
    return value


class Device(Model):
    """The device of the request. `strength` is how well its results are known, `binding` how the request is bound to it.

    `proven: false`: by a certificate that it does not prove any more.
    `key_protection`: what its agent claims of its own key. `owner`: the email address of the user whose it is.
    """

    id: Annotated[str, Field(min_length=1, max_length=200)]
    strength: Annotated[Literal["proven", "signed", "reported"], one_of("proven", "signed", "reported")] = "proven"
    binding: Annotated[Binding, one_of(*get_args(Binding))] = "certificate"
    state: Annotated[Literal["active", "pending", "revoked"], one_of("active", "pending", "revoked")] = "active"
    proven: bool = True
    owner: _Text | None = None
    key_protection: Annotated[str, one_of(*KeyProtection)] | None = None
    results: dict[str, Result] = Field(default_factory=dict)


class Request(Model):
    """What the client asked for."""

    wanted: ClassVar = {"url": "write one like `https://wiki.corp.example/pages/7`"}

    method: Annotated[str, AfterValidator(_method)] = "GET"
    url: Annotated[str, Field(max_length=16_384), AfterValidator(_url)]
    source_ip: Annotated[str, AfterValidator(_address)] | None = None

    @property
    def target(self) -> Target:
        """The parts of `url`."""
        return target_of(self.url)


class Expect(Model):
    """What the decision has to be; what is not named may be anything. `reported`: exactly these would have matched."""

    wanted: ClassVar = {"decision": "write `allow` or `deny`"}

    decision: Annotated[Literal["allow", "deny"], one_of("allow", "deny")]
    reason: _DecisionReason | None = None
    policy: _Text | None = None
    gateway_rule: _Text | None = None
    application: _Text | None = None
    check: _Text | None = None
    reported: list[_Text] | None = None


class Scenario(Model):
    """One request and what has to come of it.

    `identity` holds the user's `email` and facts about the user, named without `identity.` in front. Without `caller` whatever
    the scenario says may be asserted; with it, only what its entry in the rules lets it assert.
    """

    hints: ClassVar = {"user": "`user` is not known here: write `identity: { email: … }`"}

    name: Name
    description: Annotated[str, Field(max_length=2000)] = ""
    device: Device | None = None
    certificate: Certificate | None = None
    identity: dict[str, Any] | None = None
    facts: dict[str, Any] = Field(default_factory=dict)
    service_token: Annotated[_Text | RefusedToken, BeforeValidator(_token)] | None = None
    caller: _Text | None = None
    request: Request
    expect: Expect

    @field_validator("facts")
    @classmethod
    def _known_facts(cls, facts: dict[str, Any]) -> dict[str, Any]:
        return _typed(facts)

    @field_validator("identity")
    @classmethod
    def _a_user(cls, identity: dict[str, Any] | None) -> dict[str, Any] | None:
        if identity is None:
            return None
        email = identity.get("email")
        if email is not None and not isinstance(email, str):
            raise faults([(("email",), "it has to be text: write one email address")])
        if email is not None:
            try:
                email_address(email)
            except ValueError as error:
                raise faults([(("email",), str(error))]) from None
        known = ["email", *(fact.removeprefix(_OF_THE_USER) for fact in REPORTABLE if is_about_the_user(fact))]
        found: list[tuple[tuple[str | int, ...], str]] = []
        for name, value in identity.items():
            if name not in known:
                hint = did_you_mean(name, known) if name not in _MEANING_EMAIL else "write the user's address as `email`"
                found.append(((name,), f"{quoted(name)} is not known of a user: {hint}"))
            elif name != "email":
                try:
                    fact_value(_OF_THE_USER + name, value)
                except ValueError as error:
                    found.append(((name,), str(error)))
        if found:
            raise faults(found)
        return identity

    @property
    def token(self) -> str | None:
        """The name of the service token that the request carries, valid."""
        return self.service_token if isinstance(self.service_token, str) else None

    @property
    def email(self) -> str | None:
        """The user's, as it is compared."""
        email = (self.identity or {}).get("email")
        return email.casefold() if isinstance(email, str) else None

    @property
    def all_facts(self) -> dict[str, Any]:
        """Those of the request and those of the user, by the names of `core/facts.py`, as JSON."""
        of_the_user = {f"{_OF_THE_USER}{name}": value for name, value in (self.identity or {}).items() if name != "email"}
        return {**self.facts, **of_the_user}


class ScenarioDocument(Model):
    """A scenario file as it is written."""

    wanted: ClassVar = {
        "rules": "write the path of a rule file, from here",
        "now": "write the time that it is, such as `2026-11-23T12:00:00Z`",
        "scenarios": "write at least one, with `name`, `request` and `expect`",
    }

    rules: _Text
    now: Annotated[str, AfterValidator(_instant)]
    scenarios: Annotated[list[Scenario], Field(min_length=1, max_length=10_000)]

    @field_validator("scenarios")
    @classmethod
    def _unique_names(cls, scenarios: list[Scenario], info: ValidationInfo) -> list[Scenario]:
        del info
        seen: set[str] = set()
        found: list[tuple[tuple[str | int, ...], str]] = []
        for index, scenario in enumerate(scenarios):
            if scenario.name in seen:
                found.append(((index, "name"), f"{quoted(scenario.name)} is the name of another scenario: write another name"))
            seen.add(scenario.name)
        if found:
            raise faults(found)
        return scenarios


# ---- Reading one ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScenarioFile:
    """A scenario file with the rules it is about. `now` is in seconds since the epoch."""

    name: str
    rules: LoadedRules
    now: float
    scenarios: tuple[Scenario, ...]


def load_scenarios(
    path: Path, *, rules: Sequence[Path] | None = None, language: LanguageSettings = DEFAULT_LANGUAGE
) -> ScenarioFile:
    """Reads a scenario file and the rule file, or the directory of them, that it names; `rules` stand in for those.

    Raises `RefusedFileError` with every problem of the first of the two that has any.
    """
    file = read_rule_file(path)
    try:
        found = _validated(file)
        if rules is None:
            rules = _rule_files(path.parent / found.rules, found.rules)
        loaded = load_rules(*rules, language=language)
        problems = list(_unknown_names(found.scenarios, loaded.snapshot.rules))
        if problems:
            raise ConfigurationError(problems)
    except ConfigurationError as error:
        raise RefusedFileError(file.explain(error)) from None
    now = dt.datetime.fromisoformat(found.now).timestamp()
    return ScenarioFile(file.name, loaded, now, tuple(found.scenarios))


def _rule_files(path: Path, written: str) -> Sequence[Path]:
    if not path.is_file() and not path.is_dir():
        message = f"{quoted(written)} cannot be read: there is no such file; write its path from here"
        raise ConfigurationError([Problem(("rules",), message)])
    try:
        return yaml_files([path])
    except UnusableDirectoryError as error:
        raise ConfigurationError([Problem(("rules",), str(error))]) from None


def _validated(file: RuleFile) -> ScenarioDocument:
    problems = list(file.text.problems)
    if file.text.readable:
        try:
            found = ScenarioDocument.model_validate(file.text.value)
        except ValidationError as error:
            told = {problem.path for problem in problems}
            problems += [problem for problem in problems_of(error) if problem.path not in told]
        else:
            if not problems:
                return found
    raise ConfigurationError(problems)


def _unknown_names(scenarios: Sequence[Scenario], rules: RuleSet) -> Iterator[Problem]:
    """Every name in a scenario that is no entry of the rules: it can only be a mistake."""
    names = names_of(rules)
    for index, scenario in enumerate(scenarios):
        path = ("scenarios", index)
        expect = scenario.expect
        wanted = [
            *(
                ((*path, "device", "results", check), "checks", check)
                for check in (scenario.device.results if scenario.device else ())
            ),
            ((*path, "service_token"), "service_tokens", scenario.token),
            ((*path, "caller"), "callers", scenario.caller),
            ((*path, "expect", "policy"), "policies", expect.policy),
            ((*path, "expect", "gateway_rule"), "gateway_rules", expect.gateway_rule),
            ((*path, "expect", "application"), "applications", expect.application),
            ((*path, "expect", "check"), "checks", expect.check),
            *(((*path, "expect", "reported", place), "reported", name) for place, name in enumerate(expect.reported or ())),
        ]
        for place, section, name in wanted:
            if name is not None and name not in names[section]:
                what = _SINGULAR[section]
                yield Problem(place, f"{quoted(name)} is no {what} of the rules: {did_you_mean(name, names[section])}")


_SINGULAR = {
    "checks": "check",
    "service_tokens": "service token",
    "callers": "caller",
    "policies": "policy",
    "gateway_rules": "enabled Gateway rule",
    "applications": "application",
    "reported": "policy or enabled Gateway rule",
}


def names_of(rules: RuleSet) -> dict[str, Collection[str]]:
    """The names of the entries, by section; `reported` are those of all that may be report_only."""
    own = [policy.name for application in rules.applications for policy in application.policies if not isinstance(policy, str)]
    policies = {*(policy.name for policy in rules.policies.values()), *own}
    gateway_rules = {rule.name for rule in rules.gateway_rules}
    return {
        "checks": {check.name for check in rules.checks.values()},
        "service_tokens": {token.name for token in rules.service_tokens.values()},
        "callers": {caller.name for caller in rules.callers},
        "policies": policies,
        "gateway_rules": gateway_rules,
        "applications": {application.name for application in rules.applications},
        "reported": policies | gateway_rules,
    }


def asserted_facts(scenario: Scenario, *, identity: bool, facts: bool) -> dict[str, Any]:
    """The facts that a caller may report which may assert identity, or facts."""
    return {name: value for name, value in scenario.all_facts.items() if (identity if is_about_the_user(name) else facts)}
