"""People talk: signing in, the list, messages both ways, what becomes of them, rooms."""

import re

import pytest
from playwright.sync_api import expect
from relay_client import Refused

from tests.relay_client.town import PASSWORD
from tests.web.stage import Stage, eventually


def test_two_people_talk(stage: Stage) -> None:
    stage.town.add("alice", "bob")
    alice, bob = stage.person("alice").sign_in(), stage.person("bob").sign_in()
    alice.open("bob")
    alice.write("Are you there?")
    expect(bob.page.get_by_text("Are you there?")).to_be_visible()
    expect(bob.unread("alice")).to_contain_text("1")
    alice.await_fate("Are you there?", "Delivered")
    bob.open("alice")
    bob.page.bring_to_front()
    alice.await_fate("Are you there?", "Read")
    expect(bob.unread("alice")).to_have_count(0)
    bob.field.press_sequentially("I a")
    expect(alice.page.locator(".about.typing")).to_have_text("bob is typing…")
    bob.write("I am")
    expect(alice.message("I am")).to_be_visible()
    expect(alice.page.locator(".about.typing")).to_have_count(0)
    expect(alice.page.locator(".thread .about")).to_have_text("Online")
    alice.picture("direct")


def test_a_wrong_password_is_explained(stage: Stage) -> None:
    stage.town.add("paul")
    paul = stage.person("paul")
    paul.page.get_by_label("Name", exact=True).fill("paul")
    paul.page.get_by_label("Password", exact=True).fill("not the secret")
    paul.page.get_by_role("button", name="Sign in").click()
    expect(paul.page.get_by_role("alert")).to_contain_text("do not match")
    paul.page.get_by_label("Password", exact=True).fill(PASSWORD)
    paul.page.keyboard.press("Enter")
    expect(paul.page.get_by_text("Connected", exact=True)).to_be_visible()


def test_a_reload_needs_no_password_and_signing_out_does(stage: Stage) -> None:
    stage.town.add("rita", "sam")
    rita = stage.person("rita").sign_in()
    rita.open("sam")
    rita.write("before the reload")
    rita.await_fate("before the reload", "Sent|Delivered")
    rita.field.fill("a draft")
    rita.page.reload()
    expect(rita.message("before the reload")).to_be_visible()
    expect(rita.field).to_have_value("a draft")
    rita.page.get_by_role("button", name="Settings").click()
    rita.page.get_by_role("button", name="Sign out").click()
    expect(rita.page.get_by_label("Password", exact=True)).to_be_visible()
    rita.page.reload()
    expect(rita.page.get_by_label("Password", exact=True)).to_be_visible()


def test_who_does_not_stay_is_gone_after_a_reload(stage: Stage) -> None:
    stage.town.add("tina")
    tina = stage.person("tina").sign_in(stay=False)
    tina.page.reload()
    expect(tina.page.get_by_label("Password", exact=True)).to_be_visible()


def test_a_room_from_making_to_leaving(stage: Stage) -> None:
    stage.town.add("olga", "piet")
    olga, piet = stage.person("olga").sign_in(), stage.person("piet").sign_in()
    olga.page.get_by_role("button", name="New conversation").click()
    olga.page.get_by_role("radio", name="Create a room").click()
    olga.page.get_by_label("Room name").fill("garden")
    olga.page.get_by_label("Title").fill("The garden")
    olga.page.get_by_text("Private: only who is invited").click()
    olga.page.get_by_role("button", name="Create", exact=True).click()
    expect(olga.page.get_by_role("heading", name="The garden")).to_be_visible()

    olga.page.get_by_role("button", name="Details", exact=True).click()
    olga.page.get_by_label("Invite somebody").fill("piet")
    olga.page.get_by_role("button", name="Invite").click()
    expect(olga.page.locator(".member", has_text="piet")).to_contain_text("Invited")
    piet.page.locator(".talk", has_text="The garden").click()
    expect(piet.page.get_by_text("This is the beginning of")).to_be_in_viewport()
    expect(piet.page.locator(".row")).to_have_count(0)
    piet.page.get_by_role("button", name="Accept").click()
    expect(piet.field).to_be_visible()
    piet.write("Tulips!")
    expect(olga.message("Tulips!")).to_be_visible()
    expect(olga.message("Tulips!").locator(".by")).to_have_text("piet")
    expect(olga.page.locator(".member", has_text="olga")).to_contain_text("Owner")
    expect(olga.page.locator(".member", has_text="piet")).not_to_contain_text("Invited")
    olga.picture("room")

    piet.page.get_by_role("button", name="Details", exact=True).click()
    piet.page.get_by_role("button", name="Leave room").click()
    piet.page.get_by_role("dialog").get_by_role("button", name="Leave room").click()
    expect(piet.page.locator(".talk", has_text="The garden")).to_have_count(0)
    expect(olga.page.locator(".member", has_text="piet")).to_have_count(0)


