"""The page for everybody: keyboard only, screen readers, small windows, the dark, Chinese."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.web.node import WEB
from tests.web.stage import Person, Stage

AXE = WEB / "node_modules/axe-core/axe.min.js"
needs_axe = pytest.mark.skipif(not AXE.exists(), reason="axe-core is missing: make web-modules")


def serious(page: Page) -> list[tuple[str, str, str]]:
    """What axe finds that keeps somebody from using the page."""
    # As an argument of evaluate: the page's own policy would refuse a script element.
    page.evaluate(Path(AXE).read_text() + "; void 0")
    found: Any = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        (it["id"], it["impact"], node["html"][:200] + " | " + str(node.get("failureSummary"))[:300])
        for it in found["violations"]
        if it["impact"] in ("serious", "critical")
        for node in it["nodes"]
    ]


def furnish(stage: Stage, name: str, **options: object) -> Person:
    """Somebody with conversations, rooms and all kinds of messages."""
    friend, room = f"{name}s-friend", f"#{name}-room"
    stage.town.add(name, friend)
    with stage.client(name) as own, stage.client(friend) as other:
        own.rooms.create(room, title="A room of one's own")
        other.rooms.join(room)
        other.send(room, "Hello everybody, see https://example.org/ and `some code`")
        other.send(room, "```python\nprint('hello')\n```\n> quoted\n\n**bold** 👍")
        own.send(room, "Good morning")
        other.send(name, "Hello")
    return stage.person(name, **options).sign_in()


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(stage: Stage, scheme: str) -> None:
    outside = stage.person("nobody", color_scheme=scheme)
    expect(outside.page.get_by_role("button", name="Sign in")).to_be_visible()
    assert serious(outside.page) == []
    person = furnish(stage, f"ann-{scheme}", color_scheme=scheme, reduced_motion="reduce")
    person.open(f"ann-{scheme}-room")
    expect(person.message("Good morning")).to_be_visible()
    assert serious(person.page) == []
    for keys, shown in (("Control+/", "Keyboard shortcuts"), ("Alt+n", "New conversation")):
        person.page.keyboard.press(keys)
        expect(person.page.get_by_role("dialog", name=shown)).to_be_visible()
        assert serious(person.page) == []
        person.page.keyboard.press("Escape")
    person.page.get_by_role("button", name="Settings").click()
    assert serious(person.page) == []
    person.page.keyboard.press("Escape")
    person.page.get_by_role("button", name="Details", exact=True).click()
    expect(person.page.locator(".member")).to_have_count(2)
    assert serious(person.page) == []
    person.page.keyboard.press("Control+f")
    person.page.keyboard.type("good")
    expect(person.page.locator(".hit")).to_have_count(1)
    assert serious(person.page) == []
    person.page.keyboard.press("Escape")
    person.page.keyboard.press("Alt+e")
    assert serious(person.page) == []
    person.picture(f"access-{scheme}")


def test_everything_by_keyboard(stage: Stage) -> None:  # noqa: PLR0915 (one person, one path through the page)
    stage.town.add("kim", "kims-friend")
    kim = stage.person("kim")
    page = kim.page
    page.keyboard.type("kim")
    page.keyboard.press("Tab")
    page.keyboard.type("secret")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()

    page.keyboard.press("Control+k")
    page.keyboard.type("kims-friend")
    page.keyboard.press("Enter")
    expect(kim.field).to_be_focused()
    page.keyboard.type("one line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("and another")
    page.keyboard.press("Enter")
    expect(kim.message("one line")).to_contain_text("and another")
    page.keyboard.type("a second message")
    page.keyboard.press("Enter")
    kim.await_fate("a second message", "Sent")

    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("feed")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(kim.message("a second message")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(kim.message("one line")).to_be_focused()
    page.keyboard.press("End")
    expect(kim.message("a second message")).to_be_focused()
    page.keyboard.press("Escape")
    expect(kim.field).to_be_focused()

    page.keyboard.press("Alt+e")
    page.keyboard.type("rocket")
    page.keyboard.press("Enter")
    expect(kim.field).to_be_focused()
    expect(kim.field).to_have_value("🚀")
    page.keyboard.press("Control+f")
    page.keyboard.type("another")
    expect(page.locator(".hit")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".row.found")).to_contain_text("and another")
    page.keyboard.press("Escape")
    expect(page.get_by_role("complementary", name="Search")).to_have_count(0)

    page.keyboard.press("Alt+n")
    page.get_by_role("radio", name="Person").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.type("keys")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="#keys")).to_be_visible()
    page.keyboard.press("Alt+ArrowDown")
    expect(page.get_by_role("heading", name="kims-friend")).to_be_visible()


def test_news_are_spoken(stage: Stage) -> None:
    stage.town.add("sara", "saras-friend")
    sara = stage.person("sara").sign_in()
    with stage.client("saras-friend") as friend:
        friend.send("sara", "first")
        sara.open("saras-friend")
        friend.send("sara", "read this aloud")
        expect(sara.page.get_by_role("log")).to_have_text("saras-friend: read this aloud")


def test_a_phone(stage: Stage) -> None:
    phone = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    paula = furnish(stage, "paula", **phone)
    page = paula.page
    expect(page.get_by_role("main")).to_be_hidden()
    paula.picture("phone-list")
    page.locator(".talk", has_text="A room of one's own").tap()
    expect(paula.message("Good morning")).to_be_visible()
    expect(page.get_by_role("navigation")).to_be_hidden()
    paula.picture("phone-room")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # On a phone Enter begins a new line; the button sends.
    paula.field.fill("from the phone")
    paula.field.press("Enter")
    expect(paula.field).to_have_value("from the phone\n")
    page.get_by_role("button", name="Send", exact=True).tap()
    paula.await_fate("from the phone", "Sent|Delivered")
    page.get_by_role("button", name="Back to the list").tap()
    expect(page.get_by_role("navigation")).to_be_visible()
    page.go_forward()
    expect(paula.message("from the phone")).to_be_visible()


def test_chinese(stage: Stage) -> None:
    stage.town.add("lin", "wei")
    lin = stage.person("lin", locale="zh-CN")
    page = lin.page
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    page.get_by_label("用户名").fill("lin")
    page.get_by_label("密码", exact=True).fill("secret")
    lin.picture("chinese-door")
    page.get_by_role("button", name="登录").click()
    expect(page.get_by_text("已连接")).to_be_visible()
    with stage.client("wei") as wei:
        wei.send("lin", "你好，明天见！")
    page.locator(".talk", has_text="wei").click()
    expect(lin.message("明天见")).to_be_visible()
    expect(page.locator(".day")).to_have_text("今天")
    lin.picture("chinese")
    page.get_by_role("button", name="设置").click()
    page.get_by_role("radio", name="English").click()
    expect(page.get_by_role("dialog", name="Settings")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".day")).to_have_text("Today")
    page.reload()
    expect(page.get_by_placeholder(re.compile("Message"))).to_be_visible()


def test_the_dark_is_chosen_and_stays(stage: Stage) -> None:
    stage.town.add("nox")
    nox = stage.person("nox").sign_in()
    lightness = "getComputedStyle(document.body).backgroundColor"
    light = nox.page.evaluate(lightness)
    nox.page.get_by_role("button", name="Settings").click()
    nox.page.get_by_role("radio", name="Dark").click()
    dark = nox.page.evaluate(lightness)
    assert dark != light
    nox.page.reload()
    expect(nox.page.get_by_text("Connected", exact=True)).to_be_visible()
    assert nox.page.evaluate(lightness) == dark
