"""Traefik: each router has to name ForwardAuth, and TLS options hold for the hosts that a rule names."""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from watchword_server.core.answer_headers import OWNED_HEADERS
from watchword_server.inspection.findings import (
    IDENTITY_HEADER,
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
from watchword_server.inspection.marked import Marked, UnreadableError, read_marked

_CERTIFICATE: Final = "x-forwarded-tls-client-cert"
_UNVERIFIED: Final = frozenset({"", "NoClientCert", "RequestClientCert", "RequireAnyClientCert"})
_HOST: Final = re.compile(r"\bHost(?:SNI)?\(`[^`*]+`")


def inspect(file: Path) -> Iterator[Finding]:
    """All findings of what is read at start and of the files that it leads to; or of one of those alone."""
    files: list[Marked] = []
    try:
        first = read_marked(file)
    except UnreadableError as error:
        yield unread(error.place, str(error))
        return
    static = first if first["entryPoints"] or first["providers"] else None
    if static is None:
        files.append(first)
        yield unread(first.place, "what Traefik reads at start, with its entry points, is another file")
    else:
        for path, place in _dynamic(static):
            try:
                files.append(read_marked(path))
            except UnreadableError as error:
                yield unread(error.place if path.is_file() else place, f"{path}: {error}")
        for name, provider in static["providers"].items():
            if name != "file":
                yield unread(provider.place, f"routers of `{name}` are not in files")
        if not files:
            yield unread(static.place, "no file of routers was found")
    yield from _Traefik(static, files).findings()


def _dynamic(static: Marked) -> Iterator[tuple[Path, Place]]:
    provider = static["providers.file"]
    here = static.place.file.parent
    if provider["filename"]:
        yield here / provider["filename"].text, provider["filename"].place
    directory = provider["directory"]
    if directory:
        for path in sorted((here / directory.text).rglob("*")):
            if path.suffix in {".yml", ".yaml", ".toml"}:
                yield path, directory.place


@dataclass(frozen=True, slots=True)
class _EntryPoint:
    name: str
    told: Marked

    @property
    def address(self) -> str:
        return self.told["address"].text.partition("/")[0]

    @property
    def is_loopback(self) -> bool:
        host = self.address.rpartition(":")[0].strip("[]")
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def believes_anybody(self) -> Marked | None:
        """Where it takes over what clients say about themselves."""
        headers = self.told["forwardedHeaders"]
        if headers["insecure"].says_yes:
            return headers["insecure"]
        return next((each for each in headers["trustedIPs"].each() if each.text.endswith("/0")), None)


@dataclass(slots=True)
class _Traefik:
    static: Marked | None
    files: Sequence[Marked]
    middlewares: Mapping[str, Marked] = field(init=False)
    entry_points: Mapping[str, _EntryPoint] = field(init=False)

    def __post_init__(self) -> None:
        self.middlewares = dict(each for file in self.files for each in file["http.middlewares"].items())
        told = self.static["entryPoints"].items() if self.static is not None else ()
        self.entry_points = {name: _EntryPoint(name, each) for name, each in told}

    def findings(self) -> Iterator[Finding]:
        if self.static is not None:
            yield from self._static(self.static)
        for file in self.files:
            for name, router in file["http.routers"].items():
                yield from self._router(name, router)
            for name, router in (*file["tcp.routers"].items(), *file["udp.routers"].items()):
                what = f"`{name}` passes connections on, and Traefik asks nobody about those"
                yield Finding(Code.NOT_ASKED, router.place, what, "put Envoy there, with deploy/envoy/envoy-tcp.yaml")

    def _static(self, static: Marked) -> Iterator[Finding]:
        if static["api.insecure"].says_yes:
            yield Finding(
                Code.ADMIN_OPEN,
                static["api.insecure"].place,
                "whoever reaches port 8080 reads all of this",
                "leave it out, or route `api@internal` behind Watchword",
            )
        for point in self.entry_points.values():
            place = point.believes_anybody
            if place is not None:
                names = ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Uri", "X-Forwarded-Tls-Client-Cert"]
                yield believed(place.place, names, "write `insecure: false`, and name the proxies in front in `trustedIPs`")
            if not point.is_loopback and point.told["http.aliasHeadersStrategy"].text != "delete":
                yield underscored(point.told.place, "write `aliasHeadersStrategy: delete` in the entry point's `http`")

    def _router(self, router_name: str, router: Marked) -> Iterator[Finding]:
        points = [each.text for each in router["entryPoints"].each()] or list(self.entry_points)
        if points and all(name in self.entry_points and self.entry_points[name].is_loopback for name in points):
            return  # Traefik's own way to Watchword
        names = [
            *(
                each
                for name in points
                if name in self.entry_points
                for each in self._listed(self.entry_points[name].told["http"])
            ),
            *self._listed(router),
        ]
        chain = list(self._chain(names, ()))
        for name in (name for name, found in chain if not found):
            yield unread(router.place, f"the middleware `{name}` is not in these files")
        auth = next((index for index, (_, each) in enumerate(chain) if "/v1/authz/" in each["forwardAuth.address"].text), None)
        if auth is None and not router["tls"] and any(each["redirectScheme"] for _, each in chain):
            return  # it sends everybody to HTTPS
        if auth is None:
            yield Finding(
                Code.NOT_ASKED,
                router.place,
                f"requests for `{router_name}` are answered without asking",
                "name the middleware of deploy/traefik/dynamic.yml in `middlewares`",
            )
        else:
            before, after = [each for _, each in chain[:auth]], [each for _, each in chain[auth + 1 :]]
            yield from self._question(chain[auth][1]["forwardAuth"], router, before, after)
        yield from self._tls(router)

    def _listed(self, holder: Marked) -> Iterator[str]:
        for each in holder["middlewares"].each():
            yield each.text.removesuffix("@file")

    def _chain(self, names: "Sequence[str]", around: tuple[str, ...]) -> Iterator[tuple[str, Marked]]:
        """The middlewares in their order, a chain's own in its place."""
        for name in names:
            found = self.middlewares.get(name, Marked(None, Place(Path(), 0)))
            if found["chain"] and name not in around:
                yield from self._chain(list(self._listed(found["chain"])), (*around, name))
            else:
                yield name, found

    def _question(self, auth: Marked, router: Marked, before: list[Marked], after: list[Marked]) -> Iterator[Finding]:
        set_before = {name for each in before for name in _set_by(each)}
        answered = {each.text.lower() for each in auth["authResponseHeaders"].each()}
        regex = auth["authResponseHeadersRegex"].text
        missing = not_ours(name for name in OWNED_HEADERS if name in answered | set_before or (regex and _found(regex, name)))
        if missing:
            yield forgeable(auth.place, missing, "name each in `authResponseHeaders`")
        if IDENTITY_HEADER not in set_before:
            yield believed(
                router.place,
                [spelled(IDENTITY_HEADER)],
                'set it to "" by a `headers` middleware before ForwardAuth, or by your sign-on',
            )
        certificate = next((each["passTLSClientCert"] for each in before if each["passTLSClientCert"]), None)
        if certificate is not None and not auth["trustForwardHeader"].says_yes:
            yield Finding(
                Code.CERTIFICATE_DROPPED,
                auth.place,
                "ForwardAuth drops the client certificate without a word: nobody's device is known",
                "write `trustForwardHeader: true`, with entry points that believe no client",
            )
        if certificate is None and auth["trustForwardHeader"].says_yes and _CERTIFICATE not in set_before and self.static is None:
            yield believed(
                auth["trustForwardHeader"].place,
                [spelled(_CERTIFICATE)],
                "write `trustForwardHeader: false`, or have the entry point remove what clients say",
            )
        if (
            certificate is not None
            and self._unverified()
            and _CERTIFICATE not in {name for each in after for name in _set_by(each)}
        ):
            yield passed_on(router.place, 'set X-Forwarded-Tls-Client-Cert to "" by a `headers` middleware after ForwardAuth')
        address = re.sub(r"^[a-z]+://([^/]*).*$", r"\1", auth["address"].text)
        if not any(_port(point.address) == _port(address) for point in self.entry_points.values()) and self.static is not None:
            yield slow(auth["address"].place, "ask by way of an entry point of Traefik's own, as deploy/traefik/ does")

    def _options(self) -> Mapping[str, Marked]:
        return dict(each for file in self.files for each in file["tls.options"].items())

    def _unverified(self) -> bool:
        return any(each["clientAuth.clientAuthType"].text in _UNVERIFIED for each in self._options().values())

    def _tls(self, router: Marked) -> Iterator[Finding]:
        named = router["tls.options"]
        if named and named.text.removesuffix("@file") != "default" and not _HOST.search(router["rule"].text):
            yield Finding(
                Code.TLS_OPTIONS_IGNORED,
                named.place,
                f"the rule names no host, so that `{named.text}` holds for nobody: no certificate is asked for, none is verified",
                "name the hosts: Host(`wiki.corp.example`); or call the options `default`",
            )


def _set_by(middleware: Marked) -> Iterator[str]:
    """Headers of the request that are removed or replaced, lower-case."""
    yield from (name.lower() for name in dict(middleware["headers.customRequestHeaders"].items()))
    for kind in ("basicAuth", "digestAuth"):
        if middleware[kind]["headerField"]:
            yield middleware[kind]["headerField"].text.lower()
    for each in middleware["forwardAuth.authResponseHeaders"].each():
        yield each.text.lower()


def _found(regex: str, name: str) -> bool:
    try:
        return re.search(regex, spelled(name)) is not None
    except re.error:
        return False


def _port(address: str) -> str:
    return address.rpartition(":")[2]
