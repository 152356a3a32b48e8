// The invariants of a learned PDE as a list of bars with switches.

const KINDS = [
  ["Values", /^(1|rho\d|O)$/],
  ["Gradients: ∇uᵀ∇v", /^g\(\w+\)\.g\(\w+\)$/],
  ["Laplacians: tr H(u)", /^tr H\(\w+\)$/],
  ["Second derivatives along gradients: ∇uᵀ H(w) ∇v", /^g\(\w+\) H\(\w+\) g\(\w+\)$/],
  ["Curvatures: tr H(u) H(v)", /^tr H\(\w+\)H\(\w+\)$/],
];
const FEW = 14;

/** Set up the list inside an element; `switched(on)` is called with 1 and 0 for all invariants. */
export function makeTerms(element, invariants, switched) {
  const on = new Float32Array(invariants.length).fill(1);
  let all = false;
  let order = invariants.map((_, i) => i);
  const kinds = document.createElement("div");
  kinds.className = "kinds";
  const list = document.createElement("div");
  list.className = "list";
  const more = document.createElement("button");
  more.type = "button";
  element.replaceChildren(kinds, list, more);

  const groups = KINDS.map(([title, pattern]) => {
    const members = invariants.flatMap(({ name }, i) => (pattern.test(name) ? [i] : []));
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    label.append(box, `${title} (${members.length})`);
    box.addEventListener("change", () => {
      for (const i of members) on[i] = box.checked ? 1 : 0;
      changed();
    });
    kinds.append(label);
    return { box, members };
  });

  const rows = [...invariants.map(({ formula, name }) => ({ formula, name })), { formula: "general function of all", name: "general" }].map(({ formula, name }, i) => {
    const row = document.createElement("label");
    row.className = "term";
    row.dataset.name = name;
    row.innerHTML = '<span></span><var></var><div class="track"><i></i></div><span class="value"></span>';
    row.querySelector("var").textContent = formula;
    if (i < invariants.length) {
      const box = document.createElement("input");
      box.type = "checkbox";
      row.firstChild.replaceWith(box);
      box.addEventListener("change", () => {
        on[i] = box.checked ? 1 : 0;
        changed();
      });
    }
    return row;
  });

  function layOut() {
    const shown = order.slice(0, all ? order.length : FEW);
    list.replaceChildren(...shown.map((i) => rows[i]), rows.at(-1));
    more.textContent = all ? `Show the ${FEW} largest` : `Show all ${invariants.length}`;
  }

  function boxes() {
    rows.forEach((row, i) => {
      const box = row.querySelector("input");
      if (!box) return;
      box.checked = on[i] === 1;
      row.classList.toggle("off", !box.checked);
    });
    for (const { box, members } of groups) {
      const count = members.filter((i) => on[i]).length;
      box.checked = count === members.length;
      box.indeterminate = count > 0 && count < members.length;
    }
  }

  function changed() {
    boxes();
    switched(Float32Array.from(on));
  }

  more.addEventListener("click", () => {
    all = !all;
    layOut();
  });
  boxes();
  layOut();

  return {
    /** Show sizes, in units of 1/255, with signs, on a common scale. */
    show(sizes, signs, scale) {
      rows.forEach((row, i) => {
        const value = 255 * sizes[i] * (signs[i] ?? 1);
        const share = Math.min(50, (50 * Math.abs(value)) / (255 * scale));
        const bar = row.querySelector("i");
        bar.style.left = `${value < 0 ? 50 - share : 50}%`;
        bar.style.width = `${share}%`;
        row.querySelector(".value").textContent = value ? value.toFixed(Math.abs(value) < 0.995 ? 2 : 1) : "0";
        row.dataset.value = String(value);
      });
    },
    /** Put the largest first. */
    sort(sizes) {
      order = invariants.map((_, i) => i).sort((a, b) => sizes[b] - sizes[a]);
      layOut();
    },
    /** Switch all on. */
    reset() {
      on.fill(1);
      changed();
    },
  };
}
