"""Every attack by name. docs/threat-model.md lists them; `python -m adversary.catalogue`, in `tests/`, writes that list."""

import sys
from typing import Final

from adversary import (
    certificates,
    chains,
    clones,
    enrollment,
    envelope,
    freshness,
    leaving_and_rotation,
    possession,
    proxy,
    results,
    revocation,
)
from adversary.attack import Attack

GROUPS: Final[dict[str, tuple[Attack, ...]]] = {
    "the message": envelope.ATTACKS,
    "time and order": freshness.ATTACKS,
    "enrollment": enrollment.ATTACKS,
    "sessions, departure, keys": leaving_and_rotation.ATTACKS,
    "certificates": certificates.ATTACKS,
    "chains": chains.ATTACKS,
    "revocation": revocation.ATTACKS,
    "possession": possession.ATTACKS,
    "clones": clones.ATTACKS,
    "proxies": proxy.ATTACKS,
    "results and rules": results.ATTACKS,
}
CATALOGUE: Final[tuple[Attack, ...]] = tuple(attack for attacks in GROUPS.values() for attack in attacks)


def tables() -> str:
    """The catalogue in Markdown, a table for each group."""
    parts = []
    for group, attacks in GROUPS.items():
        rows = [f"| `{attack.name}` | {attack.attacker} | `{attack.expected}` |" for attack in attacks]
        parts.append(
            "\n".join([f"### Attacks on {group}", "", "| attack | the attacker | is told |", "|---|---|---|", *rows, ""])
        )
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(tables())
