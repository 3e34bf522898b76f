"""The engines of `peers.py`: each makes the same decisions from the same rules, in the form that is best for it.

An engine turns a question into what its call takes (`prepare`, timed apart), and that into the decision (`decide`). Every engine
runs in a process of its own and imports only itself.
"""

import ctypes
import importlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.peer_policy import HostRule, Question

_ANY_LENGTH: Final = {
    "max_file_bytes": 1 << 30,
    "max_lines": 1 << 24,
    "max_col": 1 << 20,
}  # regorus refuses long files by default


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that has loaded its rules."""

    prepare: Callable[[Question], Any]
    decide: Callable[[Any], bool]


Loader = Callable[[Sequence[HostRule]], Engine]


def watchword(rules: Sequence[HostRule]) -> Engine:
    """An application with a policy of its own a host, through `decide()`."""
    ours = importlib.import_module("benchmarks.peer_watchword")
    return Engine(ours.prepare, ours.decider(rules))


# ---- Rego -----------------------------------------------------------------------------------------------------------------

_REGO_HEAD: Final = "package posture\nimport rego.v1\ndefault allow := false\n"
_REGO_TABLE: Final = (
    _REGO_HEAD
    + """allow if {
  rule := data.hosts[input.host]
  endswith(input.email, concat("", ["@", rule.domain]))
  input.device.checks[rule.check] == true
}
"""
)


def _rego_rules(rules: Sequence[HostRule]) -> str:
    return _REGO_HEAD + "".join(
        f'allow if {{\n  input.host == "{rule.host}"\n  endswith(input.email, "@{rule.domain}")\n'
        f"  input.device.checks.{rule.check} == true\n}}\n"
        for rule in rules
    )


def _rego_data(rules: Sequence[HostRule]) -> dict[str, object]:
    return {"hosts": {rule.host: {"domain": rule.domain, "check": rule.check} for rule in rules}}


def opa_rules(rules: Sequence[HostRule]) -> Engine:
    """OPA's own engine, a rule a host: its rule index finds it."""
    return _opa(_rego_rules(rules), None)


def opa_table(rules: Sequence[HostRule]) -> Engine:
    """OPA's own engine, one rule and a table of hosts as data."""
    return _opa(_REGO_TABLE, _rego_data(rules))


def _opa(policy: str, data: Mapping[str, object] | None) -> Engine:
    """The Go library is called without the wrapper's JSON: 10 to 20 µs less. Its answer is the text of one result."""
    opa = importlib.import_module("opa_bindings").OpaEngine()
    opa.add_policy("posture.rego", policy)
    if data is not None:
        opa.add_data(data)
    evaluate, free, handle = opa._lib.OpaEvalDocument, opa._lib.OpaFreeString, opa._handle  # noqa: SLF001 - see above

    def decide(document: bytes) -> bool:
        answer = evaluate(handle, b"posture.allow", document, 0, 0)
        text = ctypes.string_at(answer)
        free(answer)
        return b'"value":true' in text

    decide.keeps_alive = opa  # type: ignore[attr-defined]  # what the handle belongs to
    return Engine(lambda question: json.dumps(question.as_input).encode(), decide)


def regorus_rules(rules: Sequence[HostRule]) -> Engine:
    """Regorus, interpreted, a rule a host: it looks at each."""
    return _regorus(_rego_rules(rules), None)


def regorus_table(rules: Sequence[HostRule]) -> Engine:
    """Regorus, interpreted, one rule and a table."""
    return _regorus(_REGO_TABLE, _rego_data(rules))


def _regorus(policy: str, data: Mapping[str, object] | None) -> Engine:
    engine = importlib.import_module("regorus").Engine()
    engine.set_policy_length_config(**_ANY_LENGTH)
    engine.add_policy("posture.rego", policy)
    if data is not None:
        engine.add_data_json(json.dumps(data))

    def decide(document: str) -> bool:
        engine.set_input_json(document)
        return engine.eval_rule("data.posture.allow") is True

    return Engine(_json, decide)


def regorus_vm(rules: Sequence[HostRule]) -> Engine:
    """Regorus compiled for its virtual machine, one rule and a table; with a rule a host it crashes at 10,000."""
    regorus, data = importlib.import_module("regorus"), json.dumps(_rego_data(rules))
    program = regorus.Program.compile_from_modules(data, [("posture.rego", _REGO_TABLE)], ["data.posture.allow"])
    machine = regorus.Rvm()
    machine.load_program(program)
    machine.set_data_json(data)

    def decide(document: str) -> bool:
        machine.set_input_json(document)
        return machine.execute() == "true"  # type: ignore[no-any-return]  # the package has no types

    return Engine(_json, decide)


def _json(question: Question) -> str:
    return json.dumps(question.as_input)


# ---- Cedar ----------------------------------------------------------------------------------------------------------------


