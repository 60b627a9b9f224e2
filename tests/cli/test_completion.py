"""What the shell offers when Tab is pressed."""

from pathlib import Path

import pytest

from tests.cli.conftest import Town, invoke
from tests.process import run, running


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert "_RELAY_COMPLETE" in result.stdout


def complete(tmp_path: Path, line: str) -> list[str]:
    """What the shell's function would offer for a line that ends where Tab was pressed."""
    words = line.split(" ")
    env = {"_RELAY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    result = run(home=tmp_path, env=env)
    assert (result.returncode, result.stderr) == (0, "")
    return [row.partition(",")[2] for row in result.stdout.splitlines() if row]


def test_completion_offers_commands_profiles_and_nothing_where_it_knows_nothing(tmp_path: Path) -> None:
    assert complete(tmp_path, "relay se") == ["send", "serve"]
    assert complete(tmp_path, "relay send bo") == []
    file = tmp_path / ".config" / "relay" / "profile.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[home]\nurl = "relay://a:b@127.0.0.1:1"\n[work]\nurl = "relay://a:b@127.0.0.1:1"\n')
    assert complete(tmp_path, "relay who --profile w") == ["work"]
    assert complete(tmp_path, "relay send bo") == []


def test_completion_offers_who_is_online(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bobby")
    run("login", town.url(alice), home=town.home)
    with running("listen", home=town.home, env=town.env(bob)) as listening:
        town.run("send", bob, "x", user=alice)
        listening.line()
        line = f"relay send {bob[:4]}"
        done = run(home=town.home, env={"_RELAY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": "2"})
    assert f"plain,{bob}" in done.stdout.splitlines()


def test_completion_offers_rooms(town: Town) -> None:
    alice = town.user("alice")
    run("login", town.url(alice), home=town.home)
    town.run("room", "create", "lounge", user=alice)
    for line, offered in (("relay room leave lou", "plain,lounge"), ("relay history #lou", "plain,#lounge")):
        env = {"_RELAY_COMPLETE": "bash_complete", "COMP_WORDS": line.replace("#", r"\#"), "COMP_CWORD": "2"}
        env["COMP_CWORD"] = str(len(line.split()) - 1)
        done = run(home=town.home, env=env)
        assert offered in done.stdout.splitlines(), done
