"""Envoy: each chain of filters has to ask, no route may leave the question out, and no failure may be taken for an answer."""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watchword_server.core.answer_headers import OWNED_HEADERS
from watchword_server.inspection.findings import (
    ACME,
    IDENTITY_HEADER,
    PATIENCE_SECONDS,
    Code,
    Finding,
    believed,
    forgeable,
    not_ours,
    passed_on,
    slow,
    spelled,
    underscored,
    unread,
)
from watchword_server.inspection.marked import Marked, UnreadableError, read_marked

_MANAGER: Final = "http_connection_manager"
_FORWARDED_CERTIFICATE: Final = "x-forwarded-client-cert"
_AS_CLIENTS_SAY: Final = frozenset({"FORWARD_ONLY", "APPEND_FORWARD", "ALWAYS_FORWARD_ONLY"})
_MILLIONS: Final = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
_ASK: Final = "put `envoy.filters.http.ext_authz` in front of the router, as deploy/envoy/envoy.yaml does"


def inspect(file: Path) -> Iterator[Finding]:
    """All findings of a bootstrap, or of a file of listeners or routes."""
    try:
        tree = read_marked(file)
    except UnreadableError as error:
        yield unread(error.place, str(error))
        return
    address = tree["admin.address.socket_address.address"]
    if address and not _is_loopback(address.text):
        yield Finding(
            Code.ADMIN_OPEN,
            address.place,
            "whoever reaches the admin interface reads and changes this proxy",
            "bind it to 127.0.0.1, or to a unix socket",
        )
    for name in ("lds_config", "ads_config"):
        source = tree["dynamic_resources"][name]
        if source:
            yield unread(source.place, "listeners come from somewhere else")
    resources = list(tree["resources"].each())
    for listener in [*tree["static_resources.listeners"].each(), *(each for each in resources if each["filter_chains"])]:
        for chain in [*listener["filter_chains"].each(), listener["default_filter_chain"]]:
            if chain:
                yield from _Chain(chain).findings()
    for routes in (each for each in resources if each["virtual_hosts"]):
        yield from _left_out(routes, {"ext_authz"})


@dataclass(frozen=True, slots=True)
class _Chain:
    """A filter chain of a listener."""

    chain: Marked

    def findings(self) -> Iterator[Finding]:
        filters = list(self.chain["filters"].each())
        managers = [each for each in filters if _is(each, _MANAGER)]
        for manager in managers:
            yield from _Http(manager["typed_config"], self.takes_any_certificate()).findings()
        if not managers:
            yield from self._connections(filters)

    def takes_any_certificate(self) -> Marked | None:
        """Where it says that certificates of nobody's are taken."""
        context = self.chain["transport_socket.typed_config.common_tls_context"]
        for name in ("validation_context", "combined_validation_context.default_validation_context"):
            if context[name]["trust_chain_verification"].text == "ACCEPT_UNTRUSTED":
                return context[name]["trust_chain_verification"]
        required = self.chain["transport_socket.typed_config.require_client_certificate"]
        verified = ("validation_context", "combined_validation_context", "validation_context_sds_secret_config")
        return required if required.says_yes and not any(context[name] for name in verified) else None

    def _connections(self, filters: list[Marked]) -> Iterator[Finding]:
        asking = next((each["typed_config"] for each in filters if _is(each, "ext_authz")), None)
        if asking is None:
            yield Finding(
                Code.NOT_ASKED,
                self.chain.place,
                "its connections are passed on without asking",
                "put `envoy.filters.network.ext_authz` first, as deploy/envoy/envoy-tcp.yaml does",
            )
            return
        yield from _fails_open(asking)
        yield from _waits(asking)
        untrusted = self.takes_any_certificate()
        if untrusted is not None and not asking["include_peer_certificate"].says_yes:
            yield _not_verified(untrusted)
        for each in filters:
            if _is(each, "tcp_proxy") and each["typed_config.upstream_connect_mode"].text != "ON_DOWNSTREAM_DATA":
                yield Finding(
                    Code.SPEAKS_BEFORE_ALLOWED,
                    each.place,
                    "the service is connected, and what it says first is passed on, before Watchword is asked",
                    "write `upstream_connect_mode: ON_DOWNSTREAM_DATA` and a `max_early_data_bytes`",
                )


