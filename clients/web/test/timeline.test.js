/** The arithmetic of a very long list against the plain sum, and the sparse log that fills it. */

import assert from "node:assert/strict"
import { test } from "node:test"
import { load } from "./typescript.js"

const { Heights } = await load("timeline/heights.ts")
const { Log, PAGE } = await load("model/log.ts")

test("heights are the plain sums, whatever was measured, forgotten and appended", () => {
  let seed = 11
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below
  const heights = new Heights(40)
  const known = new Map()
  let count = 0
  for (let round = 0; round < 400; round += 1) {
    if (random(10) === 0) heights.resize((count += random(300)))
    const row = random(Math.max(1, count))
    if (count && random(5) === 0) {
      heights.forget(row)
      known.delete(row)
    } else if (count) {
      const height = 10 + random(200)
      heights.measure(row, height)
      known.set(row, height)
    }
    if (random(20) === 0) heights.settle()
    const of = (index) => known.get(index) ?? heights.mean
    let sum = 0
    const wanted = random(count + 1)
    for (let index = 0; index < wanted; index += 1) sum += of(index)
    assert.equal(heights.top(wanted), sum)
    if (wanted < count) assert.equal(heights.at(sum + of(wanted) / 2), wanted)
  }
  assert.equal(heights.at(-1000), 0)
  assert.equal(heights.at(1e12), count - 1)
})

test("the mean follows what was measured, and giants do not stretch it without bound", () => {
  const heights = new Heights(40)
  heights.resize(1000)
  for (let row = 0; row < 50; row += 1) heights.measure(row, 5000)
  assert.equal(heights.settle(), true)
  assert.equal(heights.mean, 160)
  assert.equal(heights.settle(), false)
})

const entry = (offset) => ({ offset, timeMs: offset, sender: "ann", mine: false, content: { kind: "text", text: String(offset) } })

function reading({ head, first = 1, most = PAGE }) {
  const asked = []
  const log = new Log(async (after, limit) => {
    asked.push([after, limit])
    const from = Math.max(after + 1, first)
    const entries = Array.from({ length: Math.min(limit, most, Math.max(0, head - from + 1)) }, (_, index) => entry(from + index))
    return { entries, first, head }
  })
  log.head = head
  return { log, asked }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 5))

test("pages are asked for once, and only those that are missing", async () => {
  const { log, asked } = reading({ head: 1000 })
  log.want(450, 560)
  log.want(450, 560)
  await settled()
  assert.deepEqual(asked.map(([after]) => after).sort(), [400, 500])
  log.want(450, 560)
  await settled()
  assert.equal(asked.length, 2)
  assert.equal(log.get(450).offset, 450)
  assert.equal(log.get(399), undefined)
})

test("a page that is bounded in bytes is read to its end", async () => {
  const { log } = reading({ head: 250, most: 30 })
  log.want(101, 200)
  await settled()
  for (let offset = 101; offset <= 200; offset += 1) assert.ok(log.get(offset), String(offset))
})

test("what retention has deleted is no hole to ask for again and again", async () => {
  const { log, asked } = reading({ head: 300, first: 150 })
  log.want(1, 300)
  await settled()
  log.want(1, 300)
  await settled()
  assert.equal(log.first, 150)
  const before = asked.length
  log.want(1, 300)
  await settled()
  assert.equal(asked.length, before)
})

test("a message that arrives is new once", () => {
  const { log } = reading({ head: 5 })
  const changes = []
  log.changed = (from, to) => changes.push([from, to])
  assert.equal(log.add(entry(6)), true)
  assert.equal(log.add(entry(6)), false)
  assert.equal(log.head, 6)
  log.reaches(1, 9)
  log.reaches(1, 9)
  assert.deepEqual(changes, [[6, 6], [7, 9]])
})

test("a flood is drawn a few times, a single change at once", async () => {
  const { paced } = await load("model/pace.ts")
  let drawn = 0
  const draw = paced(() => (drawn += 1), 20)
  draw()
  assert.equal(drawn, 1)
  for (let count = 0; count < 1000; count += 1) draw()
  assert.equal(drawn, 1)
  await new Promise((resolve) => setTimeout(resolve, 60))
  assert.equal(drawn, 2)
})
