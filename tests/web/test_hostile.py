"""Names and messages of others are text, whatever they look like."""

import msgpack
from playwright.sync_api import expect

from tests.web.stage import Stage, eventually

SPELLS = [
    '<img src=x onerror="window.broken=1">',
    "<script>window.broken=1</script>",
    "</p></div><iframe src=javascript:parent.broken=1>",
    "[click](javascript:window.broken=1) javascript:window.broken=1",
    "data:text/html,<script>window.broken=1</script>",
    'https://example.org/"onmouseover="window.broken=1',
    "https://user:secret@example.org/ https://[::1 http:// mailto: mailto:nobody",
    "&lt;b&gt;&#x6a; ${window.broken=1} {{constructor.constructor('window.broken=1')()}}",
    "\u202egnp.exe\u202c \u2066\u2067\u2069\u200f\u0000\u0007\u001b[31mred",
    "``` `**_~~ ```\n```\n**",
    "*" * 3000,
    "`" * 3000,
    "> " * 1000,
    "h" * 5000 + "https://" * 500,
    "\U0001f469\u200d" * 200,
    "Z\u0351\u036b\u0343\u036a" * 300,
]


def test_messages_are_never_markup(stage: Stage) -> None:
    stage.town.add("vera", "xaver")
    vera = stage.person("vera").sign_in()
    with stage.client("xaver") as xaver:
        for spell in SPELLS:
            xaver.send("vera", spell)
        vera.open("xaver")
        expect(vera.page.locator(".talk", has_text="xaver")).to_be_visible()
        xaver.send("vera", "the last of them")
        expect(vera.message("the last of them")).to_be_visible()
    assert vera.page.evaluate("window.broken") is None
    assert vera.page.locator(".messages :is(img, script, iframe, object, embed, form, input, style)").count() == 0
    links = vera.page.locator(".messages a").evaluate_all(
        "nodes => nodes.map((it) => [it.protocol, it.rel, it.target])"
    )
    assert links
    for protocol, rel, target in links:
        assert protocol in ("http:", "https:", "mailto:")
        assert rel == "noopener noreferrer"
        assert target == "_blank"


def test_the_direction_of_a_text_stays_inside_of_it(stage: Stage) -> None:
    stage.town.add("yael", "zoe")
    zoe = stage.person("zoe").sign_in()
    with stage.client("yael") as yael:
        yael.send("zoe", "שלום עולם! (1)")
        yael.send("zoe", "\u202eturned around")
        yael.send("zoe", "ordinary again")
        zoe.open("yael")
        expect(zoe.message("ordinary again")).to_be_visible()
    starts = zoe.message("שלום").locator("p").evaluate("node => getComputedStyle(node).direction")
    assert starts == "rtl"
    for text in ("turned around", "ordinary again"):
        isolation = zoe.message(text).locator("p").evaluate("node => getComputedStyle(node).unicodeBidi")
        assert isolation == "plaintext"
        # Where the time stands shows whether the direction leaked out.
        time, bubble = (zoe.message(text).locator(it).bounding_box() for it in ("time", ".bubble"))
        assert time is not None
        assert bubble is not None
        assert time["x"] + time["width"] / 2 > bubble["x"] + bubble["width"] / 2
    zoe.picture("right-to-left")


def test_titles_and_file_names_cannot_disguise_themselves(stage: Stage) -> None:
    stage.town.add("walt", "willa")
    willa = stage.person("willa").sign_in()
    with stage.client("walt") as walt:
        walt.rooms.create("#trap", title="<b>Bank</b>")
        walt.rooms.invite("#trap", "willa")
        file = {
            "id": "abcdefghijkl",
            "name": "invoice\u202egnp.exe",
            "size": 12,
            "type": "image/svg+xml",
            "hash": b"x" * 32,
        }
        body = msgpack.packb(file)
        bad = [{"id": 7}, {"id": "a", "name": "", "size": 1}, {"id": "a", "name": "n", "size": -1}, [1, 2], None]
        for value in bad:
            walt.send("willa", msgpack.packb(value), content_type="application/vnd.relay.file")
        walt.send("willa", b"\xc1\xff\x00", content_type="application/vnd.relay.file")
        walt.send("willa", {"deep": [[[{"x": 1}]]]})
        walt.send("willa", b"\x00\x01", content_type="application/x-" + "y" * 100)
        walt.send("willa", body, content_type="application/vnd.relay.file")
        walt.send("willa", "after all of them")
    willa.open("walt")
    expect(willa.message("after all of them")).to_be_visible()
    expect(willa.page.locator(".talk .name", has_text="<b>Bank</b>")).to_be_visible()
    expect(willa.page.locator(".file .title")).to_have_text("invoice\ufffdgnp.exe")
    assert willa.page.locator(".talk b, .messages b").count() == 0


def test_a_very_long_message_does_not_stall_the_page(stage: Stage) -> None:
    stage.town.add("lena", "long")
    lena = stage.person("lena").sign_in()
    lena.open("long")
    with stage.client("long") as long:
        long.send("lena", "**_`~~" * 40_000)
        long.send("lena", "short")
    expect(lena.message("short")).to_be_visible()
    row = lena.page.locator(".row").first
    assert len(row.inner_text()) < 10_000
    row.get_by_role("button", name="Show all of it").click()
    eventually(lambda: len(str(row.text_content())) > 230_000, "the whole message")


def test_addresses_that_somebody_made_up(stage: Stage) -> None:
    stage.town.add("addie")
    addie = stage.person("addie").sign_in()
    for fragment in ("#/%E0%A4%A", "#/<img src=x>", "#/__proto__", "#/nobody@nowhere", "#/" + "a" * 5000):
        addie.page.goto(f"http://{stage.town.address}/{fragment}")
        addie.page.reload()
        expect(addie.page.get_by_text("Nobody here yet")).to_be_visible()
        expect(addie.page.get_by_text("Choose a conversation")).to_be_visible()
