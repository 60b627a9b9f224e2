"""`relay serve` as a process: how it starts, what keeps it from starting, how it ends."""

import signal
import socket
import stat
from pathlib import Path

import pytest

from relay import config
from tests.cli.conftest import invoke
from tests.process import Running, run, running


def serving(home: Path, *words: str) -> Running:
    return Running(["serve", "--data", str(home / "data"), *words], home)


def refused(home: Path, *words: str) -> str:
    """The one sentence of a relay that does not start."""
    done = run("serve", *words, home=home)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("relay: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("relay: ").rstrip("\n")


def test_it_says_where_it_listens_and_accepts_there(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    words = ["serve", "--listen", "127.0.0.1:0", "--listen", f"unix:{path}", "--unix-mode", "600"]
    with running(*words, home=tmp_path) as relay:
        first, second = relay.line(), relay.line()
        host, _, port = first.removeprefix("listening on ").rpartition(":")
        socket.create_connection((host, int(port)), timeout=10).close()
        assert second == f"listening on unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert relay.stop() == 0
        assert relay.rest() == []
    assert not path.exists()
    assert (tmp_path / "data").is_dir()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_code_0(tmp_path: Path, number: int) -> None:
    with running("serve", "--listen", "127.0.0.1:0", home=tmp_path) as relay:
        relay.line()
        assert relay.stop(number) == 0
        assert not any("Traceback" in line for line in relay.rest("stderr"))


def test_settings_come_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text('listen = ["127.0.0.1:0"]\ndata = "elsewhere"\n')
    with running("serve", "--config", "relay.toml", home=tmp_path) as relay:
        relay.line()
        assert (tmp_path / "elsewhere").is_dir()
        assert relay.stop() == 0


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        sentence = refused(tmp_path, "--listen", address)
    assert sentence.startswith(f"cannot listen on {address}: another process is listening there")


def test_a_data_directory_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file" in refused(tmp_path, "--listen", "127.0.0.1:0", "--data", "file")
    assert "file/data" in refused(tmp_path, "--listen", "127.0.0.1:0", "--data", "file/data")


def test_a_second_relay_on_the_same_data(tmp_path: Path) -> None:
    with running("serve", "--listen", "127.0.0.1:0", home=tmp_path) as relay:
        relay.line()
        assert "data" in refused(tmp_path, "--listen", "127.0.0.1:0")
        assert relay.stop() == 0


def test_a_configuration_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text("\nkeepalive = 3\n")
    sentence = refused(tmp_path, "--config", "relay.toml")
    assert sentence.startswith("relay.toml, line 2: 'keepalive' is not a setting; did you mean 'keepalive_")


def test_serve_has_a_flag_for_each_setting() -> None:
    shown = invoke("serve", "--help").stdout
    for item in config.DECLARATIONS.values():
        assert f"{item.flag} " in shown


def test_serve_refuses_a_bad_setting_before_it_starts(tmp_path: Path) -> None:
    result = run("serve", "--scram-iterations", "5", home=tmp_path)
    assert result.returncode == 1
    assert result.stderr == (
        "relay: --scram-iterations: 5 is too small; expected a number of rounds from 4096 to 1000000\n"
    )
    assert list(tmp_path.iterdir()) == []