def test_a_public_room_is_found_and_joined(stage: Stage) -> None:
    stage.town.add("quentin", "rosa")
    with stage.client("quentin") as quentin:
        quentin.rooms.create("#park", title="In the park")
        quentin.send("#park", "said before she came")
        rosa = stage.person("rosa").sign_in()
        rosa.page.get_by_role("button", name="New conversation").click()
        rosa.page.get_by_role("radio", name="Join a room").click()
        rosa.page.get_by_role("button", name="Join #park").click()
        expect(rosa.page.get_by_role("heading", name="In the park")).to_be_visible()
        expect(rosa.message("said before she came")).to_be_visible()
        rosa.write("Hello park")
        eventually(lambda: any(it.value == "Hello park" for it in quentin.history("#park")), "the message in the room")


def test_the_title_counts_what_is_unread(stage: Stage) -> None:
    stage.town.add("uma", "vic")
    uma = stage.person("uma").sign_in()
    with stage.client("vic") as vic:
        for number in range(3):
            vic.send("uma", f"number {number}")
    expect(uma.page).to_have_title(re.compile(r"^\(3\) "))
    expect(uma.page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("marked"))
    uma.open("vic")
    expect(uma.page).to_have_title(re.compile("^vic"))


SPY = """
window.asked = 0
window.notified = []
const Real = window.Notification
window.Notification = class {
  static get permission() { return window.answer || 'default' }
  static requestPermission() { window.asked += 1; window.answer = 'granted'; return Promise.resolve('granted') }
  constructor(title, options) { window.notified.push([title, options.body]) }
  close() {}
}
Object.defineProperty(document, 'hasFocus', { value: () => !window.looksAway })
"""


def test_notifications_are_asked_for_by_a_click_only(stage: Stage) -> None:
    stage.town.add("will", "xena")
    will = stage.person("will")
    will.page.add_init_script(SPY)
    will.page.reload()
    will.sign_in()
    will.page.evaluate("window.looksAway = true")
    with stage.client("xena") as xena:
        xena.send("will", "nobody asked to be told")
        expect(will.unread("xena")).to_contain_text("1")
        assert will.page.evaluate("[asked, notified]") == [0, []]
        will.page.get_by_role("button", name="Settings").click()
        will.page.get_by_role("switch", name="Notifications").click()
        expect(will.page.get_by_role("switch", name="Notifications")).to_be_checked()
        will.page.keyboard.press("Escape")
        xena.send("will", "now **tell** me")
        eventually(lambda: will.page.evaluate("notified") == [["xena", "now tell me"]], "the notification")
        assert will.page.evaluate("asked") == 1
        will.page.evaluate("window.looksAway = false")
        xena.send("will", "seen anyway")
        expect(will.unread("xena")).to_contain_text("3")
        assert len(will.page.evaluate("notified")) == 1


def test_what_is_begun_stays_with_its_conversation(stage: Stage) -> None:
    stage.town.add("yuri", "zora", "zeno")
    yuri = stage.person("yuri").sign_in()
    yuri.open("zora")
    yuri.field.fill("half a thought")
    yuri.open("zeno")
    expect(yuri.field).to_have_value("")
    yuri.write("Hello Zeno")
    expect(yuri.page.locator(".talk", has_text="zora")).to_contain_text("Draft: half a thought")
    yuri.open("zora")
    expect(yuri.field).to_have_value("half a thought")


def test_a_refused_message_says_why_and_can_be_sent_again(stage: Stage) -> None:
    stage.town.add("abel", "cain")
    abel = stage.person("abel").sign_in()
    with stage.client("cain") as cain:
        cain.blocks.add("abel")
        abel.open("cain")
        abel.write("do you hear me?")
        trouble = abel.page.locator(".trouble")
        expect(trouble).to_contain_text("Not sent")
        abel.picture("refused")
        cain.blocks.remove("abel")
        trouble.get_by_role("button", name="Try again").click()
        abel.await_fate("do you hear me?", "Sent|Delivered")
        expect(trouble).to_have_count(0)
        assert abel.texts() == ["do you hear me?"]
        abel.page.get_by_role("button", name="New conversation").click()
        abel.page.get_by_label("Name of the person").fill("nobody-here")
        abel.page.keyboard.press("Enter")
        abel.write("into the void")
        abel.page.locator(".trouble").get_by_role("button", name="Discard").click()
        expect(abel.message("into the void")).to_have_count(0)


def test_blocking_from_the_panel(stage: Stage) -> None:
    stage.town.add("bea", "pest")
    bea = stage.person("bea").sign_in()
    bea.open("pest")
    bea.page.get_by_role("button", name="Details", exact=True).click()
    bea.page.get_by_role("button", name="Block").click()
    bea.page.get_by_role("dialog").get_by_role("button", name="Block").click()
    expect(bea.page.get_by_role("button", name="Unblock")).to_be_visible()
    with stage.client("pest") as pest, pytest.raises(Refused):
        pest.send("bea", "buy this")
    bea.page.reload()
    bea.open("pest")
    bea.page.get_by_role("button", name="Details", exact=True).click()
    bea.page.get_by_role("button", name="Unblock").click()
    expect(bea.page.get_by_role("button", name="Block")).to_be_visible()
    with stage.client("pest") as pest:
        pest.send("bea", "sorry")
    expect(bea.message("sorry")).to_be_visible()
