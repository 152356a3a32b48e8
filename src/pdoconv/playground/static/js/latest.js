// One piece of work at a time; while it runs only the newest request waits for its turn.

/** A function that runs `work(request)` for the newest request; errors go to `failed`. */
export function latest(work, failed) {
  let waiting;
  let running = false;
  return async function request(value) {
    waiting = { value };
    if (running) return;
    running = true;
    try {
      while (waiting) {
        const { value: next } = waiting;
        waiting = undefined;
        await work(next);
      }
    } catch (error) {
      failed(error);
    } finally {
      running = false;
    }
  };
}
