/** Loads a module of the chat page, which is TypeScript, into Node. */

import { fileURLToPath } from "node:url"
import { build } from "esbuild"

/** @param {string} path below clients/web/chat */
export async function load(path) {
  const entry = fileURLToPath(new URL(`../chat/${path}`, import.meta.url))
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: "esm", write: false, logLevel: "error" })
  return await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`)
}
