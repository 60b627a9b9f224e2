"""Tells who is online: answers the calls `roster.who` and `roster.is_online`.

    relay user add --bot roster                   # prints a secret, once
    RELAY_URL=relay://roster:SECRET@127.0.0.1 relay bot clients/bots/roster.py

    relay call roster roster.who                  # {"users": [{"user": "alice", "sessions": ["laptop"], "bot": false}]}
    relay call roster roster.is_online alice      # true

The relay's own `presence.list` says the same; this bot is an example of a bot that asks the relay and answers others.
"""

from typing import Any

from relay_client import Bot, Call, MethodError

bot = Bot()


@bot.method("roster.who")
def who(call: Call) -> dict[str, Any]:
    """Everybody who is online, by name, with the devices of each."""
    return {"users": [online._asdict() for online in bot.who()]}


@bot.method("roster.is_online")
def is_online(call: Call, user: str) -> bool:
    """Whether a user has at least one session. Somebody who does not exist is not online."""
    if not isinstance(user, str):
        raise MethodError(f"a user's name is a text, not {user!r}")
    return any(online.user == user.lower() for online in bot.who())


if __name__ == "__main__":
    bot.run()
