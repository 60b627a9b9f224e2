/** Who listens to what. */

/** @template {Record<string, any>} Events */
export class Listeners {
  /** @type {Map<keyof Events, Set<(event: any) => unknown>>} */
  #handlers = new Map();

  /** @template {keyof Events} T @param {T} type @param {(event: Events[T]) => unknown} handler @returns {() => void} unsubscribe */
  add(type, handler) {
    const handlers = this.#handlers.get(type) ?? new Set();
    this.#handlers.set(type, handlers.add(handler));
    return () => void handlers.delete(handler);
  }

  /**
   * Every handler is called, whatever the others do.
   * @template {keyof Events} T @param {T} type @param {Events[T]} event
   * @returns {Promise<unknown> | undefined} when the handlers that took their time are through; the first failure rejects it
   */
  tell(type, event) {
    const slow = [];
    for (const handler of [...(this.#handlers.get(type) ?? [])]) {
      try {
        const result = handler(event);
        if (result instanceof Promise) slow.push(result);
      } catch (error) {
        slow.push(Promise.reject(error));
      }
    }
    if (slow.length === 0) return undefined;
    const all = Promise.all(slow);
    // For events that nobody waits for, a failed handler is at least seen in the console.
    all.catch((error) => console.error(`a handler of ${String(type)} failed`, error));
    return all;
  }
}