@dataclass(frozen=True, slots=True)
class _Http:
    """An HTTP connection manager."""

    manager: Marked
    untrusted: Marked | None

    def findings(self) -> Iterator[Finding]:
        filters = list(self.manager["http_filters"].each())
        for each in filters:
            if each["config_discovery"]:
                yield unread(each.place, "this filter comes from somewhere else")
        asking = [each for each in filters if _is(each, "ext_authz")]
        if not asking and self._answers_itself():
            return
        yield from self._headers()
        if not asking:
            yield Finding(Code.NOT_ASKED, self.manager.place, "its requests are answered without asking", _ASK)
        routes = self.manager["route_config"]
        for source in (self.manager["rds"], self.manager["scoped_routes"]):
            if source:
                yield unread(source.place, "routes come from somewhere else")
        yield from _left_out(routes, {each["name"].text for each in asking})
        for each in asking:
            before = filters[: filters.index(each)]
            yield from self._question(each, _Removed(self.manager, before))
        if self.untrusted is not None:
            yield from self._passed_on(routes)

    def _answers_itself(self) -> bool:
        """As one that sends everybody to HTTPS."""
        routes = [route for host in self.manager["route_config.virtual_hosts"].each() for route in host["routes"].each()]
        return bool(routes) and all(
            route["redirect"] or route["direct_response"] or route["match.prefix"].text.startswith(ACME) for route in routes
        )

    def _headers(self) -> Iterator[Finding]:
        """What any client could say here."""
        if self.manager["common_http_protocol_options.headers_with_underscores_action"].text not in {
            "DROP_HEADER",
            "REJECT_REQUEST",
        }:
            remedy = "write `headers_with_underscores_action: DROP_HEADER` in `common_http_protocol_options`"
            yield underscored(self.manager.place, remedy)
        forwarded = self.manager["forward_client_cert_details"]
        if forwarded.text in _AS_CLIENTS_SAY:
            yield believed(forwarded.place, ["X-Forwarded-Client-Cert"], "write SANITIZE or SANITIZE_SET")

    def _question(self, filter_: Marked, removed: "_Removed") -> Iterator[Finding]:
        asking = filter_["typed_config"]
        if filter_["disabled"].says_yes:
            yield Finding(Code.NOT_ASKED, filter_["disabled"].place, "the filter is there, and off", "leave `disabled` out")
        yield from _fails_open(asking)
        yield from _waits(asking)
        for name in ("filter_enabled", "filter_enabled_metadata"):
            if asking[name] and not _always(asking[name]):
                yield Finding(
                    Code.PARTLY_ASKED,
                    asking[name].place,
                    "some requests are let in without asking",
                    "leave it out: a public path is a `bypass` policy",
                )
        http = asking["http_service"]
        asserted = [IDENTITY_HEADER]
        if http:
            asserted += [_FORWARDED_CERTIFICATE] if self.manager["forward_client_cert_details"].text != "SANITIZE_SET" else []
            asserted += ["x-forwarded-for"] if not self.manager["use_remote_address"].says_yes else []
            missing = not_ours(filter(removed.has, OWNED_HEADERS))
            if missing:
                yield forgeable(
                    filter_.place, missing, "remove them early: `remove_on_match: { key_matcher: { prefix: x-watchword } }`"
                )
        open_ = [spelled(name) for name in asserted if _passes(asking, name) and not removed.has(name)]
        if open_:
            yield believed(filter_.place, open_, "remove them in `early_header_mutation_extensions`, as deploy/envoy/ does")
        if self.untrusted is not None:
            details = self.manager["set_current_client_cert_details.cert"]
            if not (details.says_yes if http else asking["include_peer_certificate"].says_yes):
                yield _not_verified(self.untrusted)

    def _passed_on(self, routes: Marked) -> Iterator[Finding]:
        if self.manager["forward_client_cert_details"].text in {"", "SANITIZE"}:
            return
        remedy = "write it in `request_headers_to_remove`, or verify certificates here"
        for host in routes["virtual_hosts"].each():
            for route in host["routes"].each():
                named = {
                    each.text.lower() for level in (routes, host, route) for each in level["request_headers_to_remove"].each()
                }
                if route["route"] and _FORWARDED_CERTIFICATE not in named:
                    yield passed_on(route.place, remedy)


