"""What went wrong, counted by class and by conversation, with the first examples in words."""

from collections import Counter

# Each class must be zero.
CLASSES = {
    "lost": "acknowledged, but not delivered to a device that should have it, or not in the log",
    "duplicated": "one offset given twice on one connection or behind a confirmed cursor, or one message stored twice",
    "reordered": "came after a later offset of its conversation",
    "unexpected": "never sent, or another message or offset than was acknowledged, or to somebody outside",
    "corrupted": "other bytes than were sent",
    "refused": "messages refused without a reason, or not refused where they must be",
    "failed": "the relay or a login failed, or broke the protocol",
}

# Of each class.
_EXAMPLES_MAX = 5


class Findings:
    """Counts of CLASSES."""

    def __init__(self) -> None:
        self.counts = Counter(dict.fromkeys(CLASSES, 0))
        self.by_conversation: dict[str, Counter[str]] = {}
        self.examples: list[str] = []
        self._shown: Counter[str] = Counter()

    def add(self, kind: str, conversation: str, what: str, count: int = 1) -> None:
        """Count something that must not be. `conversation` may be empty."""
        assert kind in CLASSES
        self.counts[kind] += count
        self.by_conversation.setdefault(conversation, Counter())[kind] += count
        if self._shown[kind] < _EXAMPLES_MAX:
            self._shown[kind] += 1
            self.examples.append(f"{kind}: {conversation + ': ' if conversation else ''}{what}")

    @property
    def clean(self) -> bool:
        return not any(self.counts.values())
