// All shown links behind the highlighted ones: one draw call of instanced quads in WebGL2, or idle slices of a 2D canvas.
//
// The two have one face, `AllLinks`. Losing the WebGL context is not an error: the caller is told and makes the other kind.

import { FULL, LEVELS, type LinkScale } from "./colours";
import type { Geometry } from "./geometry";
import { byStrength } from "./order";
import { type StrokeLinks, strokeLinks } from "./strokes";

export interface AllLinksData {
  readonly links: StrokeLinks;
  readonly shown: Uint8Array;
  readonly share: Float64Array;
  readonly geometry: Geometry;
  readonly scale: LinkScale;
  readonly dashNegative: boolean;
}

export interface Camera {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly top: number;
  readonly pixelRatio: number;
}

export interface AllLinks {
  readonly canvas: HTMLCanvasElement;
  /** How many links are drawn, and of how many. */
  readonly counts: { readonly drawn: number; readonly of: number };
  setData(data: AllLinksData): void;
  draw(camera: Camera): void;
  dispose(): void;
}

// Opacity by strength: what is weak is a veil, and the more links there are the thinner each is laid on.
const WEAKEST = 0.06;
const PER_SHARE = 1.6;
const STRONGEST = 0.75;

function thinness(nLinks: number): number {
  return Math.min(1, Math.max(0.12, Math.sqrt(3_000 / Math.max(1, nLinks))));
}

const VERTEX = `#version 300 es
layout(location = 0) in vec2 corner;   // along 0..1, across -1..1
layout(location = 1) in vec4 ends;     // of the link, in pixels of the plot
layout(location = 2) in float share;   // signed, -1..1
uniform vec2 size;                     // of the window on the plot
uniform vec2 offset;
uniform float pixelRatio;
uniform float alpha;
uniform vec3 positive[${LEVELS}];
uniform vec3 negative[${LEVELS}];
out vec4 tint;
out float across;
out float halfWidth;
out float along;
out float dashed;
uniform float dashNegative;

void main() {
  float strength = min(1.0, abs(share));
  float wide = max(0.5, 3.0 * sqrt(strength)) * pixelRatio;
  // One pixel more on each side for smooth edges.
  float reach = 0.5 * wide + 1.0;
  vec2 a = (ends.xy - offset) * pixelRatio;
  vec2 b = (ends.zw - offset) * pixelRatio;
  vec2 way = b - a;
  float span = max(1e-3, length(way));
  vec2 normal = vec2(-way.y, way.x) / span;
  vec2 place = mix(a, b, corner.x) + normal * corner.y * reach;
  vec2 clip = place / (size * pixelRatio) * 2.0 - 1.0;
  gl_Position = vec4(clip.x, -clip.y, 0.0, 1.0);
  int at = min(${LEVELS - 1}, int(strength / ${FULL} * ${LEVELS}.0));
  vec3 rgb = share < 0.0 ? negative[at] : positive[at];
  tint = vec4(rgb, alpha * min(${STRONGEST}, ${WEAKEST} + ${PER_SHARE} * strength));
  across = corner.y * reach;
  halfWidth = 0.5 * wide;
  along = corner.x * span / pixelRatio;
  dashed = share < 0.0 ? dashNegative : 0.0;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec4 tint;
in float across;
in float halfWidth;
in float along;
in float dashed;
out vec4 pixel;

void main() {
  float cover = clamp(halfWidth + 0.5 - abs(across), 0.0, 1.0);
  if (dashed > 0.5 && mod(along, 8.0) > 4.5) discard;
  float a = tint.a * cover;
  pixel = vec4(tint.rgb * a, a);
}`;

function compile(gl: WebGL2RenderingContext): WebGLProgram | null {
  const program = gl.createProgram();
  for (const [kind, text] of [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT],
  ] as const) {
    const shader = gl.createShader(kind);
    if (shader === null) return null;
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    gl.deleteShader(shader);
  }
  gl.linkProgram(program);
  return gl.getProgramParameter(program, gl.LINK_STATUS) ? program : null;
}

/** Whether the pictures are computed by a program on the processor, which browsers say only by name. */
function bySoftware(gl: WebGL2RenderingContext): boolean {
  const names = gl.getExtension("WEBGL_debug_renderer_info");
  const name = names === null ? "" : String(gl.getParameter(names.UNMASKED_RENDERER_WEBGL));
  return /swiftshader|llvmpipe|softpipe|basic render/i.test(name);
}

/**
 * Null where WebGL2 is missing or computed by software: there one picture of all links takes seconds, which stop the page, while a
 * 2D canvas can be drawn in slices. `onLost` when the browser takes the context away.
 */
