"""The shipped configurations are clean, and one edit that opens one of them is found."""

import json
import shutil
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from inspection.edits import EDITS, HARMLESS, Edit
from support.deploy import DEPLOY
from watchword_server.__main__ import main
from watchword_server.inspection.findings import Code, Weight
from watchword_server.inspection.kinds import INSPECTORS, kind_of

FIRST_READ: Final = {
    "nginx/nginx.conf": "nginx",
    "envoy/envoy.yaml": "envoy",
    "envoy/envoy-http.yaml": "envoy",
    "envoy/envoy-tcp.yaml": "envoy",
    "caddy/Caddyfile": "caddy",
    "traefik/traefik.yml": "traefik",
    "haproxy/haproxy.cfg": "haproxy",
    "haproxy/haproxy-lua.cfg": "haproxy",
}
LED_TO: Final = {"traefik/dynamic.yml": "traefik/traefik.yml", "haproxy/spoe.conf": "haproxy/haproxy.cfg"}


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """`deploy/` as put in place: the paths of a machine lead into a directory."""
    for source in DEPLOY.rglob("*"):
        kind = source.relative_to(DEPLOY).parts[0]
        if source.is_file() and kind in INSPECTORS:
            target = tmp_path / source.relative_to(DEPLOY)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source.read_text().replace("/etc/watchword/", f"{tmp_path}/"))
    (tmp_path / "nginx/caller-secret.conf").write_text('proxy_set_header X-Watchword-Caller-Secret "secret";\n')
    (tmp_path / "caddy/caller-secret").write_text('header_up X-Watchword-Caller-Secret "secret"\n')
    (tmp_path / "caddy/users").write_text("alice@corp.example $2a$14$hash\n")
    (tmp_path / "traefik/dynamic").mkdir()
    for name in ("dynamic.yml", "secret.yml"):
        shutil.move(tmp_path / "traefik" / name, tmp_path / "traefik/dynamic" / name)
    return tmp_path


@pytest.mark.parametrize("file", FIRST_READ)
def test_a_shipped_configuration_is_clean(deployed: Path, file: str) -> None:
    assert kind_of(deployed / file) == FIRST_READ[file]
    assert list(INSPECTORS[FIRST_READ[file]](deployed / file)) == []


@pytest.mark.parametrize("edit", EDITS, ids=str)
def test_one_edit_is_found(deployed: Path, edit: Edit) -> None:
    name = edit.file.replace("traefik/dynamic.yml", "traefik/dynamic/dynamic.yml")
    file, text = deployed / name, (deployed / name).read_text()
    old = edit.old.replace("/etc/watchword/", f"{deployed}/")
    assert text.count(old) == 1, "the edit fits"
    assert edit.with_it in text
    text = text.replace(edit.with_it, edit.instead) if edit.with_it else text
    file.write_text(text.replace(old, edit.new))
    first = LED_TO.get(edit.file, edit.file)
    found = list(INSPECTORS[FIRST_READ[first]](deployed / first))
    assert {finding.code for finding in found} == {edit.code} | edit.besides, found
    assert all(finding.place.file.is_file() for finding in found)
    assert file in {finding.place.file for finding in found} or edit.code is Code.NOT_READ or edit.file in LED_TO
    lines = len(file.read_text().splitlines())
    assert all(0 < finding.place.line <= max(lines, len(finding.place.file.read_text().splitlines())) for finding in found)


@pytest.mark.parametrize(("name", "before", "what"), HARMLESS)
def test_what_opens_nothing_is_no_finding(deployed: Path, name: str, before: str, what: str) -> None:
    file = deployed / name.replace("traefik/dynamic.yml", "traefik/dynamic/dynamic.yml")
    text = file.read_text()
    assert text.count(before) == 1, "the edit fits"
    text = text.replace("  middlewares:\n", "  middlewares:\n    https: { redirectScheme: { scheme: https } }\n", 1)
    file.write_text(text.replace(before, what + before))
    first = LED_TO.get(name, name)
    assert list(INSPECTORS[FIRST_READ[first]](deployed / first)) == []


def test_every_code_is_shown_by_an_edit_and_told_on_the_page() -> None:
    assert {edit.code for edit in EDITS} == set(Code)
    page = (DEPLOY.parent / "docs/proxies.md").read_text()
    assert [code for code in Code if f"`{code}`" not in page] == []


def test_the_command_tells_line_code_and_remedy_and_fails_for_errors_alone(deployed: Path) -> None:
    file = deployed / "nginx/nginx.conf"
    clean = CliRunner().invoke(main, ["doctor", "proxy", str(file)])
    assert (clean.exit_code, clean.stdout) == (0, "")
    assert clean.stderr == f"{file}: nginx, 0 errors, 0 notes\n"
    file.write_text(file.read_text().replace("proxy_read_timeout 500ms;", ""))
    noted = CliRunner().invoke(main, ["doctor", "proxy", str(file)])
    assert noted.exit_code == 0
    assert "[note: slow-to-deny]" in noted.stdout
    file.write_text(file.read_text().replace("auth_request /_watchword;", ""))
    open_ = CliRunner().invoke(main, ["doctor", "proxy", str(file), "--json"])
    assert open_.exit_code == 1
    told = json.loads(open_.stdout)
    assert told["kind"] == "nginx"
    assert {finding["code"] for finding in told["findings"]} >= {"not-asked"}
    assert {finding["weight"] for finding in told["findings"]} <= set(Weight)
    line = next(finding["line"] for finding in told["findings"] if finding["code"] == "not-asked")
    assert "location / {" in file.read_text().splitlines()[line - 1]


def test_a_file_of_no_known_proxy_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "some.conf"
    file.write_text("hello\n")
    refused = CliRunner().invoke(main, ["doctor", "proxy", str(file)])
    assert refused.exit_code == 2
    assert "add --kind" in refused.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nginx.conf", "include nginx.conf;\n"),
        ("nginx.conf", "\x00\x01 {"),
        ("nginx.conf", ""),
        ("Caddyfile", "import Caddyfile\n"),
        ("Caddyfile", "{ { {"),
        ("Caddyfile", '"'),
        ("Caddyfile", ""),
        ("haproxy.cfg", "frontend\n    http-request\n    bind\n    mode\n    acl\n"),
        ("haproxy.cfg", "frontend a\n    mode http\n    http-request send-spoe-group\n    filter spoe config\n"),
        ("envoy.yaml", "static_resources: 1\nadmin: []\n"),
        ("envoy.yaml", "static_resources: { listeners: [{ filter_chains: [1, { filters: [{}, null, [1]] }] }] }\n"),
        ("envoy.yaml", "a: &a [*a]\nresources: *a\n"),
        ("traefik.yml", "http: { routers: { a: 1, b: { rule: [], middlewares: {} } } }\n"),
        ("traefik.yml", "providers: { file: { directory: nowhere, filename: [] } }\n"),
    ],
)
def test_nonsense_is_told_or_clean_and_never_a_traceback(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    kind = {"Caddyfile": "caddy"}.get(name, name.partition(".")[0])
    done = CliRunner().invoke(main, ["doctor", "proxy", str(file), "--kind", kind])
    assert isinstance(done.exception, SystemExit | None), (done.exception, done.stdout)
    assert done.exit_code in {0, 1, 2}
