/** One message as a row of the list, built by hand: a thousand of them pass by in one swing of the wheel. */

import { type Conversation, type Fate, type Outgoing } from "../model/conversation"
import type { Content, Entry, FileInfo } from "../model/entry"
import { hueOf } from "../text/colour"
import { element, SHOWN_MAX, textNodes } from "../text/dom"
import { isJumbo } from "../text/emoji"
import { plainName } from "../text/markup"
import { clockTime, dayName, dayOf, fileSize, fullTime } from "../text/times"
import { faceNode } from "../views/face"
import { iconNode, type IconName } from "../views/icons"
import { t, type Word } from "../words"
import { isPicture, type Pictures } from "./pictures"

/** Messages of one person within this time belong together. */
const GROUP_MS = 5 * 60_000
/** Text that may end where others begin: its time gets a line of its own. */
const MIRRORED = /[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFC\p{Bidi_Control}]/u

export interface RowContext {
  conversation: Conversation
  /** The offset before the first message that was unread when the conversation was opened; 0 for none. */
  newsAfter: number
  pictures: Pictures
  openFile: (file: FileInfo) => void
  /** Messages above this arrived while the page was looking, and may move. */
  freshAbove: number
}

export function messageRow(entry: Entry, context: RowContext): HTMLElement {
  const { conversation } = context
  const previous = conversation.log.get(entry.offset - 1)
  const first = entry.offset <= conversation.log.first
  const newDay = (first && !previous) || (previous !== undefined && dayOf(previous.timeMs) !== dayOf(entry.timeMs))
  const news = context.newsAfter > 0 && entry.offset === context.newsAfter + 1
  const begins = newDay || news || !previous || !together(previous, entry)

  const row = element("div", "row")
  row.setAttribute("role", "article")
  row.tabIndex = -1
  row.dataset["offset"] = String(entry.offset)
  row.setAttribute("aria-posinset", String(entry.offset - conversation.log.first + 1))
  row.setAttribute("aria-setsize", String(conversation.log.head - conversation.log.first + 1))
  row.classList.toggle("mine", entry.mine)
  row.classList.toggle("begins", begins)
  if (entry.offset > context.freshAbove && Date.now() - entry.timeMs < 3000 && !entry.mine) row.classList.add("fresh")
  if (newDay) row.append(divider("day", dayName(entry.timeMs)))
  if (news) row.append(divider("news", t("newMessages")))

  const bubble = bubbleOf(entry.content, context)
  if (begins && !entry.mine && conversation.kind === "room") bubble.prepend(by(entry.sender))
  const foot = footOf(entry.timeMs)
  if (entry.mine && conversation.kind !== "notes") foot.append(fateNode(conversation.fate(entry.offset), entry, conversation))
  bubble.append(foot, ...copyButton(entry.content))
  row.append(bubble)
  retouch(row, entry, context)
  row.setAttribute("aria-label", t("saidBy", { name: entry.mine ? t("you") : entry.sender, text: clockTime(entry.timeMs) }))
  return row
}

/** What depends on the message behind: the last of a group has a round corner, and the face in rooms. */
export function retouch(row: HTMLElement, entry: Entry, { conversation, newsAfter }: RowContext): void {
  const next = conversation.log.get(entry.offset + 1)
  const ends = !next || !together(entry, next) || dayOf(next.timeMs) !== dayOf(entry.timeMs) || entry.offset === newsAfter
  row.classList.toggle("ends", ends)
  if (conversation.kind !== "room" || entry.mine) return
  const face = row.querySelector(":scope > .face")
  if (ends && !face) row.append(faceNode(entry.sender))
  if (!ends) face?.remove()
}

/** Marks how far a message of ours got, in a row that is there already. */
export function refreshFate(row: HTMLElement, entry: Entry, conversation: Conversation): void {
  const node = row.querySelector(".fate")
  const fate = conversation.fate(entry.offset)
  if (node && !node.classList.contains(fate)) node.replaceWith(fateNode(fate, entry, conversation))
}

