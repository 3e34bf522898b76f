"""Real proxies, each with the configuration shipped in `deploy/`, between a client and an application.

with envoy(setup) as proxy:
    assert proxy.client().get("/").status == 403
"""

import base64
import contextlib
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.deploy import DEPLOY, envoy_address, render
from support.http_client import ProxyClient
from support.pki import Pki
from support.processes import Program, free_port, run
from support.programs import program


@dataclass(frozen=True, slots=True)
class ProxySetup:
    """What stands around a proxy. `decisions` and `application` are `host:port`; `users`: name to password.

    `host` is what its certificate is for and what clients ask for unless they say otherwise. `edited` makes of each shipped file
    what the test is about: what the documentation tells readers to add, or a mistake.
    """

    decisions: str
    application: str
    pki: Pki
    host: str = "wiki.corp.example"
    caller_secret: str = "caller-secret-of-the-tests"
    users: Mapping[str, str] = field(default_factory=lambda: {"alice@corp.example": "alice's password"})
    edited: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """A proxy that accepts connections on 127.0.0.1."""

    port: int
    setup: ProxySetup
    program: Program

    def client(self) -> ProxyClient:
        """A client without a certificate, signed in as the first user."""
        user = next(iter(self.setup.users.items()))
        return ProxyClient(self.port, self.setup.pki.web.pem, self.setup.host, user=user)


@contextlib.contextmanager
def envoy(setup: ProxySetup) -> Iterator[RunningProxy]:
    """Real Envoy with `deploy/envoy/envoy.yaml`."""
    with _envoy(setup, "envoy.yaml", "127.0.0.1:7402") as proxy:
        yield proxy


@contextlib.contextmanager
def envoy_http(setup: ProxySetup) -> Iterator[RunningProxy]:
    """Real Envoy with `deploy/envoy/envoy-http.yaml`."""
    with _envoy(setup, "envoy-http.yaml", "127.0.0.1:7401") as proxy:
        yield proxy


@contextlib.contextmanager
def envoy_tcp(setup: ProxySetup) -> Iterator[RunningProxy]:
    """Real Envoy with `deploy/envoy/envoy-tcp.yaml`."""
    addresses = ("0.0.0.0:5433", "127.0.0.1:5432")
    with _envoy(setup, "envoy-tcp.yaml", "127.0.0.1:7402", addresses=addresses, with_users=False) as proxy:
        yield proxy


