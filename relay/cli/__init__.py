"""The `relay` command: one file for each noun. `root` is the command group that `relay.__main__` runs.

Loading it must stay cheap, because `--help` and shell completion wait for it: files here import click, the settings
and each other; the relay, its store and the SDK are imported by the commands that need them.
"""

import click

from relay import __version__
from relay.cli.accounts import user
from relay.cli.agent import agent
from relay.cli.bot import bot
from relay.cli.chat import chat
from relay.cli.completion import completion
from relay.cli.data import backup, export, import_, restore, verify
from relay.cli.execute import exec_
from relay.cli.files import file
from relay.cli.history import conversations, device, history, receipts
from relay.cli.listen import listen
from relay.cli.outcome import Root
from relay.cli.people import block, blocks, unblock, who
from relay.cli.profile import login, logout
from relay.cli.rooms import room
from relay.cli.serve import serve
from relay.cli.settings import config
from relay.cli.talk import call, send, signal
from relay.cli.tunnel import expose, forward

root = Root(
    "relay",
    sections={
        "Talk": [login, logout, chat, send, listen, file, signal, call, bot],
        "People and conversations": [who, room, conversations, history, receipts, device, block, unblock, blocks],
        "Remote commands and tunnels": [exec_, agent, expose, forward],
        "Run a relay": [serve, user, config, backup, restore, verify, export, import_],
        "Shell": [completion],
    },
    help="Relay: people, bots and programs reach each other by name through one port.",
    epilog="`relay COMMAND --help` explains a command and shows examples.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
root = click.version_option(__version__, message="relay %(version)s")(root)
