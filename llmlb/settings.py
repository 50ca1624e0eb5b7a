"""What can be configured, read from LLMLB_* environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from llmlb.errors import StartupError
from llmlb.name_tables import NameTable, parse_fallbacks, parse_table
from llmlb.origins import parse_origins

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MIB = 1024 * 1024
SHOWN_CHARS = 200
"""Of a wrong value, in the sentence about it."""


def _in_lower_case(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _networks(value: object) -> object:
    """`10.0.0.0/8, ::1` as it stands in an environment variable; the rest is for pydantic."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _origin(text: str) -> str:
    """*text*, if it is `https://host` or `https://host:port`."""
    try:
        url = urlsplit(text.rstrip("/"))
        whole = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        whole = False
    if not whole or url.path or url.query or url.fragment or "@" in url.netloc:
        raise ValueError("it must be like https://llm.example.org, with nothing behind it")
    return f"{url.scheme}://{url.netloc}"


LogLevel = Literal["debug", "info", "warning", "error"]

Networks = Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(_networks)]


Aliases = Annotated[NameTable, NoDecode, BeforeValidator(parse_table)]
Fallbacks = Annotated[NameTable, NoDecode, BeforeValidator(parse_fallbacks)]

Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_origins)]


class Settings(BaseSettings):
    """Every setting, with its default. Durations end in `_s` (seconds), sizes in `_bytes`."""

    model_config = SettingsConfigDict(
        env_prefix="LLMLB_",
        env_ignore_empty=True,  # as compose files and unit files leave what is not set
        frozen=True,
        populate_by_name=True,
        extra="ignore",
    )

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(32768, ge=0, le=65535)
    data_dir: Path = Field(Path("~/.llmlb"))
    database_url: str | None = Field(None, repr=False)
    """It may hold a password."""
    secret_key: SecretStr | None = Field(None, repr=False)
    """Encrypts the secrets of endpoints; after commas, older ones that still decrypt."""
    config_file: Path | None = Field(None, validation_alias="LLMLB_CONFIG")

    auth: Annotated[Literal["on", "off"], BeforeValidator(_in_lower_case)] = "on"
    """Off: no users and no keys, and this machine alone is served."""
    admin_username: str = Field("admin", min_length=1)
    admin_password: SecretStr | None = None
    """Of the first administrator; of no meaning once there is one."""
    public_url: Annotated[str, AfterValidator(_origin)] | None = None
    """Where browsers reach the balancer, if a proxy changes the Host."""
    metrics_public: bool = False
    """What describes the balancer is there for anybody: `/openapi.json`, `/metrics`."""
    tracing: Annotated[Literal["auto", "on", "off"], BeforeValidator(_in_lower_case)] = "auto"
    """Auto: if a variable of OpenTelemetry names somebody who collects traces."""
    trusted_proxies: Networks = Field(())
    """Whose word on clients' addresses is believed."""

    log_level: Annotated[LogLevel, BeforeValidator(_in_lower_case)] = "info"
    log_file: Path | None = Field(None)
    """The log goes there, too, in JSON lines."""

    queue_max: int = Field(100, ge=0, le=100_000)
    queue_timeout_s: float = Field(
        60.0, ge=0, le=86_400, validation_alias="LLMLB_QUEUE_TIMEOUT_SECS"
    )

    health_check_interval_s: float = Field(
        30.0, ge=1, le=3600, validation_alias="LLMLB_HEALTH_CHECK_INTERVAL"
    )
    model_sync_interval_s: float = Field(
        900.0, ge=1, le=86_400, validation_alias="LLMLB_AUTO_SYNC_MODELS_INTERVAL_SECS"
    )

    max_body_bytes: int = Field(160 * MIB, ge=1024)
    max_upload_bytes: int = Field(512 * MIB, ge=1024)
    body_memory_bytes: int = Field(512 * MIB, ge=1024)
    spool_bytes: int = Field(4096 * MIB, ge=1024)
    """Of bodies on disk, all together."""
    spool_dir: Path | None = Field(None)
    header_timeout_s: float = Field(30.0, gt=0, le=3600)
    """For the head of a request, from its first byte on."""
    idle_timeout_s: float = Field(75.0, gt=0, le=86_400)
    """For the next request to begin."""
    body_timeout_s: float = Field(300.0, gt=0, le=86_400)
    body_progress_timeout_s: float = Field(30.0, gt=0, le=86_400)
    """For each KiB of a body."""
    write_timeout_s: float = Field(60.0, gt=0, le=86_400)
    """For a client to take 64 KiB of its answer, or what there is of it."""
    drain_timeout_s: float = Field(30.0, ge=0, le=3600)

    connect_timeout_s: float = Field(5.0, gt=0, le=300)
    first_token_timeout_s: float = Field(300.0, gt=0, le=86_400)
    token_gap_timeout_s: float = Field(120.0, gt=0, le=86_400)
    stream_timeout_s: float = Field(3600.0, gt=0, le=604_800)
    retry_timeout_s: float = Field(600.0, ge=0, le=86_400)
    """From its first attempt on, so long a request may still be tried on another endpoint."""
    load_grace_s: float = Field(120.0, ge=0, le=3600)
    """A load goes on so long after the client has left that caused it; 0: not at all."""
    download_stall_s: float = Field(900.0, gt=0, le=86_400)
    """A model that an endpoint fetches is given up if it comes no further for so long."""
    stream_keepalive_s: float = Field(0.0, ge=0, le=3600)
    """A stream that has said nothing yet gets a comment so often; 0: none."""

    lane: Literal["on", "off"] = Field("on")
    """Whether the commonest requests go past the framework."""

    image_fetch: Literal["off", "passthrough", "inline"] = Field("passthrough")
    image_fetch_allow: Networks = Field(())
    """Besides public addresses, what `inline` may fetch from."""

    cors_origins: Origins = Field(())
    """Whose pages may call `/v1` from a browser; `*` alone: anybody's."""
    audit_retention_days: int = Field(90, ge=0, le=36_500)
    """0: for ever."""
    audit_max_entries: int = Field(1_000_000, ge=1000, le=100_000_000)

    request_history_retention_days: int = Field(7, ge=0, le=36_500)
    """0: for ever."""
    history_max_rows: int = Field(1_000_000, ge=1000, le=100_000_000)
    history_max_bytes: int = Field(2048 * MIB, ge=MIB)
    """Of the database, with its indexes: about."""
    history_bodies: Annotated[Literal["on", "off"], BeforeValidator(_in_lower_case)] = "off"
    """On: what was asked and answered is kept, too, without media and cut short."""
    history_body_bytes: int = Field(16 * 1024, ge=256, le=MIB)
    """Of each body that is kept."""

    model_aliases: Aliases = Field((), validate_default=False)
    """Names that clients may use, and the models that each stands for."""
    model_fallbacks: Fallbacks = Field((), validate_default=False)
    """What is tried, in order, when no endpoint can serve a model."""

    @property
    def data_path(self) -> Path:
        """The data directory, with `~` resolved. Raises StartupError if that cannot be."""
        return self._expanded(self.data_dir, "LLMLB_DATA_DIR")

    @staticmethod
    def _expanded(path: Path, variable: str) -> Path:
        try:
            return path.expanduser()
        except RuntimeError:
            raise StartupError(
                f"{variable}={path} lies in a home directory that is not known: "
                "give the whole path."
            ) from None

    @property
    def log_path(self) -> Path | None:
        """The log file, if there is to be one. Raises StartupError."""
        return None if self.log_file is None else self._expanded(self.log_file, "LLMLB_LOG_FILE")

    @property
    def spool_path(self) -> Path:
        """Where bodies wait that are too large for memory. Raises StartupError."""
        if self.spool_dir is None:
            return self.data_path / "spool"
        return self._expanded(self.spool_dir, "LLMLB_SPOOL_DIR")

    @property
    def database(self) -> str:
        """The database URL, by default `llmlb.db` in the data directory."""
        return self.database_url or f"sqlite:{quote(str(self.data_path / 'llmlb.db'))}"


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - pydantic validates them
    """Read the environment; *overrides* (a command line's flags) win over it.

    Raises StartupError with one sentence per wrong setting, each naming its variable.
    """
    try:
        return Settings(**{k: v for k, v in overrides.items() if v is not None})
    except ValidationError as error:
        raise StartupError("\n".join(_sentence(e) for e in error.errors())) from None


def variable_name(field_name: str) -> str:
    """The environment variable that sets *field_name*."""
    field = Settings.model_fields.get(field_name)
    alias = field.validation_alias if field is not None else None
    return alias if isinstance(alias, str) else f"LLMLB_{field_name}".upper()


def _sentence(problem: ErrorDetails) -> str:
    place = str(problem["loc"][0])
    name = place if place.startswith("LLMLB_") else variable_name(place)
    given = str(problem["input"])
    shown = given if len(given) <= SHOWN_CHARS else f"{given[:SHOWN_CHARS]}…"
    # pydantic would put "Value error, " before the words of our own validators
    own = problem["type"] == "value_error"
    reason = str(problem["ctx"]["error"]) if own else problem["msg"]
    return f"{name}={shown} is not valid: {reason[0].lower()}{reason[1:]}."
