"""A long history: read page by page, scrolled through, searched; the document stays small."""

import pytest
from playwright.sync_api import Page, expect

from tests.web.figures import fill
from tests.web.stage import Person, Stage, eventually

MESSAGES = 3000
# Rows in the document: some windows full, whatever the history holds.
ROWS_MAX = 150


@pytest.fixture(scope="module")
def _history(town: object) -> None:
    town.add("reader", "writer")  # type: ignore[attr-defined]
    fill(town, "writer", "reader", MESSAGES)  # type: ignore[arg-type]


def offsets(page: Page) -> list[int]:
    rows = page.locator(".messages .row[data-offset]").evaluate_all(
        "rows => rows.map((it) => Number(it.dataset.offset))"
    )
    return [int(it) for it in rows]


def settled(page: Page) -> None:
    """Everything in view is there."""
    eventually(lambda: page.locator(".skeleton").count() == 0 and len(offsets(page)) > 0, "the messages in view")


def reader(stage: Stage) -> Person:
    person = stage.person("reader").sign_in()
    person.open("writer")
    settled(person.page)
    return person


@pytest.mark.usefixtures("_history")
def test_back_to_the_first_message_and_forth(stage: Stage) -> None:
    page = reader(stage).page
    page.get_by_role("feed").focus()
    page.keyboard.press("End")
    settled(page)
    assert offsets(page)[-1] == MESSAGES
    page.mouse.move(700, 400)
    for _ in range(60):
        before = offsets(page)
        page.mouse.wheel(0, -900)
        eventually(lambda before=before: offsets(page) != before, "older messages")  # type: ignore[misc]
        seen = offsets(page)
        assert seen == list(range(seen[0], seen[-1] + 1)), "no hole, nothing twice"
        assert len(seen) <= ROWS_MAX
    settled(page)
    page.keyboard.press("Home")
    expect(page.locator('.row[data-offset="1"]')).to_be_in_viewport()
    settled(page)
    assert offsets(page)[0] == 1
    assert page.locator('.row[data-offset="1"] .text').inner_text().startswith("1: ")
    page.get_by_role("button", name="latest").click()
    expect(page.locator(f'.row[data-offset="{MESSAGES}"]')).to_be_in_viewport()


@pytest.mark.usefixtures("_history")
def test_what_is_looked_at_stays_where_it_is(stage: Stage) -> None:
    """Neither older messages nor new ones move the row under the reader's eyes."""
    page = reader(stage).page
    page.evaluate(
        "document.querySelector('.messages').scrollTop = document.querySelector('.messages').scrollHeight / 2"
    )
    settled(page)
    page.wait_for_timeout(400)
    place = "(offset) => document.querySelector(`.row[data-offset='${offset}']`).getBoundingClientRect().top"
    middle = offsets(page)[len(offsets(page)) // 2]
    before = page.evaluate(place, middle)
    with stage.client("writer") as writer:
        writer.send("reader", "new at the end")
    expect(page.get_by_role("button", name="new message")).to_be_visible()
    assert abs(page.evaluate(place, middle) - before) <= 1
    page.get_by_role("button", name="new message").click()
    expect(page.get_by_role("article").filter(has_text="new at the end")).to_be_in_viewport()


@pytest.mark.usefixtures("_history")
def test_search_reads_everything(stage: Stage) -> None:
    page = reader(stage).page
    page.keyboard.press("Control+f")
    page.keyboard.type("1234: ")
    hit = page.locator(".hit")
    expect(hit).to_have_count(1)
    expect(page.get_by_text("1 message found")).to_be_visible()
    hit.click()
    expect(page.locator('.row[data-offset="1234"]')).to_be_in_viewport()
    page.get_by_label("Search in this conversation").last.fill("no such words at all")
    expect(page.get_by_text("0 messages found")).to_be_visible()


def test_a_flood_is_followed(stage: Stage) -> None:
    stage.town.add("calm", "flood")
    calm = stage.person("calm").sign_in()
    calm.open("flood")
    fill(stage.town, "flood", "calm", 2000)
    expect(calm.page.locator('.row[data-offset="2000"]')).to_be_in_viewport()
    settled(calm.page)
    seen = offsets(calm.page)
    assert seen == list(range(seen[0], 2001))
    assert len(seen) <= ROWS_MAX
    expect(calm.page.locator(".talk .last")).to_contain_text("2000: ")
