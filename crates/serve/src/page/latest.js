// One request at a time, always for the newest settings.

/** How long a request may go on when newer settings are there: images follow a slider that moves,
 * and what takes longer is cancelled. */
const PATIENCE = 250;

export class Latest {
  #running = null;
  #next = null;
  #timer = 0;

  get busy() {
    return this.#running !== null;
  }

  /** Runs `work(signal)` now, or as soon as the one before has ended or is cancelled. */
  start(work) {
    this.#next = work;
    if (!this.#running) {
      this.#go();
      return;
    }
    const left = PATIENCE - (performance.now() - this.#running.since);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#running?.abort.abort(), Math.max(0, left));
  }

  cancel() {
    this.#next = null;
    this.#running?.abort.abort();
  }

  async #go() {
    while (this.#next) {
      const work = this.#next;
      this.#next = null;
      const abort = new AbortController();
      this.#running = { abort, since: performance.now() };
      try {
        await work(abort.signal);
      } finally {
        clearTimeout(this.#timer);
        this.#running = null;
      }
    }
  }
}