export function outgoingRow(item: Outgoing, context: RowContext): HTMLElement {
  const row = element("div", "row mine begins ends")
  row.setAttribute("role", "article")
  row.tabIndex = -1
  row.dataset["key"] = item.key
  row.setAttribute("aria-label", t("saidBy", { name: t("you"), text: clockTime(item.timeMs) }))
  const previous = context.conversation.log.get(context.conversation.log.head)
  if (previous?.mine && item.timeMs - previous.timeMs < GROUP_MS) row.classList.remove("begins")
  const bubble = bubbleOf(item.content, context)
  const foot = footOf(item.timeMs)
  foot.append(item.state === "failed" ? fateIcon("failed", "alert", t("failed", { why: "" })) : waiting(item))
  bubble.append(foot)
  if (item.progress !== null) bubble.classList.add("below")
  if (item.progress !== null) bubble.insertBefore(progressNode(item), foot)
  row.append(bubble)
  if (item.state === "failed") row.append(trouble(item))
  return row
}

/** A change of an item whose row is there: only its progress moves. */
export function refreshOutgoing(row: HTMLElement, item: Outgoing): void {
  const bar = row.querySelector<HTMLElement>(".progress i")
  if (bar && item.progress !== null) bar.style.transform = `scaleX(${item.progress})`
  row.querySelector(".progress")?.setAttribute("aria-valuenow", String(Math.round((item.progress ?? 0) * 100)))
}

function together(one: Entry, next: Entry): boolean {
  return one.sender === next.sender && next.timeMs - one.timeMs < GROUP_MS
}

function divider(kind: "day" | "news", text: string): HTMLElement {
  const node = element("div", kind)
  const span = element("span", "")
  span.textContent = text
  node.append(span)
  return node
}

function by(sender: string): HTMLElement {
  const node = element("bdi", "by")
  node.textContent = sender
  node.style.setProperty("--hue", String(hueOf(sender)))
  return node
}

function bubbleOf(content: Content, context: RowContext): HTMLElement {
  const bubble = element("div", "bubble")
  if (content.kind === "text") fillText(bubble, content.text)
  else if (content.kind === "data") fillData(bubble, content)
  else if (isPicture(content.file)) fillPicture(bubble, content.file, context)
  else fillFile(bubble, content.file, context)
  return bubble
}

function fillText(bubble: HTMLElement, text: string): void {
  const long = text.length > SHOWN_MAX
  const body = element("div", isJumbo(text) ? "text jumbo" : "text")
  body.append(textNodes(long ? `${text.slice(0, SHOWN_MAX)}…` : text))
  if (long || MIRRORED.test(text) || !body.lastElementChild?.matches("p")) bubble.classList.add("below")
  bubble.append(body)
  if (!long) return
  const expand = element("button", "expand")
  expand.textContent = t("showAll")
  expand.addEventListener("click", () => {
    const whole = element("p", "")
    whole.dir = "auto"
    whole.textContent = text
    body.replaceChildren(...(text.length > 10 * SHOWN_MAX ? [whole] : [textNodes(text)]))
    expand.remove()
  })
  bubble.append(expand)
}

function fillData(bubble: HTMLElement, content: Extract<Content, { kind: "data" }>): void {
  bubble.classList.add("below")
  const node = element("div", "data text")
  const kind = element("span", "kind")
  kind.textContent = t("dataOf", { type: plainName(content.type), size: fileSize(content.size) })
  node.append(kind)
  if (content.text) {
    const fence = element("div", "fence")
    const pre = element("pre", "")
    pre.tabIndex = 0
    const code = element("code", "")
    code.textContent = content.text
    pre.append(code)
    fence.append(pre)
    node.append(fence)
  }
  bubble.append(node)
}

