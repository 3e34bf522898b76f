"""nginx: `auth_request` holds for a location where it is in effect, and a header is replaced where one is set."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import crossplane

from watchword_server.inspection.findings import (
    ACME,
    EVERYBODY,
    IDENTITY_HEADER,
    PATIENCE_SECONDS,
    Code,
    Finding,
    Place,
    believed,
    forgeable,
    not_ours,
    passed_on,
    slow,
    spelled,
    underscored,
    unread,
)

_HEADERS_OF: Final = {"proxy_pass": "proxy_set_header", "grpc_pass": "grpc_set_header"}
_PARAMETERS_OF: Final = {"fastcgi_pass": "fastcgi_param", "uwsgi_pass": "uwsgi_param", "scgi_pass": "scgi_param"}
_HANDLERS: Final = frozenset({*_HEADERS_OF, *_PARAMETERS_OF, "memcached_pass"})
_FIXED: Final = frozenset({"return", "stub_status", "empty_gif"})  # nothing of an application's, and no files
_QUESTION: Final = ("x-original-method", "x-original-url", "x-client-cert", "x-forwarded-for", IDENTITY_HEADER)
_OF_THE_CLIENT: Final = re.compile(r"\$(?:http|arg|cookie)_")
_DENIALS: Final = frozenset({"401", "403", "500"})
_FAILURES: Final = frozenset({"500", "502", "503", "504"})
_LOOPBACK: Final = re.compile(r"(?:127\.[0-9.]+|localhost|\[::1\])(?::[0-9]+)?|unix:.*|::1")
_EVERY_PATH: Final = frozenset({"^", ".*", "^.*", "^.*$", "^(.*)$", "^/(.*)$", "^(.*)"})


@dataclass(frozen=True, slots=True)
class _Directive:
    name: str
    args: tuple[str, ...]
    place: Place
    block: "tuple[_Directive, ...] | None" = None

    @property
    def first(self) -> str:
        return self.args[0] if self.args else ""


@dataclass(frozen=True, slots=True)
class _Level:
    """A block and those around it."""

    opened_by: _Directive
    outer: "_Level | None" = None

    def own(self, *names: str) -> list[_Directive]:
        return [each for each in self.opened_by.block or () if each.name in names]

    def effective(self, name: str) -> list[_Directive]:
        """A directive is inherited from the nearest level that has it at all."""
        level: _Level | None = self
        while level is not None:
            if found := level.own(name):
                return found
            level = level.outer
        return []

    def value(self, name: str) -> str:
        return found[-1].first if (found := self.effective(name)) else ""

    def inner(self, *names: str) -> "Iterator[_Level]":
        for each in self.own(*names):
            yield _Level(each, self)


def inspect(file: Path) -> Iterator[Finding]:
    """All findings of a configuration and of what it includes."""
    parsed = crossplane.parse(str(file), check_ctx=False, check_args=False)
    for error in parsed["errors"]:
        why = re.sub(r"^\[Errno [0-9]+\] ", "", str(error["error"]).removesuffix(f" in {error['file']}:{error['line']}"))
        yield unread(Place(Path(error["file"]), error["line"] or 1), why)
    try:
        directives = tuple(_directives(parsed["config"], parsed["config"][0], parsed["config"][0]["parsed"]))
    except RecursionError:
        yield unread(Place(file, 1), "files include one another")
        return
    root = _Level(_Directive("", (), Place(file, 1), directives))
    for stream in root.inner("stream"):
        for server in stream.inner("server"):
            what = "a server of `stream` passes connections on, and nginx asks nobody about those"
            yield Finding(Code.NOT_ASKED, server.opened_by.place, what, "put Envoy there, with deploy/envoy/envoy-tcp.yaml")
    for http in root.inner("http"):
        yield from _anywhere(http)
        for server in http.inner("server"):
            yield from _Server(server, _told_by_clients(http)).findings()


def _directives(
    files: Sequence[Mapping[str, Any]], file: Mapping[str, Any], parsed: Sequence[Mapping[str, Any]]
) -> Iterator[_Directive]:
    """Those of a file or a block, with what is included in its place: not crossplane's own way, which then names wrong files."""
    for each in parsed:
        if each["directive"] == "#":
            continue
        if each["directive"] == "include":
            for index in each.get("includes", ()):
                yield from _directives(files, files[index], files[index]["parsed"])
            continue
        block = tuple(_directives(files, file, each["block"])) if "block" in each else None
        yield _Directive(each["directive"], tuple(each["args"]), Place(Path(file["file"]), each["line"]), block)


