"""Settings of the relay: each declared once, with unit, default, bounds and help; everything else is derived.

The commented example file, the flags of `relay serve`, the environment variables and the table in
docs/operations.md all come from the fields of `Settings`. Knows no other part of the relay. Precedence: flag,
environment variable `RELAY_<NAME>`, TOML file, default.
"""

import dataclasses
import difflib
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay.transport.endpoint import EndpointError, parse_endpoint

PREFIX = "RELAY_"

# Environment variables of our own that are no settings of the server.
_OTHER_VARIABLES = frozenset({"RELAY_URL", "RELAY_PROFILE"})

# Linux and the BSDs: sun_path holds 108 and 104 bytes, the closing zero included.
_UNIX_PATH_MAX_BYTES = 103


class ConfigError(Exception):
    """A setting is wrong. The text names the place, the key, what is expected, and the nearest key for a typo."""


@dataclass(frozen=True)
class Kind:
    """A type of setting. `parse` takes text or a TOML value and raises ValueError with what is wrong; `show` is the
    value as TOML; `expects` completes the sentence "expected ...".
    """

    expects: str
    metavar: str
    parse: Callable[[object], Any]
    show: Callable[[Any], str]
    many: bool = False


@dataclass(frozen=True)
class Declaration:
    """What is known of one setting."""

    name: str
    kind: Kind
    default: Any
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()


def _listen(value: object) -> tuple[str, ...]:
    """One address, several with commas between them, or a TOML array of them."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("not a list of addresses")
    if not parts or "" in parts:
        raise ValueError("the list of addresses is empty")
    for part in parts:
        _check_listen_address(part)
    twice = next((part for part in parts if parts.count(part) > 1 and not part.endswith(":0")), None)
    if twice is not None:
        raise ValueError(f"{twice} is listed twice")
    return tuple(parts)


def _check_listen_address(text: str) -> None:
    try:
        path = parse_endpoint(text).path
    except EndpointError as error:
        raise ValueError(str(error).partition("; expected")[0]) from None
    if path is not None and ("\0" in str(path) or len(str(path).encode()) > _UNIX_PATH_MAX_BYTES):
        raise ValueError(
            f"the path of a Unix socket has at most {_UNIX_PATH_MAX_BYTES} bytes, none of them zero: {path}"
        )


def _origins(value: object) -> tuple[str, ...]:
    """One origin, several with commas between them, or a TOML array of them; none is allowed."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("not a list of origins")
    found = tuple(part.lower() for part in parts if part)
    wrong = next(
        (part for part in found if part != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", part)), None
    )
    if wrong is not None:
        raise ValueError(f"{wrong!r} is not an origin")
    return found


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError(f"{value!r} is not a path")
    return Path(value).expanduser()


def _optional_path(value: object) -> Path | None:
    return None if value == "" else _path(value)


def _mode(value: object) -> int:
    """Always octal, as in chmod. A TOML number is refused: whoever writes 440 without quotes means octal."""
    if isinstance(value, str) and re.fullmatch(r"(0o)?0*[0-7]{3}", value):
        return int(value.removeprefix("0o"), 8)
    raise ValueError(f"{value!r} is not a file mode")


def _number_of(unit: str, lowest: int, highest: int) -> Kind:
    def parse(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9][0-9_]*", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{value!r} is not a whole number")
        if not lowest <= value <= highest:
            raise ValueError(f"{value} is too {'small' if value < lowest else 'large'}")
        return value

    return Kind(f"a number of {unit} from {lowest} to {highest}", unit.upper(), parse, str)


def _seconds(lowest: float, highest: float) -> Kind:
    def parse(value: object) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            raise ValueError(f"{value!r} is not a number")
        if not lowest <= number <= highest:
            raise ValueError(f"{value} is too {'small' if number < lowest else 'large'}")
        return number

    return Kind(f"a number of seconds from {lowest:g} to {highest:g}", "SECONDS", parse, lambda value: f"{value:g}")


