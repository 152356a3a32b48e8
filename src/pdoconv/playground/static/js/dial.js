// A dial: a slider on a circle, 0 to 360 degrees, counter-clockwise, by pointer and keyboard.

const SNAP = 2.5; // degrees about multiples of 45 that the pointer is drawn to
const KEYS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 45, PageDown: -45 };

/** Make an element with a `.handle` in it a dial; `changed(degrees)` is called when its user turns it. */
export function makeDial(element, changed) {
  const handle = element.querySelector(".handle");
  let angle = 0;

  function show(degrees) {
    angle = ((degrees % 360) + 360) % 360;
    element.setAttribute("aria-valuenow", String(Math.round(angle)));
    element.setAttribute("aria-valuetext", `${Math.round(angle)} degrees counter-clockwise`);
    element.dataset.angle = String(angle);
    handle.style.transform = `rotate(${-angle}deg)`;
  }

  function turn(degrees) {
    show(degrees);
    changed(angle);
  }

  function point(event) {
    const box = element.getBoundingClientRect();
    const x = event.clientX - (box.left + box.width / 2);
    const y = box.top + box.height / 2 - event.clientY;
    if (Math.hypot(x, y) < box.width / 12) return; // the middle says no direction
    const degrees = Math.round((Math.atan2(y, x) * 180) / Math.PI - 90); // 0 is up
    const eighth = Math.round(degrees / 45) * 45;
    turn(Math.abs(degrees - eighth) <= SNAP ? eighth : degrees);
  }

  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    element.focus();
    element.setPointerCapture(event.pointerId);
    point(event);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) point(event);
  });
  element.addEventListener("keydown", (event) => {
    if (event.key === "Home") turn(0);
    else if (event.key in KEYS && !event.altKey && !event.ctrlKey && !event.metaKey) turn(Math.round(angle) + KEYS[event.key]);
    else return;
    event.preventDefault();
  });
  show(0);
  return { get angle() { return angle; }, turn };
}
