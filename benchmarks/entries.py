"""The rules of `workload.py` as operators write them: a document for `Rules.apply`, and what a store then holds of it."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import workload
from support.pki import root_authority
from watchword_server.cli.logs import configure_logging
from watchword_server.house import House
from watchword_server.ports.rules import StoredObject
from watchword_server.settings import Settings

Document = dict[str, list[dict[str, Any]]]


def document(*, applications: int, gateway_rules: int) -> Document:
    """So many applications, each with a policy of its own, and so many Gateway rules; and what they refer to."""
    authority = root_authority("Benchmark CA")
    return {
        "certificates": [{"name": "device-ca", "pem": authority.pem.decode()}],
        "checks": [
            {
                "name": check.name,
                "type": "client_certificate_v2",
                "input": {"certificate_id": "device-ca", "locations": {"paths": ["/etc/corp/client.pem"]}},
            }
            for check in workload.CHECKS
        ],
        "applications": [application(number) for number in range(applications)],
        "gateway_rules": [gateway_rule(number) for number in range(gateway_rules)],
    }


def half_and_half(rules: int) -> Document:
    """So many rules, half applications and half Gateway rules."""
    return document(applications=rules // 2, gateway_rules=rules - rules // 2)


def application(number: int) -> dict[str, Any]:
    """An application at one host; its policy asks for an email domain and a check."""
    name = workload.host(number)
    policy = {
        "name": f"staff at {name}",
        "decision": "allow",
        "include": [{"email_domain": {"domain": workload.DOMAIN}}],
        "require": [{"device_posture": {"integration_uid": workload.check_of(number).name}}],
    }
    return {"name": name, "type": "self_hosted", "domain": name, "policies": [policy]}


def gateway_rule(number: int, *, action: str = "block") -> dict[str, Any]:
    """A rule about one host; devices that do not pass a check are blocked."""
    return {
        "name": f"managed devices at {workload.host(number)}",
        "precedence": 1000 + number,
        "enabled": True,
        "filters": ["http"],
        "action": action,
        "traffic": workload.traffic_of(number),
        "device_posture": workload.posture_of(workload.check_of(number).name),
    }


@contextlib.asynccontextmanager
async def house(rules: Document) -> AsyncIterator[House]:
    """A server without listeners, on an SQLite store of its own, with these rules in force."""
    configure_logging("error")
    with tempfile.TemporaryDirectory() as directory:
        opened = await House.open(Path(directory) / "data", Settings())
        try:
            await opened.rules.apply(rules, prune=False, dry_run=False)
            yield opened
        finally:
            await opened.close()


def stored(rules: Document) -> tuple[Sequence[StoredObject], int]:
    """What the store holds after these rules were applied: references as ids; and the revision."""

    async def apply() -> tuple[Sequence[StoredObject], int]:
        async with house(rules) as opened:
            return await opened.store.load_rules()

    return asyncio.run(apply())
