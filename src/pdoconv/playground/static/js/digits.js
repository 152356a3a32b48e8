// Test digits of MNIST as sources.

import { CELL, SIDE } from "./picture.js";

/** A digit of `size` x `size` gray values in [0, 1], enlarged eight times (bicubic) in the middle of a black source. */
export function digitSource(pixels, size) {
  const across = enlarged(pixels, size, size);
  const both = transposed(enlarged(transposed(across, size, CELL * size), CELL * size, size), CELL * size, CELL * size);
  const out = new Float32Array(SIDE * SIDE);
  const side = CELL * size;
  const start = (SIDE - side) / 2;
  for (let row = 0; row < side; row += 1) out.set(both.subarray(row * side, (row + 1) * side), (row + start) * SIDE + start);
  return out;
}

/** Rows of `width` values, enlarged eight times by cubic convolution (a = -1/2), clipped to [0, 1]. */
function enlarged(values, rows, width) {
  const out = new Float32Array(rows * width * CELL);
  for (let column = 0; column < width * CELL; column += 1) {
    const place = (column + 0.5) / CELL - 0.5;
    const left = Math.floor(place);
    const taps = [];
    let total = 0;
    for (let tap = left - 1; tap <= left + 2; tap += 1) {
      if (tap < 0 || tap >= width) continue;
      const weight = cubic(Math.abs(place - tap));
      taps.push([tap, weight]);
      total += weight;
    }
    for (let row = 0; row < rows; row += 1) {
      let sum = 0;
      for (const [tap, weight] of taps) sum += weight * values[row * width + tap];
      out[row * width * CELL + column] = Math.min(1, Math.max(0, sum / total));
    }
  }
  return out;
}

function cubic(t) {
  if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
  return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
}

function transposed(values, rows, width) {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row += 1) for (let column = 0; column < width; column += 1) out[column * rows + row] = values[row * width + column];
  return out;
}