def _choice(*words: str) -> Kind:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value.lower() not in words:
            raise ValueError(f"{value!r} is not one of them")
        return value.lower()

    return Kind("one of " + ", ".join(words), "|".join(words), parse, _quote)


def _quote(value: object) -> str:
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


_ADDRESSES = Kind(
    'host:port, [IPv6]:port or unix:PATH, such as "127.0.0.1:7450"',
    "ADDRESS",
    _listen,
    lambda value: "[" + ", ".join(map(_quote, value)) + "]",
    many=True,
)
_ORIGINS = Kind(
    'origins such as "https://chat.example.org", or "*" for all',
    "ORIGIN",
    _origins,
    lambda value: "[" + ", ".join(map(_quote, value)) + "]",
    many=True,
)
_PATH = Kind("a path", "PATH", _path, _quote)
_FILE = Kind("the path of a file, or nothing", "FILE", _optional_path, lambda value: _quote(value or ""))
_MODE = Kind('an octal file mode in quotes, such as "660"', "MODE", _mode, lambda value: f'"{value:03o}"')


def _setting(default: Any, kind: Kind, text: str) -> Any:
    return field(default=default, metadata={"kind": kind, "help": text})


@dataclass(frozen=True)
class Settings:
    """Everything a person can set. Built by `load`; a test may build it directly, then nothing is checked."""

    listen: tuple[str, ...] = _setting(
        ("127.0.0.1:7450",),
        _ADDRESSES,
        "Addresses to listen on. Port 0 takes a free port. In a variable, put commas between several.",
    )
    data: Path = _setting(
        Path("data"), _PATH, "Directory of the database. Made if it is missing; one relay at a time may use it."
    )
    unix_mode: int = _setting(0o660, _MODE, "Permissions of Unix sockets: who may connect.")
    web: str = _setting(
        "on",
        _choice("on", "off"),
        "Serve the chat page and WebSockets on every address. Health checks are always there.",
    )
    web_origins: tuple[str, ...] = _setting(
        (),
        _ORIGINS,
        "Sites whose pages may connect by WebSocket beside the relay's own. In a variable, put commas between several.",
    )
    tls_cert: Path | None = _setting(
        None,
        _FILE,
        "Certificates for TLS on every address, in PEM: the relay's own first, then the chain. With tls_key.",
    )
    tls_key: Path | None = _setting(None, _FILE, "The key of the certificate, in PEM. Both are read again on SIGHUP.")
    tls_required: str = _setting(
        "off",
        _choice("on", "off"),
        "Refuse connections without TLS. Health checks and Unix sockets do without it all the same.",
    )
    connections_max: int = _setting(
        20_000,
        _number_of("connections", 1, 1_000_000),
        "Connections at a time, those that log in included. The limit of open files of the process caps it too.",
    )
    connections_per_address_max: int = _setting(
        1_000, _number_of("connections", 1, 1_000_000), "Connections at a time from one IP address."
    )
    sessions_per_user_max: int = _setting(
        32, _number_of("sessions", 1, 1_000_000), "Live sessions, one for each device, of one user."
    )
    handshake_timeout_s: float = _setting(
        5.0, _seconds(0.1, 300), "Time for a new connection to say who it is, and as much again to log in at its turn."
    )
    logins_at_once_max: int = _setting(
        256,
        _number_of("logins", 1, 1_000_000),
        "Logins that the relay works on at a time; the others wait for their turn. Awaiting a client does not count.",
    )
    login_wait_max_s: float = _setting(
        10.0, _seconds(0.1, 300), "A login that has waited so long for its turn is told to come back later."
    )
    keepalive_interval_s: float = _setting(
        25.0, _seconds(0.1, 3600), "A session that was silent for so long is asked whether it is there."
    )
    keepalive_timeout_s: float = _setting(
        10.0, _seconds(0.1, 3600), "Time to answer that question; then the session is closed."
    )
    drain_timeout_s: float = _setting(
        30.0, _seconds(0, 3600), "Time from SIGTERM until the relay has ended, whatever is unfinished then."
    )
    drain_spread_s: float = _setting(
        10.0,
        _seconds(0, 3600),
        "On SIGTERM clients are told to come back after a random delay of up to this, so that not all come at once.",
    )
    outbox_max_bytes: int = _setting(
        1_048_576,
        _number_of("bytes", 4_096, 1_073_741_824),
        "What may wait in memory for one session. Over it signals are dropped and messages wait on disk.",
    )
    slow_reader_timeout_s: float = _setting(
        30.0, _seconds(0.1, 3600), "A session that takes nothing at all for so long is closed; it may come back."
    )
    calls_in_flight_max: int = _setting(1_000, _number_of("calls", 1, 1_000_000), "Unanswered calls of one session.")
    streams_max: int = _setting(256, _number_of("streams", 1, 10_000), "Open streams of one session.")
    store_queue_max: int = _setting(
        10_000, _number_of("messages", 1, 10_000_000), "Messages, of all senders together, that wait for the disk."
    )
    retention_days: int = _setting(
        0, _number_of("days", 0, 36_500), "Messages older than this are deleted; 0 keeps them for ever."
    )
    retention_bytes: int = _setting(
        0,
        _number_of("bytes", 0, 2**50),
        "The oldest messages of a conversation that holds more than this are deleted; 0 keeps them all.",
    )
    user_quota_bytes: int = _setting(
        0,
        _number_of("bytes", 0, 2**50),
        "Kept messages that one user has sent; more are refused until some are deleted by age or size. 0 is no limit.",
    )
    files_quota_mb: int = _setting(
        1024,
        _number_of("megabytes", 0, 2**30),
        "Files that the relay keeps for one user, in MiB; more are refused until some are removed. 0 is no limit.",
    )
    file_max_mb: int = _setting(
        0, _number_of("megabytes", 0, 2**30), "The largest file that the relay takes, in MiB. 0: what the quota allows."
    )
    files_keep_days: int = _setting(
        30, _number_of("days", 0, 36_500), "A file is deleted so long after it was sent; 0 keeps it for ever."
    )
    uploads_keep_hours: int = _setting(
        24,
        _number_of("hours", 1, 8_760),
        "An unfinished upload that nobody has gone on with for so long is deleted.",
    )
    transfers_max: int = _setting(
        200,
        _number_of("transfers", 1, 100_000),
        "Uploads and downloads at a time, each of which takes up to 2 MiB of memory and two open files.",
    )
    transfers_per_user_max: int = _setting(
        32, _number_of("transfers", 1, 100_000), "Uploads and downloads of one user at a time."
    )
    transfer_timeout_s: float = _setting(
        120.0, _seconds(0.1, 86_400), "An upload or download that stands still for so long is ended; it can be resumed."
    )
    device_expiry_days: int = _setting(
        90,
        _number_of("days", 0, 36_500),
        "A device that was not connected for so long is forgotten; if it comes back it is a new one. 0 keeps all.",
    )
    room_members_max: int = _setting(10_000, _number_of("members", 1, 1_000_000), "Members of one room.")
    rooms_per_user_max: int = _setting(1_000, _number_of("rooms", 1, 1_000_000), "Rooms that one user may be in.")
    scram_iterations: int = _setting(
        16_384,
        _number_of("rounds", 4_096, 1_000_000),
        "Cost of guessing a password, for passwords set from now on. Clients pay it at each login: 16384 take 6 ms.",
    )
    login_delay_max_s: float = _setting(
        8.0, _seconds(0, 60), "Failed logins are delayed more and more, by account and address, up to this."
    )
    ticket_lifetime_s: float = _setting(
        3600.0,
        _seconds(0, 604_800),
        "A client that was connected this long ago or less comes back by its ticket, without its password; 0: never.",
    )
    log_level: str = _setting("info", _choice("debug", "info", "warning", "error"), "Least level that is logged.")


