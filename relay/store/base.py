"""The store as the rest of the relay sees it: the interface, its obligations, its values.

A `Store` is plain blocking code for one thread. Inside the relay a `StoreWorker` (worker.py) owns that thread and
gathers appends into groups; commands that run beside the relay use a `Store` directly. Every implementation passes
the same contract suite, tests/store/contract.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import NamedTuple

from relay.protocol.codes import ErrorCode
from relay.protocol.runs import payloads
from relay.protocol.scram import Credentials
from relay.store.files import FileReader, FileStore


class Append(NamedTuple):
    """One message to store, or a run of `total`, whose ids follow each other from `message_id` on.

    `packet` is the sender's MESSAGE payload, or the run's frames (see protocol.runs). `origin` comes back untouched.
    """

    conversation: str
    user: str
    device: str
    message_id: int
    packet: bytes
    origin: object = None
    total: int = 1

    def apart(self) -> list["Append"]:
        """The messages of a run, one by one."""
        parts = enumerate(payloads(self.packet, self.total), self.message_id)
        return [self._replace(message_id=number, packet=payload, total=1) for number, payload in parts]


class Appended(NamedTuple):
    """The message is durable at this offset. `repeated`: it already was, from an earlier append of the same id.

    Of a run it is the offset of the first; the others follow it.
    """

    offset: int
    time_ms: int
    repeated: bool = False


class Refusal(NamedTuple):
    """The message was not stored, for this reason; of a run, none of its messages."""

    code: ErrorCode
    sentence: str


class Several(NamedTuple):
    """The answers to the messages of a run, one each, where they did not all fare alike."""

    answers: tuple[Appended | Refusal, ...]


Answer = Appended | Refusal | Several


def together(answers: Sequence[Appended | Refusal]) -> Answer:
    """The answer to a run whose messages were answered one by one."""
    first = answers[0]
    if isinstance(first, Refusal):
        alike = all(answer == first for answer in answers)
    else:
        alike = all(answer == first._replace(offset=first.offset + at) for at, answer in enumerate(answers))
    return first if alike else Several(tuple(answers))


class Entry(NamedTuple):
    """One message of a conversation's log."""

    offset: int
    time_ms: int
    packet: bytes


class Backlog(NamedTuple):
    """A conversation in which a device is behind: it has processed up to `delivered`, the log ends at `head`."""

    conversation: str
    delivered: int
    head: int


class Cursor(NamedTuple):
    """How far a device is in a conversation. `read` is None where only delivery moved on."""

    user: str
    device: str
    conversation: str
    delivered: int
    read: int | None = None


class Account(NamedTuple):
    """A user as the store knows her."""

    name: str
    credentials: Credentials
    bot: bool
    disabled: bool
    created_ms: int


class Arrival(NamedTuple):
    """What a login has to know of its user and device: the highest message id stored from the device (0: none), the
    rooms the user is inside, and whom she blocks, in any order.
    """

    last_message_id: int
    rooms: list[str]
    blocked: list[str]


class HeldTicket(NamedTuple):
    """What is kept of a device's resume ticket: a mark by which it is recognised, and until when it is good."""

    mark: bytes
    until_ms: int


# In larger rooms members are strangers: presence does not follow from sharing one.
CONTACT_ROOM_MAX = 500


class Role(StrEnum):
    """What a user is in a room."""

    OWNER = "owner"
    MODERATOR = "moderator"
    MEMBER = "member"
    INVITED = "invited"
    BANNED = "banned"

    @property
    def inside(self) -> bool:
        """Whether messages of the room reach the user."""
        return self in (Role.OWNER, Role.MODERATOR, Role.MEMBER)


class Room(NamedTuple):
    """A room; `name` has its mark, `#ops`; `members` counts those inside; `head` is the offset of its last message."""

    name: str
    title: str
    public: bool
    members: int
    head: int
    created_ms: int


class Membership(NamedTuple):
    """A room and what a user is in it; `role` is None for a public room seen from outside."""

    room: Room
    role: Role | None


class Member(NamedTuple):
    """A user and what she is in a room."""

    user: str
    role: Role


class DeviceInfo(NamedTuple):
    """A device for which messages are kept."""

    device: str
    created_ms: int
    seen_ms: int


