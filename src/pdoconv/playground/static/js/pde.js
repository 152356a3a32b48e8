// The tab "Learned PDE": a picture, what is observed of it, and the evolution step by step.

import { drawChart } from "./chart.js";
import { onScheme, showGray } from "./colours.js";
import { numbersOf, observed, psnr, start, step } from "./evolution.js";
import { latest } from "./latest.js";
import { gray } from "./picture.js";
import { bitmapOf, pictureInput } from "./source.js";
import { makeTerms } from "./terms.js";

const $ = (id) => document.getElementById(id);
const LARGEST = 128; // pixels a side
const PACE = 450; // milliseconds a step

/** Set up the tab for `pde` of the manifest; returns when the evolution of `photo` has been computed. */
export async function makePde(pde, photo, failed) {
  let clean = await pictureOf(photo);
  let on = new Float32Array(pde.invariants.length).fill(1);
  let now = 0;
  let playing;
  let view; // {task, numbers, sigma, noisy, states, quality, reference}
  const tasks = Object.fromEntries(pde.tasks.map((task) => [task.name, task]));
  $("task").replaceChildren(...pde.tasks.map(({ name, title }) => new Option(title, name)));

  const terms = makeTerms($("terms"), pde.invariants, (next) => {
    on = next;
    compute();
  });

  const compute = latest(async () => {
    const task = tasks[$("task").value];
    const sigma = task.name === "denoise" ? Number($("sigma").value) : task.noise;
    const numbers = await numbersOf(task);
    const [picture, switches] = [clean, on];
    const restores = task.name === "denoise" || task.name === "deblur";
    const same = view?.picture === picture && view.task === task && view.sigma === sigma;
    const noisy = same ? view.noisy : observed(picture, task, sigma);
    const first = start(noisy, numbers, sigma);
    const next = { task, numbers, sigma, picture, noisy, restores, states: [first], shown: first.shown, reference: same ? view.reference : undefined };
    document.body.dataset.pde = "computing";
    for (let k = 0; k < numbers.steps; k += 1) {
      next.states.push(await step(next.states[k], k, picture, pde, numbers, switches));
      if (picture !== clean || switches !== on) return; // a newer request waits
    }
    next.pictures = next.states.map(({ o }) => next.shown(o));
    next.quality = next.pictures.map((values) => psnr(values, picture.values));
    if (switches.every(Boolean)) {
      next.reference = next.quality;
      terms.sort(meanTerms(next.states));
    }
    if (!same && !next.reference) next.reference = next.quality;
    view = next;
    $("time").max = String(numbers.steps);
    now = Math.min(now, numbers.steps);
    show();
    document.body.dataset.pde = "ready";
  }, failed);

  function show() {
    if (!view) return;
    const { picture, noisy, restores, states, quality, reference, numbers, task } = view;
    const { width, height } = picture;
    showGray($("clean"), picture.values, width, height);
    showGray($("noisy"), noisy, width, height);
    showGray($("current"), view.pictures[now], width, height);
    $("time").value = String(now);
    $("time").setAttribute("aria-valuetext", `step ${now} of ${numbers.steps}`);
    $("step-name").textContent = `${now} of ${numbers.steps}`;
    const less = !on.every(Boolean) && reference ? ` (all terms: ${decibels(reference[now])})` : "";
    $("noisy-psnr").textContent = restores ? decibels(psnr(noisy, picture.values)) : "";
    $("current-psnr").textContent = restores ? decibels(quality[now]) + less : "";
    $("current").dataset.psnr = String(quality[now]);
    $("current").dataset.step = String(now);
    $("psnr").hidden = !restores;
    $("task-text").textContent = task.text;
    $("noise").hidden = task.name !== "denoise";
    if (restores) chart();
    const taken = Math.max(now, 1);
    const scale = Math.max(...states.slice(1).flatMap((state) => Array.from(state.terms)));
    terms.show(states[taken].terms, numbers.numbers.coefficients[taken - 1].at(-1).map(Math.sign), scale);
    $("terms-hint").textContent = `What the terms do to the picture in step ${taken}: root mean square over the pixels, in units of 1/255, with the sign of the coefficient. ` +
      "A term that is switched off counts as 0 in every step, also in the general function of all terms that the PDE adds; the evolution is then computed anew.";
    $("pde-step").disabled = now === numbers.steps;
    $("pde-start").disabled = now === 0;
  }

  function chart() {
    const curves = [{ values: view.quality, colour: "--accent", width: 2.5 }];
    if (view.reference && view.reference !== view.quality) curves.unshift({ values: view.reference, colour: "--bar", width: 2 });
    drawChart($("psnr"), curves, view.numbers.steps, now);
  }

  function stop() {
    clearTimeout(playing);
    playing = undefined;
    $("pde-play").setAttribute("aria-pressed", "false");
    $("pde-play").textContent = "Play";
  }

  function go(to) {
    if (!view) return;
    now = Math.max(0, Math.min(to, view.numbers.steps));
    show();
  }

  function play() {
    if (playing !== undefined) return stop();
    if (!view) return undefined;
    if (now === view.numbers.steps) go(0);
    $("pde-play").setAttribute("aria-pressed", "true");
    $("pde-play").textContent = "Pause";
    const next = () => {
      go(now + 1);
      if (now === view.numbers.steps) stop();
      else playing = setTimeout(next, PACE);
    };
    playing = setTimeout(next, PACE);
    return undefined;
  }

  const sigmaLabel = () => ($("sigma-value").textContent = `${$("sigma").value}/255`);
  $("sigma").addEventListener("input", () => {
    sigmaLabel();
    compute();
  });
  sigmaLabel();
  $("task").addEventListener("change", compute);
  $("pde-play").addEventListener("click", play);
  $("pde-step").addEventListener("click", () => (stop(), go(now + 1)));
  $("pde-start").addEventListener("click", () => (stop(), go(0)));
  $("time").addEventListener("input", () => (stop(), go(Number($("time").value))));
  $("terms-all").addEventListener("click", terms.reset);
  onScheme(show);
  new ResizeObserver(() => view?.restores && chart()).observe($("psnr"));

  async function use(blob, own) {
    try {
      clean = await pictureOf(blob);
      failed();
      stop();
      now = 0;
      $("pde-own").hidden = !own;
      await compute();
    } catch (error) {
      failed(error);
    }
  }
  pictureInput({ button: $("pde-load"), input: $("pde-file"), target: $("clean"), load: (file) => use(file, true) });
  $("pde-own").addEventListener("click", () => use(photo, false));
  await compute();
}

function meanTerms(states) {
  const sum = new Float64Array(states[1].terms.length);
  for (const { terms } of states.slice(1)) terms.forEach((term, i) => (sum[i] += term ** 2));
  return sum;
}

const decibels = (value) => (Number.isFinite(value) ? `${value.toFixed(2)} dB` : "no number: it blew up");

/** A picture file in gray, at most 128 pixels a side. */
async function pictureOf(blob) {
  const image = await bitmapOf(blob);
  const shrink = Math.min(1, LARGEST / Math.max(image.width, image.height));
  const [width, height] = [image.width, image.height].map((side) => Math.max(8, Math.round(side * shrink)));
  return { width, height, values: gray(image, width, height) };
}
