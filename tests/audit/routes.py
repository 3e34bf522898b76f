"""Every route of both APIs, as they say themselves, and who may use it."""

import re
from collections.abc import Iterator
from typing import Final

from services.world import World

ROLES: Final = ("read", "write", "admin")
NO_TOKEN: Final = {("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics")}
ADMIN: Final = {
    ("GET", "/api/v1/audit"),
    ("GET", "/api/v1/settings"),
    ("GET", "/api/v1/tokens"),
    ("GET", "/api/v1/signing-keys"),
    ("POST", "/api/v1/signing-keys/rotate"),
    ("POST", "/api/v1/tokens"),
    ("DELETE", "/api/v1/tokens/{token_id}"),
}
# Calls that are no GET and change nothing: what they say is worked out, or they are refused.
CHANGE_NOTHING: Final = {
    ("POST", "/api/v1/decisions/explain"): "read",
    ("POST", "/client/v4/accounts/{account_id}/devices/registrations/unrevoke"): "write",
}


def served(world: World) -> Iterator[tuple[str, str]]:
    """Method and path of each, its parameters in braces."""
    door = world.house.operators
    for prefix, app in (("", door.app), ("/client/v4", door.cloudflare.app)):
        for path, methods in app.openapi()["paths"].items():
            yield from ((method.upper(), prefix + path) for method in methods)


def least_role(method: str, path: str) -> str:
    """Who reads needs `read`, who changes something `write`; what is about API tokens, their use and the server `admin`."""
    if (method, path) in ADMIN:
        return "admin"
    return CHANGE_NOTHING.get((method, path), "read" if method == "GET" else "write")


def filled(path: str, account_id: str) -> str:
    """With values that name nothing."""
    values = {"account_id": account_id, "decision_id": f"dcn_{'0' * 24}", "number": "999999"}
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], "00000000-0000-4000-8000-000000000000"), path)
