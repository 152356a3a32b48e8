// What a network answers: class, probabilities, how far the logits moved, and the class over the angles visited.

import { CLASSES, ON_CLASS, fitted, onScheme, styled } from "./colours.js";
import { relative } from "./networks.js";

const REACH = 2.5; // degrees that a visited angle stands for, to both sides

/** A panel for one network inside an element; `show` and `record` feed it, `forget` empties it. */
export function makeAnswer(element, name, title) {
  element.className = "answer";
  element.dataset.network = name;
  element.innerHTML = `<div class="top"><div class="class" aria-hidden="true">&ndash;</div><div><h3></h3>
    <p class="verdict"></p><p class="change"></p></div></div>
    <div class="bars" role="img"></div><canvas class="strip" role="img"></canvas>`;
  element.querySelector("h3").textContent = title;
  const bars = element.querySelector(".bars");
  for (let digit = 0; digit < 10; digit += 1) {
    const bar = document.createElement("div");
    bar.append(document.createElement("i"), String(digit));
    bars.append(bar);
  }
  const strip = element.querySelector(".strip");
  let visited = new Map(); // angle in whole degrees: {class, probability}
  let angle = 0;

  function verdict() {
    const classes = [...visited.values()].map((answer) => answer.class);
    const counts = [...new Set(classes)].map((c) => [c, classes.filter((other) => other === c).length]);
    counts.sort((a, b) => b[1] - a[1]);
    const stays = counts.length <= 1;
    element.dataset.visited = String(visited.size);
    element.dataset.stays = String(stays);
    element.dataset.classes = counts.map(([c]) => c).join(",");
    const told = element.querySelector(".verdict");
    if (!counts.length) return told.replaceChildren();
    const bold = document.createElement("b");
    bold.textContent = stays ? "Class stays" : "Class changes";
    const shown = counts.slice(0, 3).map(([c, n]) => `${c} (${n})`).join(", ") + (counts.length > 3 ? ", ..." : "");
    if (visited.size === 1) told.textContent = "Turn the dial: does the class stay?";
    else told.replaceChildren(bold, stays ? `: ${counts[0][0]} at ${visited.size} angles visited` : `: ${shown} of ${visited.size} angles`);
    strip.setAttribute("aria-label", `Class over the angles from 0 to 360 degrees: ${told.textContent}`);
  }

  function draw() {
    const { context, width, height } = fitted(strip);
    if (!width) return;
    const tall = height - 14;
    const x = (degrees) => (degrees / 360) * width;
    context.fillStyle = styled("--paper");
    context.fillRect(0, 0, width, tall);
    const columns = Array.from({ length: Math.round(width) }, (_, i) => at(((i + 0.5) * 360) / width));
    columns.forEach((answer, i) => {
      if (!answer) return;
      const part = Math.round(answer.probability * tall);
      context.fillStyle = CLASSES[answer.class];
      context.globalAlpha = 0.35;
      context.fillRect(i, 0, 1, tall);
      context.globalAlpha = 1;
      context.fillRect(i, tall - part, 1, part);
    });
    label(context, columns, tall);
    context.fillStyle = styled("--soft");
    context.font = "11px system-ui, sans-serif";
    for (let degrees = 0; degrees <= 360; degrees += 90) {
      context.textAlign = degrees === 0 ? "left" : degrees === 360 ? "right" : "center";
      context.fillText(`${degrees}°`, x(degrees), height - 2);
    }
    context.fillStyle = styled("--ink");
    context.fillRect(Math.min(x(angle), width - 2), 0, 2, tall);
  }

  /** The answer at the visited angle nearest to a place of the strip, if one is near enough. */
  function at(place) {
    let best;
    let least = REACH + 0.01;
    for (let degrees = Math.ceil(place - REACH); degrees <= place + REACH; degrees += 1) {
      const answer = visited.get(((degrees % 360) + 360) % 360);
      if (answer && Math.abs(degrees - place) < least) [best, least] = [answer, Math.abs(degrees - place)];
    }
    return best;
  }

  onScheme(draw);
  new ResizeObserver(draw).observe(strip);

  return {
    /** Show an answer at an angle; `reference` is the answer for the upright picture. */
    show(answer, degrees, reference) {
      angle = degrees;
      const change = relative(answer.logits, reference.logits);
      element.dataset.class = String(answer.class);
      element.dataset.angle = String(degrees);
      element.dataset.change = String(change);
      element.querySelector(".class").textContent = String(answer.class);
      const told = degrees === 0 ? "Logits at 0°: the reference" : `Logits: changed by ${percent(change)} against 0°`;
      element.querySelector(".change").textContent = told;
      [...bars.children].forEach((bar, digit) => {
        bar.classList.toggle("best", digit === answer.class);
        bar.firstChild.style.height = `calc(${answer.probabilities[digit]} * (100% - 16px))`;
      });
      bars.setAttribute("aria-label", `Class ${answer.class} with probability ${answer.probabilities[answer.class].toFixed(2)}`);
      this.record(answer, degrees);
    },
    /** Show that there is nothing to answer for. */
    blank() {
      for (const key of ["class", "change"]) delete element.dataset[key];
      element.querySelector(".class").textContent = "–";
      element.querySelector(".change").textContent = "";
      for (const bar of bars.children) {
        bar.classList.remove("best");
        bar.firstChild.style.height = "0";
      }
    },
    /** Remember the class at an angle. */
    record(answer, degrees) {
      visited.set(Math.round(degrees) % 360, { class: answer.class, probability: answer.probabilities[answer.class] });
      verdict();
      draw();
    },
    /** Forget the angles visited. */
    forget() {
      visited = new Map();
      verdict();
      draw();
    },
    /** What was recorded: [angle, class] pairs. */
    get visited() {
      return [...visited].map(([degrees, answer]) => [degrees, answer.class]);
    },
  };
}

/** Write the class into every run of columns of one class that is wide enough. */
function label(context, columns, tall) {
  context.font = "600 13px system-ui, sans-serif";
  context.textAlign = "center";
  let start = 0;
  for (let i = 1; i <= columns.length; i += 1) {
    if (i < columns.length && columns[i]?.class === columns[start]?.class) continue;
    const answer = columns[start];
    if (answer && i - start > 11) {
      context.fillStyle = ON_CLASS[answer.class];
      context.fillText(String(answer.class), (start + i) / 2, tall - 5);
    }
    start = i;
  }
}

/** A share as text: small ones as powers of ten. */
export function percent(share) {
  if (share < 1e-4) return share.toExponential(0);
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;
}
