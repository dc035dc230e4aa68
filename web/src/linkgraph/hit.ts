// Which node is nearest to the pointer: a grid of cells as wide as the search radius, so that nine cells answer.
//
// Built once per geometry. Knows places only, not what lies there.

export class HitGrid {
  readonly #x: Float32Array;
  readonly #y: Float32Array;
  readonly #cell: number;
  readonly #nColumns: number;
  readonly #nRows: number;
  readonly #start: Uint32Array;
  readonly #items: Uint32Array;

  /** Places that are NaN are left out. */
  constructor(x: Float32Array, y: Float32Array, width: number, height: number, radius: number) {
    this.#x = x;
    this.#y = y;
    this.#cell = radius;
    this.#nColumns = Math.max(1, Math.ceil(width / radius));
    this.#nRows = Math.max(1, Math.ceil(height / radius));
    const start = new Uint32Array(this.#nColumns * this.#nRows + 1);
    for (let i = 0; i < x.length; i++) if (!Number.isNaN(x[i])) start[this.#cellOf(x[i], y[i]) + 1]++;
    for (let i = 1; i < start.length; i++) start[i] += start[i - 1];
    const items = new Uint32Array(start[start.length - 1]);
    const next = start.slice();
    for (let i = 0; i < x.length; i++) if (!Number.isNaN(x[i])) items[next[this.#cellOf(x[i], y[i])]++] = i;
    this.#start = start;
    this.#items = items;
  }

  #column(x: number): number {
    return Math.min(this.#nColumns - 1, Math.max(0, Math.floor(x / this.#cell)));
  }

  #row(y: number): number {
    return Math.min(this.#nRows - 1, Math.max(0, Math.floor(y / this.#cell)));
  }

  #cellOf(x: number, y: number): number {
    return this.#row(y) * this.#nColumns + this.#column(x);
  }

  /** The nearest item within the radius, or null. */
  nearest(px: number, py: number): number | null {
    let best: number | null = null;
    let bestSquared = this.#cell * this.#cell;
    const column = this.#column(px);
    const row = this.#row(py);
    for (let r = Math.max(0, row - 1); r <= Math.min(this.#nRows - 1, row + 1); r++) {
      for (let c = Math.max(0, column - 1); c <= Math.min(this.#nColumns - 1, column + 1); c++) {
        const cell = r * this.#nColumns + c;
        for (let k = this.#start[cell]; k < this.#start[cell + 1]; k++) {
          const item = this.#items[k];
          const dx = this.#x[item] - px;
          const dy = this.#y[item] - py;
          const squared = dx * dx + dy * dy;
          if (squared <= bestSquared && (squared < bestSquared || best === null)) {
            best = item;
            bestSquared = squared;
          }
        }
      }
    }
    return best;
  }
}
