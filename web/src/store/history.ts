// Undo and redo over views. Changes that belong together, one drag or one text field, are one step.

import type { View } from "../core/types";

/** Steps beyond these are forgotten, oldest first. */
const MOST_STEPS = 200;
/** A pause longer than this ends a drag or a stretch of typing. */
const PAUSE_MS = 1500;

export class History {
  private past: View[] = [];
  private future: View[] = [];
  private merging: { key: string; at: number } | null = null;

  constructor(
    private present: View,
    private readonly now: () => number = () => performance.now(),
  ) {}

  get view(): View {
    return this.present;
  }

  get canUndo(): boolean {
    return this.past.length > 0;
  }

  get canRedo(): boolean {
    return this.future.length > 0;
  }

  /** Takes a step. One with the same `merge` key soon after the last goes into that one. */
  push(view: View, merge: string | null = null): void {
    if (view === this.present) return;
    const now = this.now();
    const joins = merge !== null && this.merging?.key === merge && now - this.merging.at <= PAUSE_MS;
    if (!joins) {
      this.past.push(this.present);
      if (this.past.length > MOST_STEPS) this.past.shift();
    }
    this.merging = merge === null ? null : { key: merge, at: now };
    this.future = [];
    this.present = view;
  }

  /** Changes the present without a step: what is selected is not worth undoing by itself. */
  replace(view: View): void {
    this.present = view;
  }

  undo(): boolean {
    const view = this.past.pop();
    if (view === undefined) return false;
    this.future.push(this.present);
    this.present = view;
    this.merging = null;
    return true;
  }

  redo(): boolean {
    const view = this.future.pop();
    if (view === undefined) return false;
    this.past.push(this.present);
    this.present = view;
    this.merging = null;
    return true;
  }
}
