/** Arrow keys inside a group that is one tab stop: up and down, or in a grid of `columns` also left and right. */

export function roving({ selector, columns = 1 }: { selector: string; columns?: number }): (event: KeyboardEvent) => void {
  return (event) => {
    const group = event.currentTarget as HTMLElement
    const items = [...group.querySelectorAll<HTMLElement>(selector)]
    const at = items.indexOf(document.activeElement as HTMLElement)
    if (at < 0) return
    const rtl = getComputedStyle(group).direction === "rtl" ? -1 : 1
    const steps: Record<string, number> = { ArrowDown: at + columns, ArrowUp: at - columns, Home: 0, End: items.length - 1 }
    if (columns > 1) Object.assign(steps, { ArrowRight: at + rtl, ArrowLeft: at - rtl })
    const to = steps[event.key]
    const next = to === undefined ? undefined : items[to]
    if (to === undefined) return
    event.preventDefault()
    if (!next) return
    for (const item of items) item.tabIndex = item === next ? 0 : -1
    next.focus()
  }
}
