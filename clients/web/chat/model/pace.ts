/** Keeps a flood of changes from becoming a flood of drawing. */

/**
 * A function that calls `act` at once, and when it is called again within `everyMs` once more behind that: a single message is
 * shown without delay, and a hundred thousand that were missed cost a few dozen updates a second.
 */
export function paced(act: () => void, everyMs: number): () => void {
  let timer: ReturnType<typeof setTimeout> | null = null
  let again = false
  return function call() {
    if (timer !== null) return void (again = true)
    act()
    timer = setTimeout(() => {
      timer = null
      if (!again) return
      again = false
      call()
    }, everyMs)
  }
}
