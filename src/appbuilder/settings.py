"""Every setting: its environment variable, its default and one line of help.

Flag and name in a file follow from the name here; ``docs/settings.md`` and the command-line options are
generated from this table. Settings are read when a runtime or a model client is created, never at import, so
that a program may set ``os.environ`` after ``import appbuilder``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from appbuilder.errors import ConfigurationError

_T = TypeVar("_T")


def _setting(
    env: str,
    default: _T,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    secret: bool = False,
    joined_by: str = "",
) -> _T:
    """:param joined_by: separator of a list in one string; a file may use a TOML list instead."""
    metadata = {"env": env, "help": text, "choices": choices, "joined_by": joined_by}
    value: Any = field(default=default, metadata=metadata, repr=not secret)
    return value  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one runtime or model client. Times are seconds, sizes bytes."""

    # Models
    token: str = _setting("APPBUILDER_TOKEN", "", "Credential for the AppBuilder gateway.", secret=True)
    gateway_url: str = _setting(
        "GATEWAY_URL", "https://appbuilder.baidu.com", "Address of the AppBuilder gateway."
    )
    gateway_url_v2: str = _setting(
        "GATEWAY_URL_V2",
        "https://qianfan.baidubce.com",
        "Address of the AppBuilder gateway for applications (`AppBuilderClient`).",
    )
    model: str = _setting(
        "APPBUILDER_MODEL",
        "",
        "Redirects every model of the program: `local`, `openai/<name>` or an AppBuilder name.",
    )
    openai_base_url: str = _setting(
        "OPENAI_BASE_URL", "https://api.openai.com/v1", "Address of the OpenAI-compatible server."
    )
    openai_api_key: str = _setting(
        "OPENAI_API_KEY", "", "Credential for the OpenAI-compatible server.", secret=True
    )
    connect_timeout: float = _setting(
        "APPBUILDER_CONNECT_TIMEOUT", 5.0, "Seconds to reach a model server."
    )
    model_timeout: float = _setting(
        "APPBUILDER_MODEL_TIMEOUT",
        120.0,
        "Seconds to the first text of a model's answer and between its texts; later the turn gets 504.",
    )
    model_retries: int = _setting(
        "APPBUILDER_MODEL_RETRIES", 2, "Retries of a model call, while nothing of its answer was received."
    )
    # The local model
    local_model: str = _setting(
        "APPBUILDER_LOCAL_MODEL",
        "qwen2.5-coder-0.5b",
        "Model behind `local`: `qwen2.5-coder-0.5b`, `smollm2-135m` or the path of a GGUF file.",
    )
    cache_dir: str = _setting(
        "APPBUILDER_CACHE_DIR", "", "Folder for model weights; empty: `~/.cache/appbuilder`."
    )
    local_slots: int = _setting(
        "APPBUILDER_LOCAL_SLOTS", 4, "Answers the local model writes at the same time."
    )
    local_context: int = _setting("APPBUILDER_LOCAL_CONTEXT", 4096, "Tokens of context per slot.")
    local_threads: int = _setting(
        "APPBUILDER_LOCAL_THREADS", 0, "Threads of the local model; 0: one per core, one less for writing."
    )
    # Turns
    max_turns: int = _setting(
        "APPBUILDER_MAX_TURNS", 1000, "Turns in flight (running or waiting) per process; more get 503."
    )
    session_busy: str = _setting(
        "APPBUILDER_SESSION_BUSY",
        "queue",
        "What a second turn of a session does: wait (`queue`) or get 409 at once (`reject`).",
        choices=("queue", "reject"),
    )
    session_queue: int = _setting(
        "APPBUILDER_SESSION_QUEUE", 16, "Turns that may wait for one session; the next gets 409."
    )
    session_wait: float = _setting(
        "APPBUILDER_SESSION_WAIT", 60.0, "Seconds a turn waits for its session before it gets 409."
    )
    attempts: int = _setting(
        "APPBUILDER_ATTEMPTS", 3, "Attempts at an answer, as long as no chunk of it was sent."
    )
    retry_backoff: float = _setting(
        "APPBUILDER_RETRY_BACKOFF", 0.2, "Seconds before the second attempt; doubled for each further one."
    )
    on_disconnect: str = _setting(
        "APPBUILDER_ON_DISCONNECT",
        "cancel",
        "When the reader of a stream disconnects: stop the turn (`cancel`) or finish it (`continue`).",
        choices=("cancel", "continue"),
    )
    max_answer: int = _setting(
        "APPBUILDER_MAX_ANSWER",
        8 * 1024 * 1024,
        "Largest answer; a larger one is stopped there and stored as incomplete. 0: no limit.",
    )
    max_piece: int = _setting(
        "APPBUILDER_MAX_PIECE",
        1024 * 1024,
        "Largest chunk of text in a stream; a larger one is sent as several. 0: no limit.",
    )
    max_unread: int = _setting(
        "APPBUILDER_MAX_UNREAD",
        1024 * 1024,
        "Bytes a component may be ahead of the fastest reader of its stream; then it waits. 0: no limit.",
    )
    turn_timeout: float = _setting(
        "APPBUILDER_TURN_TIMEOUT",
        1800.0,
        "Seconds a turn may take, with or without readers; then it is stopped with 504. 0: no limit.",
    )
    first_piece_wait: float = _setting(
        "APPBUILDER_FIRST_PIECE_WAIT", 10.0, "Seconds the status line of a stream waits for the first chunk."
    )
    heartbeat: float = _setting(
        "APPBUILDER_HEARTBEAT", 5.0, "Seconds between comments that keep an idle stream alive."
    )
    # HTTP
    max_body: int = _setting("APPBUILDER_MAX_BODY", 4 * 1024 * 1024, "Largest request body.")
    max_values: int = _setting(
        "APPBUILDER_MAX_VALUES",
        100_000,
        "Values (elements and members) in a JSON body; more get 400. 0: no limit.",
    )
    max_in_flight: int = _setting(
        "APPBUILDER_MAX_IN_FLIGHT",
        256 * 1024 * 1024,
        "Bytes of memory for requests and unread answers per process; more get 503. 0: no limit.",
    )
    max_in_flight_caller: int = _setting(
        "APPBUILDER_MAX_IN_FLIGHT_CALLER",
        64 * 1024 * 1024,
        "The same for one caller; more get 429. 0: no limit.",
    )
    body_timeout: float = _setting(
        "APPBUILDER_BODY_TIMEOUT", 30.0, "Seconds a client has to send headers and body (`serve`)."
    )
    write_timeout: float = _setting(
        "APPBUILDER_WRITE_TIMEOUT", 60.0, "Seconds a client may leave a write unread (`serve`)."
    )
    worker_class: str = _setting(
        "APPBUILDER_WORKER_CLASS",
        "gthread",
        "Worker class of `serve(debug=False)`.",
        choices=("gthread", "gevent"),
    )
    workers: int = _setting(
        "APPBUILDER_WORKERS", 1, "Worker processes of `appbuilder serve` and of `serve(debug=False)`."
    )
    threads: int = _setting(
        "APPBUILDER_THREADS", 1000, "Requests a worker serves at the same time (threads, or greenlets)."
    )
    drain_timeout: float = _setting(
        "APPBUILDER_DRAIN_TIMEOUT", 20.0, "Seconds running turns have to finish after SIGTERM."
    )
    # The service (`appbuilder serve`)
    host: str = _setting("APPBUILDER_HOST", "127.0.0.1", "Address the service listens on.")
    port: int = _setting("APPBUILDER_PORT", 8090, "Port the service listens on.")
    database: str = _setting(
        "APPBUILDER_DATABASE",
        "sqlite:///user_session.db",
        "Database of the service, as a SQLAlchemy URL.",
        secret=True,
    )
    max_connections: int = _setting(
        "APPBUILDER_MAX_CONNECTIONS", 20_000, "Open connections per process; more get 503."
    )
    history: bool = _setting(
        "APPBUILDER_HISTORY", True, "Store each turn, so that sessions can be read and continued."
    )
    page: bool | None = _setting(
        "APPBUILDER_PAGE",
        None,
        "Serve the chat page at `/`; default: if Chainlit is installed.",
    )
    auth: str = _setting(
        "APPBUILDER_AUTH",
        "",
        "How callers authenticate, joined by commas: `keys`, `jwt`, `hook`; empty: no authentication.",
        joined_by=",",
    )
    auth_hook: str = _setting(
        "APPBUILDER_AUTH_HOOK",
        "",
        "Function that identifies the user of a request, as `module:name` or `file.py:name`.",
    )
    allow_anonymous: bool = _setting(
        "APPBUILDER_ALLOW_ANONYMOUS",
        False,
        "Serve without authentication on an address that other machines can reach.",
    )
    administrators: str = _setting(
        "APPBUILDER_ADMINISTRATORS",
        "",
        "Users who may see all sessions, joined by commas.",
        joined_by=",",
    )
    jwt_issuer: str = _setting("APPBUILDER_JWT_ISSUER", "", "Required issuer of tokens (`iss`).")
    jwt_audience: str = _setting("APPBUILDER_JWT_AUDIENCE", "", "Required audience of tokens (`aud`).")
    jwt_jwks: str = _setting(
        "APPBUILDER_JWT_JWKS", "", "URL (or file) of the issuer's JSON Web Key Set."
    )
    jwt_user: str = _setting("APPBUILDER_JWT_USER", "sub", "Claim that names the user.")
    hosts: str = _setting(
        "APPBUILDER_HOSTS",
        "",
        "Host names the service answers to, joined by commas; empty: on loopback its own, otherwise any.",
        joined_by=",",
    )
    cors_origins: str = _setting(
        "APPBUILDER_CORS_ORIGINS",
        "",
        "Origins whose pages may call the API, joined by commas (`https://app.example.com`).",
        joined_by=",",
    )
    rate: int = _setting(
        "APPBUILDER_RATE", 0, "Turns a caller may start per minute and process; more get 429. 0: no limit."
    )
    turn_hook: str = _setting(
        "APPBUILDER_TURN_HOOK",
        "",
        "Function called before each turn, which may refuse it, as `module:name` or `file.py:name`.",
    )
    page_bytes: int = _setting(
        "APPBUILDER_PAGE_BYTES",
        4 * 1024 * 1024,
        "Bytes of text per page of a session's turns; a longer turn is a page of its own.",
    )
    import_sessions: int = _setting(
        "APPBUILDER_IMPORT_SESSIONS", 1000, "Sessions of one import; more get 413."
    )
    import_lines: int = _setting(
        "APPBUILDER_IMPORT_LINES",
        10_000,
        "Lines (rows of sessions, or messages) of one import; more get 413.",
    )
    bulk_requests: int = _setting(
        "APPBUILDER_BULK_REQUESTS",
        16,
        "Concurrent imports, exports and erasures per process; more get 503.",
    )
    bulk_per_caller: int = _setting(
        "APPBUILDER_BULK_PER_CALLER", 2, "The same for one caller; more get 429."
    )
    metrics: bool = _setting("APPBUILDER_METRICS", True, "Serve Prometheus metrics at `/metrics`.")
    # The chat page
    page_name: str = _setting(
        "APPBUILDER_PAGE_NAME", "", "Name of the assistant on the chat page; empty: the program's own."
    )
    page_icon: str = _setting(
        "APPBUILDER_PAGE_ICON", "", "Image file (SVG, PNG...) of the assistant on the chat page."
    )
    page_starters: str = _setting(
        "APPBUILDER_PAGE_STARTERS",
        "",
        "First questions that an empty chat page suggests, joined by `|`.",
        joined_by="|",
    )
    page_theme: str = _setting(
        "APPBUILDER_PAGE_THEME",
        "",
        "Colours of the chat page; empty: as the browser prefers.",
        choices=("light", "dark"),
    )
    page_uploads: bool = _setting(
        "APPBUILDER_PAGE_UPLOADS",
        False,
        "Let users of the chat page attach files to a message (`get_context().attachments`).",
    )
    page_secret: str = _setting(
        "APPBUILDER_PAGE_SECRET",
        "",
        "Secret that signs the chat page's cookies, the same in all processes; empty: generated once and "
        "stored in the user's state folder.",
        secret=True,
    )
    # Database
    db_pool: int = _setting("APPBUILDER_DB_POOL", 20, "Connections to the database per process.")
    db_timeout: float = _setting(
        "APPBUILDER_DB_TIMEOUT", 10.0, "Seconds a database operation may take, including waits."
    )
    # Diagnostics
    log_format: str = _setting(
        "APPBUILDER_LOG_FORMAT", "text", "Format of the service's log lines.", choices=("text", "json")
    )
    access_log: bool = _setting(
        "APPBUILDER_ACCESS_LOG", False, "Log each request."
    )
    log_texts: bool = _setting(
        "APPBUILDER_LOG_TEXTS", False, "Allow texts of users and of the component in the log."
    )
    loglevel: str = _setting(
        "APPBUILDER_LOGLEVEL",
        "INFO",
        "Level of the `appbuilder` logger.",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
    )

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        file: Mapping[str, object] | None = None,
        flags: Mapping[str, str | bool | None] | None = None,
        file_name: str = "the file",
    ) -> Settings:
        """Reads the settings. Flags override environment variables, which override the file.

        An empty value means the default.

        :param environ: default: the environment of the process.
        :param file: TOML values by name; *file_name* is its name in errors.
        :param flags: strings or booleans by name; None: not given.
        :raises ConfigurationError: a value is invalid or out of range, or a name in the file is unknown; the
            text names the variable, the flag, or the file and name.
        """
        given = {
            **_of_file(file or {}, file_name),
            **_of_environment(os.environ if environ is None else environ),
            **_of_flags(flags or {}),
        }
        values: dict[str, Any] = {
            setting.name: _parse(setting, *given[setting.name]) for setting in fields(cls)
            if setting.name in given and given[setting.name][1]
        }
        return cls(**values)

    def to_environ(self) -> dict[str, str]:
        """All settings as environment variables, for child processes; :meth:`load` reads them back.

        They include secrets: keep them out of command lines and logs.
        """
        return {setting.metadata["env"]: _as_text(getattr(self, setting.name)) for setting in fields(self)}


