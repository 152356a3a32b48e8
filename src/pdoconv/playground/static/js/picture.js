// The source picture (288 x 288, white on black, in [0, 1]) and what the networks see of it (36 x 36).

export const SIDE = 288;
export const CELL = 8; // source pixels a side of a network's pixel
export const CELLS = SIDE / CELL;

/** Cosine and sine of an angle in degrees, exact at quarter turns. */
export function direction(degrees) {
  const quarter = ((degrees / 90) % 4 + 4) % 4;
  if (Number.isInteger(quarter)) return [[1, 0], [0, 1], [-1, 0], [0, -1]][quarter];
  return [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
}

/** The source turned counter-clockwise about its centre: bilinear, black outside. */
export function turned(source, degrees) {
  const [cos, sin] = direction(degrees);
  if (cos === 1) return source;
  const out = new Float32Array(SIDE * SIDE);
  const centre = (SIDE - 1) / 2;
  for (let row = 0; row < SIDE; row += 1) {
    for (let column = 0; column < SIDE; column += 1) {
      const x = column - centre;
      const y = centre - row; // up
      const u = cos * x + sin * y + centre; // the point that comes to (x, y)
      const v = centre - (cos * y - sin * x);
      const left = Math.floor(u);
      const top = Math.floor(v);
      if (left < -1 || top < -1 || left >= SIDE || top >= SIDE) continue;
      const a = u - left;
      const b = v - top;
      const at = top * SIDE + left;
      const inTop = top >= 0;
      const inBottom = top + 1 < SIDE;
      let sum = 0;
      if (left >= 0) sum += (1 - a) * ((inTop ? (1 - b) * source[at] : 0) + (inBottom ? b * source[at + SIDE] : 0));
      if (left + 1 < SIDE) sum += a * ((inTop ? (1 - b) * source[at + 1] : 0) + (inBottom ? b * source[at + SIDE + 1] : 0));
      out[row * SIDE + column] = sum;
    }
  }
  return out;
}

/** Means of blocks of 8 x 8 pixels: what the networks take. */
export function pooled(source) {
  const out = new Float32Array(CELLS * CELLS);
  for (let row = 0; row < SIDE; row += 1) {
    const start = Math.floor(row / CELL) * CELLS;
    for (let column = 0; column < SIDE; column += 1) out[start + Math.floor(column / CELL)] += source[row * SIDE + column];
  }
  return out.map((sum) => sum / (CELL * CELL));
}

/** The networks' input for a picture turned by an angle. */
export const input = (source, degrees) => pooled(turned(source, degrees));

/** Inputs for several angles, one after the other in one array. */
export function inputs(source, angles) {
  const out = new Float32Array(angles.length * CELLS * CELLS);
  angles.forEach((angle, i) => out.set(input(source, angle), i * CELLS * CELLS));
  return out;
}

/** Gray values in [0, 1] of an image or canvas, drawn to a size. */
export function gray(image, width, height, crop = [0, 0, image.width, image.height]) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // behind transparent pixels
  context.fillRect(0, 0, width, height);
  context.drawImage(image, ...crop, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const out = new Float32Array(width * height);
  for (let i = 0; i < out.length; i += 1) out[i] = (0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]) / 255;
  return out;
}

/** The middle square of an image as a source: gray, not yet inverted. */
export function squareOf(image) {
  const side = Math.min(image.width, image.height);
  return gray(image, SIDE, SIDE, [(image.width - side) / 2, (image.height - side) / 2, side, side]);
}

/** Whether a picture is dark on light, by the median of its border. */
export function isLight(values) {
  const border = [];
  for (let i = 0; i < SIDE; i += 1) border.push(values[i], values[(SIDE - 1) * SIDE + i], values[i * SIDE], values[i * SIDE + SIDE - 1]);
  return median(border) > 0.5;
}

/** A loaded picture as white on black: background at 0, brightest at 1, faded to the disc that every turn keeps. */
export function prepared(values, invert) {
  const light = invert ? values.map((v) => 1 - v) : values;
  const inside = [];
  for (let i = 0; i < light.length; i += 7) if (radius(i) < SIDE / 2) inside.push(light[i]);
  inside.sort((a, b) => a - b);
  const low = inside[Math.floor(0.2 * inside.length)];
  const high = Math.max(inside[Math.floor(0.998 * (inside.length - 1))], low + 0.05);
  return light.map((v, i) => Math.min(1, Math.max(0, (v - low) / (high - low))) * disc(i));
}

/** 1 inside the disc, 0 outside, smooth between. */
function disc(i) {
  return Math.min(1, Math.max(0, (SIDE / 2 - radius(i)) / 12));
}

function radius(i) {
  return Math.hypot((i % SIDE) - (SIDE - 1) / 2, Math.floor(i / SIDE) - (SIDE - 1) / 2);
}

function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
}
