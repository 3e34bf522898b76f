"""`watchword-agent token`, as somebody at the device runs it."""

import stat
import sys
from pathlib import Path
from typing import Any, Final

import jwt

from server.scene import Scene
from support.processes import run

AGENT: Final = Path(sys.executable).with_name("watchword-agent")


def agent(scene: Scene, state: Path, *arguments: str) -> str:
    return run([AGENT, *arguments, "--server", f"http://{scene.server.endpoints.agents}", "--state", str(state)]).stdout


def claims(token: str) -> dict[str, Any]:
    told: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return told


def test_it_prints_a_token_or_the_headers_of_a_request(scene: Scene, tmp_path: Path) -> None:
    state, key = tmp_path / "state", tmp_path / "client.key"
    device_id = agent(scene, state, "enroll", "--token", scene.token.text).strip()
    bare = claims(agent(scene, state, "token", "--audience", "https://wiki.corp.example").strip())
    assert (bare["sub"], bare["aud"]) == (device_id, "https://wiki.corp.example")
    assert "cnf" not in bare
    url = "https://wiki.corp.example/pages"
    bound = ("--audience", "https://wiki.corp.example", "--key", str(key))
    told = agent(scene, state, "token", *bound, "--for", "GET", f"{url}?q=1")
    token, proof = (line.partition(": ")[2] for line in told.splitlines())
    assert [line.partition(": ")[0] for line in told.splitlines()] == ["Device-Token", "Device-Proof"]
    assert claims(token)["cnf"].keys() == {"jkt"}
    assert (claims(proof)["htm"], claims(proof)["htu"]) == ("GET", url)
    assert jwt.decode(proof, jwt.PyJWK.from_dict(jwt.get_unverified_header(proof)["jwk"]), algorithms=["ES256"])
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    again = agent(scene, state, "token", *bound).strip()
    assert claims(again)["cnf"] == claims(token)["cnf"]
