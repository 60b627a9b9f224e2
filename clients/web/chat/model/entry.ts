/** One message as the page shows it, decoded once from what the SDK hands over. Bodies come from others: nothing is believed. */

import type { Relay } from "../../relay.js"
import { unpackValue } from "../../relay/values.js"
import { preview } from "../text/markup"
import { fileSize } from "../text/times"
import { t } from "../words"

export type Message = Awaited<ReturnType<Relay["history"]>>["messages"][number]

export const FILE_TYPE = "application/vnd.relay.file"

export interface FileInfo {
  id: string
  name: string
  size: number
  type: string
}

export type Content =
  | { kind: "text"; text: string }
  | { kind: "file"; file: FileInfo }
  | { kind: "data"; type: string; size: number; text: string }

export interface Entry {
  /** Its place in the conversation; 0 while it has none. */
  offset: number
  timeMs: number
  /** Name of the user, without the device. */
  sender: string
  mine: boolean
  content: Content
}

export function entryOf(message: Message, self: string): Entry {
  const sender = message.sender.split("/")[0]!
  return { offset: message.offset, timeMs: message.timeMs, sender, mine: sender === self, content: contentOf(message) }
}

export function contentOf(message: Pick<Message, "contentType" | "value" | "body">): Content {
  const { contentType, value, body } = message
  if (typeof value === "string" && !contentType.startsWith(FILE_TYPE)) return { kind: "text", text: value }
  if (contentType.startsWith(FILE_TYPE)) {
    const file = fileOf(unpacked(body))
    if (file) return { kind: "file", file }
  }
  return { kind: "data", type: contentType || "application/octet-stream", size: body.length, text: dataText(value) }
}

function unpacked(body: Uint8Array): unknown {
  try {
    return unpackValue(body)
  } catch {
    return null
  }
}

function fileOf(value: unknown): FileInfo | null {
  if (typeof value !== "object" || value === null) return null
  const { id, name, size, type } = value as Record<string, unknown>
  if (typeof id !== "string" || typeof name !== "string" || typeof size !== "number" || !Number.isSafeInteger(size)) return null
  if (name.length === 0 || name.length > 255 || size < 0) return null
  return { id, name, size, type: typeof type === "string" ? type : "" }
}

/** Structured values as people can read them; a cycle cannot come over the wire, depth is bounded by the SDK. */
function dataText(value: unknown): string {
  if (value === undefined || value instanceof Uint8Array) return ""
  try {
    return (JSON.stringify(value, readable, 2) ?? "").slice(0, 4000)
  } catch {
    return ""
  }
}

function readable(_: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString()
  if (value instanceof Uint8Array) return `${value.length} bytes`
  return value instanceof Map ? Object.fromEntries(value) : value
}

/** One line for the list of conversations and for notifications. */
export function lineOf(content: Content): string {
  if (content.kind === "text") return preview(content.text)
  if (content.kind === "file") return t("sentFile", { name: content.file.name })
  return t("dataOf", { type: content.type, size: fileSize(content.size) })
}
