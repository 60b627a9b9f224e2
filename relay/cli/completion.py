"""`relay completion`: the script that teaches a shell to complete `relay`."""

import click
from click.shell_completion import get_completion_class

from relay.cli.outcome import CommandError, examples


@click.command(
    epilog=examples(
        'eval "$(relay completion bash)"                                  # in ~/.bashrc',
        'eval "$(relay completion zsh)"                                   # in ~/.zshrc',
        "relay completion fish > ~/.config/fish/completions/relay.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    shell_class = get_completion_class(shell)
    if shell_class is None:
        raise CommandError(f"this version of click does not know {shell}")
    click.echo(shell_class(ctx.find_root().command, {}, "relay", "_RELAY_COMPLETE").source())
