"""What is looked for. The search through a conversation of a real relay: test_desk, test_app."""

from relay_chat.model.search import pattern_of


def test_a_text_is_found_as_it_is_in_capitals_or_not() -> None:
    assert pattern_of("a.b (ü").search("see A.B (Ü")
    assert not pattern_of("a.b").search("aXb")