export function webglLinks(canvas: HTMLCanvasElement, onLost: () => void): AllLinks | null {
  const gl = canvas.getContext("webgl2", {
    alpha: true,
    antialias: false,
    depth: false,
    premultipliedAlpha: true,
    failIfMajorPerformanceCaveat: true,
  });
  if (gl === null || bySoftware(gl)) return null;
  const program = compile(gl);
  if (program === null) return null;

  const uniform = (name: string) => gl.getUniformLocation(program, name);
  const at = {
    size: uniform("size"),
    offset: uniform("offset"),
    pixelRatio: uniform("pixelRatio"),
    alpha: uniform("alpha"),
    positive: uniform("positive"),
    negative: uniform("negative"),
    dashNegative: uniform("dashNegative"),
  };
  const corners = gl.createBuffer();
  const instances = gl.createBuffer();
  const array = gl.createVertexArray();
  gl.bindVertexArray(array);
  gl.bindBuffer(gl.ARRAY_BUFFER, corners);
  gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([0, -1, 0, 1, 1, -1, 1, 1]), gl.STATIC_DRAW);
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
  gl.bindBuffer(gl.ARRAY_BUFFER, instances);
  gl.enableVertexAttribArray(1);
  gl.vertexAttribPointer(1, 4, gl.FLOAT, false, 20, 0);
  gl.vertexAttribDivisor(1, 1);
  gl.enableVertexAttribArray(2);
  gl.vertexAttribPointer(2, 1, gl.FLOAT, false, 20, 16);
  gl.vertexAttribDivisor(2, 1);

  let drawn = 0;
  let lost = false;
  const lose = (event: Event) => {
    event.preventDefault();
    lost = true;
    onLost();
  };
  canvas.addEventListener("webglcontextlost", lose);

  return {
    canvas,
    get counts() {
      return { drawn, of: drawn };
    },
    setData({ links, shown, share, geometry, scale, dashNegative }) {
      if (lost) return;
      // What is not shown is not uploaded, so a hidden link costs nothing per frame.
      const order = byStrength(shown, share);
      const data = new Float32Array(order.length * 5);
      let n = 0;
      for (const link of order) {
        const source = links.source[link];
        const target = links.target[link];
        const x = geometry.x[source];
        const far = geometry.x[target];
        if (Number.isNaN(x) || Number.isNaN(far)) continue;
        data[n++] = x;
        data[n++] = geometry.y[source];
        data[n++] = far;
        data[n++] = geometry.y[target];
        data[n++] = share[link];
      }
      drawn = n / 5;
      gl.bindBuffer(gl.ARRAY_BUFFER, instances);
      gl.bufferData(gl.ARRAY_BUFFER, data.subarray(0, n), gl.STATIC_DRAW);
      gl.useProgram(program);
      gl.uniform3fv(at.positive, scale.positive);
      gl.uniform3fv(at.negative, scale.negative);
      gl.uniform1f(at.dashNegative, dashNegative ? 1 : 0);
    },
    draw({ width, height, left, top, pixelRatio }) {
      if (lost) return;
      const w = Math.round(width * pixelRatio);
      const h = Math.round(height * pixelRatio);
      if (canvas.width !== w || canvas.height !== h) {
        canvas.width = w;
        canvas.height = h;
      }
      gl.viewport(0, 0, w, h);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      if (drawn === 0) return;
      gl.useProgram(program);
      gl.bindVertexArray(array);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.uniform2f(at.size, width, height);
      gl.uniform2f(at.offset, left, top);
      gl.uniform1f(at.pixelRatio, pixelRatio);
      gl.uniform1f(at.alpha, thinness(drawn));
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, drawn);
    },
    dispose() {
      canvas.removeEventListener("webglcontextlost", lose);
      if (lost) return;
      gl.deleteBuffer(corners);
      gl.deleteBuffer(instances);
      gl.deleteVertexArray(array);
      gl.deleteProgram(program);
    },
  };
}

/** Without WebGL, only so many of the strongest links are drawn. */
export const FALLBACK_LIMIT = 20_000;
const SLICE = 500;
/** A turn draws slices for this long, even if the browser never calls itself idle. */
const TURN_MS = 8;

type Idle = (work: () => void) => () => void;

const whenIdle: Idle = (work) => {
  if (typeof requestIdleCallback === "function") {
    const id = requestIdleCallback(work, { timeout: 100 });
    return () => cancelIdleCallback(id);
  }
  const id = setTimeout(work, 16);
  return () => clearTimeout(id);
};

/** The same in slices of a 2D canvas; moving the camera starts over. */
export function canvasLinks(canvas: HTMLCanvasElement, idle: Idle = whenIdle): AllLinks | null {
  const context = canvas.getContext("2d");
  if (context === null) return null;
  let data: AllLinksData | null = null;
  let order = new Uint32Array(0);
  let of = 0;
  let cancel = () => {};

  return {
    canvas,
    get counts() {
      return { drawn: order.length, of };
    },
    setData(next) {
      data = next;
      order = new Uint32Array(byStrength(next.shown, next.share, FALLBACK_LIMIT));
      of = 0;
      for (const shown of next.shown) of += shown;
    },
    draw({ width, height, left, top, pixelRatio }) {
      cancel();
      if (data === null) return;
      const { geometry, links, share, scale, dashNegative } = data;
      canvas.width = Math.round(width * pixelRatio);
      canvas.height = Math.round(height * pixelRatio);
      context.setTransform(pixelRatio, 0, 0, pixelRatio, -left * pixelRatio, -top * pixelRatio);
      // The strongest first, so that what matters is seen at once; the others go beneath.
      context.globalCompositeOperation = "destination-over";
      let remaining = order.length;
      const turn = () => {
        const start = performance.now();
        while (remaining > 0 && performance.now() - start < TURN_MS) {
          const part = order.subarray(Math.max(0, remaining - SLICE), remaining);
          remaining -= part.length;
          // A slice is nearly of one strength, so one opacity serves it.
          const strength = Math.abs(share[part[part.length >> 1]]);
          const faint = Math.min(STRONGEST, WEAKEST + PER_SHARE * strength) * thinness(order.length);
          strokeLinks(context, geometry, links, part, share, { scale, underlay: null, dashNegative, alpha: faint });
        }
        if (remaining > 0) cancel = idle(turn);
      };
      if (remaining > 0) cancel = idle(turn);
    },
    dispose() {
      cancel();
    },
  };
}