function fillPicture(bubble: HTMLElement, file: FileInfo, context: RowContext): void {
  bubble.classList.add("picture")
  const frame = element("button", "frame")
  frame.setAttribute("aria-label", t("openImage", { name: plainName(file.name) }))
  frame.addEventListener("click", () => context.openFile(file))
  bubble.append(frame)
  context.pictures.show(file, frame, () => {
    // No picture after all: what it is called and a way to have it.
    bubble.classList.remove("picture")
    frame.remove()
    fillFile(bubble, file, context, true)
  })
}

function fillFile(bubble: HTMLElement, file: FileInfo, context: RowContext, first = false): void {
  bubble.classList.add("below")
  const name = plainName(file.name)
  const button = element("button", "file")
  button.setAttribute("aria-label", t("download", { name: `${name}, ${fileSize(file.size)}` }))
  const sheet = element("span", "sheet")
  sheet.append(iconNode(file.id ? "arrow" : "file"))
  const about = element("span", "about")
  const title = element("bdi", "title")
  title.textContent = name
  const size = element("span", "size")
  size.textContent = fileSize(file.size)
  about.append(title, size)
  button.append(sheet, about)
  button.addEventListener("click", () => context.openFile(file))
  if (first) bubble.prepend(button)
  else bubble.append(button)
}

function footOf(timeMs: number): HTMLElement {
  const foot = element("div", "foot")
  const time = element("time", "") as HTMLTimeElement
  time.dateTime = new Date(timeMs).toISOString()
  time.textContent = clockTime(timeMs)
  time.title = fullTime(timeMs)
  foot.append(time)
  return foot
}

const FATES: Record<Fate, [IconName, Word]> = {
  stored: ["check", "stored"],
  delivered: ["checks", "delivered"],
  read: ["checks", "read"],
}

function fateNode(fate: Fate, entry: Entry, conversation: Conversation): HTMLElement {
  const [icon, word] = FATES[fate]
  if (conversation.kind !== "room" || fate === "stored") return fateIcon(fate, icon, t(word))
  const names = conversation.whoHas(entry.offset, fate).slice(0, 8).join(", ")
  return fateIcon(fate, icon, t(fate === "read" ? "readBy" : "deliveredTo", { names }))
}

function waiting(item: Outgoing): HTMLElement {
  return fateIcon(item.state, "clock", t(item.state === "queued" ? "queued" : "sending"))
}

function fateIcon(className: string, icon: IconName, label: string): HTMLElement {
  const node = element("span", `fate ${className}`)
  node.setAttribute("role", "img")
  node.setAttribute("aria-label", label)
  node.title = label
  node.append(iconNode(icon, 15))
  return node
}

function progressNode(item: Outgoing): HTMLElement {
  const bar = element("div", "progress")
  bar.setAttribute("role", "progressbar")
  bar.setAttribute("aria-label", item.content.kind === "file" ? t("uploading", { name: plainName(item.content.file.name) }) : "")
  bar.setAttribute("aria-valuemin", "0")
  bar.setAttribute("aria-valuemax", "100")
  bar.append(element("i", ""))
  return bar
}

function trouble(item: Outgoing): HTMLElement {
  const node = element("div", "trouble")
  const why = element("span", "")
  why.textContent = t("failed", { why: item.why })
  const retry = element("button", "button plain small")
  retry.textContent = t("retry")
  retry.addEventListener("click", () => item.retry())
  const discard = element("button", "button plain small")
  discard.textContent = t("discard")
  discard.addEventListener("click", () => item.discard())
  node.append(why, retry, discard)
  return node
}

function copyButton(content: Content): HTMLElement[] {
  if (content.kind !== "text" || !navigator.clipboard) return []
  const { text } = content
  const button = element("button", "icon copy")
  button.tabIndex = -1
  button.setAttribute("aria-label", t("copyText"))
  button.title = t("copyText")
  button.append(iconNode("copy", 16))
  button.addEventListener("click", () => {
    void navigator.clipboard.writeText(text).then(() => button.replaceChildren(iconNode("check", 16)))
  })
  return [button]
}
