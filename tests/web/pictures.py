"""Draws docs/pictures/browser-*.png, the chat page in the documents: `python -m tests.web.pictures`.

It needs fonts with emoji and Chinese on the machine (Debian: fonts-noto-color-emoji, fonts-wqy-microhei).
"""

import base64
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import expect
from relay_client import Client

from tests.relay_client.town import Town
from tests.web import stage
from tests.web.stage import Person, Stage, chromium
from tests.web.test_files import PASTE

NAMES = ("anna", "ben", "carla", "dev", "lin", "deploy-bot", "mira", "omar")
CODE = """```python
def assign_slots(ships, berths):
    for ship in sorted(ships, key=lambda it: it.eta):
        berth = min(berths, key=lambda it: it.free_at)
        yield ship, berth
```"""

# A harbour in the morning, as base64 of a JPEG.
PAINT = """async ([w, h]) => {
  const canvas = new OffscreenCanvas(w, h), g = canvas.getContext('2d')
  const shade = (top, end, stops) => {
    const it = g.createLinearGradient(0, top, 0, end)
    for (const [place, colour] of stops) it.addColorStop(place, colour)
    return it
  }
  const box = (colour, x, y, width, height) => { g.fillStyle = colour; g.fillRect(x, y, width, height) }
  const dark = '#22324a', boxes = ['#7c4a45', '#34566b', '#a07648', '#4b6152']
  const sky = [[0, '#27476e'], [0.45, '#8a6f93'], [0.8, '#e9a178'], [1, '#f7d59b']]
  const sea = [[0, '#c98f7c'], [0.25, '#6f6d8c'], [1, '#1d3049']]
  box(shade(0, h * 0.62, sky), 0, 0, w, h)
  g.fillStyle = '#fff0c4'
  g.beginPath(); g.arc(w * 0.66, h * 0.55, h * 0.07, 0, 7); g.fill()
  box(shade(h * 0.6, h, sea), 0, h * 0.6, w, h * 0.4)
  for (let i = 0; i < 26; i++) {
    const x = w * 0.66 + Math.sin(i * 1.7) * w * 0.02, wide = w * (0.035 + i * 0.004)
    const left = wide * (1 + Math.sin(i * 2.3) * 0.4), right = wide * (1 + Math.cos(i * 1.9) * 0.3)
    box(`rgba(255,235,190,${0.34 - i * 0.012})`, x - left, h * (0.615 + i * 0.0145), left + right, h * 0.005)
  }
  for (const [place, size] of [[0.13, 430], [0.31, 520], [0.45, 700]]) {
    const x = w * place, k = h / size, b = h * 0.605
    box(dark, x, b - 150 * k, 7 * k, 150 * k)
    box(dark, x + 42 * k, b - 150 * k, 7 * k, 150 * k)
    box(dark, x - 75 * k, b - 152 * k, 210 * k, 8 * k)
    box(dark, x + 8 * k, b - 196 * k, 6 * k, 46 * k)
    box(dark, x - 66 * k, b - 98 * k, 32 * k, 17 * k)
    box(dark, x, b - 70 * k, 49 * k, 5 * k)
    g.strokeStyle = dark; g.lineWidth = 2.2 * k
    g.beginPath()
    for (const [fx, fy, tx, ty] of [[11, 194, -72, 150], [11, 194, 130, 150], [-50, 148, -50, 96]]) {
      g.moveTo(x + fx * k, b - fy * k); g.lineTo(x + tx * k, b - ty * k)
    }
    g.stroke()
  }
  box(dark, 0, h * 0.595, w * 0.56, h * 0.02)
  for (let i = 0; i < 22; i++) {
    box(boxes[(i * 7) % 4], w * (0.02 + (i % 11) * 0.034), h * (0.574 - (i > 10 ? 0.026 : 0)), w * 0.031, h * 0.024)
  }
  g.fillStyle = '#1b2a40'
  g.beginPath(); g.moveTo(w * 0.72, h * 0.655); g.lineTo(w * 0.97, h * 0.655)
  g.lineTo(w * 0.945, h * 0.7); g.lineTo(w * 0.745, h * 0.7); g.fill()
  box('#1b2a40', w * 0.9, h * 0.6, w * 0.035, h * 0.056)
  box('#1b2a40', w * 0.91, h * 0.57, w * 0.012, h * 0.04)
  for (let i = 0; i < 7; i++) box(boxes[(i * 3) % 4], w * (0.745 + i * 0.021), h * 0.633, w * 0.019, h * 0.022)
  const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.85 })).arrayBuffer())
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text)
}"""


