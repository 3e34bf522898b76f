"""Rule files and scenario files written where a test wants them."""

import json
from pathlib import Path
from typing import Any

from watchword_server.rehearsal.checking import findings_in
from watchword_server.rehearsal.snapshots import load_rules

CA = (Path(__file__).resolve().parents[1] / "cases" / "device-ca.pem").read_text()
HOST = "wiki.corp.example"


def a_check(name: str = "laptop", **fields: Any) -> dict[str, Any]:
    where = {"operating_system": "linux", "certificate_id": "ca", "locations": {"paths": ["/etc/corp/client.pem"]}}
    return {"name": name, "type": "client_certificate_v2", "schedule": "5m", "expiration": "15m", "input": where, **fields}


def a_rule(traffic: str = "", **fields: Any) -> dict[str, Any]:
    rule = {"name": "rule", "precedence": 10, "enabled": True, "filters": ["http"], "action": "block"}
    return {**rule, **({"traffic": traffic} if traffic else {}), **fields}


def a_document(**sections: Any) -> dict[str, Any]:
    """One check, one policy that allows Ada, one application; sections replace."""
    return {
        "certificates": [{"name": "ca", "pem": CA}],
        "checks": [a_check()],
        "policies": [{"name": "ada", "decision": "allow", "include": [{"email": {"email": "ada@corp.example"}}]}],
        "applications": [{"name": "wiki", "type": "self_hosted", "domain": HOST, "policies": ["ada"]}],
        **sections,
    }


def written(path: Path, value: Any) -> Path:
    """JSON is YAML."""
    path.write_text(value if isinstance(value, str) else json.dumps(value, indent=1))
    return path


def codes(directory: Path, **sections: Any) -> list[str]:
    """What `rules check` finds in a document with these sections."""
    loaded = load_rules(written(directory / "rules.yaml", a_document(**sections)))
    return [finding.code.value for finding in findings_in(loaded)]
