"""`relay agent`: offer commands of this machine to others."""

import logging
import pwd
import shutil
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay.cli.connection import explained, url_options
from relay.cli.outcome import CommandError, Exit, examples, join
from relay.cli.profile import chosen_url, complete_url

if TYPE_CHECKING:
    from relay_agent.commands import Command
    from relay_agent.config import AgentConfig


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "relay agent example > agent.toml         # then edit it",
        "relay agent --config agent.toml --check",
        "relay agent --config agent.toml",
        "relay exec --list build                  # from elsewhere, if the agent logs in as build",
    ),
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="What is offered to whom.")
@click.option("--check", is_flag=True, help="Only check the configuration.")
@url_options
@click.pass_context
def agent(ctx: click.Context, config: Path | None, check: bool, url: str | None, profile: str | None) -> None:
    """Offer commands of this machine to users of a relay, who run them with `relay exec`.

    Which commands, with which arguments, and to whom, says a TOML file. Runs until Ctrl-C or SIGTERM, which end the
    commands that run. --url and --profile override the URL in the file; without any: RELAY_URL, then your profile.
    """
    if ctx.invoked_subcommand is not None:
        return
    if config is None:
        raise CommandError("say what to offer: --config FILE; `relay agent example` prints one", Exit.USAGE)
    if sys.platform != "linux":
        raise CommandError("an agent needs Linux, which lets it hold all processes of a command")
    settings = _read(config)
    for problem in _problems(settings):
        click.echo(f"relay: warning: {problem}", err=True)
    if check:
        click.echo(f"{config}: {join(settings.commands)}; audit log {settings.audit}")
        return
    _run(settings, _url(settings, url, profile))


@agent.command(epilog=examples("relay agent example > agent.toml"))
def example() -> None:
    """Print a configuration with explanations."""
    click.echo((files("relay_agent") / "example.toml").read_text(), nl=False)


def _read(path: Path) -> "AgentConfig":
    from relay_agent.config import AgentConfigError, read_config  # noqa: PLC0415 - brings the protocol

    try:
        return read_config(path)
    except AgentConfigError as error:
        raise CommandError(str(error)) from None


def _url(settings: "AgentConfig", url: str | None, profile: str | None) -> str:
    if settings.url is not None and url is None and profile is None:
        return complete_url(settings.url)
    return chosen_url(url, profile)


def _run(settings: "AgentConfig", url: str) -> None:
    from relay_agent.agent import Agent  # noqa: PLC0415 - brings sockets, threads and the protocol

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with explained():
        try:
            Agent(settings, url).run()
        except OSError as error:
            if error.filename is None:  # of the network: the SDK's
                raise
            raise CommandError(f"{error.filename}: cannot be written: {error.strerror}") from None


def _problems(settings: "AgentConfig") -> Iterator[str]:
    """What will be refused on this machine, as it is now."""
    for command in settings.commands.values():
        if command.directory is not None and not command.directory.is_dir():
            yield f"command {command.name}: there is no directory {command.directory}"
        elif not _is_there(command):
            yield f"command {command.name}: there is no program {command.program[0]!r}"
        if command.run_as is not None and not _is_user(command.run_as):
            yield f"command {command.name}: there is no user {command.run_as!r} on this machine"


def _is_there(command: "Command") -> bool:
    program = Path(command.program[0])
    if command.shell:
        return True
    if len(program.parts) > 1:
        return ((command.directory or Path.home()) / program).exists()
    return shutil.which(program, path=command.environment.get("PATH")) is not None


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
