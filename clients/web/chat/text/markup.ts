/**
 * What people write, as a tree. Pure: text in, parts out; it knows no DOM, so nothing here can become markup.
 *
 * A small dialect that cannot surprise: fenced code, quoted lines, `code`, **bold**, *italic*, ~~struck~~ and addresses that
 * begin with http://, https:// or mailto:. Every mark without its partner is the text it is. The cost is linear in the length
 * of the text: a hostile message costs what a long one costs.
 */

export type Inline =
  | { kind: "text"; text: string }
  | { kind: "code"; text: string }
  | { kind: "link"; text: string; href: string }
  | { kind: "strong" | "em" | "struck"; parts: Inline[] }

export type Block =
  | { kind: "paragraph"; parts: Inline[] }
  | { kind: "quote"; parts: Inline[] }
  | { kind: "fence"; text: string; language: string }

/** Marks that may enclose others, longest first. */
const MARKS: [string, "strong" | "em" | "struck"][] = [
  ["**", "strong"],
  ["~~", "struck"],
  ["*", "em"],
  ["_", "em"],
]

const DEPTH_MAX = 4
const LINK_MAX = 2048
/** How far a mark may enclose: without it a line of unmatched marks would cost the square of its length. */
const REACH = 500
const LINK = /(?:https?:\/\/|mailto:)[^\s<>"'`\p{Cc}\p{Bidi_Control}]+/giu
const WORD = /[\p{L}\p{N}_]/u

/** Controls that change the direction of what follows; in names and addresses they only deceive. */
const DECEIVING = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu

/** A name of a file, title or address on one line, with every character that could disguise it made visible. */
export function plainName(text: string): string {
  return text.replace(DECEIVING, "\uFFFD")
}

export function parse(text: string): Block[] {
  const blocks: Block[] = []
  let lines: string[] = []
  let quoted = false
  const flush = () => {
    // Empty lines between blocks are space already.
    const text = lines.join("\n").replace(/^\n+|\n+$/g, "")
    if (text) blocks.push({ kind: quoted ? "quote" : "paragraph", parts: inline(text) })
    lines = []
  }
  const all = text.replace(/\r\n?/g, "\n").split("\n")
  const lastClose = all.findLastIndex((line) => line.trimEnd() === "```")
  for (let at = 0; at < all.length; at++) {
    const line = all[at]!
    const opens = /^```([\w+#.-]{0,24})\s*$/.exec(line)
    if (opens && at < lastClose) {
      flush()
      let end = at + 1
      while (all[end]!.trimEnd() !== "```") end += 1
      blocks.push({ kind: "fence", text: all.slice(at + 1, end).join("\n"), language: opens[1]! })
      at = end
      continue
    }
    const quote = line.startsWith("> ") || line === ">"
    if (quote !== quoted) flush()
    quoted = quote
    lines.push(quote ? line.slice(2) : line)
  }
  flush()
  return blocks
}

/** The first line as one plain string, for previews and notifications. */
export function preview(text: string): string {
  const line = text.slice(0, 400).replace(/```[\w+#.-]*\n?/g, " ").replace(/\s+/g, " ").trim()
  return line.replace(/(\*\*|~~|`)(.+?)\1/g, "$2").replace(DECEIVING, "")
}

/** Inline parts of a paragraph. */
export function inline(text: string, depth = 0): Inline[] {
  const parts: Inline[] = []
  let plain = ""
  const push = (part: Inline) => {
    if (plain) parts.push({ kind: "text", text: plain })
    plain = ""
    parts.push(part)
  }
  // Where a search for a mark found nothing, it is not searched again: keeps the whole linear.
  const absent = new Set<string>()
  for (let at = 0; at < text.length; ) {
    const here = text[at]!
    if (here === "h" || here === "H" || here === "m" || here === "M") {
      LINK.lastIndex = at
      const found = startsLink(text, at) ? LINK.exec(text) : null
      if (found && found.index === at) {
        const part = link(found[0])
        push(part)
        at += part.text.length
        continue
      }
    }
    if (here === "`" && !absent.has("`")) {
      const end = text.indexOf("`", at + 1)
      if (end > at + 1 && !text.slice(at, end).includes("\n")) {
        push({ kind: "code", text: text.slice(at + 1, end) })
        at = end + 1
        continue
      }
      if (end < 0) absent.add("`")
    }
    const mark = depth < DEPTH_MAX ? MARKS.find(([sign]) => !absent.has(sign) && text.startsWith(sign, at)) : undefined
    if (mark) {
      const [sign, kind] = mark
      const end = closing(text, at, sign, absent)
      if (end > 0) {
        push({ kind, parts: inline(text.slice(at + sign.length, end), depth + 1) })
        at = end + sign.length
        continue
      }
      plain += sign
      at += sign.length
      continue
    }
    plain += here
    at += 1
  }
  if (plain) parts.push({ kind: "text", text: plain })
  return parts
}

function startsLink(text: string, at: number): boolean {
  const head = text.slice(at, at + 8).toLowerCase()
  if (at > 0 && WORD.test(text[at - 1]!)) return false
  return head.startsWith("http://") || head.startsWith("https://") || head.startsWith("mailto:")
}

/** Where `sign` at `at` ends: it hugs what it encloses, on one line, and single ones do not open inside words. */
function closing(text: string, at: number, sign: string, absent: Set<string>): number {
  const begin = at + sign.length
  const next = text[begin]
  if (next === undefined || /\s/.test(next) || next === sign[0]) return -1
  if (sign.length === 1 && at > 0 && WORD.test(text[at - 1]!)) return -1
  const lineEnd = text.indexOf("\n", begin)
  const until = Math.min(lineEnd < 0 ? text.length : lineEnd, begin + REACH)
  for (let end = text.indexOf(sign, begin + 1); end >= 0; end = text.indexOf(sign, end + 1)) {
    if (end >= until) return -1
    if (/\s/.test(text[end - 1]!)) continue
    const after = text[end + sign.length]
    if (sign.length === 1 && after !== undefined && (WORD.test(after) || after === sign)) continue
    return end
  }
  absent.add(sign)
  return -1
}

/** An address without the punctuation that ends a sentence; one that no URL parser takes is text. */
function link(found: string): Inline & { text: string } {
  let text = found.slice(0, LINK_MAX)
  for (;;) {
    const last = text.at(-1)!
    if (".,;:!?*_~…。，；：！？".includes(last)) text = text.slice(0, -1)
    else if (last === ")" && count(text, ")") > count(text, "(")) text = text.slice(0, -1)
    else if (last === "]" && count(text, "]") > count(text, "[")) text = text.slice(0, -1)
    else break
  }
  const href = safeHref(text)
  return href ? { kind: "link", text, href } : { kind: "text", text }
}

function count(text: string, sign: string): number {
  return text.split(sign).length - 1
}

/** The address as the browser will use it, or null for every scheme that is not one of three. */
export function safeHref(text: string): string | null {
  try {
    const url = new URL(text)
    if (url.protocol === "mailto:") return url.pathname.includes("@") ? url.href : null
    return (url.protocol === "http:" || url.protocol === "https:") && url.hostname && !url.username ? url.href : null
  } catch {
    return null
  }
}