def _told_by_clients(http: _Level) -> re.Pattern[str]:
    """What a value looks like that a client can choose, also by way of a `map` or a `set`."""
    given = [(each.args[0], each.args[1:]) for each in _deep(http.opened_by) if each.name == "set" and len(each.args) > 1]
    given += [(each.args[-1], each.args[:1]) for each in http.own("map")]
    found = [_OF_THE_CLIENT.pattern]
    for _ in given:  # one may be made of another
        pattern = re.compile("|".join(found))
        found += [rf"{re.escape(name)}\b" for name, values in given if any(map(pattern.search, values))]
        found = list(dict.fromkeys(found))
    return re.compile("|".join(found))


def _deep(directive: _Directive) -> Iterator[_Directive]:
    for each in directive.block or ():
        yield each
        yield from _deep(each)


def _anywhere(level: _Level) -> Iterator[Finding]:
    """What is wrong wherever it stands."""
    for each in level.opened_by.block or ():
        match each:
            case _Directive("satisfy", ("any",)):
                yield Finding(
                    Code.DENIAL_UNDONE,
                    each.place,
                    "an address or a password lets in whom Watchword denies",
                    "write `satisfy all;`, which is the default",
                )
            case _Directive("error_page", args) if _DENIALS & set(args) and any(re.match("=2", arg) for arg in args):
                yield Finding(
                    Code.DENIAL_UNDONE,
                    each.place,
                    "a denial becomes a success",
                    "leave the status out: `error_page 403 /denied;`",
                )
            case _Directive("set_real_ip_from", args) if EVERYBODY & set(args):
                yield believed(each.place, ["X-Forwarded-For"], "name the proxies in front of this one, and nobody else")
            case _Directive("underscores_in_headers", ("on",)) | _Directive("ignore_invalid_headers", ("off",)):
                yield underscored(each.place, "leave this directive out")
        if each.block is not None:
            yield from _anywhere(_Level(each, level))


