"""The roster bot, as a process, against a real relay."""

from pathlib import Path

import pytest
from relay_client import CallFailed, Client

from tests.process import running
from tests.relay_client.town import Town

FILE = Path(__file__).parents[2] / "clients/bots/roster.py"


def test_it_tells_who_is_online(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.add("alice", "bob")
    town.add("roster", bot=True)
    with town.open(), running("bot", str(FILE), home=tmp_path, env={"RELAY_URL": town.url("roster")}) as bot:
        bot.await_line("is online")
        with Client(town.url("alice"), "laptop") as me:
            assert me.call("roster", "roster.who") == {
                "users": [
                    {"user": "alice", "sessions": ["laptop"], "bot": False},
                    {"user": "roster", "sessions": ["bot"], "bot": True},
                ]
            }
            assert me.call("roster", "roster.is_online", "Alice") is True
            assert me.call("roster", "roster.is_online", user="bob") is False
            for arguments in ([5], [], ["bob", "carol"]):
                with pytest.raises(CallFailed):
                    me.call("roster", "roster.is_online", *arguments)
        assert bot.stop() == 0
