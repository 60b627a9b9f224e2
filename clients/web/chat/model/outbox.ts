/** What we sent that has no place in its conversation yet: texts on their way, files under way, and what failed. */

import type { Posted } from "../../relay.js"
import { FILE, packValue } from "../../relay/values.js"
import type { Conversation, Outgoing } from "./conversation"
import { type Content, contentOf, type FileInfo } from "./entry"
import type { World } from "./world"

export class Outbox {
  /** Called with each file that was sent from here: the page need not fetch it. */
  uploaded: (info: FileInfo, blob: Blob) => void = () => {}
  #keys = 0

  constructor(private readonly world: World) {}

  send(conversation: Conversation, text: string): void {
    this.world.me.post(conversation.address, text)
  }

  /** Posts of an earlier life of this page that the relay has not acknowledged. */
  restore(): void {
    for (const posted of this.world.me.pending) this.follow(posted)
  }

  /** The fate of something that this device sends has changed: from this tab or from another one. */
  follow(posted: Posted): void {
    const { world } = this
    const conversation = world.conversation(posted.conversation)
    const key = posted.id
    if (posted.state === "stored") {
      drop(conversation, key)
      const place = { offset: posted.offset!, timeMs: posted.timeMs! }
      conversation.add({ ...place, sender: world.self, mine: true, content: contentOf(posted) })
      conversation.read.value = Math.max(conversation.read.value, place.offset)
      world.met(conversation)
      return
    }
    const state: Outgoing["state"] = posted.state === "sent" ? "sending" : posted.state
    const why = posted.error?.message ?? ""
    if (conversation.outgoing.value.some((item) => item.key === key)) return change(conversation, key, { state, why })
    const item = { ...this.#item(contentOf(posted)), key, state, why, timeMs: posted.postedMs }
    item.discard = () => {
      drop(conversation, key)
      void world.me.withdraw(posted)
    }
    item.retry = () => {
      drop(conversation, key)
      world.me.post(posted.to, posted.value, { contentType: posted.contentType })
    }
    put(conversation, item)
    conversation.activityMs.value = Math.max(conversation.activityMs.value, item.timeMs)
  }

  sendFile(conversation: Conversation, file: File): void {
    const { world } = this
    const stop = new AbortController()
    const content: Content = { kind: "file", file: { id: "", name: file.name, size: file.size, type: file.type } }
    const item = this.#item(content)
    item.progress = 0
    item.discard = () => {
      stop.abort()
      drop(conversation, item.key)
    }
    item.retry = () => {
      drop(conversation, item.key)
      this.sendFile(conversation, file)
    }
    if (world.connection.value !== "open") item.state = "queued"
    put(conversation, item)
    const onProgress = ({ bytes, total }: { bytes: number; total: number }) =>
      change(conversation, item.key, { state: "sending", progress: total ? bytes / total : 1 })
    world.me.files.send(conversation.address, file, { onProgress, signal: stop.signal, announce: false }).then(
      ({ id, name, size, hash, type }) => {
        this.uploaded({ id, name, size, type }, file)
        drop(conversation, item.key)
        world.me.post(conversation.address, packValue({ id, name, size, hash, type }), { contentType: FILE })
      },
      (problem: Error) => {
        if (!stop.signal.aborted) change(conversation, item.key, { state: "failed", why: problem.message, progress: null })
      },
    )
  }

  #item(content: Content): Outgoing {
    const key = `out-${++this.#keys}`
    const nothing = () => {}
    return { key, timeMs: Date.now(), content, state: "sending", why: "", progress: null, retry: nothing, discard: nothing }
  }
}

function put(conversation: Conversation, item: Outgoing): void {
  conversation.outgoing.value = [...conversation.outgoing.value, item]
}

function drop(conversation: Conversation, key: string): void {
  conversation.outgoing.value = conversation.outgoing.value.filter((item) => item.key !== key)
}

function change(conversation: Conversation, key: string, what: Partial<Outgoing>): void {
  conversation.outgoing.value = conversation.outgoing.value.map((item) => (item.key === key ? { ...item, ...what } : item))
}
