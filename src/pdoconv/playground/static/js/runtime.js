// onnxruntime-web, one thread, from files beside this page; sessions are opened once and run one after the other.

const MODELS = new URL("../models/", import.meta.url);
const VENDOR = new URL("../vendor/", import.meta.url);
const sessions = new Map();
let loading;
let line = Promise.resolve();

/** A file of the models' folder; an error names it. */
export async function modelFile(name) {
  let answer;
  try {
    answer = await fetch(new URL(name, MODELS));
  } catch (error) {
    throw new Error(`models/${name} could not be loaded (${error.message}). Is the server still running?`);
  }
  if (!answer.ok) throw new Error(`models/${name} could not be loaded: the server says ${answer.status}.`);
  return answer;
}

/** A JSON file of the models' folder. */
export async function modelJson(name) {
  const answer = await modelFile(name);
  try {
    return await answer.json();
  } catch {
    throw new Error(`models/${name} is not a JSON file.`);
  }
}

/** Start to load the runtime, if that has not begun. */
export function runtime() {
  loading ??= start();
  return loading;
}

async function start() {
  let ort;
  try {
    ort = await import(new URL("ort.wasm.min.mjs", VENDOR).href);
  } catch {
    throw new Error("vendor/ort.wasm.min.mjs could not be loaded: run `make playground` once (it needs npm).");
  }
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { mjs: new URL("ort-wasm-simd-threaded.mjs", VENDOR).href, wasm: new URL("ort-wasm-simd-threaded.wasm", VENDOR).href };
  ort.env.logLevel = "error";
  return ort;
}

async function open(name) {
  const [ort, bytes] = await Promise.all([runtime(), modelFile(name).then((answer) => answer.arrayBuffer())]);
  try {
    return await queued(() => ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], logSeverityLevel: 3 }));
  } catch (error) {
    throw new Error(`models/${name} could not be opened: ${error.message}`);
  }
}

/** The session of a model file. */
export function session(name) {
  if (!sessions.has(name)) {
    const opened = open(name);
    opened.catch(() => sessions.delete(name)); // the next try starts afresh
    sessions.set(name, opened);
  }
  return sessions.get(name);
}

/** Run a model: `feeds` and the answer are `{name: {data, dims}}`, float32. */
export async function run(name, feeds) {
  const [ort, opened] = await Promise.all([runtime(), session(name)]);
  const tensors = {};
  for (const [key, { data, dims }] of Object.entries(feeds)) tensors[key] = new ort.Tensor("float32", data, dims);
  const found = await queued(() => opened.run(tensors));
  return Object.fromEntries(Object.entries(found).map(([key, { data, dims }]) => [key, { data, dims: [...dims] }]));
}

/** The runtime does one thing at a time. */
function queued(work) {
  const done = line.then(work);
  line = done.catch(() => {});
  return done;
}
