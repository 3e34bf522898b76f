"""What is the same in many histories, done once for all of them: verifying signatures, reading messages and rules.

The functions are pure and stay what they are; in this process their outcomes are remembered, by everything that they depend on.
Each signature is verified by the real code the first time it is seen with its key and message, and again once it was forgotten.
Challenges are counted anew in every history: in a thousand of them two signatures in five are new.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from watchword_server.configuration.book import RuleBook
from watchword_server.configuration.document import sections
from watchword_server.configuration.document.expressions import DEFAULT_LANGUAGE
from watchword_server.core import keys
from watchword_server.core.rules import LanguageSettings
from watchword_server.doors import codec
from watchword_server.ports.rules import StoredObject
from watchword_server.services import rules

_T = TypeVar("_T")
_MANY: Final = 20_000  # messages have a kilobyte or two
_RULES: Final = 2_000

parse_evidence: Final = functools.lru_cache(_MANY)(codec.parse_evidence)
parse_goodbye: Final = functools.lru_cache(_MANY)(codec.parse_goodbye)


class _Known:
    """Outcomes by objects that are told apart by identity: kept with them, so that no other gets their `id`."""

    def __init__(self, many: int) -> None:
        self._many, self._found = many, dict[tuple[object, ...], tuple[object, Any]]()

    def outcome(self, subjects: Iterable[object], more: tuple[object, ...], work: Callable[[], _T]) -> _T:
        """The outcome of `work` on the subjects and whatever else it depends on."""
        kept = tuple(subjects)
        question = (*map(id, kept), *more)
        found = self._found.get(question)
        if found is None:
            if len(self._found) >= self._many:
                self._found.clear()
            found = self._found[question] = (kept, work())
        known: _T = found[1]
        return known


@functools.cache
def remember() -> None:
    """From now on in this process."""
    keys.envelope_is_signed_by = functools.lru_cache(_MANY)(keys.envelope_is_signed_by)
    proves, proven = keys.proves_possession, _Known(_MANY)
    read, books = RuleBook.read, _Known(_RULES)
    validate, documents = sections.validate_document, _Known(_RULES)

    def proves_possession(key: CertificatePublicKeyTypes, *, scheme: str, statement: bytes, signature: bytes) -> bool:
        work = functools.partial(proves, key, scheme=scheme, statement=statement, signature=signature)
        return proven.outcome((key,), (scheme, statement, signature), work)

    def read_book(objects: Iterable[StoredObject], revision: int, language: LanguageSettings) -> RuleBook:
        kept = tuple(objects)
        return books.outcome((*kept, language), (revision,), functools.partial(read, kept, revision, language))

    def validate_document(value: object, *, language: LanguageSettings = DEFAULT_LANGUAGE) -> sections.Document:
        return documents.outcome((value, language), (), functools.partial(validate, value, language=language))

    keys.proves_possession = proves_possession
    RuleBook.read = staticmethod(read_book)  # type: ignore[method-assign,assignment]  # the services call it as it is called here
    rules.validate_document = validate_document  # type: ignore[attr-defined]  # where the service finds it