@dataclass(frozen=True, slots=True)
class _Server:
    level: _Level
    told_by_clients: re.Pattern[str]

    def findings(self) -> Iterator[Finding]:
        if self._serves_nobody():
            return
        places = [self.level, *self._below(self.level)]
        asked = {name for place in places if (name := place.value("auth_request")) not in {"", "off"}}
        questions = [place for place in places if place.opened_by.name == "location" and place.opened_by.args[-1] in asked]
        seen: set[tuple[Code, Place]] = set()
        for place in places:
            found = self._question(place) if place in questions else self._served(place, questions)
            for finding in found:
                if (finding.code, finding.place) not in seen:
                    seen.add((finding.code, finding.place))
                    yield finding

    def _serves_nobody(self) -> bool:
        """It answers itself whatever is asked for, or is reached from this machine alone."""
        listens = [each.first for each in self.level.own("listen")]
        redirects = any(
            each.first in _EVERY_PATH and re.match(r"https?:|\$scheme", "".join(each.args[1:2]))
            for each in self.level.own("rewrite")
        )
        return (
            redirects
            or bool(self.level.own("return"))
            or self.level.value("ssl_reject_handshake") == "on"
            or (bool(listens) and all(map(_LOOPBACK.fullmatch, listens)))
        )

    def _below(self, level: _Level) -> Iterator[_Level]:
        for inner in level.inner("location", "if", "limit_except"):
            yield inner
            yield from self._below(inner)

    def _served(self, level: _Level, questions: Sequence[_Level]) -> Iterator[Finding]:
        """A location gives something away, or leads to an application."""
        handler = next(iter(level.own(*_HANDLERS)), None)
        if handler is None and not self._files(level):
            return
        name = level.value("auth_request")
        if name in {"", "off"}:
            yield _not_asked(level, f"`{_named(level)}` answers without asking" + (": auth_request is off" if name else ""))
            return
        if not any(question.opened_by.args[-1] == name for question in questions):
            yield Finding(
                Code.ASKS_NOBODY,
                level.effective("auth_request")[-1].place,
                f"there is no location `{name}`: another one answers in its place, and whatever says 2xx allows",
                f"write `location = {name} {{ internal; … }}`, as deploy/nginx/nginx.conf does",
            )
        if handler is not None:
            yield from self._passed_on(level, handler)
        users = [each for question in questions for each in _set_headers(question).values() if "$remote_user" in each.args[-1]]
        if users and level.value("auth_basic") == "off":
            yield believed(
                level.effective("auth_basic")[-1].place,
                [users[0].first],
                "$remote_user is what a client claims where `auth_basic off;`: leave that out",
            )

    def _files(self, level: _Level) -> bool:
        """Whether nginx answers with files where nothing else is said: so does a server in which no location takes the rest."""
        if level is self.level:
            return not any(each.opened_by.args == ("/",) for each in level.inner("location"))
        where = level.opened_by.args
        allowed = [each.first for each in level.own("allow")]
        shut = any(each.first == "all" for each in level.own("deny")) and all(map(_LOOPBACK.fullmatch, allowed))
        one_page = where[:1] == ("=",) and bool(level.own("internal"))  # what `error_page` shows
        public = any(part.startswith(ACME) for part in where)
        return level.opened_by.name == "location" and not (level.own(*_FIXED) or shut or one_page or public)

    def _passed_on(self, level: _Level, handler: _Directive) -> Iterator[Finding]:
        """What the application gets."""
        if handler.name in _HEADERS_OF:
            if level.value("proxy_pass_request_headers") == "off":
                return
            directive = _HEADERS_OF[handler.name]
            there = {each.first.lower(): each for each in level.effective(directive)}
        else:
            directive = _PARAMETERS_OF.get(handler.name, "")
            names = {each.first.lower(): each for each in level.effective(directive)}
            there = {
                name.removeprefix("http_").replace("_", "-"): each for name, each in names.items() if name.startswith("http_")
            }
        missing = not_ours(name for name, each in there.items() if not self.told_by_clients.search(each.args[-1]))
        if missing and directive:
            inherited = " (a location with one of its own inherits none)" if level.own(directive) else ""
            parameter = f"{directive} HTTP_…" if directive.endswith("_param") else f"{directive} …"
            yield forgeable(
                handler.place, missing, f"set each by `{parameter}`{inherited}, as part 3 of deploy/nginx/nginx.conf does"
            )
        host = there.get("host")
        if host is not None and handler.name in _HEADERS_OF and "$http_host" in host.args[-1]:
            yield Finding(
                Code.ANOTHER_REQUEST,
                host.place,
                "the application may get another host than Watchword decides about: a request can name two",
                "write `proxy_set_header Host $host;`",
            )
        if level.value("ssl_verify_client") == "optional_no_ca":
            for each in level.effective(directive):
                if "$ssl_client_" in each.args[-1]:
                    yield passed_on(each.place, "leave it out, or write `ssl_verify_client optional;`")

    def _question(self, level: _Level) -> Iterator[Finding]:
        """The location that asks."""
        place = level.opened_by.place
        addresses = [each.first for each in level.own("proxy_pass")]
        if not any("/v1/authz/" in address or "$" in address for address in addresses):
            yield Finding(
                Code.ASKS_NOBODY,
                place,
                f"{'somebody else is asked' if addresses else 'it answers by itself'}, and whatever says 2xx allows",
                "write `proxy_pass http://watchword/v1/authz/auth-request;`",
            )
            return
        if not level.own("internal"):
            yield Finding(Code.QUESTION_OPEN, place, "clients can ask Watchword in this proxy's name", "write `internal;`")
        for each in level.effective("error_page"):
            if _FAILURES & set(each.args) and any(re.match("=(?![345])", arg) for arg in each.args):
                yield Finding(
                    Code.FAILS_OPEN,
                    each.place,
                    "while Watchword does not answer, a page answers in its place: its 2xx lets everybody in",
                    "leave it out where it asks",
                )
        if level.value("proxy_cache") not in {"", "off"}:
            where = level.effective("proxy_cache")[-1].place
            yield Finding(
                Code.ANSWER_CACHED, where, "an answer lets others in, and later", "write `proxy_cache off;` where it asks"
            )
        yield from self._told(level)
        if _seconds(level.value("proxy_read_timeout") or "60s") > PATIENCE_SECONDS:
            yield slow(place, "write `proxy_read_timeout 500ms;`, and the same for connect and send")

    def _told(self, level: _Level) -> Iterator[Finding]:
        place, there = level.opened_by.place, _set_headers(level)
        if level.value("proxy_pass_request_headers") != "off":
            missing = [spelled(name) for name in _QUESTION if name not in there]
            if missing:
                yield believed(place, missing, 'set each by `proxy_set_header`, to "" where this proxy does not know it')
        for name, each in there.items():
            if name in _QUESTION and self.told_by_clients.search(each.args[-1]):
                yield believed(each.place, [spelled(name)], "set it from what nginx knows itself")
        url = there.get("x-original-url")
        if url is not None and "$request_uri" not in url.args[-1]:
            yield Finding(
                Code.ANOTHER_REQUEST,
                url.place,
                "Watchword decides about another path than the client asked for",
                "write `$scheme://$host$request_uri`",
            )


def _set_headers(level: _Level) -> dict[str, _Directive]:
    return {each.first.lower(): each for each in level.effective("proxy_set_header")}


def _not_asked(level: _Level, what: str) -> Finding:
    return Finding(
        Code.NOT_ASKED,
        level.opened_by.place,
        what,
        "write `auth_request /_watchword;` in the `server`, where every location inherits it",
    )


def _named(level: _Level) -> str:
    return " ".join([level.opened_by.name, *level.opened_by.args])


def _seconds(time: str) -> float:
    """Of nginx's `500ms`, `1m 30s`; endless where it cannot be read."""
    parts = re.findall(r"([0-9]+)\s*(ms|[smhd]?)", time)
    units = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(number) * units[unit] for number, unit in parts) if parts else float("inf")
