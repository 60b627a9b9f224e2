"""`relay serve`: the relay itself, in the foreground. Its flags are made from the declared settings."""

import os
from pathlib import Path

import click

from relay import config
from relay.cli.outcome import CommandError, examples


def _setting_flags(command: click.Command) -> click.Command:
    for item in config.DECLARATIONS.values():
        text = f"{item.help} Default: {item.kind.show(item.default)}."
        option = click.Option(
            [item.flag, item.name], metavar=item.kind.metavar, multiple=item.kind.many, default=None, help=text
        )
        command.params.append(option)
    return command


@_setting_flags
@click.command(
    epilog=examples(
        "relay serve",
        "relay serve --listen 0.0.0.0:7450 --listen unix:/run/relay/relay.sock --data /var/lib/relay",
        "relay config example > relay.toml; relay serve --config relay.toml",
    )
)
@click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="Settings in a TOML file.")
def serve(file: Path | None, **flags: object) -> int:
    """Run a relay in the foreground until SIGTERM or Ctrl-C.

    Prints `listening on ADDRESS` for each address as soon as it accepts connections; logs go to stderr. Each setting
    can also stand in the file or in an environment variable (RELAY_DATA for --data); a flag overrides the variable,
    the variable the file.
    """
    settings = config.load(file, os.environ, flags)
    from relay.server import StartError, run  # noqa: PLC0415 - brings gevent

    try:
        return run(settings)
    except StartError as error:
        raise CommandError(str(error)) from None
