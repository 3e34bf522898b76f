"""HAProxy: after the question a rule has to deny whom nothing allowed, and nothing before it may let anybody in."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from watchword_server.core.answer_headers import OWNED_HEADERS
from watchword_server.inspection.findings import (
    ACME,
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

_SECTIONS: Final = frozenset({
    "global", "defaults", "frontend", "listen", "backend", "userlist", "peers", "mailers", "resolvers", "cache", "program",
    "ring", "http-errors", "fcgi-app", "crt-store", "log-forward", "traces", "log-profile", "acme",
})  # fmt: skip
_LOOPBACK: Final = re.compile(r"(ipv[46]@)?(127\.[0-9.]+|localhost|\[?::1\]?):|(unix@|abns@|/|fd@|sockpair@)")
_ENDS: Final = frozenset({"deny", "return", "reject", "tarpit", "silent-drop", "redirect", "auth"})
_BELIEVED: Final = ("certificate", "identity", "source", "method", "target")
_VARIABLE_OF_LUA: Final = "txn.watchword.allow"  # as watchword.lua sets it
_HEADER_FETCH: Final = re.compile(r"(?:req|request)?\.?f?hdr(?:_ip)?\(([^),]+)")


@dataclass(frozen=True, slots=True)
class _Line:
    words: tuple[str, ...]
    place: Place

    def begins(self, *words: str) -> bool:
        return self.words[: len(words)] == words

    def after(self, word: str) -> str:
        """The word behind one; empty without."""
        return self.words[self.words.index(word) + 1] if word in self.words[:-1] else ""

    @property
    def condition(self) -> tuple[str, ...]:
        """`if …` or `unless …`, without braces; empty: always."""
        for index, word in enumerate(self.words):
            if word in {"if", "unless"}:
                return tuple(each for each in self.words[index:] if each not in {"{", "}"})
        return ()

    @property
    def action(self) -> str:
        """Of a rule."""
        return self.words[1] if len(self.words) > 1 else ""


@dataclass(slots=True)
class _Section:
    opened_by: _Line
    lines: list[_Line] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.opened_by.words[0]

    def beginning(self, *words: str) -> list[_Line]:
        return [line for line in self.lines if line.begins(*words)]


def inspect(file: Path) -> Iterator[Finding]:
    """All findings of a configuration, and of the SPOE configurations that it names."""
    try:
        sections = _sections(file)
    except (OSError, ValueError) as error:
        yield unread(Place(file, 1), getattr(error, "strerror", None) or str(error))
        return
    latest, named = _Section(_Line(("defaults",), Place(file, 1))), dict[str, _Section]()
    for section in sections:
        if section.kind == "defaults":
            latest = named["".join(section.opened_by.words[1:2])] = section
        elif section.kind in {"frontend", "listen"}:
            defaults = named.get(section.opened_by.after("from"), latest)
            yield from _Frontend(section, defaults, file.parent).findings()


def _sections(file: Path) -> list[_Section]:
    sections: list[_Section] = []
    for line in _lines(file):
        if line.words[0] in _SECTIONS:
            sections.append(_Section(line))
        elif sections:
            sections[-1].lines.append(line)
    return sections


def _lines(file: Path) -> Iterator[_Line]:
    for number, text in enumerate(file.read_text().splitlines(), 1):
        lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
        lexer.whitespace_split = True
        try:
            words = tuple(lexer)
        except ValueError as error:
            raise ValueError(f"line {number} cannot be read: {error}") from None
        if words:
            yield _Line(words, Place(file, number))


@dataclass(slots=True)
class _Frontend:
    section: _Section
    defaults: _Section
    directory: Path

    def findings(self) -> Iterator[Finding]:
        binds = self.section.beginning("bind")
        if binds and all(_LOOPBACK.match(address) for bind in binds for address in "".join(bind.words[1:2]).split(",")):
            return  # reached from this machine alone, as the way of watchword.lua to Watchword is
        mode = (self.section.beginning("mode") or self.defaults.beginning("mode") or [_Line(("mode", "tcp"), self.place)])[-1]
        if mode.words[1:2] != ("http",):
            what = "it passes connections on, and HAProxy asks nobody about those"
            yield Finding(
                Code.NOT_ASKED, self.place, what, "write `mode http`; for what is no HTTP there is deploy/envoy/envoy-tcp.yaml"
            )
            return
        rules = [*self.defaults.beginning("http-request"), *self.section.beginning("http-request")]
        asking = next((index for index, rule in enumerate(rules) if _asks(rule)), None)
        if asking is None and self._leads_nowhere():
            shown = [line for line in self.section.lines if line.begins("stats", "enable") or line.begins("stats", "uri")]
            if shown and not self.section.beginning("stats", "auth"):
                yield Finding(
                    Code.ADMIN_OPEN,
                    shown[0].place,
                    "whoever reaches this reads what is behind this proxy",
                    "bind it to 127.0.0.1, or write `stats auth`",
                )
            return
        if asking is None and self._answers_itself(rules):
            return
        if asking is None:
            yield Finding(
                Code.NOT_ASKED,
                self.place,
                "its requests are answered without asking",
                "write part 2 of deploy/haproxy/haproxy.cfg: the question, and the denials after it",
            )
            return
        variable = _VARIABLE_OF_LUA
        if rules[asking].action == "send-spoe-group":
            engine = rules[asking].words[2] if len(rules[asking].words) > 2 else ""
            variable = f"txn.{engine}.allow"
            for told in self._spoe_files(engine):
                if isinstance(told, Finding):
                    yield told
                    continue
                yield from self._question(told)
                prefix = next((line.words[-1] for line in told if line.begins("option", "var-prefix")), engine)
                variable = f"txn.{prefix}.allow"
        yield from self._denials(rules, asking, variable)
        yield from self._headers(rules, asking)

    @property
    def place(self) -> Place:
        return self.section.opened_by.place

    def _answers_itself(self, rules: Sequence[_Line]) -> bool:
        """As one that sends everybody to HTTPS."""
        plain = not any("ssl" in bind.words for bind in self.section.beginning("bind"))
        always = [(), *([("if", "!ssl_fc"), ("if", "!{", "ssl_fc"), ("unless", "ssl_fc")] if plain else [])]
        redirects = [_Line(("http-request", *line.words), line.place) for line in self.section.beginning("redirect")]
        return any(
            rule.action in _ENDS - {"auth"}
            and (rule.condition in always or (rule.condition[:1] == ("unless",) and rule.condition[-1].startswith(ACME)))
            for rule in (*rules, *redirects)
        )

    def _leads_nowhere(self) -> bool:
        """As one that shows statistics."""
        return not any(self.section.beginning(word) for word in ("default_backend", "use_backend", "server", "server-template"))

    def _spoe_files(self, engine: str) -> Iterator[Sequence[_Line] | Finding]:
        """What the files of an engine say."""
        for line in self.section.beginning("filter", "spoe"):
            if line.after("engine") in {"", engine}:
                path = self.directory / line.after("config")
                try:
                    yield list(_lines(path))
                except (OSError, ValueError) as error:
                    yield unread(line.place, f"{path}: {getattr(error, 'strerror', None) or error}")

    def _question(self, lines: Sequence[_Line]) -> Iterator[Finding]:
        """What is asked, as the engine's file says."""
        waits = next((line for line in lines if line.begins("timeout", "processing")), None)
        if waits is None or _seconds(waits.words[-1]) > PATIENCE_SECONDS:
            yield slow((waits or lines[0]).place if lines else self.place, "write `timeout processing 500ms`")
        gone = _removed(self.section.beginning("http-request"))
        for line in lines:
            for name, _, value in (word.partition("=") for word in line.words if line.begins("args")):
                header = _HEADER_FETCH.match(value)
                if name in _BELIEVED and header is not None and not gone.has(header[1].lower()):
                    yield believed(
                        line.place, [spelled(header[1].lower())], "remove it by `http-request del-header` before it is set"
                    )

    def _denials(self, rules: Sequence[_Line], asking: int, variable: str) -> Iterator[Finding]:
        for rule in rules[:asking]:
            if rule.action == "allow":
                yield Finding(
                    Code.NOT_ASKED,
                    rule.place,
                    "whom this lets in, Watchword is not asked about",
                    "leave it out: a public path is a `bypass` policy",
                )
        for rule in rules:
            if rule.action.startswith(f"set-var({variable})"):
                yield Finding(Code.DENIAL_UNDONE, rule.place, "it says what only Watchword may", "leave it out")
        for rule in rules[asking + 1 :]:
            if rule.action == "allow":
                break
            if rule.action in _ENDS - {"auth", "redirect"} and self._is_denial_of_all(rule.condition, variable):
                return
        yield Finding(
            Code.NOT_DENIED,
            rules[asking].place,
            "Watchword is asked, and whatever it says the request goes on: some rule has to deny whom it did not allow",
            f"write `http-request deny deny_status 403 unless {{ var({variable}) -m bool }}` after it",
        )

    def _is_denial_of_all(self, condition: tuple[str, ...], variable: str) -> bool:
        """Whether it holds for everybody who was not allowed; a further condition would leave some out."""
        acls = {line.words[1]: line.words[2:] for line in self.section.beginning("acl") if len(line.words) > 2}
        allowed = (f"var({variable})", "-m", "bool")
        match condition:
            case ():
                return True
            case ("unless", *rest):
                return tuple(rest) == allowed or (len(rest) == 1 and acls.get(rest[0]) == allowed)
            case ("if", "!", *rest):
                return tuple(rest) == allowed
            case ("if", first, *rest) if first.startswith("!"):
                return (first == "!{" and tuple(rest) == allowed) or (not rest and acls.get(first[1:]) == allowed)
        return False

    def _headers(self, rules: Sequence[_Line], asking: int) -> Iterator[Finding]:
        gone = _removed(rules)
        missing = not_ours(filter(gone.has, OWNED_HEADERS))
        if missing:
            yield forgeable(self.place, missing, "write `http-request del-header x-watchword- -m beg` before they are set")
        restrict = [
            line.words[-1]
            for line in (*self.defaults.lines, *self.section.lines)
            if line.begins("option", "http-restrict-req-hdr-names")
        ]
        if not restrict or restrict[-1] not in {"delete", "reject"}:
            yield underscored(self.place, "write `option http-restrict-req-hdr-names delete`")
        ignores = any("ignore-err" in word for bind in self.section.beginning("bind") for word in bind.words)
        for rule in rules[asking:]:
            if ignores and rule.action in {"set-header", "add-header"} and "ssl_c_" in " ".join(rule.words):
                yield passed_on(rule.place, "leave it out, or `ca-ignore-err` and `crt-ignore-err` on the bind line")


