"""Settings: precedence, sentences that name the place of a mistake, and documents that follow the declarations."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from relay import config
from relay.config import DECLARATIONS, ConfigError, Settings, load

ROOT = Path(__file__).parent.parent


def written(directory: Path, text: str) -> Path:
    path = directory / "relay.toml"
    path.write_text(text)
    return path


def message(directory: Path, text: str) -> str:
    """What is said about a file, without its name."""
    path = written(directory, text)
    with pytest.raises(ConfigError) as caught:
        load(path, {}, {})
    sentence = str(caught.value)
    assert sentence.startswith(str(path))
    return sentence.removeprefix(str(path)).lstrip(",: ")


def test_nothing_given_means_the_defaults() -> None:
    assert load(None, {}, {}) == Settings()


def test_flags_beat_variables_beat_the_file_beats_the_default(tmp_path: Path) -> None:
    file = written(tmp_path, 'data = "file"\nlog_level = "error"\nconnections_max = 5\n')
    settings = load(file, {"RELAY_DATA": "env", "RELAY_LOG_LEVEL": "debug"}, {"data": "flag", "log_level": None})
    assert settings.data == Path("flag")
    assert settings.log_level == "debug"
    assert settings.connections_max == 5
    assert settings.sessions_per_user_max == Settings().sessions_per_user_max


@pytest.mark.parametrize("name", DECLARATIONS)
def test_every_setting_can_come_from_file_variable_and_flag(tmp_path: Path, name: str) -> None:
    """Its own default, written in each of the three forms, is read back as itself."""
    item = DECLARATIONS[name]
    default = getattr(Settings(), name)
    toml = f"{name} = {item.kind.show(default)}"
    text = ",".join(default) if isinstance(default, tuple) else item.kind.show(default).strip('"')
    other = dataclasses.replace(Settings(), **{name: None})
    assert dataclasses.replace(other, **config.read_file(written(tmp_path, toml))) == Settings()
    assert load(None, {item.variable: text}, {}) == Settings()
    assert load(None, {}, {name: default if isinstance(default, tuple) else text}) == Settings()


def test_the_example_holds_every_setting_and_all_defaults(tmp_path: Path) -> None:
    assert load(written(tmp_path, config.example()), {}, {}) == Settings()
    uncommented = "\n".join(
        line[1:] if line[:1] == "#" and line[1:2] != " " else line for line in config.example().splitlines()
    )
    assert list(tomllib.loads(uncommented)) == list(DECLARATIONS)
    assert load(written(tmp_path, uncommented), {}, {}) == Settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\nkeepalive_interval = 3\n", "line 2: 'keepalive_interval' is not a setting; did you mean 'keepalive_"),
        ("# x\n\nlisten_on = []", "line 3: 'listen_on' is not a setting; did you mean 'listen'?"),
        ("[server]\ndata = 'x'", "line 1: 'server' is not a setting; `relay config example` shows"),
        ("data = 'a'\nkeepalive.interval_s = 3", "line 2: 'keepalive' is not a setting; did you mean"),
        ("data = 'a'\nlisten = ['foo']", "line 2: listen: 'foo' is not an address to listen on; expected host:port,"),
        ("connections_max = 0", "line 1: connections_max: 0 is too small; expected a number of connections from 1 to"),
        ("connections_max = 1.5", "line 1: connections_max: 1.5 is not a whole number; expected a number of"),
        ("connections_max = true", "line 1: connections_max: True is not a whole number"),
        ("handshake_timeout_s = 'soon'", "line 1: handshake_timeout_s: 'soon' is not a number; expected a number"),
        ("handshake_timeout_s = nan", "line 1: handshake_timeout_s: nan is not a number"),
        ("handshake_timeout_s = inf", "line 1: handshake_timeout_s: inf is too large"),
        ("drain_timeout_s = -1", "line 1: drain_timeout_s: -1 is too small; expected a number of seconds from 0 to"),
        ("scram_iterations = 1000", "line 1: scram_iterations: 1000 is too small; expected a number of rounds from"),
        ("log_level = 'loud'", "line 1: log_level: 'loud' is not one of them; expected one of debug, info,"),
        ("unix_mode = 0o660", "line 1: unix_mode: 432 is not a file mode; expected an octal file mode in quotes"),
        ("unix_mode = '999'", "line 1: unix_mode: '999' is not a file mode"),
        ("data = 3", "line 1: data: 3 is not a path"),
        ("data = ''", "line 1: data: '' is not a path"),
        ("listen = 7450", "line 1: listen: not a list of addresses; expected host:port, [IPv6]:port or unix:PATH"),
        ("listen = []", "line 1: listen: the list of addresses is empty"),
        ("listen = ['localhost']", "line 1: listen: 'localhost' is not an address"),
        ("listen = ['::1:7450']", "line 1: listen: '::1:7450': an IPv6 address goes into brackets"),
        ("listen = ['a:65536']", "line 1: listen: 'a:65536' is not an address"),
        ("listen = ['unix:']", "line 1: listen: unix: needs a path"),
        (f"listen = ['unix:/{'x' * 200}']", "line 1: listen: the path of a Unix socket has at most 103 bytes"),
        ("listen = ['a:1', 'b:1', 'a:1']", "line 1: listen: a:1 is listed twice"),
        ("data = 'a'\n\nlisten = [\n", "line 3: listen: "),
        ("data = a", "line 1: data: invalid value; expected: name = value, with text in double quotes"),
        ("data = 'a'\ndata = 'b'", "line 2: data: cannot overwrite a value"),
        ("what is this", "line 1: what: expected '=' after a key"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named_with_line_key_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    assert message(tmp_path, text).startswith(expected)


def test_every_line_number_counts_lines_as_editors_do(tmp_path: Path) -> None:
    lines = [f"{item.name} = {item.kind.show(item.default)}" for item in DECLARATIONS.values()]
    for number in range(len(lines)):
        broken = [*lines[:number], "wrong_" + lines[number], *lines[number + 1 :]]
        assert message(tmp_path, "\r\n".join(broken)).startswith(f"line {number + 1}: 'wrong_")


def test_a_file_that_is_not_utf8_or_not_there_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    with pytest.raises(ConfigError, match=r"relay\.toml: cannot be read: No such file"):
        load(path, {}, {})
    path.write_bytes(b"data = 'a'\nlog_level = '\xff'\n")
    with pytest.raises(ConfigError, match=r"relay\.toml, line 2: not UTF-8"):
        load(path, {}, {})


def test_a_mistake_in_a_variable_or_a_flag_names_it() -> None:
    with pytest.raises(
        ConfigError, match=r"^RELAY_CONNECTIONS_MAX: 'many' is not a whole number; expected a number of"
    ):
        load(None, {"RELAY_CONNECTIONS_MAX": "many"}, {})
    with pytest.raises(
        ConfigError, match=r"^--connections-max: '-1' is not|^--connections-max: -1 is too small; expected"
    ):
        load(None, {}, {"connections_max": "-1"})


def test_a_misspelt_variable_is_refused_and_foreign_ones_are_left_alone() -> None:
    with pytest.raises(ConfigError, match=r"^RELAY_KEEPALIVE_INTERVAL is not a setting; did you mean RELAY_KEEPALIVE_"):
        load(None, {"RELAY_KEEPALIVE_INTERVAL": "3"}, {})
    foreign = {
        "RELAY_URL": "relay://a@b",
        "RELAY_PORT": "tcp://10.0.0.1:7450",
        "RELAY_SERVICE_HOST": "10.0.0.1",
        "X": "",
    }
    assert load(None, foreign, {}) == Settings()


def test_several_addresses() -> None:
    expected = ("127.0.0.1:0", "127.0.0.1:0", "[::1]:7450", "unix:/tmp/relay.sock")
    assert load(None, {"RELAY_LISTEN": ", ".join(expected)}, {}).listen == expected
    assert load(None, {}, {"listen": expected}).listen == expected
    assert load(None, {}, {"listen": ()}).listen == Settings().listen


def test_the_settings_in_the_docs_are_current() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert config.table() in text, "docs/operations.md: run python -c 'from relay import config; print(config.table())'"
