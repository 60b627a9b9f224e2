"""Stores the files that it is sent, through the relay or directly, and answers with their SHA-256.

    relay user add --bot drop                     # prints a secret, once
    DROP_DIRECTORY=/srv/drop RELAY_URL=relay://drop:SECRET@127.0.0.1 relay bot clients/bots/file_drop.py

Then, as somebody else: `relay file send report.pdf drop`, or with `--direct`. With `DROP_ROOM=ops` it stores what comes
in that room, too. A name that is taken gets a number. What comes while it does not run is stored when it runs again; if
it is killed between storing and answering, that file is stored twice rather than not at all.
"""

import logging
import os
from pathlib import Path

from relay_client import Bot, Message, RelayError
from relay_client.files.fetching import ReceivedFile

log = logging.getLogger(__name__)

DIRECTORY = Path(os.environ.get("DROP_DIRECTORY", "."))
ROOM = os.environ.get("DROP_ROOM")

bot = Bot()


def keep(message: Message) -> None:
    """A message about a file that the relay keeps: fetch it. One about a file that came directly is old news."""
    file = message.file
    if file is None:
        if not message.to.startswith("#"):
            message.reply("I keep files: relay file send FILE " + bot.client.user)
    elif file.id:
        try:
            message.reply(receipt(bot.client.files.get(file.id, DIRECTORY, numbered=True)))
        except RelayError as error:
            message.reply(f"{file.name} was not stored: {error}")


def receipt(received: ReceivedFile) -> str:
    """What the sender gets to read; a sender who compares the hash knows that every byte is there."""
    return f"stored {received.name}, {received.size} bytes, SHA-256 {received.hash.hex()}"


bot.on_message(keep)
if ROOM:
    bot.on_message(room=ROOM)(keep)


@bot.on_start
def take_direct_files() -> None:
    """Files from session to session, answered to the user who sends them."""

    def answer(received: ReceivedFile) -> None:
        bot.post(received.sender.partition("/")[0], receipt(received))

    DIRECTORY.mkdir(parents=True, exist_ok=True)
    bot.client.files.serve(DIRECTORY, numbered=True, on_file=answer)
    log.info("%s keeps files in %s", bot.client.session, DIRECTORY.resolve())


if __name__ == "__main__":
    bot.run()
