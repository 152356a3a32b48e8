// The tab "Turn it": one picture, one angle, two networks, the features of one of them.

import { makeAnswer, percent } from "./answers.js";
import { onScheme, showGray } from "./colours.js";
import { makeDial } from "./dial.js";
import { latest } from "./latest.js";
import { NAMES, classify, fieldCount, fieldOf } from "./networks.js";
import { CELLS, input } from "./picture.js";
import { contrast, drawRing, nearest, ringDifference, turnedBack } from "./ring.js";
import { makeSource } from "./source.js";

const $ = (id) => document.getElementById(id);
const FIRST = 7; // the digit to begin with
const SLOW = 24; // degrees a second
const STEP = 5; // degrees between the angles that are measured
const KEPT = 40; // answers with their maps
const WHEN_STILL = 6; // degrees a step of "Turn slowly", if the system asks for less motion

/** Set up the tab; `pictureChanged(source)` is told of every new picture. Returns when the first answer is shown. */
export async function makeTurn({ digits, titles }, pictureChanged, failed) {
  const answers = Object.fromEntries(NAMES.map((name) => [name, makeAnswer($(name), name, titles[name])]));
  const cache = new Map(); // answers by angle, for the present picture
  let source;
  let shown; // {angle, answers, reference} of the last drawing
  let measuring = false;
  let firstShown;
  const first = new Promise((done) => (firstShown = done));

  async function answersAt(angle) {
    const key = Math.round(angle * 10);
    if (!cache.has(key)) {
      const of = source;
      const data = input(of, angle);
      const found = { data };
      for (const name of NAMES) found[name] = await classify(name, data);
      if (of !== source) return found; // the picture changed meanwhile
      if (cache.size > KEPT) cache.delete([...cache.keys()].find((old) => old !== 0));
      cache.set(key, found);
    }
    return cache.get(key);
  }

  const update = latest(async (angle) => {
    const of = source;
    const [reference, now] = [await answersAt(0), await answersAt(angle)];
    if (of !== source) return;
    const empty = reference.data.every((value) => value === 0);
    $("empty").hidden = !empty;
    $("measure").disabled = empty || measuring;
    for (const name of NAMES) {
      if (empty) answers[name].blank();
      else answers[name].show(now[name], angle, reference[name]);
    }
    shown = { angle, now, reference };
    const told = empty ? "no picture" : NAMES.map((name) => `${titles[name]}: ${now[name].class}`).join(", ");
    $("dial").setAttribute("aria-valuetext", `${Math.round(angle)} degrees counter-clockwise, ${told}`);
    firstShown();
    drawFeatures();
    document.body.dataset.shown = String(angle);
  }, failed);

  function drawFeatures() {
    if (!shown) return;
    const { angle, now, reference } = shown;
    const [layer, field] = [$("layer").value, Number($("field").value)];
    const before = fieldOf(reference.equivariant.layers[layer], field);
    const { ground, scale } = contrast(before.maps);
    const [upright, maps] = [before, fieldOf(now.equivariant.layers[layer], field)].map((of) => of.maps.map((map) => map.map((v) => v - ground)));
    const { side } = before;
    const steps = nearest(angle);
    const common = { side, scale, middle: now.data, middleSide: CELLS };
    drawRing($("ring"), { ...common, places: maps, marked: steps });
    drawRing($("back"), { ...common, places: maps.map((_, g) => maps[(g + steps) % 8]), back: angle, marked: 0 });
    const difference = angle % 45 ? undefined : ringDifference(turnedBack(maps, side, angle), upright, side);
    $("ring").dataset.difference = difference ?? "";
    $("still").textContent = stillness(angle, difference);
  }

  const dial = makeDial($("dial"), (angle) => turned(angle));

  function turned(angle) {
    $("angle").textContent = `${Math.round(angle)}°`;
    showGray($("input"), input(source, angle), CELLS, CELLS);
    update(angle);
  }

  async function measureAll() {
    const of = source;
    stopSpin();
    measuring = true;
    $("measure").disabled = true;
    document.body.dataset.measured = "false";
    try {
      for (let angle = 0; angle < 360; angle += STEP) {
        const found = await answersAt(angle);
        if (of !== source) break;
        for (const name of NAMES) answers[name].record(found[name], angle);
      }
    } catch (error) {
      failed(error);
    } finally {
      measuring = false;
      $("measure").disabled = false;
      document.body.dataset.measured = String(of === source);
    }
  }

  let spinning;
  function stopSpin() {
    cancelAnimationFrame(spinning);
    clearTimeout(spinning);
    spinning = undefined;
    $("spin").setAttribute("aria-pressed", "false");
  }
  function spin() {
    if (spinning !== undefined) return stopSpin();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const from = dial.angle;
    const start = performance.now();
    $("spin").setAttribute("aria-pressed", "true");
    const frame = (now) => {
      if ($("turn").hidden) return stopSpin();
      const gone = Math.max(0, (SLOW * ((now ?? performance.now()) - start)) / 1000);
      const done = gone >= 360;
      const step = calm ? Math.floor(gone / WHEN_STILL) * WHEN_STILL : Math.round(gone);
      if (Math.round(dial.angle) !== (from + step) % 360 || done) dial.turn(done ? from : from + step);
      if (done) return stopSpin();
      spinning = calm ? setTimeout(frame, (1000 * WHEN_STILL) / SLOW) : requestAnimationFrame(frame);
    };
    frame();
  }
  $("dial").addEventListener("pointerdown", stopSpin, true);
  $("dial").addEventListener("keydown", stopSpin, true);
  $("spin").addEventListener("click", spin);
  $("measure").addEventListener("click", measureAll);
  $("layer").addEventListener("change", () => {
    listFields();
    drawFeatures();
  });
  $("field").addEventListener("change", drawFeatures);
  onScheme(drawFeatures);
  for (let g = 0; g < 8; g += 1) {
    const tick = document.createElement("i");
    tick.style.transform = `rotate(${45 * g}deg)`;
    $("dial").querySelector(".ticks").append(tick);
  }

  function listFields() {
    const count = fieldCount(shown.now.equivariant.layers[$("layer").value]);
    $("field").replaceChildren(...Array.from({ length: count }, (_, i) => new Option(String(i + 1), String(i))));
    $("field").value = String(liveliest(shown.reference.equivariant.layers[$("layer").value], count));
  }

  function newPicture(next) {
    source = next;
    shown = undefined;
    document.body.dataset.shown = "";
    failed();
    cache.clear();
    for (const name of NAMES) answers[name].forget();
    turned(dial.angle);
    pictureChanged(source);
  }

  const picture = makeSource(digits, newPicture, failed);
  picture.choose((digits.find(({ label }) => label === FIRST) ?? digits[0]).name);
  await first;
  listFields();
  drawFeatures();
}

/** The field whose maps differ most between directions: the best one to watch. */
function liveliest(layer, count) {
  const spread = Array.from({ length: count }, (_, field) => {
    const { maps } = fieldOf(layer, field);
    let sum = 0;
    for (let i = 0; i < maps[0].length; i += 1) {
      const mean = maps.reduce((total, map) => total + map[i], 0) / maps.length;
      for (const map of maps) sum += (map[i] - mean) ** 2;
    }
    return sum;
  });
  return spread.indexOf(Math.max(...spread));
}

function stillness(angle, difference) {
  if (difference === undefined) return "Between the eight angles of the group no roll fits exactly; the nearest one is shown.";
  if (angle === 0) return "";
  const told = `They differ from those at 0° by ${percent(difference)} of their size`;
  return angle % 90 ? `${told} (with the error of turning the maps back).` : `${told}: a quarter turn is exact, to rounding.`;
}
