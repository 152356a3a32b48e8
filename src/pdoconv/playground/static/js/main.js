// The page: loads what the first tab needs, the rest when it is asked for; errors are told on the page.

import { digitSource } from "./digits.js";
import { makePde } from "./pde.js";
import { modelFile, modelJson, runtime, session } from "./runtime.js";
import { makeStencilPanel } from "./stencilPanel.js";
import { makeTabs } from "./tabs.js";
import { makeTurn } from "./turn.js";
import { pdeFacts, turnFacts } from "./facts.js";

const $ = (id) => document.getElementById(id);

/** Tell an error on the page; without one, what was told is taken back. */
function failed(error) {
  $("problem").hidden = !error;
  $("problem").textContent = error?.message ?? "";
  if (error) $("loading").hidden = true;
}

async function digitsOf({ file }) {
  const { side, digits } = await modelJson(file);
  return digits.map(({ label, index, pixels }) => {
    const values = pixels.map((v) => v / 255);
    return { name: `digit-${index}`, label, side, values, source: () => digitSource(values, side) };
  });
}

async function begin() {
  $("loading").textContent = "Loading the networks and what runs them: 16 MB.";
  runtime().catch(() => {}); // told by the first session
  for (const name of ["equivariant", "plain"]) session(`${name}.onnx`).catch(() => {});
  const { networks, layers, digits } = await manifest;

  let stencils; // made when the first answer is there: it may take its time
  let newest;
  const titles = Object.fromEntries(Object.entries(networks).map(([name, { title }]) => [name, title]));
  await makeTurn({ digits: await digitsOf(digits), titles }, (source) => {
    newest = source;
    stencils?.(source);
  }, failed);
  $("loading").hidden = true;
  document.body.dataset.ready = "true";
  document.body.dataset.readyAfter = String(Math.round(performance.now()));
  $("turn-facts").replaceChildren(...turnFacts(networks));
  const families = Object.fromEntries(layers.families.map((family) => [family.name, family]));
  stencils = makeStencilPanel(families, failed);
  stencils(newest);
}

const manifest = modelJson("manifest.json");
begin().catch(failed);
let evolution;
makeTabs($("tabs"), async (panel) => {
  if (panel !== "pde" || evolution) return;
  try {
    const { pde, photo } = await manifest;
    $("pde-facts").textContent = pdeFacts(pde, photo);
    evolution ??= modelFile(photo.file).then((answer) => answer.blob()).then((blob) => makePde(pde, blob, failed));
    await evolution;
  } catch (error) {
    evolution = undefined;
    failed(error);
  }
});
