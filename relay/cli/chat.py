"""`relay chat`: people, rooms and files in the terminal. The program itself is clients/relay_chat."""

import logging
import os
import sys
from pathlib import Path
from urllib.parse import quote, unquote

import click

from relay.cli.connection import connected, exit_code, explained, url_options
from relay.cli.outcome import CommandError, Exit, examples
from relay.cli.profile import (
    DEFAULT,
    chosen_url,
    complete_profile,
    complete_url,
    profile_path,
    read_profiles,
    split_url,
    write_profiles,
)

# Two chats of one user on one relay are two devices only if they say so: the second ends the first.
DEVICE = "chat"


@click.command(
    epilog=examples(
        "relay chat",
        "relay chat --as work                         # a profile of relay login",
        "relay chat --url relay://alice@127.0.0.1",
        "relay chat --theme light --device chat-2     # a second window at the same time",
    )
)
@click.option(
    "--as", "name", metavar="NAME", shell_complete=complete_profile,
    help="A profile of relay login, or another user of your relay.",
)  # fmt: skip
@click.option("--theme", type=click.Choice(["dark", "light"]), help="Colours. Default: as your terminal is.")
@click.option(
    "--downloads", metavar="DIR", type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Where files go that you fetch. Default: ~/Downloads, or here.",
)  # fmt: skip
@click.option("--device", metavar="NAME", default=DEVICE, show_default=True, help="Which of your devices this is.")
@url_options
def chat(
    name: str | None, theme: str | None, downloads: Path | None, device: str, url: str | None, profile: str | None
) -> None:
    """Chat in the terminal: conversations, rooms, files. F1 or /help shows keys and commands, /quit or Q leaves.

    What you write while there is no connection goes out once there is one again.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError("relay chat needs a terminal; for scripts there are relay send and relay listen", Exit.USAGE)
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise CommandError(
            "relay chat needs a terminal that can place the cursor; TERM says this one cannot", Exit.USAGE
        )
    place = _url(name, url, profile)
    _run(place, device, theme, downloads)


def _url(name: str | None, url: str | None, profile: str | None) -> str:
    """Whom to be, and where. Without any profile it is asked for."""
    if name is not None and (url is not None or profile is not None):
        raise CommandError("--as goes without --url and --profile", Exit.USAGE)
    if name is not None and name not in (profiles := read_profiles()):
        parts = split_url(os.environ.get("RELAY_URL") or profiles.get(DEFAULT) or _no_relay(name))
        return complete_url(f"{parts.scheme}://{name}@{parts.place}")
    name = name or profile
    if url is None and name is None and not _is_known():
        return _sign_in()
    return chosen_url(url, name)


def _is_known() -> bool:
    return bool(os.environ.get("RELAY_URL") or os.environ.get("RELAY_PROFILE")) or DEFAULT in read_profiles()


def _sign_in() -> str:
    """Ask whom to be and where, try it, and remember it if that is wanted."""
    click.echo("You are not signed in yet. An account is made with `relay user add` where the relay runs.\n")
    place = click.prompt("Relay", default="127.0.0.1")
    name = click.prompt("Your name")
    url = place if "://" in place else f"relay://{quote(name, safe='')}@{place}"
    complete = complete_url(url)
    with connected(complete):
        pass
    if click.confirm(f"Remember this in {profile_path()}?", default=True):
        write_profiles(read_profiles() | {DEFAULT: complete})
    return complete


def _no_relay(name: str) -> str:
    raise CommandError(f"there is no profile {name!r}; try: relay login --profile {name} relay://NAME@HOST", Exit.USAGE)


def _run(url: str, device: str, theme: str | None, downloads: Path | None) -> None:
    from relay_chat.app import ChatApp  # noqa: PLC0415 - Textual takes its time
    from relay_chat.background import is_dark  # noqa: PLC0415
    from relay_client.aio import Client  # noqa: PLC0415

    log = logging.getLogger("relay_client")
    log.addHandler(logging.NullHandler())
    log.propagate = False  # the screen is the chat's, and it says itself what goes wrong
    with explained():
        Client(url, device=device)  # what is wrong with the URL is told before the screen is taken
    parts = split_url(url)
    app = ChatApp(
        lambda: Client(url, device=device, start=0, receive=False, patience_s=None),
        unquote(parts.place),
        is_dark() if theme is None else theme == "dark",
        downloads,
    )
    app.run()
    if app.failure is not None:
        raise CommandError(str(app.failure), exit_code(app.failure))
    if app.return_code in (129, Exit.TERMINATED):
        raise SystemExit(app.return_code)
    if app.unsent:
        raise CommandError(f"{app.unsent} messages were not stored; send them again", Exit.TIMED_OUT)


__all__ = ["chat"]
