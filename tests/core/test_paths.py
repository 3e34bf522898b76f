"""The readings of a path: how the server behind a proxy may take it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword_server.core.paths import is_plain, readings


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
    ],
)
def test_a_path_is_also_what_some_server_makes_of_it(path: str, others: set[bytes]) -> None:
    assert not is_plain(path)
    assert readings(path)[0] == path.encode()
    assert others <= set(readings(path)[1:])


@pytest.mark.parametrize("path", ["/", "/pages/7", "/a-b_c~d/e,f", "*", "/trailing/"])
def test_a_plain_path_has_one_reading(path: str) -> None:
    assert is_plain(path)


@given(st.text(alphabet="/.%;25efEFabAB*-", max_size=20).map(lambda text: f"/{text}"))
def test_whatever_has_another_reading_is_not_plain(path: str) -> None:
    found = readings(path)
    assert len(set(found)) == len(found)
    if is_plain(path):
        assert found == (path.encode(),)
    for other in found[1:]:
        assert other.startswith(b"/")
        assert b"//" not in other
        assert not {b".", b".."} & set(other.split(b"/")), other
