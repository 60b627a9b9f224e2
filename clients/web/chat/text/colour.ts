/** A stable colour for each name: the same on every page and after every reload, and never by the order of arrival. */

/** Hues far enough apart to be told from each other; lightness and chroma come from the theme. */
const HUES = [25, 50, 80, 130, 158, 185, 215, 245, 270, 295, 325, 350]

export function hueOf(name: string): number {
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  hash = (hash ^ (hash >>> 15)) >>> 0
  return HUES[hash % HUES.length]!
}

/** One or two letters that stand for a name. */
export function initials(name: string): string {
  const words = name.replace(/^#/, "").split(/[.\-_~]+/u).filter(Boolean)
  const letters = words.length > 1 ? words.slice(0, 2).map(first) : [first(words[0] ?? name)]
  return letters.join("").toLocaleUpperCase()
}

const first = (word: string): string => [...word][0] ?? "?"
