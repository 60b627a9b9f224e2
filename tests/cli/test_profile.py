"""`relay login` and `relay logout`: the file and what stands in it."""

import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Town
from tests.cli.terminal import Terminal
from tests.process import run


def test_login_keeps_a_profile_that_only_the_owner_reads(town: Town) -> None:
    alice = town.user("alice")
    config = {"XDG_CONFIG_HOME": str(town.home / "conf")}
    url = f"relay://{alice}@{town.address}"

    def command(*words: str, stdin: bytes = b"") -> tuple[int, str]:
        done = run(*words, home=town.home, stdin=stdin, env=config)
        return done.returncode, done.stdout + done.stderr

    file = town.home / "conf" / "relay" / "profile.toml"
    assert command("login", url, "--password-stdin", stdin=b"wrong")[0] == 4
    assert not file.exists()
    code, text = command("login", url, "--password-stdin", stdin=f"secret-{alice}\n".encode())
    assert code == 0
    assert f"logged in as {alice}" in text
    assert "secret" not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert command("who")[0] == 0
    assert command("login", "--profile", "work", town.url(alice))[0] == 0
    assert command("who", "--profile", "work")[0] == 0
    assert command("logout")[0] == 0
    assert command("who")[0] == 2
    assert command("who", "--profile", "work")[0] == 0
    code, text = command("logout")
    assert (code, text) == (1, f"relay: there is no profile 'default' in {file}\n")
    assert list(file.parent.iterdir()) == [file]


def test_a_password_with_every_character_survives_the_profile(town: Town) -> None:
    alice = town.user("alice")
    password = "a/b:c@d%e\"f\\g'h#i?j ü漢&=+"
    town.run("user", "password", alice, "--password-stdin", *town.on_data, stdin=password.encode())
    login = run("login", f"relay://{alice}@{town.address}", "--password-stdin", home=town.home, stdin=password.encode())
    assert login.returncode == 0, login.stderr
    assert run("who", home=town.home).returncode == 0


def test_on_a_terminal_login_asks_for_the_password(town: Town) -> None:
    alice = town.user("alice")
    terminal = Terminal("login", f"relay://{alice}@{town.address}", home=town.home)
    terminal.wait_for(f"Password of {alice} at {town.address}: ")
    terminal.type(f"secret-{alice}\n")
    assert terminal.finish() == 0
    assert "secret" not in terminal.shown
    assert run("who", home=town.home).returncode == 0


@pytest.mark.parametrize("text", ["not toml", "[default]\nurl = 3\n", "default = 'x'\n"])
def test_a_broken_profile_is_a_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / ".config" / "relay" / "profile.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    done = run("who", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"relay: {file}: ")
