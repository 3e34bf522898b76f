"""The HTTP proxy on the way to the server: what the settings say, or the system's own; none on loopback."""

import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from watchword_agent.errors import SettingsError
from watchword_agent.settings import ServerAddress

SYSTEM: Final = "system"
NONE: Final = "none"
_MAX_CREDENTIALS: Final = 1024


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that is asked by CONNECT. `address` is `host:port`; `credentials` are `user:password`, or empty."""

    address: str
    credentials: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """With the credentials: never for a log."""
        user, _, password = self.credentials.partition(":")
        return f"http://{quote(user, safe='')}:{quote(password, safe='')}@{self.address}" if user else f"http://{self.address}"


def proxy_for(server: ServerAddress, choice: str, credentials_file: Path | None) -> Proxy | None:
    """What stands between; None: nothing. `choice`: `system`, `none` or the proxy's URL. Raises `SettingsError`."""
    if choice == NONE or server.is_loopback:
        return None
    url = _of_the_system(server) if choice == SYSTEM else choice
    if url is None:
        return None
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise SettingsError(f"`proxy`: `{parts.scheme}` proxies are not spoken to: write `http://host:port`, or `none`")
    told = "" if credentials_file is None else _read(credentials_file)
    if not told and parts.username:
        told = f"{parts.username}:{parts.password or ''}"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Proxy(f"{host}:{parts.port or 80}", told)


def _of_the_system(server: ServerAddress) -> str | None:
    """By the environment; on Windows and macOS by the system's own settings as well."""
    if urllib.request.proxy_bypass(server.host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get("https") or proxies.get("all")


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            told = file.read(_MAX_CREDENTIALS).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"`proxy_credentials_file`: cannot read `{path}`: {error}") from error
    if ":" not in told or not told.isprintable():
        raise SettingsError(f"`proxy_credentials_file`: `{path}` does not hold `user:password`")
    return told
