"""All that is stored as one document, which says it again: applied to an empty store, the same comes out."""

from watchword_server.configuration.book import RuleBook
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.document.sections import UNMATCHED
from watchword_server.configuration.naming import Naming
from watchword_server.ports.rules import StoredObject


def exported(book: RuleBook) -> dict[str, object]:
    """The document. Sections without entries are left out; entries stand by name, Gateway rules by precedence.

    It holds no secret: of a caller's the SHA-256 as it is stored, of a service token's credential nothing, and a private key is
    never stored with the rules.
    """
    naming = Naming(book)
    document: dict[str, object] = {}
    for section in Section:
        stored = [page.stored for page in book.pages[section].values()]
        if section is Section.SETTINGS:
            for each in stored:
                document[UNMATCHED] = each.body["value"]
        elif stored:
            document[section.value] = [naming.entry(section, each) for each in sorted(stored, key=_order)]
    return document


def _order(stored: StoredObject) -> tuple[int, str]:
    precedence = stored.body.get("precedence", 0)
    return precedence if isinstance(precedence, int) else 0, stored.name
