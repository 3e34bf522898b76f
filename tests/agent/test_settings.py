"""Settings: where they come from, and what is refused."""

from pathlib import Path

import pytest

from watchword_agent.errors import SettingsError
from watchword_agent.settings import ServerAddress, Settings, load_settings


def test_defaults_are_safe_without_any_source() -> None:
    assert load_settings() == load_settings(None, {})
    assert load_settings().state_dir == Path("/var/lib/watchword-agent")


def test_options_win_over_the_environment_and_that_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('hostname = "file"\nserial_number = "file"\nserver = "https://file:1"\n')
    monkeypatch.setenv("WATCHWORD_AGENT_HOSTNAME", "environment")
    monkeypatch.setenv("WATCHWORD_AGENT_SERIAL_NUMBER", "environment")
    settings = load_settings(config, {"hostname": "option", "serial_number": None})
    assert (settings.hostname, settings.serial_number, settings.server) == ("option", "environment", "https://file:1")


def test_an_empty_variable_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHWORD_AGENT_SERIAL_NUMBER", "")
    assert load_settings().serial_number is None


def test_the_config_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHWORD_AGENT_CONFIG", "/elsewhere.toml")
    load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1", "`colour`"),
        ("hostname = ''", "`hostname`"),
        ("hostname = 'a\\u0007b'", "`hostname`: "),
        ('serial_number = "a\\nb"', "`serial_number`: "),
        ("reconnect_cap_seconds = 0.5", "`reconnect_cap_seconds`: input should be greater than or equal to 1"),
        ("refused_base_seconds = 4000", "`refused_base_seconds`"),
        ("reconnect_base_seconds = 50\nreconnect_cap_seconds = 20", "`reconnect_base_seconds` is above"),
        ("answer_timeout_seconds = nan", "`answer_timeout_seconds`"),
        ("log_level = 'loud'", "`log_level`"),
        ("device_key = 'keychain'", "`device_key`: a service of macOS reaches no Secure Enclave"),
        ("server = 'http://192.0.2.1:1'", "`server`: `http://192.0.2.1:1` is plaintext"),
        ("server =", "is not TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(text)
    if "u0007" in text:
        config.write_text(text.replace("'", '"'))
    with pytest.raises(SettingsError, match=message.replace(".", r"\.")):
        load_settings(config)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(options={"colour": 1, "answer_timeout_seconds": 0})
    assert "`colour`" in str(caught.value)
    assert "`answer_timeout_seconds`" in str(caught.value)


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHWORD_AGENT_TOKEN", "ww1.secret")
    with pytest.raises(SettingsError, match="`WATCHWORD_AGENT_TOKEN`: no such setting") as caught:
        load_settings()
    assert "secret" not in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        load_settings(tmp_path / "missing.toml")


def test_every_number_has_bounds() -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation in (int, float):
            assert {type(bound).__name__ for bound in field.metadata} >= {"Ge", "Le"}, name


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://watchword.corp.example:8443", ServerAddress("watchword.corp.example", 8443, tls=True)),
        ("https://192.0.2.1:443/", ServerAddress("192.0.2.1", 443, tls=True)),
        ("https://[2001:db8::1]:8443", ServerAddress("2001:db8::1", 8443, tls=True)),
        ("http://127.0.0.1:8080", ServerAddress("127.0.0.1", 8080, tls=False)),
        ("http://127.8.9.1:8080", ServerAddress("127.8.9.1", 8080, tls=False)),
        ("http://[::1]:8080", ServerAddress("::1", 8080, tls=False)),
    ],
)
def test_a_server_address_is_read(url: str, address: ServerAddress) -> None:
    assert ServerAddress.parse(url) == address
    assert ServerAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://watchword.corp.example:8080",
        "http://localhost:8080",  # a name leads where a resolver says
        "http://127.0.0.1.corp.example:8080",
        "http://0.0.0.0:8080",
        "http://[::ffff:192.0.2.1]:8080",
        "https://watchword.corp.example",
        "https://watchword.corp.example:99999",
        "https://watchword.corp.example:8443/path",
        "https://watchword.corp.example:8443?x=1",
        "https://user:password@watchword.corp.example:8443",
        "watchword.corp.example:8443",
        "https://:8443",
        "ftp://127.0.0.1:21",
        "",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ServerAddress.parse(url)


def test_only_loopback_bypasses_a_proxy() -> None:
    loopback = {
        url: ServerAddress.parse(url).is_loopback for url in ("https://localhost:1", "https://127.0.0.1:1", "https://a.b:1")
    }
    assert list(loopback.values()) == [True, True, False]
