// The rings around nodes of the link graph: the hovered node, nodes of the same feature, the keyboard's focus.
//
// Rings are elements in a layer of their own, not strokes on a canvas: a ring that moves repaints its own few pixels and nothing of
// the plot. Which nodes have rings is decided in plot.ts, how a ring looks in link-graph.css.

export interface Ring {
  readonly kind: "hover" | "same-as-hovered" | "same-as-selected" | "focus";
  /** The middle, in pixels of the window on the plot. */
  readonly x: number;
  readonly y: number;
  /** Half the size, with the line. */
  readonly radius: number;
}

/** Makes the children of `host` these rings. Elements are used again. */
export function placeRings(host: HTMLElement, rings: readonly Ring[]): void {
  while (host.childElementCount > rings.length) host.lastElementChild?.remove();
  rings.forEach(({ kind, x, y, radius }, i) => {
    const known = host.children[i] as HTMLElement | undefined;
    const ring = known ?? document.createElement("span");
    ring.className = `lg-ring lg-ring-${kind}`;
    ring.style.width = `${2 * radius}px`;
    ring.style.height = `${2 * radius}px`;
    ring.style.transform = `translate(${x - radius}px, ${y - radius}px)`;
    if (known === undefined) host.append(ring);
  });
}
