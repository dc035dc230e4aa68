// Moving a focus over points in the plane with the arrow keys; the link graph and the subgraph both do.

export type Direction = "left" | "right" | "up" | "down";

export const ARROWS: Readonly<Record<string, Direction>> = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowUp: "up",
  ArrowDown: "down",
};

const AHEAD: Readonly<Record<Direction, readonly [number, number]>> = {
  left: [-1, 0],
  right: [1, 0],
  up: [0, -1],
  down: [0, 1],
};

/**
 * The point nearest to point `from` in a direction, or null at the border. What lies straight ahead wins over what lies aside;
 * points more than 60° off count only where there is nothing else.
 */
export function neighbour(x: ArrayLike<number>, y: ArrayLike<number>, from: number, direction: Direction): number | null {
  const [ax, ay] = AHEAD[direction];
  let best: number | null = null;
  let bestScore = Number.POSITIVE_INFINITY;
  for (let i = 0; i < x.length; i++) {
    if (i === from) continue;
    const dx = x[i] - x[from];
    const dy = y[i] - y[from];
    const along = dx * ax + dy * ay;
    if (!(along > 0.5)) continue;
    const aside = Math.abs(dx * ay + dy * ax);
    const score = along + 2 * aside + (aside > 1.75 * along ? 1e6 : 0);
    if (score < bestScore) {
      best = i;
      bestScore = score;
    }
  }
  return best;
}
