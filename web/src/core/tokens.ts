// Texts of tokens and logits as a reader sees them. Plain strings in and out: nothing here makes markup.

/** A token with its line breaks and tabs made visible, as older files hold them. */
export function displayToken(token: string): string {
  return token.replace(/\r\n|[\n\r\t]/g, (space) => (space === "\t" ? "→" : space === "\r" ? "↵" : "⏎"));
}

const NO_TOKEN = { token: null, probability: null } as const;

/**
 * The token and probability in a logit's label, `Output "x" (p=0.123)` or `output: 'x' (p=0.123)`.
 *
 * The token may hold quotes and even `(p=`: it is everything between the first quote and the last closing.
 */
export function parseLogitLabel(label: string): { token: string | null; probability: number | null } {
  const first = label.search(/["']/);
  if (first < 0) return NO_TOKEN;
  const quote = label[first];
  const last = label.lastIndexOf(`${quote} (p=`);
  if (last <= first) {
    const end = label.lastIndexOf(quote);
    return end > first ? { token: label.slice(first + 1, end), probability: null } : NO_TOKEN;
  }
  const probability = Number.parseFloat(label.slice(last + 5));
  return { token: label.slice(first + 1, last), probability: Number.isFinite(probability) ? probability : null };
}

/** What to write over a logit: its token where the label has one, else the whole label (custom targets have free text). */
export function logitText(label: string): string {
  return displayToken(parseLogitLabel(label).token ?? label);
}
