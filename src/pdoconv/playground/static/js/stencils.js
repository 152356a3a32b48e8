// How far one layer is from equivariant, measured on a picture; and the filters of a layer.

import { ELEMENTS } from "./networks.js";
import { PATCH, blurred, patches, points } from "./patches.js";
import { run } from "./runtime.js";

export const ANGLES = [45, 90];

/** Outputs `(n, 32)` of a family's layer for patches. */
async function layer(name, data) {
  const { y } = await run(`layer-${name}.onnx`, { x: { data, dims: [data.length / PATCH ** 2, 1, PATCH, PATCH] } });
  return y.data;
}

/** The patches that errors are measured on, by angle; `picture` may be blurred already. */
export function samplesOf(source, sigma) {
  const picture = sigma ? blurred(source, sigma) : source;
  const places = points();
  return Object.fromEntries([0, ...ANGLES].map((degrees) => [degrees, patches(picture, places, degrees)]));
}

/** Relative errors of a family's layer by angle: |layer(turned) - rolled layer(upright)| / |layer(upright)|. */
export async function errorsOf(name, samples) {
  const upright = await layer(name, samples[0]);
  const errors = {};
  for (const degrees of ANGLES) {
    const moved = await layer(name, samples[degrees]);
    const steps = degrees / 45;
    let [up, down] = [0, 0];
    for (let i = 0; i < upright.length; i += 1) {
      const g = i % ELEMENTS;
      const expected = upright[i - g + ((g - steps + ELEMENTS) % ELEMENTS)];
      up += (moved[i] - expected) ** 2;
      down += expected ** 2;
    }
    errors[degrees] = Math.sqrt(up / Math.max(down, 1e-30));
  }
  return errors;
}

/** The eight filters of one field of a family's layer: its answers to single bright pixels. */
export async function filtersOf(name, field) {
  const size = PATCH * PATCH;
  const single = new Float32Array(size * size);
  for (let i = 0; i < size; i += 1) single[i * size + i] = 1;
  const answers = await layer(name, single);
  const channels = answers.length / size;
  return Array.from({ length: ELEMENTS }, (_, g) => Float32Array.from({ length: size }, (_, i) => answers[i * channels + field * ELEMENTS + g]));
}
