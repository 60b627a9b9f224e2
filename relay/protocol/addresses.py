"""Who a packet is for: `alice` (user), `alice/phone` (one session), `#ops` (room), `relay` (the relay itself).

Names follow PRECIS UsernameCaseMapped (RFC 8265 section 3.3): `Alice`, `ALICE` and `alice` are one user. The wire
carries prepared names only; programs that take names from people call `prepare_name` first.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from precis_i18n import get_profile
from scramp import ScramException
from scramp.utils import saslprep

from relay.protocol.limits import NAME_MAX_BYTES

RELAY = "relay"

# A session whose program named no device uses a device name of its own making behind this mark: the relay forgets
# such a device an hour after its last session.
TEMPORARY = "~"

# The characters that give addresses their structure never occur inside a name. Controls and spaces are already
# excluded by the PRECIS IdentifierClass (RFC 8264 section 4.2.3).
_STRUCTURE = frozenset("/#@")
_PLAIN = re.compile(r"[a-z0-9._~-]{1,64}")

# What a person types may become shorter (wide letters become narrow ones), but not by more than this. PRECIS takes
# 2 microseconds for each character, so what is longer is refused unseen.
_TYPED_MAX_CHARS = 4 * NAME_MAX_BYTES

# Rules that people break by typing, by their names in precis_i18n.
_RULES = {
    "spaces": "it must not contain a space",
    "controls": "it must not contain a control character",
    "bidi_rule": "it mixes letters written to the left with others in a way that is ambiguous (RFC 5893)",
}


class AddressError(ValueError):
    """A name or an address breaks the rules; the text says which rule."""


@lru_cache(maxsize=4096)
def prepare_name(text: str) -> str:
    """The canonical form of a user, device or room name (without `#`), 1 to 64 bytes of UTF-8.

    Raises AddressError. Pure; cached, because the same few names come again and again.
    """
    if _PLAIN.fullmatch(text):
        return text
    if not text:
        raise AddressError("a name must not be empty")
    bad = _STRUCTURE.intersection(text)
    if bad:
        raise AddressError(f"a name must not contain {' or '.join(repr(c) for c in sorted(bad))}")
    if len(text) > _TYPED_MAX_CHARS:
        raise AddressError(f"a name has at most {NAME_MAX_BYTES} bytes; this one has {len(text)} characters")
    try:
        name: str = get_profile("UsernameCaseMapped").enforce(text)
    except UnicodeEncodeError as error:
        raise AddressError(f"{text!r} is not a name: {_broken_rule(error.reason)}") from None
    if len(name.encode()) > NAME_MAX_BYTES:
        raise AddressError(f"a name has at most {NAME_MAX_BYTES} bytes; this one has {len(name.encode())}")
    if _STRUCTURE.intersection(name):
        raise AddressError(f"{text!r} is not a name: it becomes {name!r}")
    _check_login_name(name)
    return name


def _broken_rule(reason: str) -> str:
    """What precis_i18n means by `DISALLOWED/rule`."""
    rule = reason.rpartition("/")[2]
    return _RULES.get(rule) or f"it has a character that names must not have ({rule.replace('_', ' ')})"


def _check_login_name(name: str) -> None:
    """SCRAM carries the name through SASLprep (RFC 4013), which knows the characters of Unicode 3.2 only."""
    try:
        prepared = saslprep(name)
    except ScramException as error:
        raise AddressError(f"{name!r} could not log in: {error.args[0]}") from None
    if prepared != name:
        raise AddressError(f"{name!r} could not log in: it becomes {prepared!r}")


def is_name(text: str) -> bool:
    """Whether `text` is a name in canonical form, as the wire requires it."""
    if len(text) > NAME_MAX_BYTES:
        return False
    try:
        return prepare_name(text) == text
    except AddressError:
        return False


class Address(NamedTuple):
    """A parsed address. Exactly one of `user` and `room` is set; `device` only with `user`."""

    user: str | None
    device: str | None = None
    room: str | None = None

    def __str__(self) -> str:
        if self.room is not None:
            return f"#{self.room}"
        return f"{self.user}/{self.device}" if self.device is not None else str(self.user)


def parse_address(text: str) -> Address:
    """The address a person or program wrote, with its names prepared. Raises AddressError."""
    if text.startswith("#"):
        return Address(None, room=prepare_name(text[1:]))
    user, slash, device = text.partition("/")
    return Address(prepare_name(user), prepare_name(device) if slash else None)


def is_address(text: str) -> bool:
    """Whether `text` is the address of a user, a session or a room in canonical form."""
    if text.startswith("#"):
        return is_name(text[1:])
    user, slash, device = text.partition("/")
    return is_name(user) and (not slash or is_name(device))


def session_address(user: str, device: str) -> str:
    """The address of one session, from two canonical names."""
    return f"{user}/{device}"


def user_of(address: str) -> str:
    """The user part of a canonical user or session address."""
    return address.partition("/")[0]


def is_temporary(device: str) -> bool:
    """Whether the device is forgotten soon after its last session."""
    return device.startswith(TEMPORARY)


def conversation_for(sender: str, to: str) -> str:
    """The name of the conversation that a message from user `sender` to user or room `to` belongs to.

    A room's conversation is the room, `#ops`. A direct one is both users in code point order, `alice@bob`, the same
    for both; notes to oneself are `alice@alice`. `@` cannot occur in a name, so the two kinds never collide.
    """
    if to.startswith("#"):
        return to
    first, second = sorted((sender, to))
    return f"{first}@{second}"


def conversation_members(conversation: str) -> tuple[str, str] | None:
    """Both users of a direct conversation, or None for a room's."""
    if conversation.startswith("#"):
        return None
    first, _, second = conversation.partition("@")
    return first, second
