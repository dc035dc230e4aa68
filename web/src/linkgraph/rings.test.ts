// What the layer of rings holds after one and another set of rings.

import { expect, test } from "vitest";
import { placeRings, type Ring } from "./rings";

const ring = (kind: Ring["kind"], x: number): Ring => ({ kind, x, y: 20, radius: 5 });

test("rings stand around their nodes, and a ring that moves stays the same element", () => {
  const host = document.createElement("div");
  placeRings(host, [ring("hover", 10)]);
  const [first] = host.children as unknown as HTMLElement[];
  expect(first.className).toBe("lg-ring lg-ring-hover");
  expect([first.style.width, first.style.height, first.style.transform]).toEqual(["10px", "10px", "translate(5px, 15px)"]);
  placeRings(host, [ring("hover", 30)]);
  expect([...host.children]).toEqual([first]);
  expect(first.style.transform).toBe("translate(25px, 15px)");
  placeRings(host, [ring("same-as-hovered", 30), ring("hover", 40)]);
  expect([...host.children].map(({ className }) => className)).toEqual([
    "lg-ring lg-ring-same-as-hovered",
    "lg-ring lg-ring-hover",
  ]);
  placeRings(host, []);
  expect(host.childElementCount).toBe(0);
});
