/** File transfer as the page uses it. */

import type { Relay } from "../../relay.js"

interface Files {
  send: (to: string, file: File, options: { onProgress: (done: number, all: number) => void; signal: AbortSignal }) => Promise<unknown>
  get: (id: string) => Promise<Blob>
}

const none: Files = {
  send: () => Promise.reject(new Error("this relay has no file store")),
  get: () => Promise.reject(new Error("this relay has no file store")),
}

export const filesOf = (me: Relay): Files => (me as unknown as { files?: Files }).files ?? none