DECLARATIONS: dict[str, Declaration] = {
    item.name: Declaration(item.name, default=item.default, **item.metadata) for item in dataclasses.fields(Settings)
}


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """The settings in force. `flags` maps names of settings to text, or to tuples of text where several are allowed;
    those that are None or empty are not given. Raises ConfigError.
    """
    values = {} if path is None else read_file(path)
    values |= _read_environment(environ)
    for name, value in flags.items():
        if value is not None and value != ():
            values[name] = _parse(DECLARATIONS[name], value, DECLARATIONS[name].flag)
    return Settings(**values)


def read_file(path: Path) -> dict[str, Any]:
    """The settings in a TOML file, by name. Raises ConfigError."""
    try:
        text = path.read_bytes().decode()
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_error(path, text, str(error))) from None
    values = {}
    for key, value in table.items():
        place = f"{path}, line {_line_of(text, key)}"
        if key not in DECLARATIONS:
            raise ConfigError(f"{place}: {key!r} is not a setting; {_hint(key)}")
        values[key] = _parse(DECLARATIONS[key], value, f"{place}: {key}")
    return values


def _syntax_error(path: Path, text: str, message: str) -> str:
    """tomllib puts the place at the end of its message: "... (at line 3, column 7)"."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", message, re.DOTALL)
    what, line = (match[1], match[2]) if match else (message, None)
    number = int(line) if line else max(1, len(text.splitlines()))
    source = text.splitlines()[number - 1].strip() if text else ""
    key = re.match(r"[\w-]+", source)
    remedy = "expected: name = value, with text in double quotes"
    return f"{path}, line {number}: {key[0] + ': ' if key else ''}{what[:1].lower()}{what[1:]}; {remedy}"


def _line_of(text: str, key: str) -> int:
    """The line on which a top-level key or table begins."""
    start = re.compile(rf"""\s*(\[+\s*)?["']?{re.escape(key)}["']?\s*[=.\]]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if start.match(line)), 1)


def _hint(key: str) -> str:
    nearest = difflib.get_close_matches(key.lower(), DECLARATIONS, n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else "`relay config example` shows all of them"


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings in the environment. A variable that looks like a misspelt one is refused; others that begin like
    ours are left alone, because Kubernetes and Docker make some (RELAY_PORT, RELAY_SERVICE_HOST).
    """
    by_variable = {item.variable: item for item in DECLARATIONS.values()}
    values = {}
    for variable, text in environ.items():
        if variable in by_variable:
            item = by_variable[variable]
            values[item.name] = _parse(item, text, variable)
        elif variable.startswith(PREFIX) and variable not in _OTHER_VARIABLES:
            nearest = difflib.get_close_matches(variable, by_variable, n=1, cutoff=0.9)
            if nearest:
                raise ConfigError(f"{variable} is not a setting; did you mean {nearest[0]}?")
    return values


def _parse(item: Declaration, value: object, place: str) -> Any:
    try:
        return item.kind.parse(value)
    except ValueError as error:
        raise ConfigError(f"{place}: {error}; expected {item.kind.expects}") from None


def example() -> str:
    """A TOML file with every setting, its meaning and its default, all commented out."""
    parts = [
        "# Settings of the relay. Everything is optional; what is commented out shows the default.\n"
        "# A flag (--keepalive-interval-s) or a variable (RELAY_KEEPALIVE_INTERVAL_S) overrides what is here.\n"
        "# Relative paths start where the relay is started. `relay config check FILE` checks this file.\n"
    ]
    for item in DECLARATIONS.values():
        lines = [
            f"# {item.help}",
            f"# Expected: {item.kind.expects}.",
            f"#{item.name} = {item.kind.show(item.default)}",
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def table() -> str:
    """The settings as a Markdown table, as docs/operations.md shows it."""
    rows = ["| setting | default | expected | meaning |", "| --- | --- | --- | --- |"]
    for item in DECLARATIONS.values():
        expects = item.kind.expects.replace("|", "\\|")
        rows.append(f"| `{item.name}` | `{item.kind.show(item.default)}` | {expects} | {item.help} |")
    return "\n".join(rows) + "\n"
