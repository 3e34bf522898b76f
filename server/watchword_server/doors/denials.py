"""What somebody who was denied reads: a page for a person, JSON for a program. Neither tells other rules or other devices."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Access denied</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 12vh auto; padding: 0 1.5rem }}
h1 {{ font-size: 1.5rem }}
code {{ font-family: ui-monospace, monospace; overflow-wrap: anywhere }}
dt {{ font-weight: 600; margin-top: .75rem }}
dd {{ margin: 0 }}
</style>
</head>
<body>
<h1>Access denied</h1>
<p>This request was not let through.</p>
<dl>
<dt>Reason</dt><dd><code>{reason}</code></dd>
{checks}{decision}</dl>
<p>On the device itself, <code>watchword-agent doctor</code> shows what it found and what to do.</p>
</body>
</html>
"""


def told_to_the_client(body: Mapping[str, object], *, accept: Sequence[str]) -> tuple[str, bytes]:
    """Content type and content of a denial. `accept`: the values of the client's Accept header (RFC 9110, 12.5.1)."""
    if _wants_a_page(",".join(accept)):
        return "text/html; charset=utf-8", _page(body).encode()
    return "application/json", json.dumps(body).encode() + b"\n"


def _wants_a_page(accept: str) -> bool:
    """Whether HTML is named and JSON is not preferred to it: browsers name it, programs rarely do."""
    quality = {"text/html": 0.0, "application/json": 0.0}
    for part in accept[:4096].split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if media in quality:
            weights = [_quality(parameter[2:]) for parameter in parameters if parameter.startswith("q=")]
            quality[media] = max(quality[media], weights[0] if weights else 1.0)
    return quality["text/html"] > 0 and quality["text/html"] >= quality["application/json"]


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


def _page(body: Mapping[str, object]) -> str:
    checks = body.get("checks")
    named = [check for check in checks if isinstance(check, dict)] if isinstance(checks, list) else []
    rows = "".join(
        f"<dt>Check</dt><dd>{escape(str(check.get('name')))}: <code>{escape(str(check.get('reason')))}</code></dd>\n"
        for check in named
    )
    decision = body.get("decision_id")
    return _PAGE.format(
        reason=escape(str(body.get("reason"))),
        checks=rows,
        decision="" if decision is None else f"<dt>Decision</dt><dd><code>{escape(str(decision))}</code></dd>\n",
    )