@contextlib.contextmanager
def _envoy(
    setup: ProxySetup,
    shipped: str,
    decisions: str,
    *,
    addresses: tuple[str, str] = ("0.0.0.0:443", "127.0.0.1:8080"),
    with_users: bool = True,
) -> Iterator[RunningProxy]:
    """`addresses`: of the listener and of the application, as the file has them."""
    port = free_port()
    users = "/etc/watchword/envoy/users.htpasswd" if with_users else None
    with _directory() as directory:
        (directory / "caller-secret").write_text(setup.caller_secret)
        configuration = directory / "envoy.yaml"
        rendered = render(
            f"envoy/{shipped}",
            {
                envoy_address(addresses[0]): envoy_address(f"127.0.0.1:{port}"),
                envoy_address(addresses[1]): envoy_address(setup.application),
                envoy_address(decisions): envoy_address(setup.decisions),
                "/etc/watchword/envoy/caller-secret": str(directory / "caller-secret"),
                **_common_files(directory, setup, users=users),
            },
        )
        configuration.write_text(setup.edited(rendered))
        # --use-dynamic-base-id: several Envoys on one machine. --concurrency 1: one worker is what a test needs.
        arguments = ("-c", configuration, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning")
        with Program([program("envoy"), *arguments], name="envoy", directory=directory) as running:
            running.wait_for_port(port)
            yield RunningProxy(port, setup, running)


@contextlib.contextmanager
def nginx(setup: ProxySetup) -> Iterator[RunningProxy]:
    """Real nginx with `deploy/nginx/nginx.conf`."""
    port = free_port()
    with _directory() as directory:
        secret = directory / "caller-secret.conf"
        secret.touch(mode=0o600)
        secret.write_text(f'proxy_set_header X-Watchword-Caller-Secret "{setup.caller_secret}";\n')
        configuration = directory / "nginx.conf"
        configuration.write_text(
            setup.edited(
                render(
                    "nginx/nginx.conf",
                    {
                        "0.0.0.0:443": f"127.0.0.1:{port}",
                        "127.0.0.1:8080": setup.application,
                        "127.0.0.1:7401": setup.decisions,
                        "/etc/watchword/nginx/caller-secret.conf": str(secret),
                        "/run/nginx.pid": str(directory / "nginx.pid"),
                        "/var/log/nginx/error.log": str(directory / "error.log"),
                        "/var/log/nginx/access.log": str(directory / "access.log"),
                        **{
                            f"/var/lib/nginx/{name}": str(directory / name)
                            for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi")
                        },
                        **_common_files(directory, setup, users="/etc/watchword/nginx/users.htpasswd"),
                    },
                )
            )
        )
        arguments = ("-c", configuration, "-g", "daemon off;")
        with Program([program("nginx"), *arguments], name="nginx", directory=directory) as running:
            running.wait_for_port(port)
            yield RunningProxy(port, setup, running)


@contextlib.contextmanager
def caddy(setup: ProxySetup) -> Iterator[RunningProxy]:
    """Real Caddy with `deploy/caddy/Caddyfile`."""
    port = free_port()
    with _directory() as directory:
        secret = directory / "caller-secret"
        secret.touch(mode=0o600)
        secret.write_text(f'header_up X-Watchword-Caller-Secret "{setup.caller_secret}"\n')
        users = directory / "users"
        hashed = {name: _bcrypt_password(password) for name, password in setup.users.items()}
        users.write_text("".join(f"{name} {password}\n" for name, password in hashed.items()))
        files = _common_files(directory, setup)
        configuration = directory / "Caddyfile"
        configuration.write_text(
            setup.edited(
                render(
                    "caddy/Caddyfile",
                    {
                        "0.0.0.0": "127.0.0.1",
                        ":443": f":{port}",
                        "127.0.0.1:8080": setup.application,
                        "127.0.0.1:7401": setup.decisions,
                        "/etc/watchword/caddy/caller-secret": str(secret),
                        "/etc/watchword/caddy/users": str(users),
                        **files,
                    },
                )
            )
        )
        arguments = ("run", "--adapter", "caddyfile", "--config", configuration)
        home = {"HOME": str(directory), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
        with Program([program("caddy"), *arguments], name="caddy", directory=directory, environment=home) as running:
            running.wait_for_port(port)
            yield RunningProxy(port, setup, running)


@contextlib.contextmanager
def traefik(setup: ProxySetup) -> Iterator[RunningProxy]:
    """Real Traefik with `deploy/traefik/`."""
    port, inner = free_port(), free_port()
    with _directory() as directory:
        dynamic = directory / "dynamic"
        dynamic.mkdir()
        secret = dynamic / "secret.yml"
        secret.touch(mode=0o600)
        shipped = (DEPLOY / "traefik/secret.yml").read_text()
        secret.write_text(shipped.replace("the secret of this proxy: see ../README.md", setup.caller_secret))
        (dynamic / "dynamic.yml").write_text(
            setup.edited(
                render(
                    "traefik/dynamic.yml",
                    {
                        "127.0.0.1:8080": setup.application,
                        "127.0.0.1:7401": setup.decisions,
                        "127.0.0.1:7409": f"127.0.0.1:{inner}",
                        **_common_files(directory, setup, users="/etc/watchword/traefik/users.htpasswd"),
                    },
                )
            )
        )
        configuration = directory / "traefik.yml"
        configuration.write_text(
            setup.edited(
                render(
                    "traefik/traefik.yml",
                    {
                        "0.0.0.0:443": f"127.0.0.1:{port}",
                        "127.0.0.1:7409": f"127.0.0.1:{inner}",
                        "127.0.0.1": "127.0.0.1",
                        "/etc/watchword/traefik/dynamic": str(dynamic),
                    },
                )
            )
        )
        with Program([program("traefik"), f"--configFile={configuration}"], name="traefik", directory=directory) as running:
            running.wait_for_port(port)
            proxy = RunningProxy(port, setup, running)
            running.wait_until(lambda: _is_configured(proxy), what="its routers are there")
            yield proxy


@contextlib.contextmanager
def haproxy(setup: ProxySetup) -> Iterator[RunningProxy]:
    """Real HAProxy with `deploy/haproxy/haproxy.cfg` and `spoe.conf`."""
    spoe = (DEPLOY / "haproxy/spoe.conf").read_text()
    with _haproxy(setup, "haproxy.cfg", {"127.0.0.1:7405": setup.decisions}, ("spoe.conf", spoe)) as proxy:
        yield proxy


@contextlib.contextmanager
def haproxy_lua(setup: ProxySetup) -> Iterator[RunningProxy]:
    """Real HAProxy with `deploy/haproxy/haproxy-lua.cfg` and `watchword.lua`."""
    inner = {"127.0.0.1:7408": f"127.0.0.1:{free_port()}"}
    beside = ("watchword.lua", render("haproxy/watchword.lua", inner))
    with _haproxy(setup, "haproxy-lua.cfg", {"127.0.0.1:7401": setup.decisions, **inner}, beside) as proxy:
        yield proxy


@contextlib.contextmanager
def _haproxy(setup: ProxySetup, shipped: str, decisions: Mapping[str, str], beside: tuple[str, str]) -> Iterator[RunningProxy]:
    """`beside`: the name and the text of the file that the configuration names."""
    port = free_port()
    name, text = beside
    with _directory() as directory:
        (directory / name).write_text(text)
        users = directory / "users.cfg"
        lines = [f"    user {name} insecure-password {_escaped(password)}" for name, password in setup.users.items()]
        users.write_text("\n".join(["userlist staff", *lines, ""]))
        files = _common_files(directory, setup)
        (directory / "server.pem.key").symlink_to(files.pop("/etc/watchword/tls/server.key"))
        configuration = directory / "haproxy.cfg"
        configuration.write_text(
            setup.edited(
                render(
                    f"haproxy/{shipped}",
                    {
                        "0.0.0.0:443": f"127.0.0.1:{port}",
                        "127.0.0.1:8080": setup.application,
                        f"/etc/watchword/haproxy/{name}": str(directory / name),
                        **decisions,
                        **files,
                    },
                )
            )
        )
        arguments = ("-db", "-f", configuration, "-f", users)
        secret = {"WATCHWORD_CALLER_SECRET": setup.caller_secret}
        with Program([program("haproxy"), *arguments], name="haproxy", directory=directory, environment=secret) as running:
            running.wait_for_port(port)
            yield RunningProxy(port, setup, running)


def _escaped(word: str) -> str:
    """As one word of HAProxy's configuration."""
    return re.sub(r"([\\ '\"#])", r"\\\1", word)


def _is_configured(proxy: RunningProxy) -> bool:
    """Traefik listens before it has read its routers: it ends handshakes, then answers 404."""
    try:
        return proxy.client().get("/", ("Authorization", "")).status == 401
    except OSError:
        return False


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """A directory that nginx's unprivileged workers can enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="watchword-proxy-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def _common_files(directory: Path, setup: ProxySetup, *, users: str | None = None) -> dict[str, str]:
    server = setup.pki.server(setup.host).write(directory, "server")
    authorities = directory / "device-ca.pem"
    authorities.write_bytes(setup.pki.issuing.pem + setup.pki.root.pem)
    files = {
        "/etc/watchword/tls/server.pem": str(server.certificate),
        "/etc/watchword/tls/server.key": str(server.key),
        "/etc/watchword/pki/device-ca.pem": str(authorities),
    }
    if users is not None:
        htpasswd = directory / "users.htpasswd"
        htpasswd.write_text("".join(f"{name}:{_sha_password(password)}\n" for name, password in setup.users.items()))
        files[users] = str(htpasswd)
    return files


def _bcrypt_password(password: str) -> str:
    """The only scheme that Caddy reads, in its cheapest form."""
    options = ("--algorithm", "bcrypt", "--bcrypt-cost", "4", "--plaintext", password)
    return run([program("caddy"), "hash-password", *options]).stdout.strip()


def _sha_password(password: str) -> str:
    """The only scheme that Envoy's basic_auth reads; nginx reads it too."""
    return "{SHA}" + base64.b64encode(hashlib.sha1(password.encode(), usedforsecurity=False).digest()).decode()
