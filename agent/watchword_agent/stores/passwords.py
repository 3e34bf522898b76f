"""Passwords and PINs that the device's administrator laid into files, for keys and stores that want one."""

from typing import Final

from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.base import Access
from watchword_agent.stores.files import read

TOKEN_PREFIX: Final = "token="  # noqa: S105 -- how a setting names a token by its label


def password_for(place: str, access: Access) -> bytes | None:
    """The password of a place, as `Access.password_files` names places; None where the administrator gives none.

    A file holds one line; the end of the line is no part of it, and an empty file is the empty password. What others could
    read is refused, as ssh refuses such a key: see `files.Content.exposed`.
    Raises `CollectionFailedError` (`password_file_unreadable`), with nothing of the content.
    """
    path = access.password_files.get(place)
    if path is None:
        return None
    try:
        content = read(str(path))
    except CollectionFailedError as failure:
        raise CollectionFailedError("password_file_unreadable", f"{failure.detail} ({failure.code})") from None
    if content.exposed:
        raise CollectionFailedError(
            "password_file_unreadable", f"others can read `{path}`: `chmod 600 {path}`, and change the password"
        )
    password = content.data.removesuffix(b"\n").removesuffix(b"\r")
    if b"\n" in password or b"\0" in password:
        raise CollectionFailedError("password_file_unreadable", f"`{path}` holds more than one line")
    return password
