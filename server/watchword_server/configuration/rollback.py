"""Back to the rules of an earlier revision: an ordinary change, planned from what the entries were then."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from watchword_server.configuration.book import RuleBook
from watchword_server.configuration.consistency import page_of, read_objects
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.document.service_tokens import CREDENTIAL
from watchword_server.configuration.plan import Action, Plan, PlannedEntry
from watchword_server.core.model.names import Instant
from watchword_server.core.revisions import SecretMissingError, State, with_secrets
from watchword_server.errors import ConfigurationError, Problem
from watchword_server.ports.rules import RulesChange, StoredObject

_NOT_YET: Final = Instant(0.0)


def plan_rollback(states: Mapping[tuple[str, str], State | None], book: RuleBook, *, to: int) -> Plan:
    """Plans to make each entry what it was, by kind and id; None: it was not there.

    Secrets stay those of now: an old one does not come back. Raises `ConfigurationError` where an entry had one and has none
    now, and with all that would not hold together.
    """
    removed: list[PlannedEntry] = []
    upserts: list[StoredObject] = []
    entries: list[PlannedEntry] = []
    problems: list[Problem] = []
    for (kind, entry_id), state in sorted(states.items()):
        section = Section(kind)
        page = book.page(section, entry_id)
        before = None if page is None else page.stored
        if state is None:
            if before is not None:
                removed.append(PlannedEntry(Action.REMOVED, section, entry_id, before.name))
            continue
        try:
            body = _body(section, state, before)
        except SecretMissingError as error:
            message = "it had a secret then, and secrets are not kept: apply the entry as it was, with a new secret"
            problems.append(Problem((kind, state.name, *error.path), message))
            continue
        if before is not None and (before.name, before.body) == (state.name, body):
            continue
        fresh = StoredObject(kind, entry_id, state.name, body, 0, _NOT_YET, _NOT_YET)
        upserts.append(fresh if before is None else replace(before, name=state.name, body=body, revision=0))
        entries.append(PlannedEntry(Action.CREATED if before is None else Action.UPDATED, section, entry_id, state.name))
    if problems:
        raise ConfigurationError(problems)
    pages = [page_of(placed) for placed in read_objects(upserts, language=book.rules.language)]
    planned, problems = book.changed(pages, frozenset((each.section, each.id) for each in removed))
    if problems:
        raise ConfigurationError(problems)
    deletes = tuple((each.section.value, each.id) for each in removed)
    return Plan(RulesChange(tuple(upserts), deletes, rolls_back_to=to), (*entries, *removed), planned)


def _body(section: Section, state: State, before: StoredObject | None) -> Mapping[str, object]:
    present: Mapping[str, object] = {} if before is None else before.body
    if section is not Section.SERVICE_TOKENS:
        return with_secrets(state.body, present)
    body = {name: value for name, value in state.body.items() if name != CREDENTIAL}  # made by the server, and not taken back
    if CREDENTIAL in present:
        body[CREDENTIAL] = present[CREDENTIAL]
    return with_secrets(body, present)
