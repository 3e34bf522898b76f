"""Certificates and keys in PKCS #11 tokens: libraries that the device's administrator allows, each in a process of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from watchword_agent.errors import CollectionFailedError
from watchword_agent.helper_process import HelperProcess
from watchword_agent.identity import monotonic_seconds
from watchword_agent.stores.base import Contents, Found, Visit, Watched
from watchword_agent.stores.passwords import TOKEN_PREFIX
from watchword_agent.stores.pkcs11_uri import TokenUri, parse
from watchword_agent.stores.token import Token, WrongPins

_HELPER: Final = "pkcs11"
_SILENCE_SECONDS: Final = 60.0
# Of what is told where nothing was found, the least telling: a token that is there, one that is not, a library that is not.
_LITTLE: Final = ("token_not_initialized", "no_certificate", "token_missing", "module_missing")


class Pkcs11Store:
    """See `CertificateStore`; a place is a URI. It remembers which PINs were wrong: no token is asked twice with the same."""

    def __init__(self) -> None:
        self._wrong_pins = WrongPins()
        self._silent_until: dict[Path, float] = {}  # libraries that hung; a dozen checks need not wait for each of them anew

    def look(self, places: Sequence[str], visit: Visit) -> Contents:
        """See `CertificateStore`."""
        uris, troubles = _parsed(places, visit)
        troubles += [_not_allowed(uri, visit) for uri in uris if not _modules(uri, visit)]
        found: list[Found] = []
        reached: set[str] = set()
        answered = False
        for module in visit.access.pkcs11_modules:
            meaning = [uri for uri in uris if uri.allows(module)]
            if not meaning:
                continue
            try:
                library = self._opened(module, visit)
            except CollectionFailedError as failure:
                troubles.append(failure)
                continue
            answered = True
            for token, wanted in library.tokens(meaning):
                reached |= {uri.text for uri in wanted}
                try:
                    found += token.contents(wanted, visit, self._wrong_pins)
                except CollectionFailedError as failure:
                    troubles.append(failure)
                    if failure.code.startswith("helper_"):  # it is gone, with all its tokens
                        break
        if answered:
            missing = (uri for uri in uris if uri.text not in reached and _modules(uri, visit))
            troubles += [CollectionFailedError("token_missing", f"no token matches `{uri.text}`") for uri in missing]
        if not found and troubles:
            raise min(troubles, key=lambda trouble: _LITTLE.index(trouble.code) if trouble.code in _LITTLE else -1)
        return Contents(tuple(found), tuple(troubles), explicit=True)

    def _opened(self, module: Path, visit: Visit) -> "_Library":
        if monotonic_seconds() < self._silent_until.get(module, 0.0):
            detail = f"`{module}` did not answer a moment ago: it is asked again after {_SILENCE_SECONDS:g} s"
            raise CollectionFailedError("helper_timeout", detail)
        try:
            return _Library.open(module, visit)
        except CollectionFailedError as failure:
            if failure.code == "helper_timeout":
                self._silent_until[module] = monotonic_seconds() + _SILENCE_SECONDS
            raise

    def watched(self, places: Sequence[str], visit: Visit) -> Watched:
        """See `CertificateStore`: PINs, libraries, and which tokens they tell of."""
        uris, _ = _parsed(places, visit)
        modules = {str(module) for uri in uris for module in _modules(uri, visit)}
        names = {name for uri in uris for name in _password_names(uri, visit)}
        pins = {str(visit.access.password_files[name]) for name in names}
        there = frozenset((_HELPER, module) for module in modules if Path(module).is_file())
        return Watched(files=frozenset(pins | modules), stores=there)


@dataclass(frozen=True, slots=True)
class _Library:
    path: Path
    process: HelperProcess
    description: Mapping[str, str]
    told: Sequence[Mapping[str, Any]]

    @classmethod
    def open(cls, path: Path, visit: Visit) -> "_Library":
        if not path.is_absolute():
            raise CollectionFailedError("module_missing", f"`{path}` of `pkcs11_modules` is not an absolute path")
        process = visit.exits.enter_context(visit.access.helpers.start(_HELPER))
        answer = process.ask({"op": "tokens", "module": str(path)})
        return cls(path, process, answer["library"], answer["tokens"])

    def tokens(self, uris: Sequence[TokenUri]) -> list[tuple[Token, list[TokenUri]]]:
        """Each token that one of them means, with those that do; one that is not set up, if nothing else is there."""
        meant = []
        for told in self.told:
            wanted = [uri for uri in uris if uri.means_token(self.description, told["slot"], told["slot_info"], told["token"])]
            if wanted:
                meant.append((Token(str(self.path), self.process, told["slot"], told["flags"], told["token"]), wanted))
        served = {uri.text for token, wanted in meant if token.is_initialized for uri in wanted}
        return [each for each in meant if each[0].is_initialized or not served.issuperset(uri.text for uri in each[1])]


def _parsed(places: Sequence[str], visit: Visit) -> tuple[list[TokenUri], list[CollectionFailedError]]:
    uris, troubles = [], []
    for place in places:
        try:
            uris.append(parse(place, visit.variables))
        except CollectionFailedError as failure:
            troubles.append(failure)
    return uris, troubles


def _modules(uri: TokenUri, visit: Visit) -> list[Path]:
    return [module for module in visit.access.pkcs11_modules if uri.allows(module)]


def _not_allowed(uri: TokenUri, visit: Visit) -> CollectionFailedError:
    if not visit.access.pkcs11_modules:
        return CollectionFailedError("module_not_allowed", "this device allows no library: name it in `pkcs11_modules`")
    named = uri.module_path or uri.module_name
    return CollectionFailedError("module_not_allowed", f"this device does not allow `{named}`: add it to `pkcs11_modules`")


def _password_names(uri: TokenUri, visit: Visit) -> list[str]:
    if "label" in uri.token:
        name = TOKEN_PREFIX + uri.token["label"]
        return [name] if name in visit.access.password_files else []
    return [name for name in visit.access.password_files if name.startswith(TOKEN_PREFIX)]