def furnish(people: dict[str, Client]) -> None:
    """A town where people know each other."""
    anna, ben, carla = people["anna"], people["ben"], people["carla"]
    for owner, room, title, members in (
        (anna, "#harbour", "Harbour project", ("ben", "carla", "dev", "lin", "deploy-bot")),
        (ben, "#lunch", "Lunch", ("anna", "dev")),
        (anna, "#design", "Design", ("carla",)),
    ):
        owner.rooms.create(room, title=title)
        for member in members:
            people[member].rooms.join(room)
    anna.send("omar", "The slides are in the folder.")
    people["omar"].send("anna", "Thank you! I will read them on the train.")
    carla.send("#design", "The new icons are in, have a look ✨")
    people["lin"].send("anna", "明天的会议改到下午三点，可以吗？")
    people["mira"].send("anna", "See you on Thursday then!")
    anna.send("mira", "Looking forward to it 🎉")
    ben.send("#lunch", "Noodles at 12:30? 🍜")
    people["dev"].send("#lunch", "I am in")
    people["deploy-bot"].send("#harbour", "Deployed **crane-api 2.14.0** to staging in 48 s")
    carla.send("#harbour", "That was quick! I looked at the berth planner: the slow part is in `assign_slots`")
    carla.send("#harbour", CODE)
    anna.send("#harbour", "It sorts on every call. Good find, shall we ship the fix today?")


def talk(anna: Person, ben: Person, people: dict[str, Client]) -> None:
    """What is on the picture."""
    people["lin"].send("#harbour", "> shall we ship the fix today?\nYes please. I will watch the graphs until six.")
    photo = ben.page.evaluate(PAINT, [720, 400])
    assert len(base64.b64decode(photo)) > 0
    ben.page.evaluate(PASTE, ["harbour this morning.jpg", "image/jpeg", photo])
    ben.page.get_by_role("button", name="Send", exact=True).click()
    expect(anna.page.get_by_role("img", name="Image harbour this morning.jpg")).to_be_visible()
    ben.write("And this was the view from my window 😍")
    expect(anna.message("view from my window")).to_be_visible()
    anna.write("Beautiful! Then I press the button after lunch.")
    anna.await_fate("Beautiful", "Read")


def main() -> int:
    stage.PICTURES = Path(__file__).parents[2] / "docs/pictures"
    with tempfile.TemporaryDirectory(prefix="relay-pictures-") as home, ExitStack() as stack:
        town = Town(Path(home))
        town.add(*NAMES)
        stack.enter_context(town.open())
        scene = Stage(town, stack.enter_context(chromium()))
        people = {name: stack.enter_context(scene.client(name)) for name in NAMES}
        furnish(people)
        anna = scene.person("anna", viewport={"width": 1280, "height": 820}).sign_in().open("harbour")
        ben = scene.person("ben").sign_in().open("harbour")
        talk(anna, ben, people)
        anna.page.mouse.move(5, 5)
        people["carla"].typing("#harbour")
        expect(anna.page.locator(".about.typing")).to_be_visible()
        anna.picture("browser-light")
        anna.page.emulate_media(color_scheme="dark")
        anna.page.keyboard.press("Control+f")
        anna.page.keyboard.type("ship")
        expect(anna.page.get_by_text("3 messages found")).to_be_visible()
        anna.picture("browser-dark")
        phone = {
            "viewport": {"width": 390, "height": 780},
            "device_scale_factor": 1.5,
            "is_mobile": True,
            "has_touch": True,
        }
        pocket = scene.person("anna", **phone).sign_in()
        pocket.page.locator(".talk", has_text="Harbour").click()
        expect(pocket.page.get_by_role("img", name="Image harbour this morning.jpg")).to_be_visible()
        pocket.page.wait_for_timeout(1200)
        pocket.picture("browser-phone")
        scene.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
