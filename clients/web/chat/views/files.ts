/** Getting somebody's file onto the disk: always as bytes, so that a browser never opens it as a page of ours. */

import type { FileInfo } from "../model/entry"
import { filesOf } from "../model/files"
import { plainName } from "../text/markup"
import { t } from "../words"
import type { App } from "./app"

export async function fetchFile({ world }: Pick<App, "world">, file: FileInfo): Promise<void> {
  const name = plainName(file.name)
  world.tell(t("downloading", { name }))
  try {
    const blob = await filesOf(world.me).get(file.id)
    save(new Blob([blob], { type: "application/octet-stream" }), name)
  } catch (problem) {
    world.tell(t("downloadFailed", { name, why: problem instanceof Error ? problem.message : String(problem) }))
  }
}

function save(blob: Blob, name: string): void {
  const anchor = document.createElement("a")
  anchor.href = URL.createObjectURL(blob)
  anchor.download = name
  anchor.click()
  setTimeout(() => URL.revokeObjectURL(anchor.href), 60_000)
}