def cedar_rules(rules: Sequence[HostRule]) -> Engine:
    """Cedar, a permit a host: it looks at each."""
    policies = "".join(
        f'permit(principal, action == Action::"access", resource == Host::"{rule.host}") '
        f'when {{ context.email like "*@{rule.domain}" && context.checks.{rule.check} }};\n'
        for rule in rules
    )
    return _cedar(policies, [], lambda question: {"email": question.email, "checks": dict(question.checks)})


def cedar_table(rules: Sequence[HostRule]) -> Engine:
    """Cedar, one permit and the hosts as entities. It cannot make a pattern of data: the email's domain is cut out for it."""
    policy = (
        'permit(principal, action == Action::"access", resource is Host) '
        "when { context.domain == resource.domain && context.passed.contains(resource.check) };"
    )
    hosts: list[object] = [
        {"uid": {"type": "Host", "id": rule.host}, "attrs": {"domain": rule.domain, "check": rule.check}, "parents": []}
        for rule in rules
    ]
    return _cedar(
        policy,
        hosts,
        lambda question: {
            "domain": question.email.rpartition("@")[2],
            "passed": [check for check, passed in question.checks.items() if passed],
        },
    )


def _cedar(policies: str, entities: list[object], context: Callable[[Question], dict[str, object]]) -> Engine:
    cedar = importlib.import_module("cedarpy")
    parsed = cedar.PolicySet.from_str(policies)
    known = cedar.Entities.from_json_str(json.dumps(entities))

    def prepare(question: Question) -> dict[str, str]:
        return {
            "principal": f'User::"{question.email}"',
            "action": 'Action::"access"',
            "resource": f'Host::"{question.host}"',
            "context": json.dumps(context(question)),
        }

    def decide(request: dict[str, str]) -> bool:
        return cedar.is_authorized(request, parsed, known).allowed  # type: ignore[no-any-return]  # the package has no types

    return Engine(prepare, decide)


# ---- Casbin and CEL ---------------------------------------------------------------------------------------------------------

_CASBIN_MODEL: Final = """[request_definition]
r = host, email, checks
[policy_definition]
p = host, domain, check
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.host == p.host && in_domain(r.email, p.domain) && passes(r.checks, p.check)
"""


def casbin_linear(rules: Sequence[HostRule]) -> Engine:
    """Casbin as most use it: the matcher on every policy."""
    return _casbin(rules, None)


def casbin_indexed(rules: Sequence[HostRule]) -> Engine:
    """Casbin's `FastEnforcer`, which finds the policies by the host first."""
    return _casbin(rules, [0])


def _casbin(rules: Sequence[HostRule], cache_key_order: list[int] | None) -> Engine:
    casbin = importlib.import_module("casbin")
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "model.conf"
        model.write_text(_CASBIN_MODEL)
        enforcer = casbin.FastEnforcer(str(model), cache_key_order=cache_key_order)
    enforcer.add_function("in_domain", lambda email, domain: email.endswith("@" + domain))
    enforcer.add_function("passes", lambda checks, check: checks.get(check) is True)
    enforcer.add_policies([[rule.host, rule.domain, rule.check] for rule in rules])
    return Engine(
        lambda question: (question.host, question.email, question.checks),
        lambda question: enforcer.enforce(*question) is True,
    )


def cel(rules: Sequence[HostRule]) -> Engine:
    """CEL in C++, a typed expression a host, found by hand in a dictionary: CEL has no rules, only expressions."""
    library = importlib.import_module("cel_expr_python.cel")
    kinds = library.Type
    environment = library.NewEnv(variables={"email": kinds.STRING, "checks": kinds.Map(kinds.STRING, kinds.BOOL)})
    by_host = {rule.host: environment.compile(f'email.endsWith("@{rule.domain}") && checks["{rule.check}"]') for rule in rules}

    def prepare(question: Question) -> tuple[str, Any]:
        return question.host, environment.Activation({"email": question.email, "checks": dict(question.checks)})

    def decide(prepared: tuple[str, Any]) -> bool:
        expression = by_host.get(prepared[0])
        return expression is not None and expression.eval(prepared[1]).value() is True

    return Engine(prepare, decide)


def python(rules: Sequence[HostRule]) -> Engine:
    """The floor: the same question answered by hand, with no reasons, no expiry and nothing that could be configured."""
    by_host = {rule.host: (f"@{rule.domain}", rule.check) for rule in rules}

    def decide(question: Question) -> bool:
        rule = by_host.get(question.host)
        return rule is not None and question.email.endswith(rule[0]) and question.checks.get(rule[1]) is True

    return Engine(lambda question: question, decide)


ENGINES: Final[Mapping[str, Loader]] = {
    "watchword": watchword,
    "python by hand": python,
    "cel, looked up by hand": cel,
    "regorus vm, table": regorus_vm,
    "regorus, table": regorus_table,
    "regorus, rules": regorus_rules,
    "opa, table": opa_table,
    "opa, rules": opa_rules,
    "cedar, table": cedar_table,
    "cedar, rules": cedar_rules,
    "casbin, indexed": casbin_indexed,
    "casbin, linear": casbin_linear,
}
