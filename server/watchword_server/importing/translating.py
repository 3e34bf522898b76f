"""An account as a rule document. What cannot be said here is left out by name, and nothing is wider for it.

Leaving out narrows almost everywhere, but not everywhere: a `deny` policy takes something away from those behind it, an
application keeps its hosts from a wider one, and a Gateway rule that blocks stands before a default that allows. So an
application without one of its `deny` policies lets nobody in, one that cannot be taken over keeps its hosts and lets nobody in,
and a rule that blocks goes without the parts that are not understood, which blocks more.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from watchword_server.configuration.book import EMPTY_BOOK
from watchword_server.configuration.document.base import Entry, Section, quoted
from watchword_server.configuration.document.destinations import normalized
from watchword_server.configuration.document.expressions import Reading
from watchword_server.configuration.document.lists import fits_behind_a_dollar_sign, like_a_list_name
from watchword_server.configuration.document.sections import body_of, read_entry, validate_document
from watchword_server.configuration.plan import plan_changes
from watchword_server.configuration.references import Reference, references, with_ids
from watchword_server.core.gateway import PARTS
from watchword_server.errors import ConfigurationError, Problem
from watchword_server.importing.account import Account, Wire
from watchword_server.importing.report import Fate, Report

_MADE_BY_THE_SERVER: Final = frozenset({
    "id", "uid", "aud", "created_at", "updated_at", "deleted_at", "uploaded_on", "expires_on", "version", "enabled", "count",
    "reusable", "app_count", "precedence", "read_only", "sharable", "source_account", "warning_status", "issuer", "serial_number",
    "signature", "name", "api",
})  # fmt: skip
_CHECK: Final = ("type", "description", "schedule", "match", "input")
_LIST: Final = ("type", "description")
_CONDITIONS: Final = ("description", "include", "require", "exclude")
_POLICY_NARROWING: Final = (
    *("approval_required", "approval_groups", "purpose_justification_required", "isolation_required", "mfa_config"),
    "connection_rules",
)
_APPLICATION: Final = ("type", "description", "domain", "destinations", "self_hosted_domains", "policies")
_APPLICATION_NARROWING: Final = ("allowed_idps", "mfa_config", "read_service_tokens_from_header")
_RULE: Final = ("description", "enabled", "filters", "action", "precedence", *PARTS)
_SERVED: Final = ("http", "l4")
_DO_LESS_THAN_ALLOW: Final = frozenset({"redirect", "isolate", "quarantine", "l4_override"})
_BEHIND: Final = 2**31  # a policy without a precedence comes after those that have one


class UntranslatableError(Exception):
    """What is left does not hold together, and leaving out one more would make something wider; the message names it."""


def translated(account: Account, report: Report) -> dict[str, list[dict[str, object]]]:
    """The document, section by section; what is not as it was is in the report. Raises `UntranslatableError`."""
    without: dict[tuple[Section, str], str] = {}
    while True:
        attempt = Report()
        translation = _Translation(account, attempt, without)
        document = translation.document()
        problems = _problems(document)
        if not problems:
            report.items += attempt.items
            return document
        for problem in problems:
            section, index = Section(str(problem.path[0])), int(problem.path[1])
            name = str(document[section.value][index]["name"])
            if section in (Section.APPLICATIONS, Section.GATEWAY_RULES):
                raise UntranslatableError(f"{section.singular} {quoted(name)}: {problem.message}; change it in the account")
            without[section, translation.id_of(section, name)] = problem.message


def _problems(document: Mapping[str, object]) -> Sequence[Problem]:
    """What does not hold together."""
    try:
        plan_changes(validate_document(document), EMPTY_BOOK, new_id=lambda: str(uuid.uuid4()), prune=False)
    except ConfigurationError as error:
        return [problem for problem in error.problems if len(problem.path) > 1] or error.problems
    return ()


class _Translation:
    def __init__(self, account: Account, report: Report, without: Mapping[tuple[Section, str], str]) -> None:
        self._account = account
        self._report = report
        self._without = without
        self._names: dict[tuple[Section, str], str] = {}  # of what is taken over, by the account's id
        self._ids: dict[tuple[Section, str], str] = {}  # of what is taken over, without dashes, to the account's
        self._known = self._all_names()
        self._list_references: dict[str, str] = {}
        self._document: dict[str, list[dict[str, object]]] = {}

    def document(self) -> dict[str, list[dict[str, object]]]:
        for absent in self._account.absent:
            self._report.add(Fate.LEFT_OUT, absent, "all", "the account does not tell them")
        for wire in self._account.certificates:
            self._certificate(wire)
        for wire in self._account.checks:
            self._check(wire)
        for wire in self._account.lists:
            self._list(wire)
        for wire in self._account.service_tokens:
            name = self._take(Section.SERVICE_TOKENS, wire, {})
            if name is not None:
                why = f"its secret is not told: issue a new one by `watchword token create --service {quoted(name)}`"
                self._report.add(Fate.CHANGED, "service token", name, why.replace("``", "`"))
        for wire in _groups_in_order(self._account.groups):
            self._ignored("group", wire, _CONDITIONS)
            self._take(Section.GROUPS, wire, _part(wire, _CONDITIONS))
        for wire in self._account.policies:
            self._policy(wire)
        for wire in self._account.applications:
            self._application(wire)
        for wire in sorted(self._account.gateway_rules, key=lambda wire: wire.get("precedence") or 0):
            self._gateway_rule(wire)
        return self._document

    def id_of(self, section: Section, name: str) -> str:
        """The account's id of an entry of the document."""
        return next(entry_id for entry_id, known in self._known[section].items() if known == name)

    # ---- One of each ------------------------------------------------------------------------------------------------------

    def _certificate(self, wire: Wire) -> None:
        if wire.get("type") not in (None, "custom"):
            self._left_out(Section.CERTIFICATES, wire, f"it is the provider's own (`{wire.get('type')}`), not an uploaded one")
        elif not wire.get("ca"):
            self._left_out(Section.CERTIFICATES, wire, "it is no CA's certificate (`ca: false`): it signs no client certificate")
        else:
            self._take(Section.CERTIFICATES, wire, {"pem": wire.get("certificates")})

    def _check(self, wire: Wire) -> None:
        self._ignored("check", wire, (*_CHECK, "expiration"))
        body = _part(wire, _CHECK)
        if wire.get("expiration") is not None:
            body["expiration"] = wire["expiration"] or "never"
        else:
            body["expiration"] = "never"  # the account's default: valid until it is overwritten
        if not body.get("schedule"):
            body.pop("schedule", None)
        if isinstance(body.get("input"), dict):
            body["input"] = {key: value for key, value in body["input"].items() if value is not None and value != ""}
        self._take(Section.CHECKS, wire, body)

    def _list(self, wire: Wire) -> None:
        self._ignored("list", wire, (*_LIST, "items"))
        items = [_part(item, ("value", "description")) for item in wire.get("items") or ()]
        name = self._name(Section.LISTS, wire)
        extra = {}
        if not fits_behind_a_dollar_sign(name):
            like = like_a_list_name(name) or "list"
            extra = {"reference": _unique(like, {*self._list_references.values(), *self._known[Section.LISTS].values()})}
        self._list_references[wire["id"]] = str(extra.get("reference", name))
        self._take(Section.LISTS, wire, {**_part(wire, _LIST), **extra, "items": items})

    def _policy(self, wire: Wire) -> None:
        narrowed = self._narrowed(wire, _POLICY_NARROWING)
        if narrowed:
            self._left_out(Section.POLICIES, wire, narrowed)
            return
        self._ignored("policy", wire, ("decision", *_CONDITIONS, *_POLICY_NARROWING))
        self._take(Section.POLICIES, wire, _part(wire, ("decision", *_CONDITIONS)))

    def _application(self, wire: Wire) -> None:
        body = _part(wire, ("description",))
        body["type"] = "self_hosted"
        hosts, private = _hosts(wire)
        if not hosts:
            self._left_out(Section.APPLICATIONS, wire, f"it covers no public host (`type: {wire.get('type')}`)")
            return
        body["destinations"] = [{"type": "public", "uri": host} for host in hosts]
        name = self._name(Section.APPLICATIONS, wire)
        if private:
            self._report.add(
                Fate.CHANGED, "application", name, "its destinations that are not public are left out: no door serves them"
            )
        why = "" if wire.get("type") == "self_hosted" else f"`type: {wire.get('type')}` is not supported"
        why = why or self._narrowed(wire, _APPLICATION_NARROWING)
        policies: list[dict[str, object]] = []
        for policy in sorted(wire.get("policies") or (), key=lambda each: each.get("precedence") or _BEHIND):
            found, fault = self._policy_of(policy)
            if found is not None:
                policies.append({**found, "precedence": len(policies) + 1})
            elif policy.get("decision") in ("allow", "bypass", "non_identity"):
                self._report.add(Fate.LEFT_OUT, "policy", f"{name}: {policy.get('name', '')}", fault)
            else:
                why = (
                    why
                    or f"its policy {quoted(str(policy.get('name', '')))} takes something away and cannot be taken over: {fault}"
                )
        self._ignored("application", wire, (*_APPLICATION, *_APPLICATION_NARROWING))
        if not why:
            why = self._fault(Section.APPLICATIONS, wire, {**body, "policies": policies})
        if not why:
            self._take(Section.APPLICATIONS, wire, {**body, "policies": policies})
            return
        self._report.add(Fate.CLOSED, "application", name, why)
        if self._fault(Section.APPLICATIONS, wire, body):
            body["destinations"] = [{"type": "public", "uri": host} for host in _whole_hosts(hosts)]
        self._take(Section.APPLICATIONS, wire, body)

    def _policy_of(self, policy: Wire) -> tuple[dict[str, object] | None, str]:
        """A policy as it stands in an application, or why it cannot."""
        if policy.get("reusable"):
            name = self._names.get((Section.POLICIES, policy["id"]))
            return (None, "it is left out") if name is None else ({"id": policy["id"]}, "")
        fault = self._narrowed(policy, _POLICY_NARROWING)
        body = {"name": str(policy.get("name", "")), **_part(policy, ("decision", *_CONDITIONS))}
        if fault:
            return None, fault
        try:
            entry = read_entry(Section.POLICIES, str(body["name"]), {k: v for k, v in body.items() if k != "name"}, Reading())
            self._named(entry)
        except (ConfigurationError, _MissingError) as error:
            return None, _told(error)
        self._ignored("policy", policy, ("decision", *_CONDITIONS, *_POLICY_NARROWING))
        return {"name": entry.name, **body_of(entry)}, ""

    def _gateway_rule(self, wire: Wire) -> None:
        body = _part(wire, _RULE)
        served = body.get("filters") in (["http"], ["l4"])
        enabled = body.get("enabled") is True
        name = self._name(Section.GATEWAY_RULES, wire)
        kept = (*_RULE, "rule_settings", "schedule", "expiration")
        self._ignored("gateway rule", wire, kept)
        if not (served and enabled):
            if enabled:
                self._report.add(
                    Fate.CHANGED, "gateway rule", name, f"no door serves {body.get('filters')}: kept, and not enabled"
                )
            self._take(Section.GATEWAY_RULES, wire, {**body, "enabled": False})
            return
        session = (wire.get("rule_settings") or {}).get("check_session")
        timed = [key for key in ("schedule", "expiration") if wire.get(key)]
        action, why = str(body.get("action")), ""
        if isinstance(session, dict) and session.get("enforce"):
            why = "it asks for a fresh session (`rule_settings.check_session`), which nobody can here"
        elif action in _DO_LESS_THAN_ALLOW:
            why = f"no door of this server does `{action}`"
        elif action not in ("allow", "block"):
            self._report.add(Fate.CHANGED, "gateway rule", name, f"no door of this server does `{action}`: kept, and not enabled")
            self._take(Section.GATEWAY_RULES, wire, {**body, "enabled": False})
            return
        if timed and action == "allow" and not why:
            self._left_out(Section.GATEWAY_RULES, wire, f"`{timed[0]}` is not supported")
            return
        if timed:
            why = why or f"`{timed[0]}` is not supported: it blocks at any time"
        if action == "allow" and not why:
            self._take(Section.GATEWAY_RULES, wire, body)
            return
        self._blocking(wire, {**body, "action": "block"}, name, why)

    def _blocking(self, wire: Wire, body: dict[str, Any], name: str, why: str) -> None:
        """A rule that blocks, without the parts that are not understood here."""
        for part in PARTS:
            alone = {key: value for key, value in body.items() if key not in PARTS or key == part}
            fault = self._fault(Section.GATEWAY_RULES, wire, alone) if body.get(part) else ""
            if fault:
                del body[part]
                why = f"{why}; {fault}" if why else fault
        if why:
            self._report.add(Fate.BLOCKS_MORE, "gateway rule", name, why)
        self._take(Section.GATEWAY_RULES, wire, body)

    # ---- What they share --------------------------------------------------------------------------------------------------

    def _take(self, section: Section, wire: Wire, body: Mapping[str, Any]) -> str | None:
        """Into the document, with names in place of ids; or left out, with why. The name, if it was taken."""
        name = self._name(section, wire)
        if (section, wire["id"]) in self._without:
            self._left_out(section, wire, self._without[section, wire["id"]])
            return None
        try:
            entry = read_entry(section, name, body, Reading())
            named = self._named(entry)
        except (ConfigurationError, _MissingError) as error:
            self._left_out(section, wire, _told(error))
            return None
        reference = {"reference": body["reference"]} if "reference" in body else {}
        self._document.setdefault(section.value, []).append({"name": name, **reference, **named})
        self._names[section, wire["id"]] = name
        self._ids[section, _undashed(wire["id"])] = wire["id"]
        return name

    def _fault(self, section: Section, wire: Wire, body: Mapping[str, Any]) -> str:
        """Why it cannot be taken; empty if it can."""
        try:
            self._named(read_entry(section, self._name(section, wire), body, Reading()))
        except (ConfigurationError, _MissingError) as error:
            return _told(error)
        return ""

    def _named(self, entry: Entry) -> dict[str, object]:
        """The body with names in place of ids. Raises `_MissingError` for what was not taken over."""
        return with_ids(body_of(entry), [(reference, self._name_of(reference)) for reference in references(entry)])

    def _name_of(self, reference: Reference) -> str:
        section, given = reference.section, reference.value
        entry_id = self._ids.get((section, _undashed(given)))
        if entry_id is not None:
            in_expression = section is Section.LISTS and reference.within is not None
            return self._list_references[entry_id] if in_expression else self._names[section, entry_id]
        known = self._known[section].get(given)
        written = quoted(given if known is None else known)
        raise _MissingError(f"it names {written}, a {section.singular} that is not taken over")

    def _name(self, section: Section, wire: Wire) -> str:
        return self._known[section][wire["id"]]

    def _all_names(self) -> dict[Section, dict[str, str]]:
        """A name for each entry, unique in its section."""
        found: dict[Section, dict[str, str]] = {}
        for section, wires in self._account.sections.items():
            names = found.setdefault(section, {})
            for wire in wires:
                said = wire.get("name") or wire.get("domain") or f"{section.singular}-{wire['id'][:8]}"
                tidy = (
                    "".join(char for char in str(said) if char.isprintable()).strip()[:340]
                    or f"{section.singular}-{wire['id'][:8]}"
                )
                names[wire["id"]] = _unique(tidy, set(names.values()))
                if names[wire["id"]] != said and wire.get("name"):
                    why = f"it was {quoted(str(said))}: a name has to be its own, and printable"
                    self._report.add(Fate.CHANGED, section.singular, names[wire["id"]], why)
        return found

    def _narrowed(self, wire: Wire, keys: Iterable[str]) -> str:
        found = [key for key in keys if wire.get(key)]
        return f"`{found[0]}` is not enforced here, so that it would allow more than it says" if found else ""

    def _ignored(self, kind: str, wire: Wire, known: Iterable[str]) -> None:
        """What decides nothing here is told, if it says anything."""
        keys = [
            key
            for key, value in wire.items()
            if key not in {*known, *_MADE_BY_THE_SERVER} and value not in (None, False, "", [], {})
        ]
        if keys:
            self._report.add(
                Fate.CHANGED, kind, str(wire.get("name", "")), f"without {', '.join(quoted(key) for key in sorted(keys))}"
            )

    def _left_out(self, section: Section, wire: Wire, why: str) -> None:
        self._report.add(Fate.LEFT_OUT, section.singular, self._name(section, wire), why)


