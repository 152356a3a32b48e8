// The panel of stencils: errors of all families as bars on a logarithmic scale, the filters of the chosen one.

import { onScheme, painted } from "./colours.js";
import { latest } from "./latest.js";
import { PATCH } from "./patches.js";
import { ANGLES, errorsOf, filtersOf, samplesOf } from "./stencils.js";

const $ = (id) => document.getElementById(id);
const LOW = -7; // power of ten at the left end of the bars
const HIGH = 0.3;
const FIELD = 1;
const PAUSE = 200; // milliseconds without a new picture

/** Set up the panel for `families` `{name: {title, text, call}}`; returns what takes a new source. */
export function makeStencilPanel(families, failed) {
  const rows = Object.fromEntries(Object.entries(families).map(([name, about]) => [name, makeRow(name, about)]));
  $("families").append(...Object.values(rows).map(({ element }) => element));
  let source;
  let chosen = Object.keys(families)[0];
  rows[chosen].input.checked = true;

  const measure = latest(async (of) => {
    const sigma = Number($("blur").value);
    const samples = samplesOf(of, sigma);
    const empty = samples[0].every((value) => value === 0);
    for (const [name, row] of Object.entries(rows)) row.show(empty ? undefined : await errorsOf(name, samples));
    $("families").dataset.sigma = String(sigma);
  }, failed);

  const showFilter = latest(async (name) => {
    const filters = await filtersOf(name, FIELD);
    const { text, call } = families[name];
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "One filter of this family, in its eight orientations");
    drawFilters(canvas, filters);
    const paragraph = document.createElement("p");
    paragraph.textContent = text;
    const caption = document.createElement("p");
    caption.className = "hint";
    caption.textContent = `One filter in eight orientations, 0° to 315°, ${PATCH} x ${PATCH} weights each.`;
    $("filter").replaceChildren(canvas, caption, paragraph);
    if (call) {
      const code = document.createElement("code");
      code.textContent = `filters=${call}`;
      $("filter").append(code);
    }
    $("filter").dataset.family = name;
  }, failed);

  $("families").addEventListener("change", (event) => {
    chosen = event.target.value;
    showFilter(chosen);
  });
  const blurLabel = () => ($("blur-value").textContent = `${Number($("blur").value).toFixed(1)} pixels`);
  $("blur").addEventListener("input", () => {
    blurLabel();
    if (source) measure(source);
  });
  blurLabel();
  onScheme(() => showFilter(chosen));
  showFilter(chosen);

  let waiting;
  return (next) => {
    source = next;
    clearTimeout(waiting);
    waiting = setTimeout(() => measure(source), PAUSE); // not while somebody draws
  };
}

function makeRow(name, { title }) {
  const element = document.createElement("label");
  element.className = "family";
  element.dataset.family = name;
  element.innerHTML = '<input type="radio" name="family"><span></span><div class="errors"></div>';
  element.querySelector("span").textContent = title;
  const input = element.querySelector("input");
  input.value = name;
  const bars = ANGLES.map((degrees) => {
    const bar = document.createElement("div");
    bar.innerHTML = '<span></span><div class="track"><i></i></div><span></span>';
    bar.firstChild.textContent = `${degrees}°`;
    element.querySelector(".errors").append(bar);
    return bar;
  });
  return {
    element,
    input,
    show(errors) {
      ANGLES.forEach((degrees, i) => {
        const error = errors?.[degrees];
        element.dataset[`error${degrees}`] = error ?? "";
        const share = error ? (Math.log10(error) - LOW) / (HIGH - LOW) : 0;
        bars[i].querySelector("i").style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
        bars[i].lastChild.textContent = error === undefined ? "–" : error.toExponential(1);
      });
    },
  };
}

/** Eight filters in two rows, dark at zero, blue-green above, orange below. */
function drawFilters(canvas, filters) {
  const [zoom, gap] = [14, 10];
  const side = PATCH * zoom;
  canvas.width = 4 * side + 3 * gap;
  canvas.height = 2 * side + gap;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  const scale = Math.max(...filters.flatMap((filter) => Array.from(filter, Math.abs)));
  filters.forEach((filter, g) => {
    context.drawImage(painted(filter, PATCH, PATCH, scale), (g % 4) * (side + gap), Math.floor(g / 4) * (side + gap), side, side);
  });
}
