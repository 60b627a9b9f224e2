/** What people write becomes a tree of text: every mark without its partner is text, and every link is one of three kinds. */

import assert from "node:assert/strict"
import { test } from "node:test"
import { load } from "./typescript.js"

const { parse, plainName, preview, safeHref } = await load("text/markup.ts")

const text = (value) => ({ kind: "text", text: value })
const paragraph = (...parts) => [{ kind: "paragraph", parts }]
const link = (value, href = value) => ({ kind: "link", text: value, href })

const CASES = [
  ["plain", paragraph(text("plain"))],
  ["**bold** and *thin*", paragraph({ kind: "strong", parts: [text("bold")] }, text(" and "), { kind: "em", parts: [text("thin")] })],
  ["**a *b* c**", paragraph({ kind: "strong", parts: [text("a "), { kind: "em", parts: [text("b")] }, text(" c")] })],
  ["~~gone~~", paragraph({ kind: "struck", parts: [text("gone")] })],
  ["`*code*`", paragraph({ kind: "code", text: "*code*" })],
  ["snake_case_name", paragraph(text("snake_case_name"))],
  ["2*3*4", paragraph(text("2*3*4"))],
  ["a ** b", paragraph(text("a ** b"))],
  ["**open", paragraph(text("**open"))],
  ["`open", paragraph(text("`open"))],
  ["*over\nlines*", paragraph(text("*over\nlines*"))],
  ["see https://example.org/a?b=c.", paragraph(text("see "), link("https://example.org/a?b=c"), text("."))],
  ["(https://example.org/a_(b))", paragraph(text("("), link("https://example.org/a_(b)"), text(")"))],
  ["https://example.org", paragraph(link("https://example.org", "https://example.org/"))],
  ["mailto:ann@example.org", paragraph(link("mailto:ann@example.org"))],
  ["xhttps://example.org", paragraph(text("xhttps://example.org"))],
  ["javascript:alert(1)", paragraph(text("javascript:alert(1)"))],
  ["https://", paragraph(text("https://"))],
  ["https://user:pass@example.org/", paragraph(text("https://user:pass@example.org/"))],
  ["https://a.org/\u202Egnp", paragraph(link("https://a.org/"), text("\u202Egnp"))],
  ["```js\nlet a\n```", [{ kind: "fence", text: "let a", language: "js" }]],
  ["```\n**no**\n```\nafter", [{ kind: "fence", text: "**no**", language: "" }, ...paragraph(text("after"))]],
  ["```\nnever closed", paragraph(text("```\nnever closed"))],
  ["> said\nanswer", [{ kind: "quote", parts: [text("said")] }, ...paragraph(text("answer"))]],
  ["\n\na\n\nb\n", paragraph(text("a\n\nb"))],
]

for (const [written, wanted] of CASES) test(JSON.stringify(written), () => assert.deepEqual(parse(written), wanted))

/** Everything a tree shows. */
function shown(blocks) {
  const inline = (part) => part.text ?? part.parts.map(inline).join("")
  return blocks.map((block) => block.text ?? block.parts.map(inline).join("")).join("\n")
}

const links = (parts) => parts.flatMap((part) => (part.kind === "link" ? [part] : part.parts ? links(part.parts) : []))

test("whatever is written, nothing is invented and every link is safe", () => {
  const pieces = ["**", "*", "_", "~~", "`", "```", "\n", " ", "> ", "a", "é", "שלום", "https://", "http://x.y/", "mailto:", "javascript:", "<b>", "\u202E", ")", "(", "\0"]
  let seed = 7
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below
  for (let round = 0; round < 3000; round += 1) {
    const written = Array.from({ length: 1 + random(14) }, () => pieces[random(pieces.length)]).join("")
    const blocks = parse(written)
    const letters = [...shown(blocks)]
    for (const letter of letters) assert.ok(written.includes(letter) || letter === "\n", written)
    assert.ok(letters.length <= written.length + blocks.length, written)
    for (const { href } of links(blocks.flatMap((block) => block.parts ?? []))) assert.match(href, /^(https?:\/\/|mailto:)/)
  }
})

test("hostile megabytes end", () => {
  for (const piece of ["**_`~~", "*a ", "```x\n", "> ", "https://", "`\n", "[](", "_"]) {
    assert.ok(parse(piece.repeat(Math.floor(200_000 / piece.length))).length > 0)
  }
})

test("addresses of other kinds are none", () => {
  for (const address of ["javascript:1", "data:text/html,x", "file:///etc/passwd", "blob:x", "//x.y", "x", "mailto:x", "https://a b"]) {
    assert.equal(safeHref(address), null)
  }
})

test("names show what would disguise them", () => {
  assert.equal(plainName("a\u202Egnp.exe"), "a\uFFFDgnp.exe")
  assert.equal(plainName("line\nbreak"), "line\uFFFDbreak")
  assert.equal(plainName("ordinary näme 文.txt"), "ordinary näme 文.txt")
})

test("a preview is one line without marks", () => {
  assert.equal(preview("**bold** and `code`\nnext"), "bold and code next")
  assert.equal(preview("```js\nlet a\n```"), "let a ```".replace(" ```", ""))
})
