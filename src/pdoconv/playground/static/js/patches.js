// Patches of a blurred picture about points of a disc, of the picture itself and of the turned one: nothing is
// interpolated but the source, which is eight times as fine as a layer's pixels.

import { CELL, SIDE, direction } from "./picture.js";

const POINTS = 150;
const GOLDEN = Math.PI * (3 - Math.sqrt(5));
export const PATCH = 5; // pixels a side

/** The source after a Gaussian blur of so many of a layer's pixels; black outside. */
export function blurred(source, sigma) {
  const wide = sigma * CELL;
  const reach = Math.ceil(5 * wide);
  const taps = Float64Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * wide * wide)));
  const total = taps.reduce((a, b) => a + b);
  const pass = (values) => {
    const out = new Float64Array(SIDE * SIDE); // transposed, so that two passes do both axes
    const line = new Float64Array(SIDE + 2 * reach);
    for (let row = 0; row < SIDE; row += 1) {
      for (let column = 0; column < SIDE; column += 1) line[column + reach] = values[row * SIDE + column];
      for (let column = 0; column < SIDE; column += 1) {
        let sum = 0;
        for (let tap = 0; tap < taps.length; tap += 1) sum += taps[tap] * line[column + tap];
        out[column * SIDE + row] = sum / total;
      }
    }
    return out;
  };
  return pass(pass(source));
}

/** Points of a disc inside which every patch lies in the picture: x to the right, y up, from the middle. */
export function points() {
  const radius = SIDE / 2 - 4 - ((PATCH - 1) / 2) * CELL * Math.SQRT2;
  return Array.from({ length: POINTS }, (_, i) => {
    const r = radius * Math.sqrt((i + 0.5) / POINTS);
    return [r * Math.cos(i * GOLDEN), r * Math.sin(i * GOLDEN)];
  });
}

/** Weights of the six pixels about a place between two of them (Lagrange, fifth degree). */
function weights(t) {
  return [-2, -1, 0, 1, 2, 3].map((k, _, nodes) => nodes.reduce((product, other) => (other === k ? product : (product * (t - other)) / (k - other)), 1));
}

/** The value of a picture at a point, x to the right and y up from the middle. */
export function sampled(picture, x, y) {
  const u = x + (SIDE - 1) / 2;
  const v = (SIDE - 1) / 2 - y;
  const [left, top] = [Math.floor(u), Math.floor(v)];
  const [across, down] = [weights(u - left), weights(v - top)];
  let sum = 0;
  for (let j = 0; j < 6; j += 1) {
    const row = top + j - 2;
    if (row < 0 || row >= SIDE) continue;
    for (let i = 0; i < 6; i += 1) {
      const column = left + i - 2;
      if (column >= 0 && column < SIDE) sum += down[j] * across[i] * picture[row * SIDE + column];
    }
  }
  return sum;
}

/** Patches of the picture turned by an angle, about the points that the turn carries the given ones to. */
export function patches(picture, places, degrees) {
  const [cos, sin] = direction(degrees);
  const size = PATCH * PATCH;
  const half = (PATCH - 1) / 2;
  const out = new Float32Array(places.length * size);
  places.forEach(([px, py], n) => {
    for (let i = 0; i < size; i += 1) {
      const dx = CELL * ((i % PATCH) - half);
      const dy = CELL * (half - Math.floor(i / PATCH));
      out[n * size + i] = sampled(picture, px + cos * dx + sin * dy, py - sin * dx + cos * dy);
    }
  });
  return out;
}
