// The eight maps of a field on a ring, at the angles of their group elements, about the picture.

import { GRAY, painted, styled } from "./colours.js";
import { direction } from "./picture.js";

const RING = 0.727; // radii, as shares of half the canvas
const MAP = 0.262;
const MIDDLE = 0.36;

/** The group element nearest to an angle: 45 degrees are +1 on the group axis. */
export const nearest = (degrees) => ((Math.round(degrees / 45) % 8) + 8) % 8;

/**
 * Draw a ring. `places[i]` is the map at 45 i degrees from the top, counter-clockwise.
 * `back` turns every map and the middle clockwise by so many degrees; `marked` is outlined.
 */
export function drawRing(canvas, { places, side, scale, middle, middleSide, back = 0, marked }) {
  const context = canvas.getContext("2d");
  const half = canvas.width / 2;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.strokeStyle = styled("--line");
  context.lineWidth = 2;
  context.beginPath();
  context.arc(half, half, RING * half, 0, 2 * Math.PI);
  context.stroke();
  const put = (image, x, y, radius, outlined) => {
    context.save();
    context.translate(x, y);
    context.save();
    context.beginPath();
    context.arc(0, 0, radius, 0, 2 * Math.PI);
    context.fill();
    context.clip();
    context.rotate((back * Math.PI) / 180);
    context.drawImage(image, -radius, -radius, 2 * radius, 2 * radius);
    context.restore();
    context.beginPath();
    context.arc(0, 0, radius + (outlined ? 4 : 1), 0, 2 * Math.PI);
    context.lineWidth = outlined ? 8 : 2;
    context.strokeStyle = styled(outlined ? "--accent" : "--line");
    context.stroke();
    context.restore();
  };
  places.forEach((map, i) => {
    const angle = ((90 + 45 * i) * Math.PI) / 180;
    const [x, y] = [half + RING * half * Math.cos(angle), half - RING * half * Math.sin(angle)];
    put(painted(map, side, side, scale), x, y, MAP * half - 6, i === marked);
  });
  put(painted(middle, middleSide, middleSide, 1, GRAY), half, half, MIDDLE * half, false);
}

/** What maps are coloured by: their ground, which most of a digit's picture is, and how far all but few values leave it. */
export function contrast(maps) {
  const sorted = Float32Array.from(maps.flatMap((map) => Array.from(map))).sort();
  const ground = sorted[Math.floor(sorted.length / 2)];
  const far = sorted.map((value) => Math.abs(value - ground)).sort();
  return { ground, scale: Math.max(far[Math.floor(0.995 * far.length)], 1e-6) };
}

/** Weights of the four pixels about a place between the middle two: cubic convolution. */
function weights(t) {
  return [((2 - t) * t - 1) * t / 2, ((3 * t - 5) * t * t + 2) / 2, ((4 - 3 * t) * t + 1) * t / 2, ((t - 1) * t * t) / 2];
}

/** A square map turned counter-clockwise by an angle about its middle: exact by 90 degrees, else interpolated. */
export function turnedMap(map, side, degrees) {
  const [cos, sin] = direction(degrees);
  const centre = (side - 1) / 2;
  const inside = (i) => Math.min(Math.max(i, 0), side - 1);
  return Float32Array.from(map, (_, i) => {
    const [x, y] = [(i % side) - centre, centre - Math.floor(i / side)];
    const [u, v] = [cos * x + sin * y + centre, centre - (cos * y - sin * x)];
    const [left, top] = [Math.floor(u), Math.floor(v)];
    const [across, down] = [weights(u - left), weights(v - top)];
    let sum = 0;
    for (let j = 0; j < 4; j += 1) {
      const row = inside(top + j - 1) * side;
      for (let k = 0; k < 4; k += 1) sum += down[j] * across[k] * map[row + inside(left + k - 1)];
    }
    return sum;
  });
}

/** The maps after a turn, turned back and rolled back: what stood at place g before. */
export function turnedBack(maps, side, degrees) {
  const steps = nearest(degrees);
  return maps.map((_, g) => turnedMap(maps[(g + steps) % 8], side, -degrees));
}

/** |a - b| / |b| over the discs of two lists of maps. */
export function ringDifference(a, b, side) {
  let [up, down] = [0, 0];
  const centre = (side - 1) / 2;
  for (let i = 0; i < side * side; i += 1) {
    if (Math.hypot((i % side) - centre, Math.floor(i / side) - centre) > side / 2 - 1) continue;
    b.forEach((map, g) => {
      up += (a[g][i] - map[i]) ** 2;
      down += map[i] ** 2;
    });
  }
  return Math.sqrt(up / Math.max(down, 1e-30));
}
