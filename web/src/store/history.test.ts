// Steps of undo and redo, and what goes into one.

import { expect, it } from "vitest";
import { EMPTY_VIEW } from "../core/view";
import { History } from "./history";

const view = (pin: string) => ({ ...EMPTY_VIEW, pinned: [pin] });

it("goes back and forth", () => {
  const [a, b, c] = ["a", "b", "c"].map(view);
  const history = new History(a);
  expect([history.canUndo, history.canRedo, history.undo(), history.redo()]).toEqual([false, false, false, false]);
  history.push(b);
  history.push(b);
  history.push(c);
  expect(history.undo() && history.view).toBe(b);
  expect(history.undo() && history.view).toBe(a);
  expect(history.canUndo).toBe(false);
  expect(history.redo() && history.view).toBe(b);
  history.push(a);
  expect(history.canRedo).toBe(false);
  expect(history.undo() && history.view).toBe(b);
});

it("joins the moves of one drag, and begins anew after a pause, another drag or an undo", () => {
  let now = 0;
  const history = new History(view("start"), () => now);
  const push = (name: string, merge: string | null, wait = 10) => {
    now += wait;
    history.push(view(name), merge);
  };
  for (const name of ["1", "2", "3"]) push(name, "move n:a");
  push("4", "move n:b");
  push("5", "move n:b", 5000);
  push("6", null);
  push("7", null);
  const back: string[] = [];
  while (history.undo()) back.push(history.view.pinned[0]);
  expect(back).toEqual(["6", "5", "4", "3", "start"]);
  history.redo();
  push("8", "move n:a");
  expect(history.undo() && history.view.pinned[0]).toBe("3");
});

it("does not count what replaces the present, and forgets the oldest steps", () => {
  const history = new History(view("a"));
  history.push(view("b"));
  history.replace(view("b selected"));
  expect(history.undo() && history.view.pinned[0]).toBe("a");
  expect(history.redo() && history.view.pinned[0]).toBe("b selected");
  for (let i = 0; i < 500; i++) history.push(view(String(i)));
  let steps = 0;
  while (history.undo()) steps++;
  expect(steps).toBe(200);
});
