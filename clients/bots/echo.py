"""Answers every message in capitals. Start here to write a bot of your own.

    relay user add --bot echo                     # prints a secret, once
    RELAY_URL=relay://echo:SECRET@127.0.0.1 relay bot clients/bots/echo.py

Then, as somebody else: `relay send echo hello`, `relay listen`. A signal is answered with a signal, and
`relay call echo echo hello` works, too.
"""

from relay_client import Bot, Call, Message, Signal

bot = Bot()


@bot.on_message
def shout(message: Message) -> None:
    """What is said in a room is answered in the room, what is said to the bot alone to its sender."""
    message.reply(message.text.upper())


@bot.on_signal
def shout_back(signal: Signal) -> None:
    """To the session that sent it, no other."""
    signal.reply(signal.text.upper())


@bot.method("echo")
def echo(call: Call, text: str) -> str:
    """The text in capitals."""
    return str(text).upper()


if __name__ == "__main__":
    bot.run()
