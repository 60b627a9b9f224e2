"""What a person has read, by conversation: told to the relay with the acknowledgements, until it is on disk."""


class Reads:
    """The highest offset marked as read in each conversation. Marks only grow."""

    def __init__(self) -> None:
        self._marked: dict[str, int] = {}
        self._unsent: dict[str, None] = {}
        self._unconfirmed: dict[str, int] = {}

    def mark(self, conversation: str, offset: int) -> bool:
        """Everything up to here was read. False if it was known."""
        if offset <= self._marked.get(conversation, 0):
            return False
        self._marked[conversation] = offset
        self._unsent[conversation] = None
        return True

    def take(self) -> dict[str, int]:
        """The marks to send."""
        marks = {name: self._marked[name] for name in self._unsent}
        self._unconfirmed |= marks
        self._unsent.clear()
        return marks

    @property
    def dirty(self) -> bool:
        """Whether there are marks to send."""
        return bool(self._unsent)

    def unconfirmed(self) -> dict[str, int]:
        """The marks sent that may not be on the relay's disk."""
        return dict(self._unconfirmed)

    def confirm(self, marks: dict[str, int]) -> None:
        """These are on the relay's disk."""
        for name, offset in marks.items():
            if self._unconfirmed.get(name) == offset:
                del self._unconfirmed[name]

    def lost(self) -> None:
        """The connection broke: what is not confirmed has to be sent again."""
        self._unsent |= dict.fromkeys(self._unconfirmed)