class ConversationInfo(NamedTuple):
    """A conversation as one user's device sees it: it holds the offsets `first` to `head`; the device has processed
    up to `delivered`, its user has read up to `read` on any device. `time_ms` is when the last message was stored, 0 if
    none is kept.
    """

    name: str
    title: str
    first: int
    head: int
    delivered: int
    read: int
    time_ms: int


class Retention(NamedTuple):
    """What is kept; 0 is no bound. Messages older than `age_ms` are deleted, and the oldest of a conversation in which
    those kept have more than `conversation_bytes`. A user of whose messages `user_bytes` are kept can store no more.
    What counts are the bytes of packets.
    """

    age_ms: int = 0
    conversation_bytes: int = 0
    user_bytes: int = 0


KEEP_ALL = Retention()


def quota_exceeded(used_bytes: int, size_bytes: int, allowed_bytes: int) -> Refusal:
    """The refusal of a message for which its sender has no room left."""
    return Refusal(
        ErrorCode.QUOTA_EXCEEDED,
        f"{used_bytes} bytes of your messages are kept, and this one has {size_bytes}; {allowed_bytes} are allowed: "
        f"wait until older ones are deleted, or ask who runs the relay for more",
    )


def deleted_since(message_id: int) -> Refusal:
    """The refusal of an id whose message retention has deleted, so that nobody can tell whether it was this one."""
    return Refusal(
        ErrorCode.ID_REUSED,
        f"message id {message_id} was stored and has been deleted since by retention; send a new message with a new id",
    )


class StoreError(Exception):
    """The store could not do what was asked; the text is a sentence for a person, with the remedy."""


class StoreFullError(StoreError):
    """No room on the disk. The transaction was rolled back; the store keeps working and may recover."""


class StoreBrokenError(StoreError):
    """A write or a sync failed. What is on disk is unknown: nothing more may be acknowledged, the process must end."""


class RoomExistsError(StoreError):
    """A room of this name exists already."""


class NoSuchAccountError(StoreError):
    """The account does not exist."""


class AccountExistsError(StoreError):
    """An account of this name exists already."""


class Reader(FileReader, ABC):
    """The read side of a store, for one thread. It sees everything that was committed before the call."""

    @abstractmethod
    def read(self, conversation: str, after: int, limit: int, limit_bytes: int) -> list[Entry]:
        """The entries with offsets above `after`, ascending and contiguous: at most `limit`, and as few as fit
        `limit_bytes` of packets, but at least one if there is one. An unknown conversation is an empty one.
        """

    @abstractmethod
    def backlog(self, user: str, device: str) -> list[Backlog]:
        """The conversations of `user` in which `device` is behind. A device that is not known is behind nowhere."""

    @abstractmethod
    def joined(self, user: str, conversation: str) -> int | None:
        """The offset after which `user` may read the conversation; None if she is not in it.

        It is 0 unless she came to a conversation that others had before her.
        """

    @abstractmethod
    def read_back(self, conversation: str, before: int, limit: int, limit_bytes: int) -> list[Entry]:
        """The entries just below offset `before`, ascending and contiguous; bounds as in `read`."""

    @abstractmethod
    def first_kept(self, conversation: str) -> int:
        """The lowest offset that retention has left; 1 where it has taken nothing."""

    @abstractmethod
    def head(self, conversation: str) -> int:
        """The last offset of the conversation; 0 if it is empty or unknown."""

    @abstractmethod
    def conversations(self, user: str, device: str, after: str, limit: int) -> list[ConversationInfo]:
        """The conversations `user` is in, by name, with names above `after`."""

    @abstractmethod
    def cursors(self, conversation: str, limit: int) -> list[Cursor]:
        """How far the lasting devices of a conversation's members are."""

    @abstractmethod
    def room(self, name: str) -> Room | None:
        """The room, or None."""

    @abstractmethod
    def role(self, room: str, user: str) -> Role | None:
        """What the user is in the room; None for nothing, or if there is no such room or user."""

    @abstractmethod
    def rooms_of(self, user: str) -> list[Membership]:
        """The rooms the user is in or invited to, by name."""

    @abstractmethod
    def public_rooms(self, after: str, limit: int) -> list[Room]:
        """Public rooms by name, with names above `after`."""

    @abstractmethod
    def members(self, room: str, after: str, limit: int) -> list[Member]:
        """Who is in the room or invited to it, by name, with names above `after`."""

    @abstractmethod
    def owners(self, room: str) -> list[str]:
        """The owners of a room."""

    @abstractmethod
    def devices(self, user: str) -> list[DeviceInfo]:
        """The devices for which messages of `user` are kept, by name."""

    @abstractmethod
    def blocked_by(self, user: str) -> list[str]:
        """Whom `user` blocks, by name."""

    @abstractmethod
    def shares(self, user: str, other: str) -> bool:
        """Whether both are in one conversation."""

    @abstractmethod
    def contacts(self, user: str, limit: int) -> list[str]:
        """The others in the direct conversations of `user`, and in her rooms of at most CONTACT_ROOM_MAX members."""

    @abstractmethod
    def last_seen_ms(self, user: str) -> int | None:
        """When a device of the user was last seen; None if never."""

    @abstractmethod
    def account(self, name: str) -> Account | None:
        """The account, or None."""

    @abstractmethod
    def iterations(self) -> dict[int, int]:
        """How many accounts have each SCRAM iteration count."""

    @abstractmethod
    def accounts(self) -> list[Account]:
        """All accounts, by name."""

    @abstractmethod
    def close(self) -> None:
        """Release the files. Calling it twice is allowed."""


