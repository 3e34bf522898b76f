"""Caddy: `forward_auth` guards what comes after it, and what does is a matter of order."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from watchword_server.core.answer_headers import OWNED_HEADERS
from watchword_server.inspection.caddyfile import Caddyfile, CaddyfileError, Directive
from watchword_server.inspection.findings import (
    EVERYBODY,
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

_SERVES: Final = frozenset({"reverse_proxy", "file_server", "php_fastcgi", "php_server", "cgi", "invoke"})
_SORTED: Final = frozenset({"handle", "handle_path"})
_CERTIFICATE: Final = "x-client-cert-der"
_UNVERIFIED: Final = frozenset({"request", "require"})
_OF_A_CERTIFICATE: Final = "{http.request.tls.client."


def inspect(file: Path) -> Iterator[Finding]:
    """All findings of a Caddyfile and of what it imports."""
    try:
        read = Caddyfile.read(file)
    except CaddyfileError as error:
        yield unread(replace(error.place, line=max(1, error.place.line)), str(error))
        return
    for problem in read.problems:
        yield unread(problem.place, str(problem))
    for option in _deep(read.options):
        yield from _option(option)
    for site in read.sites:
        yield from _Site(site).findings()


def _option(option: Directive) -> Iterator[Finding]:
    match option:
        case Directive("admin", (address, *_)) if not re.match(r"off$|localhost\b|127\.|\[::1\]|unix/", address):
            yield Finding(
                Code.ADMIN_OPEN,
                option.place,
                "whoever reaches the admin interface changes this proxy",
                "write `admin off`, or an address of loopback",
            )
        case Directive("trusted_proxies", args) if EVERYBODY & set(args):
            names = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"]
            yield believed(option.place, names, "name the proxies in front of this one, and nobody else")
        case Directive("order", (name, *_)) if name in _SERVES or name == "forward_auth":
            yield unread(option.place, "the order of directives is another one")


@dataclass(frozen=True, slots=True)
class _Passed:
    """What happened to a request so far."""

    asked: bool = False
    headers: tuple[Directive, ...] = ()

    def removes(self, name: str, *more: Directive) -> bool:
        return any(_does(each.args, name) for each in (*self.headers, *more))


@dataclass(frozen=True, slots=True)
class _Site:
    site: Directive

    def findings(self) -> Iterator[Finding]:
        yield from self._walk(self.site.block, _Passed(), in_order=False)

    def _walk(self, directives: Sequence[Directive], passed: _Passed, *, in_order: bool) -> Iterator[Finding]:
        if not in_order:  # Caddy's own order: headers first, then the question, then all that answers
            rank = {"request_header": 0, "forward_auth": 1}
            directives = sorted(directives, key=lambda each: rank.get(each.name, 2))
        for each in directives:
            match each.name:
                case "request_header" if not _matcher(each):
                    passed = replace(passed, headers=(*passed.headers, each))
                case "forward_auth" if _asks(each):
                    yield from self._question(each, passed)
                    passed = replace(passed, asked=not _matcher(each) or passed.asked)
                case "route":
                    yield from self._walk(each.block, passed, in_order=True)
                    if not _matcher(each) and any(_asks(inner) and not _matcher(inner) for inner in each.own("forward_auth")):
                        passed = replace(passed, asked=True)
                case "handle_errors" if _shows_a_page(each):
                    continue
                case "handle_errors":  # what happens when Watchword does not answer, among others
                    yield from self._walk(each.block, replace(passed, asked=False), in_order=False)
                case name if name in _SORTED:
                    yield from self._walk(each.block, passed, in_order=False)
                case name if name in _SERVES:
                    yield from self._served(each, passed)

    def _served(self, handler: Directive, passed: _Passed) -> Iterator[Finding]:
        if not passed.asked:
            yield Finding(
                Code.NOT_ASKED,
                handler.place,
                f"`{handler.name}` answers without asking",
                "write `forward_auth` in front of it in a `route`, without a matcher, as deploy/caddy/Caddyfile does",
            )
        if not passed.removes("x_watchword_user", *handler.own("header_up")):
            yield underscored(handler.place, "write `request_header -*_*` before")
        if self._takes_any_certificate():
            for each in (*passed.headers, *handler.own("header_up")):
                if any(_OF_A_CERTIFICATE in arg for arg in each.args):
                    yield passed_on(each.place, "leave it out, or write `mode verify_if_given`")

    def _question(self, asking: Directive, passed: _Passed) -> Iterator[Finding]:
        if _matcher(asking):
            yield Finding(
                Code.PARTLY_ASKED,
                asking.place,
                f"requests that `{asking.args[0]}` does not match are let in without asking",
                "leave the matcher out: a public path is a `bypass` policy",
            )
        for response in asking.own("handle_response"):
            if any(each.name in _SERVES for each in _deep(response.block)):
                yield Finding(Code.DENIAL_UNDONE, response.place, "a denial is answered by something else", "leave it out")
        told = asking.own("header_up")
        copied = {name for each in asking.own("copy_headers") for name in _copied(each)}
        missing = not_ours(name for name in OWNED_HEADERS if name in copied or passed.removes(name))
        if missing:
            yield forgeable(asking.place, missing, "name each in `copy_headers`; Caddy 2.11.4 or newer removes what is left out")
        open_ = [spelled(name) for name in (_CERTIFICATE, IDENTITY_HEADER) if not passed.removes(name, *told)]
        if open_:
            yield believed(asking.place, open_, "set them by `header_up`, or remove them by `request_header -…` before")
        for each in told:
            header = re.search(r"\{http\.request\.header\.([A-Za-z0-9-]+)\}|\{header\.([A-Za-z0-9-]+)\}", " ".join(each.args))
            if header is not None and not passed.removes((header[1] or header[2]).lower()):
                yield believed(each.place, [header[1] or header[2]], "set it from what Caddy knows itself")
        transport = next((each for each in asking.own("transport")), None)
        waits = [each for each in (transport.block if transport else ()) if each.name == "response_header_timeout"]
        if not waits or not waits[0].args or _seconds(waits[0].args[0]) > PATIENCE_SECONDS:
            yield slow(asking.place, "write `transport http { response_header_timeout 500ms … }`")

    def _takes_any_certificate(self) -> bool:
        return any(each.name == "mode" and set(each.args) & _UNVERIFIED for each in _deep(self.site.own("tls")))


def _shows_a_page(errors: Directive) -> bool:
    """Whether one file a status is all that is shown, as for `rewrite * /{err.status_code}.html`."""
    serving = {each.name for each in _deep(errors.block)} & _SERVES
    return serving == {"file_server"} and any(each.args[:1] == ("*",) for each in errors.own("rewrite"))


def _asks(directive: Directive) -> bool:
    """Whether Watchword is who is asked."""
    return any(arg.startswith("/v1/authz/") for each in directive.own("uri") for arg in each.args)


def _matcher(directive: Directive) -> str:
    """Empty: every request."""
    first = directive.args[0] if directive.args else ""
    return first if first.startswith(("/", "@")) and first != "/*" else ""


def _copied(directive: Directive) -> Iterator[str]:
    for told in (*directive.args, *(each.name for each in directive.block)):
        yield told.rpartition(">")[2].lower()


def _does(args: Sequence[str], name: str) -> bool:
    """Whether `request_header` or `header_up` with these arguments removes or replaces a header of the client's."""
    told = args[0].lower() if args else ""
    if told.startswith("-"):
        pattern = re.escape(told[1:]).replace(r"\*", ".*")
        return re.fullmatch(pattern, name) is not None
    return told == name and len(args) == 2  # of three it is a replacement within the value


def _deep(directives: Sequence[Directive]) -> Iterator[Directive]:
    for each in directives:
        yield each
        yield from _deep(each.block)


def _seconds(time: str) -> float:
    """Of Go's `500ms`, `1m30s`; endless where it cannot be read."""
    units = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    parts = re.findall(r"([0-9.]+)(ns|us|µs|ms|[smhd])", time)
    return sum(float(number) * units[unit] for number, unit in parts) if parts else float("inf")
