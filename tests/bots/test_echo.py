"""The echo bot, as a process, against a real relay."""

from pathlib import Path

from relay_client import Client

from tests.process import running
from tests.relay_client.town import Town

FILE = Path(__file__).parents[2] / "clients/bots/echo.py"


def test_it_answers_in_capitals(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.add("alice")
    town.add("echo", bot=True)
    with town.open(), running("bot", str(FILE), home=tmp_path, env={"RELAY_URL": town.url("echo")}) as bot:
        bot.await_line("is online")
        with Client(town.url("alice")) as me:
            me.send("echo", "hello")
            assert [m.text for m in me.messages(count=1)] == ["HELLO"]
            assert me.call("echo", "echo", "straße") == "STRASSE"
            me.signal("echo", "psst")
            assert next(me.signals()).text == "PSST"
        assert bot.stop() == 0