class Store(Reader, FileStore):
    """The whole store, for the one thread that writes. Every method that changes something is one durable
    transaction: when it returns, the change survives a power cut. Any of them may also raise StoreFullError, or a plain
    StoreError when another program holds the database for too long (then nothing changed), or StoreBrokenError.
    """

    @abstractmethod
    def group(self) -> AbstractContextManager[None]:
        """Make all changes inside one durable transaction: `with store.group(): ...`. `append` is not allowed inside.

        An operation that raises AccountExistsError or NoSuchAccountError changed nothing and the group goes on; after
        any other error nothing of the group was kept, and leaving it raises that error.
        """

    @abstractmethod
    def maintain(self, idle: bool) -> bool:
        """Do a short piece (milliseconds) of the work that was left behind, if some is due. Returns whether more is.

        To be called after each group of appends, and with `idle` when there is nothing else to do.
        """

    @abstractmethod
    def sweep(self, time_ms: int) -> None:
        """Delete what the store's `Retention` does not keep, and the messages of rooms that ended: `maintain` does it,
        piece by piece, and returns False once all is done that was due at this call. In each conversation the
        messages with the lowest offsets go; offsets go on where they were, also when nothing is left.
        """

    @abstractmethod
    def append(self, items: Sequence[Append], time_ms: int) -> list[Answer]:
        """Append messages, in order, all in one transaction; one answer per item. A run is answered as its messages
        would be one by one, see `together`.

        Offsets of a conversation are contiguous from 1. A conversation, and the device, come into being with their
        first message. A message id of a device (user and device name) that was stored before gives the earlier
        answer with `repeated`; with other content it is refused with ID_REUSED. The latest
        `limits.MESSAGE_WINDOW` ids of a device are remembered, also across restarts; one below that window is
        refused with ID_REUSED. An id inside the window that was never stored (it was refused, later ones were not) is
        a new message. One whose message was deleted by retention is refused with ID_REUSED. A sender over her quota is
        refused with QUOTA_EXCEEDED. A direct conversation with a user who does not exist is refused with NO_SUCH_USER,
        a room that does not exist, or that the sender is not inside, with NO_SUCH_ROOM, and a recipient who blocks the
        sender with BLOCKED. After an error nothing of the group was stored.
        """

    @abstractmethod
    def last_message_id(self, user: str, device: str) -> int:
        """The highest message id stored from this device; 0 if there is none."""

    @abstractmethod
    def arrival(self, user: str, device: str) -> Arrival:
        """`last_message_id`, `rooms_of` as far as she is inside, and `blocked_by`, in one look."""

    @abstractmethod
    def open_device(self, user: str, device: str, start: int | None, time_ms: int) -> bool:
        """Make the device known, so that messages are kept for it. Returns whether it was not known.
        For a device known already only its last-seen time changes. A device that has only sent messages is not known
        yet. Raises NoSuchAccountError.

        A new device starts, in each conversation of its user, `start` messages before the head; with None at the
        beginning if it is the user's first lasting device, and at the head otherwise. (Temporary devices, whose
        names begin with `~`, do not count as lasting.) In conversations that come later it starts at the beginning.
        """

    @abstractmethod
    def advance(self, cursors: Sequence[Cursor]) -> None:
        """Move cursors forward. One that would move back, or beyond the head, stays or stops at the head. Cursors of
        devices and conversations that do not exist, or that the user is not in, are ignored.
        """

    @abstractmethod
    def seen(self, devices: Sequence[tuple[str, str]], time_ms: int) -> None:
        """Note that these devices (user, device) have a live session now. Unknown ones are ignored."""

    @abstractmethod
    def forget_devices(self, unused_since_ms: int, lasting_since_ms: int = 0) -> int:
        """Forget temporary devices last seen before then, and others last seen before `lasting_since_ms`, their
        cursors and message ids. Returns how many.

        `open_device`, `seen` and every message that was stored count as being seen.
        """

    @abstractmethod
    def forget_device(self, user: str, device: str) -> bool:
        """Forget one device, its cursors, message ids and ticket. Returns whether messages were kept for it."""

    @abstractmethod
    def create_room(self, name: str, title: str, public: bool, owner: str, time_ms: int) -> None:
        """Make a room with one member. Raises RoomExistsError, NoSuchAccountError."""

    @abstractmethod
    def set_room(self, name: str, title: str, public: bool) -> None:
        """Change a room. One that does not exist is ignored."""

    @abstractmethod
    def remove_room(self, name: str) -> None:
        """End a room: nobody is in it, and a room made later under its name begins at offset 1."""

    @abstractmethod
    def set_role(self, room: str, user: str, role: Role | None, time_ms: int) -> None:
        """Give a user a role in a room, or none. Rooms and users that do not exist are ignored.

        Who comes inside joins at the head: her devices get what is sent from then on.
        """

    @abstractmethod
    def block(self, user: str, blocked: str) -> None:
        """Refuse direct messages from `blocked` to `user` with BLOCKED. Users that do not exist are ignored."""

    @abstractmethod
    def unblock(self, user: str, blocked: str) -> None:
        """The opposite of `block`."""

    @abstractmethod
    def add_account(self, name: str, credentials: Credentials, bot: bool, time_ms: int) -> None:
        """Raises AccountExistsError. `name` is canonical (addresses.prepare_name)."""

    @abstractmethod
    def set_credentials(self, name: str, credentials: Credentials) -> None:
        """Revokes the user's tickets. Raises NoSuchAccountError."""

    @abstractmethod
    def set_disabled(self, name: str, disabled: bool) -> None:
        """Revokes the user's tickets. Raises NoSuchAccountError."""

    @abstractmethod
    def remove_account(self, name: str) -> None:
        """Remove the account, its devices, cursors and tickets. Conversations stay, for the others in them. A room
        without an owner gets one: of its moderators, or else of its members, the one who joined first (by offset, then
        by name); a room with nobody inside ends. Who later
        gets the same name later is a new member of the direct ones: `joined` where they stand at the first message
        after that, so nothing older is in the backlog, while offsets go on for the others. Raises NoSuchAccountError.
        """

    @abstractmethod
    def account_changes(self) -> list[str]:
        """Names whose account was changed, disabled or removed since the last call, by this or another process.
        The first call returns nothing. Cheap enough to be asked several times a second.
        """

    @abstractmethod
    def hold_ticket(self, user: str, device: str, login_key: bytes, ticket: HeldTicket) -> bool:
        """Make this the one ticket of a device, in the place of an earlier one. The device need not be known. False,
        and nothing is changed, unless the user exists, is not disabled and has this stored key.
        """

    @abstractmethod
    def held_ticket(self, user: str, device: str) -> HeldTicket | None:
        """The ticket of a device; None if there is none."""

    @abstractmethod
    def keep_tickets(self, devices: Sequence[tuple[str, str]], until_ms: int) -> None:
        """Make the tickets of these devices (user, device) good for longer. Those without one are ignored."""

    @abstractmethod
    def forget_tickets(self, now_ms: int) -> int:
        """Forget the tickets that are no longer good. Returns how many."""

    @abstractmethod
    def secret(self) -> bytes:
        """32 random bytes, made when the store was created: the relay derives from them what must not be guessed."""

    @abstractmethod
    def generation(self) -> str:
        """Names these logs: made at random with the store, and anew when a backup is restored. While it is the same, an
        offset means the same message.
        """

    @abstractmethod
    def reader(self) -> Reader:
        """A read side for another thread."""
