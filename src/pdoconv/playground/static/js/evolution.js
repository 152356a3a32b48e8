// A learned PDE: what is observed of a picture, and one step after the other.

import { modelJson, run } from "./runtime.js";

const SEED = 20100623;
const known = new Map();

/** The numbers of a task's PDE. */
export async function numbersOf(task) {
  if (!known.has(task.name)) known.set(task.name, await modelJson(task.file));
  return known.get(task.name);
}

/** Independent normal numbers, the same for a seed everywhere (mulberry32, Box and Muller). */
export function normals(count, seed = SEED) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

/** A picture `{width, height, values}` blurred by a Gaussian, cut at four sigma, reflected at the border. */
function blurred({ width, height, values }, sigma) {
  const reach = Math.min(Math.ceil(4 * sigma), width - 1, height - 1);
  const taps = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * sigma * sigma)));
  const total = taps.reduce((a, b) => a + b);
  const inside = (i, length) => (i < 0 ? -i : i >= length ? 2 * length - 2 - i : i);
  const pass = (from, at) => Float32Array.from(from, (_, i) => taps.reduce((sum, tap, k) => sum + tap * from[at(i, k - reach)], 0) / total);
  const across = pass(values, (i, k) => i - (i % width) + inside((i % width) + k, width));
  return pass(across, (i, k) => inside(Math.floor(i / width) + k, height) * width + (i % width));
}

/** What a task observes of a clean picture: blurred if the task says so, then noise of sigma / 255. */
export function observed(clean, task, sigma) {
  const values = task.blur ? blurred(clean, task.blur) : clean.values;
  const noise = normals(values.length);
  return values.map((v, i) => v + (noise[i] * sigma) / 255);
}

/** The fields at the start, and how their values are to be shown. A PDE for noise of another strength gets intensities
 * scaled about their mean, so that the noise has the strength that it knows. */
export function start(values, numbers, sigma) {
  const centre = values.reduce((a, b) => a + b) / values.length;
  const scale = numbers.sigma && sigma ? numbers.sigma / sigma : 1;
  const o = values.map((v) => (v - centre) * scale + centre);
  const rho = new Float32Array(3 * o.length);
  for (let i = 0; i < 3; i += 1) rho.set(o, i * o.length);
  return { o, rho, shown: (now) => now.map((v) => Math.min(1, Math.max(0, (v - centre) / scale + centre))) };
}

/** The fields after step `k`, and how much every invariant moved the image in it. */
export async function step({ o, rho }, k, { width, height }, pde, { numbers }, on) {
  const space = [height, width];
  const feeds = { o: { data: o, dims: [1, 1, ...space] }, rho: { data: rho, dims: [1, 3, ...space] }, on: { data: on, dims: [on.length] } };
  for (const [name, value] of Object.entries(numbers)) feeds[name] = tensor(pde.stepwise.includes(name) ? value[k] : value);
  const { next_o, next_rho, terms } = await run(pde.file, feeds);
  return { o: next_o.data, rho: next_rho.data, terms: terms.data };
}

function tensor(value) {
  const dims = [];
  for (let part = value; Array.isArray(part); part = part[0]) dims.push(part.length);
  return { data: Float32Array.from(value.flat(Infinity)), dims };
}

/** Peak signal-to-noise ratio in dB, of values clipped to [0, 1]. */
export function psnr(values, clean) {
  let sum = 0;
  for (let i = 0; i < clean.length; i += 1) sum += (Math.min(1, Math.max(0, values[i])) - clean[i]) ** 2;
  return -10 * Math.log10(sum / clean.length);
}
