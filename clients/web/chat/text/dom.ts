/** Parsed text as DOM nodes. Everything from others enters as text nodes and as `href` of a checked address, nothing else. */

import { type Block, type Inline, parse } from "./markup"

/** A long message is shown up to here at first: a page must not stall on somebody's megabyte. */
export const SHOWN_MAX = 6000

export function textNodes(text: string): DocumentFragment {
  const fragment = document.createDocumentFragment()
  for (const block of parse(text)) fragment.append(blockNode(block))
  return fragment
}

function blockNode(block: Block): HTMLElement {
  if (block.kind === "fence") {
    const figure = element("div", "fence")
    const code = element("code", "")
    code.textContent = block.text
    const pre = element("pre", "")
    pre.tabIndex = 0
    pre.dir = "ltr"
    pre.append(code)
    if (block.language) figure.dataset.language = block.language
    figure.append(pre)
    return figure
  }
  const node = element(block.kind === "quote" ? "blockquote" : "p", "")
  node.dir = "auto"
  append(node, block.parts)
  return node
}

function append(to: HTMLElement, parts: Inline[]): void {
  for (const part of parts) {
    if (part.kind === "text") to.append(part.text)
    else to.append(inlineNode(part))
  }
}

function inlineNode(part: Exclude<Inline, { kind: "text" }>): HTMLElement {
  if (part.kind === "code") {
    const code = element("code", "inline")
    code.textContent = part.text
    code.dir = "auto"
    return code
  }
  if (part.kind === "link") {
    const anchor = document.createElement("a")
    anchor.href = part.href
    anchor.target = "_blank"
    anchor.rel = "noopener noreferrer"
    anchor.textContent = part.text
    anchor.dir = "ltr"
    // Where letters of other scripts imitate Latin ones the title shows what will really be asked.
    if (part.href !== part.text && part.href !== `${part.text}/`) anchor.title = part.href
    return anchor
  }
  const node = element(part.kind === "strong" ? "strong" : part.kind === "em" ? "em" : "s", "")
  append(node, part.parts)
  return node
}

export function element(tag: string, className: string): HTMLElement {
  const node = document.createElement(tag)
  if (className) node.className = className
  return node
}
