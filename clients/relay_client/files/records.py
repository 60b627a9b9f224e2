"""Records of a transfer on a stream."""

from relay.protocol.limits import HEADER_BYTES
from relay.protocol.transfer import Record, decode_record
from relay_client.errors import StreamReset
from relay_client.files.effects import Read, Work
from relay_client.streams import ShellStream


def read_record(stream: ShellStream) -> Work[Record]:
    """The next record. Raises StreamReset if the stream ends before it is whole."""
    ...
