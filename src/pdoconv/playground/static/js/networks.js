// The two classifiers: what they answer for a picture, and the maps of their fields.

import { CELLS } from "./picture.js";
import { run } from "./runtime.js";

export const NAMES = ["equivariant", "plain"];
export const ELEMENTS = 8; // of the group C8: maps of a field

/** Class, probabilities, logits and layers of a network for one input of 36 x 36. */
export async function classify(name, data) {
  const { logits, first, last } = await run(`${name}.onnx`, { x: { data, dims: [1, 1, CELLS, CELLS] } });
  const probabilities = softmax(logits.data);
  return { class: probabilities.indexOf(Math.max(...probabilities)), probabilities, logits: logits.data, layers: { first, last } };
}

function softmax(logits) {
  const top = Math.max(...logits);
  const powers = Array.from(logits, (z) => Math.exp(z - top));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((p) => p / sum);
}

/** |a - b| / |b|. */
export function relative(a, b) {
  let [up, down] = [0, 0];
  for (let i = 0; i < b.length; i += 1) {
    up += (a[i] - b[i]) ** 2;
    down += b[i] ** 2;
  }
  return Math.sqrt(up / Math.max(down, 1e-30));
}

/** The eight maps of a field: `{side, maps}`; the channels of a field follow each other by group element. */
export function fieldOf(layer, field) {
  const side = layer.dims[3];
  const size = side * side;
  const at = field * ELEMENTS * size;
  const maps = Array.from({ length: ELEMENTS }, (_, g) => layer.data.subarray(at + g * size, at + (g + 1) * size));
  return { side, maps };
}

/** How many fields a layer has. */
export const fieldCount = (layer) => layer.dims[1] / ELEMENTS;