def _undashed(entry_id: str) -> str:
    return entry_id.replace("-", "").lower()


class _MissingError(Exception):
    """A reference to what was not taken over."""


def _told(error: Exception) -> str:
    if isinstance(error, ConfigurationError):
        problem = error.problems[0]
        place = ".".join(str(step) for step in problem.path[2:])
        return f"{place}: {problem.message}" if place else problem.message
    return str(error)


def _part(wire: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Of these keys, those that say something."""
    return {key: wire[key] for key in keys if wire.get(key) is not None}


def _unique(name: str, taken: set[str]) -> str:
    number, found = 2, name
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    return found


def _hosts(wire: Wire) -> tuple[list[str], bool]:
    """What an application covers, each once; and whether there is more that is not public."""
    said = [wire["domain"]] if isinstance(wire.get("domain"), str) and wire["domain"] else []
    destinations = [each for each in wire.get("destinations") or () if isinstance(each, dict)]
    public = [each["uri"] for each in destinations if each.get("type", "public") == "public" and isinstance(each.get("uri"), str)]
    others = [] if destinations else [host for host in wire.get("self_hosted_domains") or () if isinstance(host, str)]
    found: dict[str, str] = {}
    for host in [*said, *public, *others]:
        try:
            found.setdefault(normalized(host), host)
        except ValueError:
            found.setdefault(host, host)
    return list(found.values()), len(public) < len(destinations)


def _whole_hosts(hosts: Iterable[str]) -> list[str]:
    """The hosts alone, without what of them cannot be said here."""
    return list(
        dict.fromkeys(host.partition("://")[2] or host for host in (each.split("/")[0].split(":")[0] for each in hosts) if host)
    )


def _groups_in_order(groups: tuple[Wire, ...]) -> list[Wire]:
    """Those first that others name."""
    waiting, done, ordered = list(groups), set[str](), list[Wire]()
    ids = {wire["id"] for wire in groups}
    while waiting:
        ready = [wire for wire in waiting if _named_groups(wire) & ids <= done]
        if not ready:
            return [*ordered, *waiting]  # a circle: refused one by one
        ordered += ready
        done |= {wire["id"] for wire in ready}
        waiting = [wire for wire in waiting if wire["id"] not in done]
    return ordered


def _named_groups(wire: Wire) -> set[str]:
    selectors = [
        selector for key in ("include", "require", "exclude") for selector in wire.get(key) or () if isinstance(selector, dict)
    ]
    return {str(found.get("id")) for selector in selectors if isinstance(found := selector.get("group"), dict)}
