"""What an account of the Cloudflare API holds, read through the official SDK, as JSON: models lose what they do not know."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cloudflare import Cloudflare, NotFoundError

from watchword_server.configuration.document.base import Section

Wire = dict[str, Any]
_PAGE: Final = 100
_MAX_PAGES: Final = 10_000


class UnreadableAccountError(Exception):
    """An answer that is not as the API documents it."""


@dataclass(frozen=True, slots=True)
class Account:
    """Everything in it that decides something here, as the API tells it. Lists have their `items`."""

    certificates: tuple[Wire, ...] = ()
    checks: tuple[Wire, ...] = ()
    lists: tuple[Wire, ...] = ()
    service_tokens: tuple[Wire, ...] = ()
    groups: tuple[Wire, ...] = ()
    policies: tuple[Wire, ...] = ()
    applications: tuple[Wire, ...] = ()
    gateway_rules: tuple[Wire, ...] = ()
    absent: tuple[str, ...] = field(default=())  # resources that the account does not have at all

    @property
    def sections(self) -> Mapping[Section, tuple[Wire, ...]]:
        """All entries, by what they are here."""
        return {
            Section.CERTIFICATES: self.certificates,
            Section.CHECKS: self.checks,
            Section.LISTS: self.lists,
            Section.SERVICE_TOKENS: self.service_tokens,
            Section.GROUPS: self.groups,
            Section.POLICIES: self.policies,
            Section.APPLICATIONS: self.applications,
            Section.GATEWAY_RULES: self.gateway_rules,
        }


def read_account(client: Cloudflare, account_id: str) -> Account:
    """Reads it whole. Raises what the SDK raises, and `UnreadableAccountError`."""
    access, gateway = client.zero_trust.access, client.zero_trust.gateway
    lists = [
        {**one, "items": list(_paged(lambda page, one=one: gateway.lists.items.with_raw_response.list(  # type: ignore[misc]
            one["id"], account_id=account_id, extra_query=page)))}
        for one in _single(gateway.lists.with_raw_response.list(account_id=account_id))
    ]  # fmt: skip
    absent: list[str] = []
    tokens: tuple[Wire, ...] = ()
    try:
        tokens = tuple(_paged(lambda page: access.service_tokens.with_raw_response.list(account_id=account_id, extra_query=page)))
    except NotFoundError:
        absent.append("service tokens")
    found = Account(
        certificates=_single(client.mtls_certificates.with_raw_response.list(account_id=account_id)),
        checks=_single(client.zero_trust.devices.posture.with_raw_response.list(account_id=account_id)),
        lists=tuple(lists),
        service_tokens=tokens,
        groups=tuple(_paged(lambda page: access.groups.with_raw_response.list(account_id=account_id, extra_query=page))),
        policies=tuple(_paged(lambda page: access.policies.with_raw_response.list(account_id=account_id, extra_query=page))),
        applications=tuple(
            _paged(lambda page: access.applications.with_raw_response.list(account_id=account_id, extra_query=page))
        ),
        gateway_rules=_single(gateway.rules.with_raw_response.list(account_id=account_id)),
        absent=tuple(absent),
    )
    if not all(isinstance(wire.get("id"), str) and wire["id"] for wires in found.sections.values() for wire in wires):
        raise UnreadableAccountError("an answer has an entry without an id: look at the base URL")
    return found


def _single(response: Any) -> tuple[Wire, ...]:  # noqa: ANN401 -- the SDK's, one class for each resource
    body = response.json()
    result = body.get("result") if isinstance(body, dict) else None
    if not isinstance(body, dict) or body.get("success") is False:
        raise UnreadableAccountError("an answer says neither what there is nor what went wrong: look at the base URL")
    if result is None:
        return ()
    if not isinstance(result, list) or not all(isinstance(each, dict) for each in result):
        raise UnreadableAccountError("an answer is no list of entries: look at the base URL")
    return tuple(result)


def _paged(call: Callable[[dict[str, object]], Any]) -> Iterator[Wire]:
    """Page after page, until one is empty. A server that repeats a page for ever is found out."""
    before: tuple[Wire, ...] = ()
    for page in range(1, _MAX_PAGES + 1):
        found = _single(call({"page": page, "per_page": _PAGE}))
        if not found:
            return
        if found == before:
            raise UnreadableAccountError("a page came twice: the server does not page as the API documents it")
        yield from found
        before = found
    raise UnreadableAccountError(f"there are more than {_MAX_PAGES} pages")
