"""`relay bot FILE.py`: run a bot."""

import traceback
from pathlib import Path

import click

from relay.cli.connection import explained, url_options
from relay.cli.outcome import CommandError, examples
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
    from relay_client import RelayError  # noqa: PLC0415
    from relay_client.bot import load  # noqa: PLC0415

    with explained():
        try:
            loaded = load(file)
        except RelayError:
            raise
        except Exception as error:
            raise CommandError(_blame(file, error)) from error
        loaded.run(chosen_url(url, profile) if url or profile else None)


def _blame(file: Path, error: Exception) -> str:
    """Which line of the bot file failed, and how."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    place = f"{file}, line {lines[-1]}" if lines else str(file)
    return f"{place}: {type(error).__name__}: {error}"
