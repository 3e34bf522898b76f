"""The certificate stores of Windows, as Wine has them, and the agent's helper in them."""

import base64
import json
import secrets
import subprocess
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

import google.protobuf
from cryptography.hazmat.primitives.asymmetric import rsa

from platforms.wine.setup import PYTHON
from support.pki import Credential
from watchword import possession
from watchword_agent import native
from watchword_agent.helper_process import Helpers

Place = Literal["system", "user"]
ROOTS = tuple(dict.fromkeys(Path(file).resolve().parents[up] for file, up in ((native.__file__, 2), (possession.__file__, 1))))
_PATIENCE_SECONDS = 120


def windows_path(path: Path) -> str:
    """The path as a program under Wine names it."""
    return str(PureWindowsPath(f"Z:{path}"))


def windows_helpers() -> Helpers:
    """Helpers as they run on Windows, but for who starts them."""
    main = Path(native.__file__).with_name("__main__.py")
    command = (str(PYTHON), "-I", "-S", *map(windows_path, (main, *ROOTS)))
    return Helpers(command=command, answer_seconds=60.0)


def put(
    place: Place, client: Credential, *, container: str | None = "new", with_key: bool = True, key_of: Credential | None = None
) -> None:
    """Puts a certificate into a store: with its key (or another's) in a new container, naming one in vain, or naming none."""
    container = secrets.token_hex(8) if container == "new" else container
    key = base64.b64encode(private_key_blob((key_of or client).key)).decode() if with_key and container is not None else None
    der = base64.b64encode(client.der).decode()
    run_script({"op": "put", "place": place, "der": der, "container": container, "key": key})


def clear(places: Iterable[Place] = ("system", "user")) -> None:
    """Removes every certificate and its key."""
    for place in places:
        run_script({"op": "clear", "place": place})


def call(module: str, function: str, *arguments: Any) -> Any:
    """What a function of the agent answers there; an exception as `(class, code or text)`."""
    order = {"module": f"watchword_agent.{module}", "call": function, "arguments": arguments}
    answer = json.loads(run_script(order, "without_wheels.py"))
    return answer["returned"] if "returned" in answer else tuple(answer["raised"])


def run_script(order: dict[str, Any], script: str = "store.py") -> bytes:
    roots = [windows_path(root) for root in (*ROOTS, Path(google.protobuf.__path__[0]).parents[1])]
    code = (
        f"import sys; sys.path[:0] = {roots!r}; "
        f"sys.argv = [{windows_path(Path(__file__).with_name(script))!r}]; "
        "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    finished = subprocess.run(
        [PYTHON, "-I", "-S", "-c", code],
        input=json.dumps(order).encode(),
        capture_output=True,
        timeout=_PATIENCE_SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr.decode(errors="replace")
    return finished.stdout


def private_key_blob(key: object) -> bytes:
    """An RSA key as the CryptoAPI imports it: PRIVATEKEYBLOB, RSAPUBKEY and the numbers, all little-endian."""
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers, size = key.private_numbers(), key.key_size // 8
    header = bytes([7, 2, 0, 0]) + (0xA400).to_bytes(4, "little")  # CALG_RSA_KEYX
    public = b"RSA2" + key.key_size.to_bytes(4, "little") + numbers.public_numbers.e.to_bytes(4, "little")
    parts = [
        (numbers.public_numbers.n, size),
        *((number, size // 2) for number in (numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)),
        (numbers.d, size),
    ]
    return header + public + b"".join(number.to_bytes(length, "little") for number, length in parts)