def flag(name: str) -> str:
    """The command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def is_switch(default: object) -> bool:
    """Whether a setting with this default is a boolean; None: its default depends on what is installed."""
    return default is None or isinstance(default, bool)


_Given = dict[str, tuple[str, str]]
"""Name of a setting -> (where it was given, its text)."""


def _of_environment(environ: Mapping[str, str]) -> _Given:
    variables = {setting.name: setting.metadata["env"] for setting in fields(Settings)}
    return {name: (variable, environ[variable]) for name, variable in variables.items()
            if environ.get(variable)}


def _of_flags(flags: Mapping[str, str | bool | None]) -> _Given:
    return {name: (flag(name), _as_text(value)) for name, value in flags.items() if value is not None}


def _of_file(values: Mapping[str, object], file_name: str) -> _Given:
    kinds = {
        setting.name: bool if is_switch(setting.default) else type(setting.default)
        for setting in fields(Settings)
    }
    separators = {setting.name: setting.metadata["joined_by"] for setting in fields(Settings)}
    given = {}
    for name, given_value in values.items():
        value = given_value
        if name not in kinds:
            close = get_close_matches(name, kinds, 1)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise ConfigurationError(f"{file_name}: unknown setting {name!r}{hint}")
        place = f"{name} in {file_name}"
        if isinstance(value, list) and separators[name] and all(isinstance(each, str) for each in value):
            if any(separators[name] in each for each in value):
                raise ConfigurationError(f"{place} must not have {separators[name]!r} in an entry.")
            value = separators[name].join(value)
        if not isinstance(value, (str, bool, int, float)) or (kinds[name] is str) != isinstance(value, str):
            words = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}
            raise ConfigurationError(f"{place} must be {words[kinds[name]]}.")
        if "\0" in str(value):
            raise ConfigurationError(f"{place} must not contain a NUL character.")
        given[name] = (place, _as_text(value))
    return given


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


_WORDS = {
    **dict.fromkeys(("true", "on", "yes", "1"), True),
    **dict.fromkeys(("false", "off", "no", "0"), False),
}


def _parse(setting: Field[Any], place: str, text: str) -> object:
    default, choices = setting.default, setting.metadata["choices"]
    if isinstance(default, str):
        value = text.upper() if default.isupper() and choices else text
        if choices and value not in choices:
            raise ConfigurationError(f"{place} must be one of {', '.join(choices)}; it is {text!r}.")
        return value
    if is_switch(default):
        if text.lower() not in _WORDS:
            raise ConfigurationError(f"{place} must be true or false; it is {text!r}.")
        return _WORDS[text.lower()]
    convert: Callable[[str], float] = int if isinstance(default, int) else float
    try:
        number = convert(text)
    except ValueError:
        kind = "a whole number" if convert is int else "a number"
        raise ConfigurationError(f"{place} must be {kind}; it is {text!r}.") from None
    if not 0 <= number < float("inf"):
        raise ConfigurationError(f"{place} must be 0 or more; it is {text!r}.")
    return number
