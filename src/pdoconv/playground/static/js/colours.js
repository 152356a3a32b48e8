// Colours of maps, classes and charts.

/** A colour of the page's style. */
export const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Call `draw` when the page changes between dark and light. */
export function onScheme(draw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

/** Ten colours for the ten classes, and the colour of text on them. */
export const CLASSES = ["#3b6fb5", "#e8973a", "#4d9e50", "#cf4f4b", "#8a6bbd", "#8b6350", "#d97fb6", "#3fb3c4", "#b3b23c", "#77808a"];
export const ON_CLASS = ["#fff", "#111", "#fff", "#fff", "#fff", "#fff", "#111", "#111", "#111", "#fff"];

const POSITIVE = [[10, 13, 16], [13, 84, 92], [58, 178, 172], [255, 246, 205]];
const NEGATIVE = [[10, 13, 16], [110, 44, 20], [226, 122, 52], [255, 240, 225]];

/** Colours of values from -1 to 1 in 511 steps, as 32-bit words. */
function table(colour) {
  const words = new Uint32Array(511);
  const bytes = new Uint8ClampedArray(words.buffer);
  for (let i = 0; i < 511; i += 1) bytes.set([...colour((i - 255) / 255), 255], 4 * i);
  return words;
}

function between(stops, share) {
  const left = Math.min(Math.floor(share * (stops.length - 1)), stops.length - 2);
  return stops[left].map((c, i) => c + (share * (stops.length - 1) - left) * (stops[left + 1][i] - c));
}

/** Dark at zero, blue-green above, orange below. */
export const SIGNED = table((value) => between(value < 0 ? NEGATIVE : POSITIVE, Math.abs(value) ** 0.8));

/** Black at zero and below, white at one. */
export const GRAY = table((value) => [255 * value, 255 * value, 255 * value]);

/** A canvas of a map, one pixel for each value, divided by `scale`. */
export function painted(values, width, height, scale, colours = SIGNED) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const words = new Uint32Array(image.data.buffer);
  for (let i = 0; i < words.length; i += 1) {
    const step = Math.round((255 * values[i]) / scale);
    words[i] = colours[255 + (step > 255 ? 255 : step > -255 ? step : -255)];
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Draw gray values on a canvas element, which takes their size. */
export function showGray(canvas, values, width, height) {
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").drawImage(painted(values, width, height, 1, GRAY), 0, 0);
}

/** Fit a canvas to its size on the page; returns a context in CSS pixels, and that size. */
export function fitted(canvas) {
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width, height };
}
