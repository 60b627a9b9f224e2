"""What Tab makes of an unfinished word."""

import pytest
from relay_chat.model.completion import Words, common_start, complete

WORDS = Words(lambda: ["bob", "bonnie", "carol"], lambda: ["#lunch", "#ops"], list)


@pytest.mark.parametrize(
    ("text", "start", "candidates"),
    [
        ("/m", 0, ("/msg ", "/members ")),
        ("/qu", 0, ("/quit ",)),
        ("/msg bo", 5, ("bob ", "bonnie ")),
        ("/msg l", 5, ("#lunch ",)),
        ("/msg #", 5, ("#lunch ", "#ops ")),
        ("/join o", 6, ("#ops ",)),
        ("/invite c", 8, ("carol ",)),
        ("/help jo", 6, ("join ",)),
        ("hello bon", 6, ("bonnie ",)),
        ("hello @c", 6, ("@carol ",)),
        ("see #o", 4, ("#ops ",)),
        ("one\nca", 4, ("carol ",)),
        ("/msg bob hi ca", 12, ("carol ",)),
        ("hello ", 6, ()),
        ("zz", 0, ()),
    ],
)
def test_words(text: str, start: int, candidates: tuple[str, ...]) -> None:
    assert complete(text, WORDS) == (start, candidates)


@pytest.mark.parametrize(
    ("words", "start"), [(["bob", "bonnie"], "bo"), (["a"], "a"), (["a", "b"], ""), (["ab", "a"], "a")]
)
def test_what_candidates_have_in_common(words: list[str], start: str) -> None:
    assert common_start(words) == start
