// Drawings are kept as strokes, so that they can be scaled and centred as the digits of MNIST are, at one line width.

import { gray, SIDE } from "./picture.js";

const WIDTH = 24; // source pixels: three of a network's pixels
const BOX = 160; // the 20 pixels that MNIST fits a digit into

/** A canvas with strokes on black: each is a list of [x, y] in source pixels. */
function drawn(strokes, place) {
  const canvas = new OffscreenCanvas(SIDE, SIDE);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, SIDE, SIDE);
  context.strokeStyle = "#fff";
  context.lineWidth = WIDTH;
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    stroke.map(place).forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (stroke.length === 1) context.lineTo(...place(stroke[0]));
    context.stroke();
  }
  return gray(canvas, SIDE, SIDE);
}

/** What was drawn, where it was drawn. */
export const raw = (strokes) => drawn(strokes, (point) => point);

/** What was drawn as a source: fitted into MNIST's box, its centre of mass in the middle. */
export function centred(strokes) {
  const points = strokes.flat();
  if (!points.length) return new Float32Array(SIDE * SIDE);
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = Math.min((BOX - WIDTH) / Math.max(right - left, bottom - top, 1), 2);
  const middle = [(left + right) / 2, (top + bottom) / 2];
  const shift = (dx, dy) => ([x, y]) => [(x - middle[0]) * scale + SIDE / 2 + dx, (y - middle[1]) * scale + SIDE / 2 + dy];
  const first = drawn(strokes, shift(0, 0));
  const [x, y] = massCentre(first);
  return drawn(strokes, shift((SIDE - 1) / 2 - x, (SIDE - 1) / 2 - y));
}

function massCentre(values) {
  let [sum, x, y] = [0, 0, 0];
  values.forEach((v, i) => {
    sum += v;
    x += v * (i % SIDE);
    y += v * Math.floor(i / SIDE);
  });
  return [x / sum, y / sum];
}
