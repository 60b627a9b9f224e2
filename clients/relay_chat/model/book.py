"""All conversations and people of one person: what the list at the side shows, in which order."""

from collections.abc import Iterable

from relay_client.answers import Conversation as Row
from relay_client.answers import Presence, Room

from relay.protocol.addresses import conversation_for, prepare_name
from relay_chat.model.conversation import Conversation


class Book:
    """Conversations by their names, presence by user."""

    def __init__(self, me: str) -> None:
        self.me = me
        self.conversations: dict[str, Conversation] = {}
        self.presence: dict[str, Presence] = {}
        self.online: frozenset[str] = frozenset()
        self.public: frozenset[str] = frozenset()  # rooms that one may enter

    def get(self, name: str) -> Conversation:
        """The conversation of this name, a new one if need be."""
        found = self.conversations.get(name)
        if found is None:
            found = self.conversations[name] = Conversation(name, self.me)
        return found

    def named(self, text: str) -> str:
        """The conversation that a person means by `bob`, `@bob` or `#ops`. Raises AddressError."""
        text = text.strip()
        if text.startswith("#"):
            return "#" + prepare_name(text[1:])
        return conversation_for(self.me, prepare_name(text.removeprefix("@")))

    def update(self, rows: Iterable[Row], rooms: Iterable[Room]) -> None:
        """How the relay says it stands."""
        found = list(rooms)
        for row in rows:
            conversation = self.get(row.conversation)
            conversation.title = row.title
            conversation.first = row.first
            conversation.reached(row.head, row.time.timestamp() if row.time else 0.0)
            conversation.read_to(row.read)
        for room in found:
            self.update_room(room)
        names = {room.room for room in found}
        for conversation in self.conversations.values():
            if conversation.is_room and conversation.name not in names:
                conversation.role = None

    def update_room(self, room: Room) -> Conversation:
        """A room as it stands now."""
        conversation = self.get(room.room)
        conversation.title = room.title
        conversation.role = room.role
        conversation.members = room.members
        return conversation

    def forget(self, name: str) -> None:
        """A conversation is to be seen no longer."""
        self.conversations.pop(name, None)

    def rooms(self) -> list[Conversation]:
        """Rooms one is in, the latest first; invitations before them."""
        inside = [c for c in self.conversations.values() if c.is_room and c.role]
        return sorted(inside, key=lambda c: (not c.is_invitation, -c.last_at, c.name))

    def people(self) -> list[Conversation]:
        """Direct conversations, the latest first."""
        direct = [c for c in self.conversations.values() if not c.is_room]
        return sorted(direct, key=lambda c: (-c.last_at, c.name))

    def in_order(self) -> list[Conversation]:
        """As the list shows them: people, then rooms."""
        return [*self.people(), *self.rooms()]

    def state(self, user: str) -> str:
        """`online`, `away`, `offline`, or empty if that is not known."""
        known = self.presence.get(user)
        return known.state if known else ""

    @property
    def unread(self) -> int:
        """Unread messages in all conversations."""
        return sum(conversation.unread for conversation in self.conversations.values())

    def known_people(self) -> list[str]:
        """Everybody who was heard of, by name."""
        names = {self.me, *self.presence, *self.online}
        for conversation in self.conversations.values():
            names.update(conversation.member_names, conversation.people)
            if not conversation.is_room:
                names.add(conversation.address)
        return sorted(names)
