// What is known of the networks, from the manifest.

const FILE = "results/playground.json";
const count = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, ",");
const share = (value) => `${(100 * value).toFixed(1)}%`;

/** Sentences on the two classifiers. */
export function turnFacts({ equivariant, plain }) {
  const [own, other] = [equivariant, plain];
  const text =
    `Test digits of MNIST: error upright ${share(own.error_upright)} (equivariant) and ` +
    `${share(other.error_upright)} (ordinary), at any angle ${share(own.error_any_angle)} and ${share(other.error_any_angle)}. The class is the same at all ` +
    `72 angles for ${share(own.constant_class)} and ${share(other.constant_class)} of the digits: between the eight angles the equivariance is approximate. ` +
    `${count(own.parameters)} and ${count(other.parameters)} parameters. From `;
  const file = document.createElement("code");
  file.textContent = FILE;
  return [document.createTextNode(text), file, document.createTextNode(". Without orientation a 6 and a 9 differ in their shape alone: mistakes are likely there.")];
}

/** Sentences on the learned PDEs and the picture. */
export function pdeFacts(pde, photo) {
  const steps = [...new Set(pde.tasks.map((task) => task.steps))].join(" or ");
  return (
    `The PDEs that come with the package: ${pde.fields.length - 1} indicator fields and the picture O evolve together in ${steps} steps, by ` +
    `${pde.invariants.length} invariants and a small function of them. Picture: ${photo.text.replaceAll("`", "")}`
  );
}
