"""The command of the system's own tools that shows what the agent looked at."""

import shlex
from typing import Final

from watchword_agent.stores import NSS_PREFIXES, PKCS11_PREFIX
from watchword_agent.stores.base import Access

SYSTEM_NSS: Final = "/etc/pki/nssdb"
_MAC_KEYCHAIN: Final = "/Library/Keychains/System.keychain"


def show_file(path: str) -> str:
    """Every certificate in a PEM file."""
    return f"openssl storeutl -certs -noout -text {shlex.quote(path)}"


def show_nss(directory: str, nickname: str | None = None) -> str:
    """What an NSS database holds, `u` in the third column beside what has a key; or the certificate of a nickname."""
    told = directory if directory.startswith(NSS_PREFIXES) else f"sql:{directory}"
    return f"certutil -L -d {shlex.quote(told)}" + ("" if nickname is None else f" -n {shlex.quote(nickname)}")


def show_token(uri: str, access: Access) -> str:
    """The objects in the tokens of the first library that the device allows."""
    module = str(access.pkcs11_modules[0]) if access.pkcs11_modules else "LIBRARY"
    label = next(
        (part.removeprefix("token=") for part in uri.removeprefix(PKCS11_PREFIX).split(";") if part.startswith("token=")), ""
    )
    token = f" --token-label {shlex.quote(label)}" if label else ""
    return f"pkcs11-tool --module {shlex.quote(module)}{token} --list-objects --type cert"


def show_system_store(platform: str, store: str, common_name: str = "") -> str:
    """The platform's own store; of one common name where that is known."""
    if platform == "windows":
        where = f'where{{$_.Subject -like "*{common_name}*"}}' if common_name else "Format-List Subject,Issuer,HasPrivateKey"
        return rf"Get-ChildItem Cert:\{'CurrentUser' if store == 'user' else 'LocalMachine'}\My\ | {where}"
    if platform == "mac":
        named = f"-c {shlex.quote(common_name)}" if common_name else "-a"
        return f"/usr/bin/security find-certificate {named} -p {_MAC_KEYCHAIN}"
    return show_nss(SYSTEM_NSS) if store == "system" else 'certutil -L -d "sql:$HOME/.pki/nssdb"'
