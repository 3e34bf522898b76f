"""A rules file for tests: one application, one check, one policy, one proxy, and room to say otherwise."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from support.pki import Pki

CHECK: Final = "managed-laptop"
POLICY: Final = "staff-on-managed-laptops"
HOST: Final = "wiki.corp.example"
CALLER: Final = "edge"
IDENTITY_HEADER: Final = "x-authenticated-email"
_SECRET_FILE: Final = "caller-secret"


def wiki_rules(pki: Pki, *, check_input: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`wiki.corp.example` for staff with a device whose certificate the device CA issued; everything else is denied.

    `check_input` changes the check's configuration. Change the result, then hand it to `write_rules`.
    """
    return {
        "certificates": [{"name": "corp-device-ca", "pem": pki.issuing.pem.decode()}],
        "checks": [
            {
                "name": CHECK,
                "type": "client_certificate_v2",
                "match": [{"platform": "linux"}],
                "schedule": "5m",
                "expiration": "15m",
                "input": {
                    "operating_system": "linux",
                    "certificate_id": "corp-device-ca",
                    "extended_key_usage": ["clientAuth"],
                    "check_private_key": True,
                    "locations": {"paths": ["/etc/corp/client.pem", "/etc/corp/client.key"]},
                    **(check_input or {}),
                },
            }
        ],
        "groups": [{"name": "staff", "include": [{"email_domain": {"domain": "corp.example"}}]}],
        "policies": [
            {
                "name": POLICY,
                "decision": "allow",
                "include": [{"group": {"id": "staff"}}],
                "require": [{"device_posture": {"integration_uid": CHECK}}],
            }
        ],
        "applications": [{"name": "wiki", "type": "self_hosted", "domain": HOST, "policies": [POLICY]}],
        "callers": [
            {
                "name": CALLER,
                "authenticate": {"secret_file": _SECRET_FILE},
                "may_assert": ["client_certificate", "identity", "address"],
                "resolvers": ["client_certificate"],
                "identity": {"email_header": IDENTITY_HEADER},
            }
        ],
        "unmatched": "deny",
    }


def write_rules(rules: Mapping[str, Any], directory: Path, *, caller_secret: str) -> Path:
    """Writes the rules as a file (JSON is YAML), the caller's secret beside it; the path of the file."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _SECRET_FILE).write_text(caller_secret)
    path = directory / "rules.yaml"
    path.write_text(json.dumps(rules, indent=2))
    return path
