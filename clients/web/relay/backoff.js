/** When to connect again (section 15). Pure: time and chance are passed in. */

const FIRST_MS = 500;
const MAX_MS = 30000;
const LASTING_MS = 60000;
const SOME_MS = 5000;

/** @typedef {{code: number, retryMs: number | null}} End how a connection ended; code 0: it broke, or was never made */

export class Backoff {
  #ceilingMs = FIRST_MS;
  #pauseMs = 0;
  #atOnceBefore = false;

  /** @param {() => number} [random] from 0 to 1 */
  constructor(random = Math.random) {
    this.random = random;
  }

  /**
   * @param {End} end @param {number} openMs how long the login lasted, 0 if there was none
   * @returns {number | null} the pause before the next attempt; null: give up
   */
  after(end, openMs) {
    if (openMs >= LASTING_MS || (openMs >= SOME_MS && openMs >= 10 * this.#pauseMs)) this.restart();
    const range = Math.floor(end.code / 100);
    if (end.code !== 0 && range !== 40 && range !== 41) return null;
    if (range === 40 && !this.#atOnceBefore) {
      this.#atOnceBefore = true;
      return end.retryMs ?? 0;
    }
    this.#pauseMs = Math.max(end.retryMs ?? 0, 0) + this.random() * this.#ceilingMs;
    this.#ceilingMs = Math.min(2 * this.#ceilingMs, MAX_MS);
    return this.#pauseMs;
  }

  /** From the start again: a person asked for it, or the network came back. */
  restart() {
    this.#ceilingMs = FIRST_MS;
    this.#atOnceBefore = false;
  }
}
