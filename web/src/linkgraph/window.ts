// The window on the plot: its size, where it is scrolled to, and zoom.

import { useComputed, useSignalEffect } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";
import type { Model } from "./model";

const MAX_ZOOM = 16;

/** Zooms by a factor about a point of the stage, its middle without one. */
export type ZoomBy = (by: number | "fit" | "reset", x?: number, y?: number) => void;

export type Scroller = RefObject<HTMLDivElement | null>;

/** Size, scroll position and zoom of the window; gives the function that zooms, about a point of the stage. */
export function useScrolling(model: Model, scroller: Scroller): ZoomBy {
  const { state, size, scroll, zoom } = model;

  useEffect(() => {
    const element = scroller.current!;
    const measure = () => {
      const { clientWidth: width, clientHeight: height } = element;
      if (width !== size.peek().width || height !== size.peek().height) size.value = { width, height };
    };
    const onScroll = () => {
      scroll.value = { left: element.scrollLeft, top: element.scrollTop };
    };
    // A new pixel ratio leaves the size as it was, but every canvas must be painted again.
    const onRatio = () => {
      size.value = { ...size.peek() };
      listen();
    };
    let query: MediaQueryList | null = null;
    const listen = () => {
      query = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
      query.addEventListener("change", onRatio, { once: true });
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener("scroll", onScroll, { passive: true });
    measure();
    listen();
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", onScroll);
      query?.removeEventListener("change", onRatio);
    };
  }, []);

  // Another graph starts without zoom.
  const slug = useComputed(() => state.graph.value?.slug);
  useSignalEffect(() => {
    void slug.value;
    zoom.value = 1;
    scroller.current?.scrollTo(0, 0);
  });

  const zoomBy: ZoomBy = (by, x, y) => {
    const element = scroller.current;
    const before = state.geometry.peek();
    if (element === null || before === null) return;
    const { width, height } = size.peek();
    const frame = state.frame.peek();
    const px = (x ?? width / 2) - frame.left;
    const py = (y ?? height / 2) - frame.top;
    const shareX = (element.scrollLeft + px) / before.width;
    const shareY = (element.scrollTop + py) / before.height;
    const wanted = by === "fit" ? before.fit : by === "reset" ? 1 : zoom.peek() * by;
    zoom.value = Math.min(MAX_ZOOM, Math.max(before.fit, wanted));
    const after = state.geometry.peek();
    if (after === null) return;
    // The sizer must have its new size before the window can move on it.
    const sizer = element.firstElementChild as HTMLElement;
    sizer.style.width = `${Math.floor(frame.left + after.width + frame.right)}px`;
    sizer.style.height = `${Math.floor(frame.top + after.height + frame.bottom)}px`;
    element.scrollTo(shareX * after.width - px, shareY * after.height - py);
    scroll.value = { left: element.scrollLeft, top: element.scrollTop };
  };

  useEffect(() => {
    const element = scroller.current!;
    const onWheel = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const box = element.getBoundingClientRect();
      const step = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 0.06 : 0.0025;
      zoomBy(Math.exp(-Math.max(-100, Math.min(100, event.deltaY)) * step), event.clientX - box.left, event.clientY - box.top);
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  }, []);
  return zoomBy;
}
