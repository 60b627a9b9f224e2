"""Several tabs of one browser are one device: the relay sees one session, and every tab shows the same."""

from playwright.sync_api import expect

from tests.web.stage import Stage, eventually


def test_two_tabs_show_the_same(stage: Stage) -> None:
    stage.town.add("tom", "ulla")
    tom, ulla = stage.person("tom").sign_in(), stage.person("ulla").sign_in()
    tom.open("ulla")
    second = tom.open_tab()
    tom.open("ulla", second)
    tom.write("from the first tab")
    expect(tom.message("from the first tab", second)).to_be_visible()
    tom.write("from the second tab", second)
    expect(tom.message("from the second tab")).to_be_visible()
    ulla.open("tom")
    ulla.write("an answer")
    wanted = ["from the first tab", "from the second tab", "an answer"]
    for page in (tom.page, second):
        expect(tom.message("an answer", page)).to_be_visible()
        eventually(lambda page=page: tom.texts(page) == wanted, f"all in order: {wanted}")  # type: ignore[misc]
    with stage.client("ulla") as client:
        devices = [person.sessions for person in client.who() if person.user == "tom"]
        assert [len(it) for it in devices] == [1]


def test_the_other_tab_takes_over(stage: Stage) -> None:
    stage.town.add("vito", "wanda")
    vito, wanda = stage.person("vito").sign_in(), stage.person("wanda").sign_in()
    vito.open("wanda")
    vito.write("first")
    second = vito.open_tab()
    vito.open("wanda", second)
    expect(vito.message("first", second)).to_be_visible()
    vito.page.close()
    vito.page = second
    wanda.open("vito")
    wanda.write("are you still there?")
    expect(vito.message("are you still there?")).to_be_visible()
    vito.write("yes, in the other tab")
    expect(wanda.message("yes, in the other tab")).to_be_visible()
    eventually(lambda: vito.texts() == ["first", "are you still there?", "yes, in the other tab"], "all three, once")


def test_signing_out_in_one_tab_signs_out_the_other(stage: Stage) -> None:
    stage.town.add("xenia")
    xenia = stage.person("xenia").sign_in()
    second = xenia.open_tab()
    expect(second.get_by_text("Connected", exact=True)).to_be_visible()
    xenia.page.get_by_role("button", name="Settings").click()
    xenia.page.get_by_role("button", name="Sign out").click()
    expect(xenia.page.get_by_label("Password", exact=True)).to_be_visible()
    expect(second.get_by_label("Password", exact=True)).to_be_visible()
