"""The readings of a path: how the server behind a proxy may take it."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword_server.core.paths import _STAGES, is_plain, readings

MOST: Final = 300  # however odd a path is


@pytest.mark.parametrize(
    ("path", "others"),
    [
        ("/public/../admin", {b"/admin"}),
        ("/public/%2e%2e/admin", {b"/admin"}),
        ("/public/.%2E/admin", {b"/admin"}),
        ("//admin", {b"/admin"}),
        ("/./admin/.", {b"/admin/"}),
        ("/admin/..", {b"/"}),
        ("/../../admin", {b"/admin"}),
        ("/%61dmin", {b"/admin"}),
        ("/a%2fb", {b"/a/b"}),
        ("/public%2f..%2fadmin", {b"/admin"}),
        ("/public/..%5cadmin", {b"/admin"}),
        ("/admin;a=b/users", {b"/admin/users"}),
        ("/public/..;/admin", {b"/admin"}),
        ("/a%20b", {b"/a b"}),
        ("/%7euser", {b"/~user"}),
        ("/%61dmin/../public", {b"/admin/../public"}),
        ("/admin%2f..%2fpublic", {b"/admin/../public", b"/public"}),
        ("/admin;%2f../public", {b"/admin/public"}),
        ("/a%2f../admin/x%5c../..", {b"/admin/"}),
        ("/admin;//..", {b"/admin/"}),
        ("/%2561dmin", {b"/admin"}),
        ("/public/%252e%252e/admin", {b"/admin"}),
        ("/%u0061dmin", {b"/admin"}),
        ("/admin.", {b"/admin"}),
        ("/admin./users", {b"/admin/users"}),
        ("/admin%20", {b"/admin"}),
        ("/admin%3fx", {b"/admin"}),
        ("/admin%23", {b"/admin"}),
        ("/admin%00.html", {b"/admin"}),
        ("/caf%c3%a9", {b"/caf%C3%A9", "/caf\u00e9".encode()}),
    ],
)
def test_a_path_is_also_what_some_server_makes_of_it(path: str, others: set[bytes]) -> None:
    assert not is_plain(path)
    assert readings(path)[0] == path.encode()
    assert others <= set(readings(path)[1:])


@pytest.mark.parametrize("path", ["/", "/pages/7", "/a-b_c~d/e,f", "*", "/trailing/", "/.well-known/x", "/a.b/..c/...d"])
def test_a_plain_path_has_one_reading(path: str) -> None:
    assert is_plain(path)


@given(st.text(alphabet="/.%;25efEFabAB*-", max_size=20).map(lambda text: f"/{text}"))
def test_whatever_has_another_reading_is_not_plain(path: str) -> None:
    found = readings(path)
    assert len(set(found)) == len(found) <= MOST
    if is_plain(path):
        assert found == (path.encode(),)
    resolved = found[-1]
    assert resolved.startswith(b"/") or not resolved


@given(st.text(alphabet="/.ab-*", max_size=20).map(lambda text: f"/{text}"))
def test_no_step_of_any_server_changes_a_plain_path(path: str) -> None:
    if is_plain(path):
        assert {step(path.encode()) for steps in _STAGES for step in steps} == {path.encode()}