@dataclass(frozen=True, slots=True)
class _Removed:
    """Which headers of a client's are gone, or replaced, when the filter asks."""

    manager: Marked
    before: list[Marked]

    def has(self, name: str) -> bool:
        early = [each["typed_config"]["mutations"] for each in self.manager["early_header_mutation_extensions"].each()]
        filters = [each["typed_config.mutations.request_mutations"] for each in self.before]
        return any(self._does(mutation, name) for mutations in (*early, *filters) for mutation in mutations.each()) or any(
            told.text.lower() == name for each in self.before for told in self._set_by(each["typed_config"])
        )

    def _does(self, mutation: Marked, name: str) -> bool:
        if mutation["remove"].text.lower() == name:
            return True
        append = mutation["append"]
        if append["header.key"].text.lower() == name and append["append_action"].text.startswith("OVERWRITE"):
            return True
        return _matches(mutation["remove_on_match.key_matcher"], name)

    def _set_by(self, config: Marked) -> Iterator[Marked]:
        yield config["forward_username_header"]
        for provider in dict(config["providers"].items()).values():
            yield provider["forward_payload_header"]
            for claim in provider["claim_to_headers"].each():
                yield claim["header_name"]


def _matches(matcher: Marked, name: str) -> bool:
    value = {kind: matcher[kind].text.lower() for kind in ("exact", "prefix", "suffix", "contains")}
    regex = matcher["safe_regex.regex"].text
    return (
        (bool(value["exact"]) and name == value["exact"])
        or (bool(value["prefix"]) and name.startswith(value["prefix"]))
        or (bool(value["suffix"]) and name.endswith(value["suffix"]))
        or (bool(value["contains"]) and value["contains"] in name)
        or (bool(regex) and _full_match(regex, name))
    )


def _full_match(regex: str, name: str) -> bool:
    try:
        return re.fullmatch(regex, name) is not None
    except re.error:
        return False


def _passes(asking: Marked, name: str) -> bool:
    """Whether the question carries a header of the request's."""
    allowed = list(asking["allowed_headers.patterns"].each())
    older = list(asking["http_service.authorization_request.allowed_headers.patterns"].each())
    if not allowed and not older:
        return not asking["http_service"]  # gRPC: all; HTTP: none besides the request's own line
    return any(_matches(pattern, name) for pattern in [*allowed, *older])


def _left_out(routes: Marked, names: set[str]) -> Iterator[Finding]:
    """A route, a virtual host or a cluster's weight that switches the question off."""
    for overrides in routes.everywhere("typed_per_filter_config"):
        for name, override in overrides.items():
            about = name in names or "ext_authz" in name or "ExtAuthzPerRoute" in override["@type"].text
            if about and (override["disabled"].says_yes or override["config.disabled"].says_yes):
                yield Finding(
                    Code.NOT_ASKED,
                    override.place,
                    "what is routed here is answered without asking",
                    "leave `disabled` out: a public path is a `bypass` policy",
                )


def _fails_open(asking: Marked) -> Iterator[Finding]:
    if asking["failure_mode_allow"].says_yes:
        yield Finding(
            Code.FAILS_OPEN,
            asking["failure_mode_allow"].place,
            "while Watchword does not answer, everybody is let in",
            "write `failure_mode_allow: false`",
        )


def _waits(asking: Marked) -> Iterator[Finding]:
    for timeout in (asking["grpc_service.timeout"], asking["http_service.server_uri.timeout"]):
        seconds = re.fullmatch(r"([0-9.]+)s", timeout.text)
        if timeout and seconds is not None and not 0 < float(seconds[1]) <= PATIENCE_SECONDS:
            yield slow(timeout.place, "write `timeout: 0.5s`")


def _not_verified(untrusted: Marked) -> Finding:
    return Finding(
        Code.CERTIFICATE_NOT_VERIFIED,
        untrusted.place,
        "certificates of nobody's are accepted here, and Watchword is not given them to verify",
        "write `include_peer_certificate: true` (over HTTP: SANITIZE_SET with `cert: true`), or verify here: VERIFY_TRUST_CHAIN",
    )


def _always(enabled: Marked) -> bool:
    share = enabled["default_value"]
    return share["numerator"].text == str(_MILLIONS.get(share["denominator"].text or "HUNDRED"))


def _is(filter_: Marked, kind: str) -> bool:
    """By its type; where there is none, by its name."""
    type_ = filter_["typed_config.@type"].text
    return f".{kind}." in f".{type_ or filter_['name'].text}."


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
