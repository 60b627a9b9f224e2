"""`relay bot`: a bot in a file, against a real relay."""

import json

from tests.cli.conftest import Town
from tests.process import running

BOT = """
import time
from relay_client import Bot, MethodError

bot = Bot(threads=4)

@bot.method("add")
def add(call, a, b):
    return a + b

@bot.method("raw")
def raw(call):
    return b"\\x00\\x1b"

@bot.method("fail")
def fail(call):
    raise MethodError("the \\x1b[31mprinter\\n is on fire", 1234)

@bot.method("sleep")
def sleep(call):
    time.sleep(2)

@bot.on_message
def shout(message):
    message.reply(message.text.upper())

@bot.on_start
def started():
    print("started", flush=True)
"""


def test_a_bot_answers_calls_and_messages(town: Town) -> None:
    alice, echo = town.user("alice"), town.user("echo", bot=True)
    (town.home / "echo.py").write_text(BOT)
    with running("bot", "echo.py", home=town.home, env=town.env(echo)) as bot:
        assert bot.line() == "started"

        def call(*words: str) -> tuple[int, str, str]:
            done = town.run("call", echo, *words, user=alice)
            return done.returncode, done.stdout, done.stderr

        assert call("add", "1", "2") == (0, "3\n", "")
        assert call("add", "a=1.5", "b=2") == (0, "3.5\n", "")
        assert call("add", "x", "y") == (0, "xy\n", "")
        assert call("--json", "add", "x", "y") == (0, '"xy"\n', "")
        assert call("add", "[1]", '[{"k": null}]') == (0, '[1, {"k": null}]\n', "")
        assert call("raw") == (0, "\x00\x1b", "")
        code, out, error = call("fail")
        assert (code, out) == (1, "")
        assert error.startswith("relay: ") and error.count("\n") == 1 and "\x1b" not in error
        assert call("--timeout", "0.2", "sleep")[0] == 5
        assert call("nothing")[0] == 1
        town.run("send", echo, "shout this", user=alice)
        assert [message["body"] for message in town.received(alice, 2)] == ["shout this", "SHOUT THIS"]
        rows = [json.loads(line) for line in town.run("who", "--json", user=alice).stdout.splitlines()]
        assert {"user": echo, "sessions": ["bot"], "bot": True} in rows
        assert f"{echo} (bot)" in town.run("who", user=alice).stdout
        assert bot.stop() == 0
        assert not any("Traceback" in line for line in bot.rest("stderr"))


def test_a_bot_file_that_is_none_is_a_sentence(town: Town) -> None:
    for text in (None, "print('no bot')", "bot = (", "raise RuntimeError('early')"):
        if text is not None:
            (town.home / "none.py").write_text(text)
        done = town.run("bot", "none.py", user=town.user("bot"))
        assert done.returncode == 1
        assert "none.py" in done.stderr
        assert done.stderr.startswith("relay: ")