@dataclass(frozen=True, slots=True)
class _Removed:
    """Headers of a client's that are gone, or replaced."""

    rules: Sequence[_Line]

    def has(self, name: str) -> bool:
        return any(self._does(rule, name) for rule in self.rules)

    def _does(self, rule: _Line, name: str) -> bool:
        told = rule.words[2].lower() if len(rule.words) > 2 else ""
        match rule.after("-m") if rule.action == "del-header" else "":
            case "beg":
                return name.startswith(told)
            case "end":
                return name.endswith(told)
            case "sub":
                return told in name
            case "reg":
                return _found(told, name)
        return told == name


def _removed(rules: Sequence[_Line]) -> _Removed:
    return _Removed([rule for rule in rules if rule.action in {"del-header", "set-header"} and not rule.condition])


def _asks(rule: _Line) -> bool:
    return rule.action == "send-spoe-group" or rule.action.startswith("lua.")


def _found(regex: str, name: str) -> bool:
    try:
        return re.search(regex, name) is not None
    except re.error:
        return False


def _seconds(time: str) -> float:
    units: Mapping[str, float] = {"us": 1e-6, "": 0.001, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    told = re.fullmatch(r"([0-9]+)(us|ms|[smhd]?)", time)
    return int(told[1]) * units[told[2]] if told is not None else float("inf")
