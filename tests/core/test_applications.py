"""Which application a request belongs to."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword_server.core.applications import PathPattern, compile_application, index_applications
from watchword_server.core.rules import Application, Destination


def found(host: str, path: str, *written: str) -> str | None:
    """Of applications with these destinations, the one that covers host and path."""
    applications = []
    for number, text in enumerate(written):
        own_host, slash, own_path = text.partition("/")
        destination = Destination(own_host, slash + own_path if own_path.strip("*") else "")
        applications.append(compile_application(Application(f"app-{number}", text, (destination,), ()), ()))
    application = index_applications(applications).find(host, path.encode())
    return None if application is None else application.application.name


@pytest.mark.parametrize(
    ("written", "host", "covered"),
    [
        ("example.com", "example.com", True),
        ("example.com", "a.example.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*test.example.com", "test.example.com", True),
        ("*test.example.com", "alphatest.example.com", True),
        ("*test.example.com", "a.test.example.com", False),
        ("dev-*.example.com", "dev-7.example.com", True),
        ("dev-*.example.com", "dev.example.com", False),
        ("*.*.example.com", "a.b.example.com", True),
        ("a.*.example.com", "a.b.example.com", True),
        ("a.*.example.com", "b.b.example.com", False),
        ("*.example.com", "a.example.com.evil.test", False),
        ("*.example.com", "aXexample.com", False),
    ],
)
def test_hosts(written: str, host: str, covered: bool) -> None:
    assert (found(host, "/", written) is not None) is covered


@pytest.mark.parametrize(
    ("written", "path", "covered"),
    [
        ("h.test", "/anything/at/all", True),
        ("h.test/*", "/", True),
        ("h.test/eng", "/eng", True),
        ("h.test/eng", "/eng/exec", True),
        ("h.test/eng", "/english", False),
        ("h.test/eng", "/", False),
        ("h.test/alpha/*", "/alpha", False),
        ("h.test/alpha/*", "/alpha/", True),
        ("h.test/alpha/*", "/alpha/x/y", True),
        ("h.test/foo*/bar", "/food/stuff/bar", True),
        ("h.test/foo*/bar", "/food/stuff/bar/below", True),
        ("h.test/foo*/bar", "/food/stuff/bars", False),
        ("h.test/img/*.png", "/img/a/b.png", True),
        ("h.test/img/*.png", "/img/a/b_png", False),
        ("h.test/below/", "/below/x", True),
        ("h.test/below/", "/below", False),
        ("h.test/a.b", "/aXb", False),
        ("h.test/a*b*c", "/a/b/b/c/below", True),
        ("h.test/a*b*c", "/a/b/cc", True),
        ("h.test/a*b*c", "/a/b/cd", False),
        ("h.test/a*c", "/acc", True),
        ("h.test/x/*/", "/x/y/z", True),
        ("h.test/my%20docs", "/my%20docs/x", True),
        ("h.test/my%20docs", "/my docs", True),
    ],
)
def test_paths(written: str, path: str, covered: bool) -> None:
    assert (found("h.test", path, written) is not None) is covered


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("a.example.com", "/x", "a.example.com"),
        ("a.example.com", "/eng/exec/salaries", "a.example.com/eng/exec"),
        ("a.example.com", "/eng/x", "a.example.com/eng"),
        ("a.example.com", "/english", "a.example.com"),
        ("b.example.com", "/eng/exec", "*.example.com/eng"),
        ("b.example.com", "/x", "*.example.com"),
        ("dev-1.example.com", "/eng", "dev-*.example.com"),
        ("only-a-path.example.com", "/path", "only-a-path.example.com/path"),
        ("only-a-path.example.com", "/eng", "*.example.com/eng"),
        ("a.b.example.com", "/", None),
    ],
)
def test_the_most_specific_wins_whatever_the_order_it_was_written_in(host: str, path: str, expected: str | None) -> None:
    written = [
        *("*.example.com", "a.example.com/eng", "a.example.com", "a.example.com/eng/exec", "*.example.com/eng"),
        *("dev-*.example.com", "only-a-path.example.com/path"),
    ]
    assert found(host, path, *written) == expected
    assert found(host, path, *reversed(written)) == expected


def test_one_application_may_cover_several_places() -> None:
    application = Application("app", "app", (Destination("a.test", "/x"), Destination("*.b.test")), ())
    index = index_applications([compile_application(application, ())])
    assert index.find("a.test", b"/x/y") is not None
    assert index.find("a.b.test", b"/") is not None
    assert index.find("a.test", b"/") is None


@given(
    written=st.text(alphabet="ab/*", max_size=8).map(lambda text: f"/{text}"),
    path=st.text(alphabet="ab/", max_size=12).map(lambda text: f"/{text}"),
)
def test_a_pattern_covers_what_the_plain_words_say(written: str, path: str) -> None:
    below = "" if written.endswith("*") else ".*" if written.endswith("/") else "(/.*)?"
    expected = re.fullmatch(re.escape(written).replace(r"\*", ".*") + below, path, re.DOTALL) is not None
    assert PathPattern.of(written.encode()).covers(path.encode()) is expected


def test_many_stars_take_no_longer() -> None:
    """Backtracking would take minutes."""
    pattern = PathPattern.of(b"/*/foo" * 20 + b"/*/never")
    assert not pattern.covers(b"/foo/bar" * 2_000)
