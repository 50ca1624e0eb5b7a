"""What the environment may say, and what is said of it when it is wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmlb.errors import StartupError
from llmlb.settings import MIB, Settings, load_settings, variable_name

SPECIFIED: dict[str, tuple[str, str, object]] = {
    "LLMLB_HOST": ("host", "0.0.0.0", "0.0.0.0"),
    "LLMLB_PORT": ("port", "8080", 8080),
    "LLMLB_DATA_DIR": ("data_dir", "/var/lib/llmlb", Path("/var/lib/llmlb")),
    "LLMLB_DATABASE_URL": ("database_url", "sqlite:/tmp/x.db", "sqlite:/tmp/x.db"),
    "LLMLB_CONFIG": ("config_file", "/etc/llmlb.toml", Path("/etc/llmlb.toml")),
    "LLMLB_LOG_LEVEL": ("log_level", "warning", "warning"),
    "LLMLB_QUEUE_MAX": ("queue_max", "7", 7),
    "LLMLB_QUEUE_TIMEOUT_SECS": ("queue_timeout_s", "1.5", 1.5),
    "LLMLB_HEALTH_CHECK_INTERVAL": ("health_check_interval_s", "10", 10.0),
    "LLMLB_AUTO_SYNC_MODELS_INTERVAL_SECS": ("model_sync_interval_s", "60", 60.0),
    "LLMLB_MAX_BODY_BYTES": ("max_body_bytes", "2048", 2048),
    "LLMLB_BODY_MEMORY_BYTES": ("body_memory_bytes", "4096", 4096),
    "LLMLB_MODEL_ALIASES": ("model_aliases", "a=b|c", (("a", ("b", "c")),)),
    "LLMLB_MODEL_FALLBACKS": ("model_fallbacks", '{"a": "b"}', (("a", ("b",)),)),
    "LLMLB_CORS_ORIGINS": (
        "cors_origins",
        "HTTPS://chat.example:443, tauri://localhost",
        ("https://chat.example", "tauri://localhost"),
    ),
    "LLMLB_LOAD_GRACE_S": ("load_grace_s", "0", 0.0),
    "LLMLB_RETRY_TIMEOUT_S": ("retry_timeout_s", "0", 0.0),
    "LLMLB_STREAM_KEEPALIVE_S": ("stream_keepalive_s", "7.5", 7.5),
    "LLMLB_AUDIT_RETENTION_DAYS": ("audit_retention_days", "0", 0),
    "LLMLB_AUDIT_MAX_ENTRIES": ("audit_max_entries", "1000", 1000),
    "LLMLB_DRAIN_TIMEOUT_S": ("drain_timeout_s", "0", 0.0),
}

DEFAULTS: dict[str, object] = {
    "host": "127.0.0.1",
    "port": 32768,
    "data_dir": Path("~/.llmlb"),
    "database_url": None,
    "config_file": None,
    "log_level": "info",
    "queue_max": 100,
    "queue_timeout_s": 60,
    "health_check_interval_s": 30,
    "model_sync_interval_s": 900,
    "max_body_bytes": 160 * MIB,
    "body_memory_bytes": 512 * MIB,
    "connect_timeout_s": 5,
    "first_token_timeout_s": 300,
    "token_gap_timeout_s": 120,
    "stream_timeout_s": 3600,
    "retry_timeout_s": 600,
    "cors_origins": (),
    "load_grace_s": 120,
    "stream_keepalive_s": 0,
    "audit_retention_days": 90,
    "audit_max_entries": 1_000_000,
}


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("LLMLB_"):
            monkeypatch.delenv(name)


def sentences(**overrides: Any) -> list[str]:
    with pytest.raises(StartupError) as error:
        load_settings(**overrides)
    return str(error.value).split("\n")


def test_the_defaults_are_the_specified_ones() -> None:
    settings = load_settings()
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("variable", SPECIFIED)
def test_every_setting_is_read_from_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    field, text, value = SPECIFIED[variable]
    assert variable_name(field) == variable
    monkeypatch.setenv(variable, text)
    assert getattr(load_settings(), field) == value


def test_every_variable_begins_with_the_prefix() -> None:
    names = [variable_name(field) for field in Settings.model_fields]
    assert all(name.startswith("LLMLB_") and name == name.upper() for name in names)
    assert len(set(names)) == len(names)


def test_variables_without_the_prefix_and_unknown_ones_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    untouched = load_settings()
    for field in Settings.model_fields:
        monkeypatch.setenv(field.upper(), "nonsense")
        monkeypatch.setenv(variable_name(field).removeprefix("LLMLB_"), "nonsense")
    monkeypatch.setenv("LLMLB_NO_SUCH_SETTING", "1")
    monkeypatch.setenv("LLMLB_JWT_SECRET", "of the older product")
    assert load_settings() == untouched


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.setenv(variable_name(field), "")
    settings = load_settings()
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("LLMLB_PORT", "abc"),
        ("LLMLB_PORT", "80.5"),
        ("LLMLB_PORT", "-1"),
        ("LLMLB_PORT", "65536"),
        ("LLMLB_LOG_LEVEL", "loud"),
        ("LLMLB_QUEUE_MAX", "-1"),
        ("LLMLB_QUEUE_MAX", "many"),
        ("LLMLB_QUEUE_TIMEOUT_SECS", "-0.1"),
        ("LLMLB_QUEUE_TIMEOUT_SECS", "nan"),
        ("LLMLB_QUEUE_TIMEOUT_SECS", "inf"),
        ("LLMLB_HEALTH_CHECK_INTERVAL", "0"),
        ("LLMLB_HEALTH_CHECK_INTERVAL", "nan"),
        ("LLMLB_HEALTH_CHECK_INTERVAL", "30s"),
        ("LLMLB_AUTO_SYNC_MODELS_INTERVAL_SECS", "0"),
        ("LLMLB_MAX_BODY_BYTES", "1"),
        ("LLMLB_CONNECT_TIMEOUT_S", "0"),
        ("LLMLB_STREAM_TIMEOUT_S", "soon"),
        ("LLMLB_MODEL_ALIASES", "fast"),
        ("LLMLB_MODEL_ALIASES", "fast=fast"),
        ("LLMLB_MODEL_ALIASES", "{fast: slow}"),
        ("LLMLB_MODEL_FALLBACKS", "a=b, b=a"),
        ("LLMLB_CORS_ORIGINS", "https://chat.example/"),
        ("LLMLB_CORS_ORIGINS", "*, https://chat.example"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    (sentence,) = sentences()
    assert sentence.startswith(f"{variable}={text} is not valid: ")
    assert sentence.endswith(".")


def test_a_wrong_table_of_names_is_said_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMLB_MODEL_ALIASES", "a=a")
    assert sentences() == ["LLMLB_MODEL_ALIASES=a=a is not valid: lets 'a' stand for itself."]
    monkeypatch.setenv("LLMLB_MODEL_ALIASES", "a" * 100_000)
    (sentence,) = sentences()
    assert sentence.startswith("LLMLB_MODEL_ALIASES=" + "a" * 200 + "… is not valid: ")
    assert len(sentence) < 600


def test_each_of_several_wrong_settings_has_its_own_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = {"LLMLB_PORT": "abc", "LLMLB_QUEUE_MAX": "-1", "LLMLB_QUEUE_TIMEOUT_SECS": "x"}
    for variable, text in wrong.items():
        monkeypatch.setenv(variable, text)
    said = sentences()
    assert sorted(s.partition("=")[0] for s in said) == sorted(wrong)


def test_what_is_wrong_on_the_command_line_is_named_by_its_variable_too() -> None:
    assert sentences(port=70_000)[0].startswith("LLMLB_PORT=70000 is not valid")
    assert sentences(queue_timeout_s=-5)[0].startswith("LLMLB_QUEUE_TIMEOUT_SECS=-5 is not valid")


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMLB_PORT", "1111")
    monkeypatch.setenv("LLMLB_QUEUE_TIMEOUT_SECS", "11")
    monkeypatch.setenv("LLMLB_HOST", "0.0.0.0")
    settings = load_settings(port=2222, queue_timeout_s=22, host=None)
    assert (settings.port, settings.queue_timeout_s, settings.host) == (2222, 22, "0.0.0.0")


def test_settings_do_not_change() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]  # that is the point


def test_a_password_in_the_database_url_does_not_show_when_settings_are_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLMLB_DATABASE_URL", "postgresql://llmlb:hidden@db/llmlb")
    settings = load_settings()
    assert settings.database == "postgresql://llmlb:hidden@db/llmlb"
    assert "hidden" not in repr(settings)
    assert "hidden" not in str(settings)


def test_the_database_lies_in_the_data_directory_of_the_users_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load_settings()
    assert settings.data_path == tmp_path / ".llmlb"
    assert settings.database == f"sqlite:{tmp_path}/.llmlb/llmlb.db"


def test_a_data_directory_of_nobody_is_one_sentence_that_says_what_to_do() -> None:
    settings = load_settings(data_dir="~no-such-user/llmlb")
    with pytest.raises(StartupError) as error:
        _ = settings.data_path
    assert str(error.value) == (
        "LLMLB_DATA_DIR=~no-such-user/llmlb lies in a home directory that is not known: "
        "give the whole path."
    )


def test_the_secret_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMLB_SECRET_KEY", "hidden")
    settings = load_settings()
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == "hidden"
    for shown in (repr(settings), str(settings), str(settings.model_dump())):
        assert "hidden" not in shown
