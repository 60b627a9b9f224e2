"""`relay bot FILE.py`: run a bot."""

from pathlib import Path

import click

from relay.cli.connection import explained, url_options
from relay.cli.outcome import examples
from relay.cli.profile import chosen_url


@click.command(
    epilog=examples(
        "relay bot echo.py",
        "RELAY_URL=relay://echo:secret@127.0.0.1 relay bot clients/bots/echo.py",
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@url_options
def bot(file: Path, url: str | None, profile: str | None) -> None:
    """Run the bot in a Python file until Ctrl-C or SIGTERM.

    --url and --profile override the URL that the file names.
    """
    from relay_client.bot import load  # noqa: PLC0415

    with explained():
        loaded = load(file)
        loaded.run(chosen_url(url, profile) if url or profile else None)
