"""`relay login` and `relay logout`: the file that remembers where a person's relay is and how she logs in.

`$XDG_CONFIG_HOME/relay/profile.toml`, mode 0600 because it holds passwords; one table for each profile:

    [default]
    url = "relay://alice:secret@example.org:7450"
"""

import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import click
from click.shell_completion import CompletionItem

from relay.cli.outcome import CommandError, Exit, examples
from relay.cli.password import known_password, read_stdin

DEFAULT = "default"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class UrlParts(NamedTuple):
    """What the command line must know of a URL, still percent-encoded. `password` is None if there is none."""

    scheme: str
    user: str
    password: str | None
    place: str


def profile_path() -> Path:
    """XDG base directory specification: an empty or relative XDG_CONFIG_HOME counts as unset."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".config") / "relay" / "profile.toml"


def read_profiles() -> dict[str, str]:
    """URLs by the name of the profile; empty without a file. Raises CommandError."""
    path = profile_path()
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(f"{path}: {error}; mend it, or delete it and log in again") from None
    urls = {name: profile.get("url") if isinstance(profile, dict) else None for name, profile in table.items()}
    bad = next((name for name, url in urls.items() if not isinstance(url, str)), None)
    if bad is not None:
        raise CommandError(f"{path}: profile {bad!r} has no url; mend it, or log in again with --profile {bad}")
    return {name: str(url) for name, url in urls.items()}


def write_profiles(urls: dict[str, str]) -> None:
    """Replace the file in one step; nobody else can read it at any moment. Raises CommandError."""
    path = profile_path()
    text = "".join(f"[{name}]\nurl = {_toml_string(url)}\n\n" for name, url in sorted(urls.items()))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:  # made with mode 0600
            file.write(text)
        Path(file.name).replace(path)
    except OSError as error:
        raise CommandError(f"{path}: cannot be written: {error.strerror}") from None


def _toml_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\u{ord(match[0]):04x}", escaped) + '"'


def split_url(url: str) -> UrlParts:
    """Takes a URL apart as relay_client.url does. Raises CommandError for what is no URL of a relay's user."""
    scheme, _, rest = url.partition("://")
    login, _, place = rest.rpartition("@")
    user, colon, password = login.partition(":")
    if scheme.lower() not in ("relay", "relays", "relay+unix"):
        raise CommandError("a relay's URL looks like relay://alice@example.org:7450", Exit.USAGE)
    if not user:
        raise CommandError(f"the URL names no user: {scheme}://alice@{place}", Exit.USAGE)
    return UrlParts(scheme, user, password if colon else None, place)


def with_password(url: str, password: str) -> str:
    """The URL with this password in it."""
    scheme, user, _, place = split_url(url)
    return f"{scheme}://{user}:{quote(password, safe='')}@{place}"


def complete_url(url: str, from_stdin: bool = False) -> str:
    """The URL with a password: the one in it, or standard input's, or one asked for."""
    parts = split_url(url)
    if from_stdin:
        return with_password(url, read_stdin())
    if parts.password is not None:
        return url
    return with_password(url, known_password(unquote(parts.user), parts.place))


def chosen_url(url: str | None, profile: str | None) -> str:
    """The URL to use: --url, then --profile, then RELAY_URL, then RELAY_PROFILE or the default profile."""
    if url is None and profile is None:
        url = os.environ.get("RELAY_URL") or None
    if url is not None:
        return complete_url(url)
    name = profile or os.environ.get("RELAY_PROFILE") or DEFAULT
    profiles = read_profiles()
    if name not in profiles:
        known = f" (there are {', '.join(sorted(profiles))})" if profiles else ""
        what = "you are not logged in" if name == DEFAULT else f"there is no profile {name!r}{known}"
        option = "" if name == DEFAULT else f" --profile {name}"
        raise CommandError(f"{what}; try: relay login{option} relay://NAME@HOST", Exit.USAGE)
    return profiles[name]


def complete_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of profiles, for the shell."""
    try:
        return [CompletionItem(name) for name in sorted(read_profiles()) if name.startswith(incomplete)]
    except CommandError:
        return []


def _checked_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise click.BadParameter("letters, digits, - and _ only, at most 64")
    return value


_profile = click.option(
    "--profile", metavar="NAME", default=DEFAULT, envvar="RELAY_PROFILE", callback=_checked_name, help="Which profile.",
    shell_complete=complete_profile,
)  # fmt: skip


@click.command(
    epilog=examples(
        "relay login relay://alice@127.0.0.1",
        "relay login --profile work relay://alice@relay.example.org:7450",
        "relay login relay+unix://alice@/run/relay/relay.sock --password-stdin < secret",
    )
)
@click.argument("url")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@_profile
def login(url: str, password_stdin: bool, profile: str) -> None:
    """Log in once and remember the relay, the user and the password.

    Asks for the password unless the URL holds it. It is kept in ~/.config/relay/profile.toml, which only you can read.
    """
    from relay.cli.connection import connected  # noqa: PLC0415 - it imports this file

    complete = complete_url(url, password_stdin)
    with connected(complete):
        write_profiles(read_profiles() | {profile: complete})
    parts = split_url(url)
    click.echo(f"logged in as {unquote(parts.user)} at {parts.place}; kept in {profile_path()}", err=True)


@click.command(epilog=examples("relay logout", "relay logout --profile work"))
@_profile
def logout(profile: str) -> None:
    """Forget a relay and the password for it."""
    profiles = read_profiles()
    if profiles.pop(profile, None) is None:
        raise CommandError(f"there is no profile {profile!r} in {profile_path()}")
    write_profiles(profiles)
    click.echo(f"forgot profile {profile}", err=True)
