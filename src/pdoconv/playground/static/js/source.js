// Where the picture comes from: drawing, test digits, picture files.

import { showGray } from "./colours.js";
import { SIDE, isLight, prepared, squareOf } from "./picture.js";
import { centred, raw } from "./strokes.js";

const $ = (id) => document.getElementById(id);

/** Set up pad, digits and buttons; `changed(source, kind)` is called with every new source. */
export function makeSource(digits, changed, failed) {
  const pad = $("pad");
  let strokes = [];
  let loaded; // gray values of a picture file

  function show(source, kind, shown = source) {
    showGray(pad, shown, SIDE, SIDE);
    for (const button of $("digits").children) button.setAttribute("aria-pressed", String(kind === button.dataset.name));
    $("invert").hidden = kind !== "picture";
    document.body.dataset.source = kind;
    changed(source, kind);
  }

  function drawn() {
    loaded = undefined;
    show(centred(strokes), "drawing", raw(strokes));
  }

  drawOn(pad, {
    begin(point) {
      if (document.body.dataset.source !== "drawing") strokes = [];
      strokes.push([point]);
      drawn();
    },
    go(point) {
      strokes.at(-1).push(point);
      drawn();
    },
  });

  $("clear").addEventListener("click", () => {
    strokes = [];
    drawn();
  });

  function showLoaded() {
    show(prepared(loaded, $("invert").getAttribute("aria-pressed") === "true"), "picture");
  }

  async function load(file) {
    try {
      const values = squareOf(await bitmapOf(file));
      $("invert").setAttribute("aria-pressed", String(isLight(values)));
      [loaded, strokes] = [values, []];
      showLoaded();
    } catch (error) {
      failed(error);
    }
  }

  $("invert").addEventListener("click", () => {
    $("invert").setAttribute("aria-pressed", String($("invert").getAttribute("aria-pressed") !== "true"));
    showLoaded();
  });
  pictureInput({ button: $("load"), input: $("file"), target: pad, load });

  for (const { name, label, side, values, source } of digits) {
    const button = document.createElement("button");
    const canvas = document.createElement("canvas");
    showGray(canvas, values, side, side);
    button.type = "button";
    button.dataset.name = name;
    button.dataset.label = String(label);
    button.setAttribute("aria-label", `Test digit ${label}`);
    button.append(canvas);
    button.addEventListener("click", () => {
      strokes = [];
      show(source(), name);
    });
    $("digits").append(button);
  }
  return { choose: (name) => [...$("digits").children].find((button) => button.dataset.name === name)?.click() };
}

/** Points of a pointer on a canvas, in its pixels; points between two frames are kept. */
function drawOn(canvas, { begin, go }) {
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    begin(place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) go(place(event));
  });
}

/** A picture file by a button, and by dropping it on an element. */
export function pictureInput({ button, input, target, load }) {
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    if (input.files.length) load(input.files[0]);
    input.value = ""; // the same file can be chosen again
  });
  target.addEventListener("dragover", (event) => {
    event.preventDefault();
    target.classList.add("over");
  });
  target.addEventListener("dragleave", () => target.classList.remove("over"));
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    target.classList.remove("over");
    if (event.dataTransfer.files.length) load(event.dataTransfer.files[0]);
  });
}

/** The picture in a file, turned as its camera says. */
export async function bitmapOf(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error(`${file.name} is not a picture that this browser can read: use PNG, JPEG or WebP.`);
  }
}
