"""`relay config`: a commented example file, and a check of one's own."""

from pathlib import Path

import click

from relay import config as declared
from relay.cli.outcome import examples


@click.group(epilog=examples("relay config example > relay.toml", "relay config check relay.toml"))
def config() -> None:
    """Write and check the relay's configuration file."""


@config.command(epilog=examples("relay config example > relay.toml"))
def example() -> None:
    """Print a configuration file with every setting, its meaning and its default."""
    click.echo(declared.example(), nl=False)


@config.command(epilog=examples("relay config check relay.toml"))
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check a configuration file; name the line and the key at fault."""
    count = len(declared.read_file(file))
    click.echo(f"{file}: good, {count} setting{'' if count == 1 else 's'}")
