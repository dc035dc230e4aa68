// The pairing of (layer, index) into one feature number that graph files of schema 1 use, and the padded numbers of older
// files. Exact up to 2^53; nothing here looks at a graph.

/** The feature number of (layer, index) in files of schema 1. */
export function pair(layer: number, index: number): number {
  const sum = layer + index;
  return (sum * (sum + 1)) / 2 + index;
}

/** The (layer, index) of a feature number of schema 1. */
export function unpair(number: number): { layer: number; index: number } {
  let sum = Math.floor((Math.sqrt(8 * number + 1) - 1) / 2);
  // The square root is rounded: one step either way puts it right.
  while ((sum * (sum + 1)) / 2 > number) sum -= 1;
  while (((sum + 1) * (sum + 2)) / 2 <= number) sum += 1;
  const index = number - (sum * (sum + 1)) / 2;
  return { layer: sum - index, index };
}

/** The index in a number of the older form, layer digits and then the padded index; null where the layer does not fit. */
export function legacyIndex(number: number, layer: number): number | null {
  const digits = String(number);
  const front = String(layer);
  // Layer 0 leaves no digit in front when the number is stored as a number.
  if (layer === 0 && digits.length <= 6) return number;
  if (!digits.startsWith(front) || digits.length <= front.length) return null;
  return Number(digits.slice(front.length));
}
