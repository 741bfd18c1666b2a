/* Descent: a loss as a curve or a map, and walks downhill on it.
 *
 * Draws the loss of one parameter as a curve with its tangent, that of two as contour lines; the walk now and up to three
 * kept ones; the next step in numbers; the loss by step; for a fit its points, its line, and the mini-batch of the next
 * step. A walk is computed here, with the operations of llmlab.widgets.gradients in the same order; no kernel is asked.
 * Reads: landscapes, xs, ys.
 * Reads and writes: landscape, start, rate, method, momentum, batch_size, seed, step, kept.
 */

const STEPS = 1000; // of a walk, at most
const CALM = 10; // points in a row with a small slope: settled
const FAR = 1000; // half-widths of the window from its middle: diverged
const [BETA1, BETA2, EPSILON] = [0.9, 0.999, 1e-8]; // of Adam
const RUN = ["method", "rate", "momentum", "batch_size", "seed", "start", "step"];
const LETTERS = ["A", "B", "C"];
const TICK = 120; // ms from one picture of a playing walk to the next
const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const HINT = "Try ↑, a larger rate: when does the walk fly off? → ← step, Space plays, k keeps a run, Shift + arrows move the start.";
const TOUCH_HINT = "Slide the rate and drag the start: when does the walk fly off?";
const KINDS = { plain: "slope", momentum: "velocity", adam: "scaled slope" };

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
/** n significant digits; a power of ten below 0.001 and from 10⁶ on. */
function num(value, n = 4) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : value < 0 ? "−∞" : "∞";
  if (value === 0) return "0";
  const [mantissa, power] = Math.abs(value).toExponential(n - 1).split("e").map(Number);
  const sign = value < 0 ? "−" : "";
  if (power >= -3 && power < 6) return sign + String(Number(`${mantissa}e${power}`));
  return `${sign}${mantissa} × 10${power < 0 ? "⁻" : ""}${[...String(Math.abs(power))].map((digit) => RAISED[digit]).join("")}`;
}
const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, ",");
const bracketed = (value) => (value < 0 ? `(${num(value)})` : num(value));
const rounded = (value, n) => Number(value.toPrecision(n));

function drawing(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== false) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// The loss and the walk, as in Python ---

function power(value, n) {
  let result = 1;
  for (let i = 0; i < n; i++) result *= value;
  return result;
}
function lossAt({ terms, xs, ys }, a, b) {
  let total = 0;
  if (terms.length) {
    for (const [factor, i, j] of terms) total += factor * power(a, i) * power(b, j);
    return total;
  }
  for (let row = 0; row < xs.length; row++) {
    const error = a * xs[row] + b - ys[row];
    total += error * error;
  }
  return total / xs.length;
}
function slopeAt({ terms, xs, ys, names }, [a, b = 0], rows) {
  let [byA, byB] = [0, 0];
  for (const [factor, i, j] of terms) {
    if (i) byA += factor * i * power(a, i - 1) * power(b, j);
    if (j) byB += factor * j * power(a, i) * power(b, j - 1);
  }
  if (!terms.length) {
    const count = rows ? rows.length : xs.length;
    for (let at = 0; at < count; at++) {
      const row = rows ? rows[at] : at;
      const error = a * xs[row] + b - ys[row];
      byA += error * xs[row];
      byB += error;
    }
    [byA, byB] = [(2 * byA) / count, (2 * byB) / count];
  }
  return [byA, byB].slice(0, names.length);
}
/** Whether the loss falls to some side of a point without slope. */
function fallsAside({ terms, names }, [a, b = 0]) {
  let [aa, ab, bb] = [0, 0, 0];
  for (const [factor, i, j] of terms) {
    if (i > 1) aa += factor * i * (i - 1) * power(a, i - 2) * power(b, j);
    if (i && j) ab += factor * i * j * power(a, i - 1) * power(b, j - 1);
    if (j > 1) bb += factor * j * (j - 1) * power(a, i) * power(b, j - 2);
  }
  const least = names.length === 1 ? aa : (aa + bb) / 2 - Math.sqrt(((aa - bb) * (aa - bb)) / 4 + ab * ab);
  return least < -1e-9;
}
/** Whole numbers below n from a seed: xorshift on 32 bits (Marsaglia 2003). */
function randomFrom(seed) {
  let state = Math.imul(seed + 1, 2654435761) >>> 0 || 1;
  const below = (n) => {
    state = (state ^ (state << 13)) >>> 0;
    state ^= state >>> 17;
    state = (state ^ (state << 5)) >>> 0;
    return state % n;
  };
  for (let i = 0; i < 8; i++) below(1);
  return below;
}
function drawn(below, n, size) {
  const rows = Array.from({ length: n }, (_, row) => row);
  for (let at = 0; at < size; at++) {
    const other = at + below(n - at);
    [rows[at], rows[other]] = [rows[other], rows[at]];
  }
  return rows.slice(0, size);
}
/** All steps of a run, at most STEPS: points, losses, slopes, used, moves, parts, rows, outcome. */
function walkOf(place, { method, rate, momentum, batch_size, seed, start }) {
  const below = randomFrom(seed);
  const n = place.xs.length;
  const keep = method === "momentum" ? momentum : 0;
  const all = { points: [], losses: [], slopes: [], used: [], moves: [], parts: [], rows: [], outcome: "walking" };
  let point = start;
  let first = start.map(() => 0);
  let second = first;
  let [shrink1, shrink2, calm] = [1, 1, 0];
  for (let step = 0; step < STEPS + CALM; step++) {
    const slope = slopeAt(place, point);
    const loss = lossAt(place, point[0], point[1] ?? 0);
    const rows = batch_size > 0 && batch_size < n ? drawn(below, n, batch_size) : null;
    const used = rows ? slopeAt(place, point, rows) : slope;
    let [parts, moves] = [first.map((v) => [v, 0])];
    if (method === "adam") {
      [shrink1, shrink2] = [shrink1 * BETA1, shrink2 * BETA2];
      first = first.map((m, at) => BETA1 * m + (1 - BETA1) * used[at]);
      second = second.map((v, at) => BETA2 * v + (1 - BETA2) * (used[at] * used[at]));
      parts = first.map((m, at) => [m / (1 - shrink1), second[at] / (1 - shrink2)]);
      moves = parts.map(([m, v]) => m / (Math.sqrt(v) + EPSILON));
    } else moves = first = first.map((v, at) => keep * v + used[at]);
    for (const [name, value] of Object.entries({ points: point, losses: loss, slopes: slope, used, moves, parts, rows })) all[name].push(value);
    const away = point.some((x, at) => Math.abs(x - (place.window[at][0] + place.window[at][1]) / 2) > (FAR * (place.window[at][1] - place.window[at][0])) / 2);
    if (!Number.isFinite(loss) || away) {
      all.outcome = "diverged";
      break;
    }
    calm = Math.sqrt(slope.reduce((sum, g) => sum + g * g, 0)) <= place.tolerance ? calm + 1 : 0;
    if (calm === CALM) {
      all.outcome = "settled";
      break;
    }
    point = point.map((x, at) => x - rate * moves[at]);
  }
  all.end = all.points.length - (all.outcome === "settled" ? CALM : 1);
  if (all.end > STEPS) [all.end, all.outcome] = [STEPS, "walking"];
  if (all.outcome === "settled" && place.terms.length && fallsAside(place, all.points[all.end])) all.outcome = "flat";
  return all;
}

// Pictures of a loss ---

/** Round numbers, 1, 2, 5, 10 … times a power of ten, from `low` to `high`. */
function steps125(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const n of [1, 2, 5]) if (n * 10 ** power >= low && n * 10 ** power <= high) found.push(rounded(n * 10 ** power, 3));
  return found;
}
/** About `count` round places of an axis. */
function ticks([low, high], count) {
  const step = steps125((high - low) / count, (10 * (high - low)) / count)[0];
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, n) => rounded((first + n) * step, 6));
}
/** Lines of equal loss: [level, segments as [x, y, x, y]], in shares of the window from its left upper corner. */
function contours(place) {
  const [wide, high] = [140, 94];
  const [[left, right], [bottom, top]] = place.window;
  const values = Array.from({ length: high + 1 }, (_, y) =>
    Array.from({ length: wide + 1 }, (_, x) => lossAt(place, left + (x / wide) * (right - left), top - (y / high) * (top - bottom))),
  );
  const most = Math.max(...values.map((row) => Math.max(...row)));
  const base = place.lowest < 0 || place.lowest > 0.02 * most ? place.lowest : 0;
  return steps125((most - base) / 1000, 0.95 * (most - base)).map((offset) => {
    const level = base + offset;
    const segments = [];
    for (let y = 0; y < high; y++)
      for (let x = 0; x < wide; x++) {
        const corners = [values[y][x], values[y][x + 1], values[y + 1][x + 1], values[y + 1][x]];
        const places = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]];
        const cut = [];
        for (let edge = 0; edge < 4; edge++) {
          const [p, q, to] = [corners[edge], corners[(edge + 1) % 4], (edge + 1) % 4];
          if (p < level === q < level) continue;
          const part = (level - p) / (q - p);
          cut.push((places[edge][0] + part * (places[to][0] - places[edge][0])) / wide, (places[edge][1] + part * (places[to][1] - places[edge][1])) / high);
        }
        for (let at = 0; at + 3 < cut.length; at += 4) segments.push(cut.slice(at, at + 4));
      }
    return [level, segments];
  });
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const points = { xs: array(model, "xs").data, ys: array(model, "ys").data };
  const places = Object.fromEntries(get("landscapes").map((one) => [one.name, { ...one, ...(one.terms.length ? { xs: [], ys: [] } : points) }]));
  const known = new Map(); // walks by their settings, some of the last
  const lines = new Map(); // contours by landscape
  let playing = 0;
  let complaint = "";
  let dragged = false;

  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: "Descent: walks downhill on a loss",
    hint: HINT,
    touch: TOUCH_HINT,
    first: ".llmlab-desc-first",
    tables,
    idle: () => complaint || `Settled: the slope stays at most ${num(place().tolerance)} long. Diverged: 1,000 times half the picture away.${isInside() ? "" : " The point lies outside of the picture."}`,
    keys: {
      ArrowRight: (event) => (event.shiftKey ? nudge(1, 0) : go(shown() + 1)),
      ArrowLeft: (event) => (event.shiftKey ? nudge(-1, 0) : go(shown() - 1)),
      ArrowUp: (event) => (event.shiftKey ? nudge(0, 1) : setRate(get("rate") * 1.1)),
      ArrowDown: (event) => (event.shiftKey ? nudge(0, -1) : setRate(get("rate") / 1.1)),
      Home: () => go(0),
      End: () => go(STEPS),
      " ": () => play(),
      k: () => keep(),
      c: () => set("kept", []),
      m: () => set("method", Object.keys(KINDS)[(Object.keys(KINDS).indexOf(get("method")) + 1) % 3]),
      r: () => isNoisy() && set("seed", (get("seed") + 1) % 1000),
    },
  });

  // What follows from the traits ---

  const place = () => places[get("landscape")];
  const isFit = () => !place().terms.length;
  const isNoisy = (run = settings()) => run.batch_size > 0 && run.batch_size < place().xs.length;
  const startOf = () => (get("start").length === place().names.length ? get("start") : place().start);
  const settings = () => ({ ...Object.fromEntries(RUN.map((name) => [name, get(name)])), start: startOf() });
  const keptRuns = () => get("kept").filter((run) => run.start.length === place().names.length);
  function walked(run) {
    const key = JSON.stringify([get("landscape"), ...RUN.slice(0, -1).map((name) => run[name])]);
    const found = known.get(key) ?? walkOf(place(), run);
    known.delete(key);
    known.set(key, found);
    if (known.size > 12) known.delete(known.keys().next().value);
    const end = Math.min(run.step, found.end);
    return { ...found, steps: end, said: end === found.end ? found.outcome : "walking" };
  }
  const shown = () => walked(settings()).steps;
  function isInside() {
    const walk = walked(settings());
    return walk.points[walk.steps].every((x, at) => x >= place().window[at][0] && x <= place().window[at][1]);
  }
  function named(run) {
    const method = { plain: "plain", momentum: `momentum ${num(run.momentum, 3)}`, adam: "Adam" }[run.method];
    return `${method}, rate ${num(run.rate, 3)}${isNoisy(run) ? `, ${run.batch_size} of ${place().xs.length} points a step` : ""}`;
  }
  function said(run, walk) {
    const [n, loss, first] = [walk.steps, walk.losses[walk.steps], walk.losses[0]];
    const after = `after ${grouped(n)} step${n === 1 ? "" : "s"}`;
    if (walk.said === "diverged") {
      const product = run.rate * place().curvature;
      const why = run.method === "plain" && product > 2 ? ` Rate × steepest curvature is ${num(product, 3)}, more than 2: each step lands farther off, on the other side.` : "";
      return `diverged ${after}: the loss went from ${num(first, 3)} to ${num(loss, 3)}.${why}`;
    }
    if (walk.said === "flat") return `stopped ${after} where the slope is 0 and there is no valley: to the sides the loss falls. Move the start a little.`;
    if (walk.said === "settled") {
      const local = place().terms.length && loss - place().lowest > 0.01 ? `, not the deepest valley: that has ${num(place().lowest, 3)}` : "";
      return `settled ${after}, loss ${num(loss, 3)}${local}.`;
    }
    const way = loss > first ? "higher than at the start" : isNoisy(run) ? "the slopes of mini-batches keep it moving" : "still on the way";
    return `${after}: loss ${num(loss, 3)} (at the start ${num(first, 3)}), ${way}.`;
  }

  // What the reader does ---

  const go = (step) => set("step", Math.max(0, Math.min(step, step > walked({ ...settings(), step: STEPS }).steps ? STEPS : step)));
  const setRate = (rate) => set("rate", rounded(Math.max(place().rates[0], Math.min(place().rates[1], rate)), 3));
  function setStart(values) {
    const fine = values.map((value, at) => {
      const [low, high] = place().window[at];
      const unit = 10 ** Math.floor(Math.log10((high - low) / 200));
      return rounded(Math.round(Math.max(low, Math.min(high, value)) / unit) * unit, 12);
    });
    if (String(fine) !== String(startOf())) set("start", fine);
  }
  const nudge = (x, y) => setStart(startOf().map((value, at) => value + ([x, y][at] * (place().window[at][1] - place().window[at][0])) / 50));
  const keep = () => set("kept", [...keptRuns(), settings()].slice(-LETTERS.length));
  function choose(name) {
    const other = places[name];
    for (const [trait, value] of Object.entries({ landscape: name, start: other.start, rate: other.rate, batch_size: 0, kept: [] })) model.set(trait, value);
    model.save_changes();
  }
  function stop() {
    clearInterval(playing);
    playing = 0;
    playButton.textContent = "Play";
    sentence.setAttribute("aria-live", "polite");
  }
  function play() {
    if (playing) return stop();
    const all = walked({ ...settings(), step: STEPS }).steps;
    if (STILL.matches) return go(STEPS);
    if (shown() >= all) go(0);
    playButton.textContent = "Pause";
    sentence.setAttribute("aria-live", "off"); // a voice cannot follow
    const stride = Math.ceil(all / 50);
    playing = setInterval(() => {
      const end = walked({ ...settings(), step: STEPS }).steps;
      go(Math.min(end, shown() + stride));
      if (shown() >= end) stop();
    }, TICK);
  }

  // The parts that stay ---

  const button = (attributes, action, ...content) =>
    h("button", { ...attributes, onclick: (event) => (action(), event.detail && root.focus({ preventScroll: true })) }, ...content);
  /** A field for a number. What is typed counts at Enter and when the field is left. */
  function entry(label, expected, use) {
    const take = () => {
      const value = Number(field.value.trim().replace("−", "-"));
      const right = field.value.trim() !== "" && Number.isFinite(value) && use(value) !== false;
      complaint = right ? "" : `${label}: expected ${expected}, got ${field.value || "nothing"}.`;
      draw();
    };
    const field = h("input", { type: "text", inputmode: "decimal", "aria-label": label, class: "llmlab-desc-field", maxlength: 12, onchange: take, onkeydown: (event) => event.key === "Enter" && take() });
    return field;
  }
  const chooseWhich = chooser("loss", get("landscapes").map(({ name }) => [name, { slope: "fit: slope", line: "fit: line", own: "your own" }[name] ?? name]), choose);
  const method = chooser("method", [["plain", "plain"], ["momentum", "momentum"], ["adam", "Adam"]], (value) => set("method", value));
  method.title = "key m";
  const share = chooser("momentum", [...new Set([0.5, 0.8, 0.9, 0.95, 0.99, get("momentum")])].sort().map((value) => [value, value]), (value) => set("momentum", Number(value)));
  const batch = chooser("points a step", [], (value) => set("batch_size", Number(value)));
  const again = button({ "data-again": "", title: "other mini-batches (key r)" }, () => set("seed", (get("seed") + 1) % 1000), "Draw anew");
  const slider = h("input", { type: "range", step: 1, "aria-label": "learning rate, log scale", oninput: () => setRate(10 ** (slider.value / 100)) });
  const rate = entry("learning rate", "a number above 0", (value) => value > 0 && set("rate", value));
  const starts = [0, 1].map((at) => entry(`start ${at + 1}`, "a number", (value) => set("start", startOf().map((old, n) => (n === at ? value : old)))));
  const startNames = [h("span"), h("span")];
  const rewind = button({ "data-home": "", "aria-label": "to the start", title: "key Home" }, () => go(0), "|←");
  const back = button({ "data-back": "", "aria-label": "one step back" }, () => go(shown() - 1), "←");
  const next = button({ "data-next": "", "aria-label": "one step" }, () => go(shown() + 1), "→");
  const end = button({ "data-end": "", "aria-label": "to the end", title: "key End" }, () => go(STEPS), "→|");
  const playButton = button({ "data-play": "", title: "key Space" }, play, "Play");
  const stepText = h("span", { class: "llmlab-desc-step", "data-step": "" });
  const keepButton = button({ "data-keep": "", title: "leaves this run on the picture (key k)" }, keep, "Keep");
  const clear = button({ "data-clear": "", title: "key c" }, () => set("kept", []), "Clear");
  const sentence = h("div", { "aria-live": "polite" });
  const others = h("div");
  const map = h("div", { class: "llmlab-desc-map" });
  const sums = h("div", { class: "llmlab-desc-sums" });
  const chart = h("div");
  const data = h("div");
  const hit = drawing("circle", { class: "llmlab-desc-hit", "data-handle": "" });
  body.append(
    h(
      "div",
      { class: "llmlab-desc-first" },
      h("div", { class: "llmlab-row" }, chooseWhich, method, share, batch, again, h("span", { class: "llmlab-row llmlab-desc-rate" }, "rate", slider, rate)),
      h("div", { class: "llmlab-row llmlab-desc-line" }, h("span", { class: "llmlab-row" }, rewind, back, next, end, playButton), stepText, h("span", { class: "llmlab-row" }, startNames[0], starts[0], startNames[1], starts[1]), h("span", { class: "llmlab-row" }, keepButton, clear)),
      h("div", { class: "llmlab-desc-runs" }, sentence, others),
      h("div", { class: "llmlab-desc-halves" }, map, h("div", { class: "llmlab-desc-beside" }, sums, chart, data)),
    ),
  );

  // The map or the curve ---

  let at = (x, y) => [x, y]; // from parameters, or parameter and loss, to px
  let back2 = (x, y) => [x, y];
  const limit = (px) => Math.max(-1e5, Math.min(1e5, Math.round(10 * px) / 10));
  const path = (list) => list.map(([x, y], n) => `${n ? "L" : "M"}${limit(x)} ${limit(y)}`).join("");

  function drawMap() {
    const [now, scale, run] = [place(), get("scale"), settings()];
    const width = Math.max(200, map.clientWidth || 480 * scale);
    const height = Math.round(Math.min(330 * scale, 0.8 * width));
    const flat = now.names.length === 1;
    const [left, low, up] = [44 * scale, 24 * scale, 6 * scale];
    const [wide, tall] = [width - left - up, height - low - up];
    let [across, along] = [now.window[0], now.window[1]];
    const curve = flat ? Array.from({ length: 241 }, (_, n) => across[0] + (n / 240) * (across[1] - across[0])).map((x) => [x, lossAt(now, x, 0)]) : [];
    if (flat) {
      const values = curve.map(([, loss]) => loss);
      const room = Math.max(...values) - Math.min(...values);
      along = [Math.min(...values) - 0.06 * room, Math.max(...values) + 0.02 * room];
    }
    at = (x, y) => [((x - across[0]) / (across[1] - across[0])) * wide, ((along[1] - y) / (along[1] - along[0])) * tall];
    back2 = (px, py) => [across[0] + ((px - left) / wide) * (across[1] - across[0]), along[1] - ((py - up) / tall) * (along[1] - along[0])];
    const spot = (point) => at(point[0], flat ? lossAt(now, point[0], 0) : point[1]);
    const axes = [
      ...ticks(across, 7).map((value) => drawing("text", { x: left + at(value, 0)[0], y: height - low + 14 * scale, "text-anchor": "middle" }, num(value))),
      ...ticks(along, 5).map((value) => drawing("text", { x: left - 5 * scale, y: up + at(0, value)[1], "text-anchor": "end", "dominant-baseline": "central" }, num(value))),
      drawing("text", { class: "llmlab-desc-name", x: width - up, y: height - 3 * scale, "text-anchor": "end" }, now.names[0]),
      drawing("text", { class: "llmlab-desc-name", x: 3 * scale, y: up + 10 * scale }, flat ? "loss" : now.names[1]),
    ];
    const parts = [drawing("rect", { class: "llmlab-desc-ground", width: wide, height: tall })];
    if (flat) parts.push(drawing("path", { class: "llmlab-desc-curve", d: path(curve.map(([x, loss]) => at(x, loss))) }));
    else parts.push(...mapLines(now, wide, tall, scale));
    keptRuns().forEach((other, n) => {
      const walk = walked(other);
      const spots = walk.points.slice(0, walk.steps + 1).map(spot);
      parts.push(drawing("path", { class: `llmlab-desc-run llmlab-desc-${LETTERS[n]}`, "data-kept": LETTERS[n], d: path(spots) }));
    });
    const walk = walked(run);
    const spots = walk.points.slice(0, walk.steps + 1).map(spot);
    parts.push(drawing("path", { class: "llmlab-desc-run llmlab-desc-now", "data-path": "", d: path(spots) }));
    parts.push(drawing("path", { class: "llmlab-desc-dots", d: spots.slice(0, 60).map(([x, y]) => `M${limit(x)} ${limit(y)}h0`).join("") }));
    const here = walk.points[walk.steps];
    if (flat && isInside()) {
      const [reach, loss, slope] = [0.12 * (across[1] - across[0]), walk.losses[walk.steps], walk.slopes[walk.steps][0]];
      parts.push(drawing("path", { class: "llmlab-desc-tangent", "data-tangent": "", d: path([-reach, reach].map((x) => at(here[0] + x, loss + x * slope))) }));
    }
    if (walk.said !== "diverged") {
      const to = here.map((x, n) => x - run.rate * walk.moves[walk.steps][n]);
      const [[x1, y1], [x2, y2]] = [spot(here), spot(to)].map((pair) => pair.map(limit));
      const far = Math.hypot(x2 - x1, y2 - y1);
      if (far > 8) {
        const [dx, dy] = [((x2 - x1) / far) * 8, ((y2 - y1) / far) * 8];
        parts.push(drawing("path", { class: "llmlab-desc-arrow", "data-arrow": "", d: `M${x1} ${y1}L${x2} ${y2}m${-dx - dy / 2} ${-dy + dx / 2}L${x2} ${y2}l${-dx + dy / 2} ${-dy - dx / 2}` }));
      }
    }
    const [begin, point] = [spot(startOf()).map(limit), spot(here).map(limit)];
    parts.push(drawing("circle", { class: "llmlab-desc-start", cx: begin[0], cy: begin[1], r: 8 * scale }));
    parts.push(drawing("circle", { class: "llmlab-desc-here", "data-here": "", cx: point[0], cy: point[1], r: 4.5 * scale }));
    Object.entries({ cx: begin[0], cy: begin[1], r: 14 * scale }).forEach(([name, value]) => hit.setAttribute(name, value));
    const inner = drawing("svg", { x: left, y: up, width: wide, height: tall, overflow: "hidden" }, ...parts, hit);
    const about = `${flat ? "curve" : "map"} of the loss ${now.formula}; the walk is at ${here.map((x) => num(x, 3)).join(", ")} after ${walk.steps} steps`;
    map.replaceChildren(drawing("svg", { width, height, role: "img", "aria-label": about }, ...axes, inner));
  }
  /** Contours and their labels, which keep clear of each other. */
  function mapLines(now, wide, tall, scale) {
    if (!lines.has(now.name)) lines.set(now.name, contours(now));
    const found = lines.get(now.name);
    const taken = [];
    const labels = found.flatMap(([level, segments]) => {
      let [best, most] = [null, 26 * scale];
      for (let n = 0; n < segments.length; n += 5) {
        const [x, y] = [segments[n][0] * wide, segments[n][1] * tall];
        if (x < 24 * scale || y < 12 * scale || x > wide - 24 * scale || y > tall - 12 * scale) continue;
        const room = Math.min(80 * scale, ...taken.map(([a, b]) => Math.hypot(a - x, 1.5 * (b - y))));
        if (room > most) [best, most] = [[x, y], room];
      }
      if (!best) return [];
      taken.push(best);
      return [drawing("text", { class: "llmlab-desc-level", "data-level": level, x: best[0], y: best[1], "text-anchor": "middle", "dominant-baseline": "central" }, num(level, 3))];
    });
    return [...found.map(([, segments]) => drawing("path", { class: "llmlab-desc-contour", d: segments.map(([x, y, x2, y2]) => `M${limit(x * wide)} ${limit(y * tall)}L${limit(x2 * wide)} ${limit(y2 * tall)}`).join("") })), ...labels];
  }
  let dragging = false;
  function dragTo(event) {
    const box = map.firstChild.getBoundingClientRect();
    setStart(back2(event.clientX - box.left, event.clientY - box.top).slice(0, place().names.length));
  }
  map.addEventListener("pointerdown", (event) => {
    dragged = false;
    if (event.button || (event.pointerType !== "mouse" && event.target !== hit)) return;
    dragging = dragged = true;
    map.setPointerCapture(event.pointerId);
    dragTo(event);
  });
  map.addEventListener("pointermove", (event) => dragging && dragTo(event));
  for (const name of ["pointerup", "pointercancel"]) map.addEventListener(name, () => (dragging = false));
  map.addEventListener("click", (event) => {
    if (!dragged) dragTo(event); // a tap
    root.focus({ preventScroll: true });
  });

  // Beside it ---

  function drawSums() {
    const [now, run] = [place(), settings()];
    const walk = walked(run);
    const n = walk.steps;
    const kind = KINDS[run.method];
    const line = (...content) => h("p", { class: "llmlab-desc-sum" }, ...content);
    const title = h("h4", {}, walk.said === "diverged" ? `After step ${grouped(n)} the walk has left.` : `Step ${grouped(n + 1)}: old − rate × ${kind} = new`);
    const rows = [];
    if (walk.said !== "diverged")
      now.names.forEach((name, at) => {
        const [x, move, [first, second]] = [walk.points[n][at], walk.moves[n][at], walk.parts[n][at]];
        const made = { momentum: `velocity ${num(run.momentum, 3)} × ${bracketed(first)} + ${bracketed(walk.used[n][at])} = ${num(move)}`, adam: `scaled slope ${num(first)} / √${num(second)} = ${num(move)}` }[run.method];
        if (made) rows.push(line(h("b", {}, name), h("span", { class: "llmlab-note", "data-made": name }, made)));
        rows.push(line(h("b", {}, made ? "" : name), h("span", { "data-sum": name }, `${num(x)} − ${num(run.rate)} × ${bracketed(move)} = ${num(x - run.rate * move)}`)));
      });
    if (isNoisy(run) && walk.said !== "diverged")
      rows.push(h("p", { class: "llmlab-note", "data-noise": "" }, `Slope from ${run.batch_size} of ${now.xs.length} points: ${walk.used[n].map((g) => num(g, 3)).join(", ")}; from all: ${walk.slopes[n].map((g) => num(g, 3)).join(", ")}.`));
    sums.replaceChildren(title, ...rows);
  }
  function drawChart() {
    const [now, scale] = [place(), get("scale")];
    const [width, height] = [Math.max(180, chart.clientWidth || 300 * scale), (isFit() ? 104 : 150) * scale];
    const [left, low, right, up] = [58 * scale, 18 * scale, 30 * scale, 8 * scale];
    const runs = [...keptRuns().map((run, n) => [LETTERS[n], walked(run)]), ["now", walked(settings())]];
    const last = Math.max(1, ...runs.map(([, walk]) => walk.steps));
    const above = runs.map(([name, walk]) => [name, walk.losses.slice(0, walk.steps + 1).map((loss) => loss - now.lowest)]);
    const values = above.flatMap(([, list]) => list.filter((value) => Number.isFinite(value) && value > 0));
    const high = Math.ceil(Math.log10(values.reduce((a, b) => Math.max(a, b), 1e-9)));
    const least = Math.max(high - 10, Math.floor(Math.log10(values.reduce((a, b) => Math.min(a, b), Infinity))));
    const bottom = Math.min(high - 1, Number.isFinite(least) ? least : high - 1);
    const x = (step) => left + (step / last) * (width - left - right);
    const y = (value) => up + ((high - Math.max(bottom, Math.min(high, Math.log10(Math.max(value, 1e-300))))) / (high - bottom)) * (height - low - up);
    const middle = Math.round((high + bottom) / 2);
    const marks = [...new Set([high, middle, bottom])].flatMap((power) => [
      drawing("path", { class: "llmlab-desc-contour", d: `M${left} ${y(10 ** power)}H${width - right}` }),
      drawing("text", { x: left - 4 * scale, y: y(10 ** power), "text-anchor": "end", "dominant-baseline": "central" }, num(10 ** power).replace("1 × ", "")),
    ]);
    const ends = [];
    const curves = above.flatMap(([name, list]) => {
      let place = y(list.at(-1));
      while (ends.some(([step, other]) => Math.abs(x(step) - x(list.length - 1)) < 30 * scale && Math.abs(other - place) < 12 * scale)) place -= 12 * scale;
      ends.push([list.length - 1, place]);
      return [
        drawing("path", { class: `llmlab-desc-run llmlab-desc-${name}`, d: path(list.map((value, step) => [x(step), y(Number.isNaN(value) ? Infinity : value)])) }),
        drawing("text", { class: "llmlab-desc-level", x: x(list.length - 1) + 4 * scale, y: place, "dominant-baseline": "central" }, name),
      ];
    });
    const label = `Loss by step${now.lowest ? `, above its lowest, ${num(now.lowest, 3)}` : ""}, log scale`;
    const feet = [["start", 0], ["middle", Math.round(last / 2)], ["end", last]].map(([anchor, step]) => drawing("text", { x: x(step), y: height - 4 * scale, "text-anchor": anchor }, step === last ? `${grouped(step)} steps` : grouped(step)));
    chart.replaceChildren(h("h4", {}, label), drawing("svg", { width, height, role: "img", "aria-label": `${label}: ${runs.map(([name, walk]) => `${name} ${num(walk.losses[walk.steps], 3)}`).join(", ")}` }, ...marks, ...feet, ...curves));
  }
  function drawData() {
    data.hidden = !isFit();
    if (!isFit()) return data.replaceChildren();
    const [now, scale, run] = [place(), get("scale"), settings()];
    const walk = walked(run);
    const [a, b = 0] = walk.points[walk.steps];
    const rows = walk.rows[walk.steps];
    const [width, height, pad] = [Math.max(180, data.clientWidth || 300 * scale), 116 * scale, 8 * scale];
    const [xs, ys] = [[...now.xs], [...now.ys]];
    const [x1, x2, y1, y2] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const [wide, tall] = [x2 - x1 || 1, y2 - y1 || 1];
    const x = (value) => pad + ((value - x1) / wide) * (width - 2 * pad);
    const y = (value) => height - pad - ((value - y1) / tall) * (height - 2 * pad);
    const [from, to] = [x1 - 0.05 * wide, x2 + 0.05 * wide];
    const line = `y = ${num(a, 3)} x${now.names.length > 1 ? ` ${b < 0 ? "−" : "+"} ${num(Math.abs(b), 3)}` : ""}`;
    const about = `${xs.length} points and the line ${line}`;
    const dots = xs.map((value, row) => drawing("circle", { class: !rows || rows.includes(row) ? "llmlab-desc-used" : "llmlab-desc-unused", cx: x(value), cy: y(ys[row]), r: 3.5 * scale }));
    data.replaceChildren(
      h("h4", {}, `${line}${rows ? "; filled: points of the next step" : ""}`),
      drawing("svg", { width, height, role: "img", "aria-label": about }, drawing("path", { class: "llmlab-desc-run llmlab-desc-now", d: path([from, to].map((value) => [x(value), y(a * value + b)])) }), ...dots),
    );
  }
  function drawRuns() {
    const swatch = (name) => drawing("svg", { class: "llmlab-desc-swatch", width: 32, height: 10, viewBox: "0 0 32 10", "aria-hidden": "true" }, drawing("path", { class: `llmlab-desc-run llmlab-desc-${name}`, d: "M0 5H32" }));
    const row = (name, run) => h("p", { class: "llmlab-desc-verdict" }, swatch(name), h("b", {}, name), h("span", { "data-run": name }, `${named(run)}: ${said(run, walked(run))}`));
    sentence.replaceChildren(row("now", settings()));
    others.replaceChildren(...keptRuns().map((run, n) => row(LETTERS[n], run)));
  }
  function drawControls() {
    const [now, run, walk] = [place(), settings(), walked(settings())];
    chooseWhich.value = get("landscape");
    method.value = run.method;
    share.value = run.momentum;
    share.hidden = run.method !== "momentum";
    batch.hidden = !isFit();
    again.hidden = !isNoisy();
    const sizes = [...new Set([1, 2, 4, 8, 16, 32, 64, 128, 256, run.batch_size])].filter((n) => n > 0 && n < now.xs.length).sort((p, q) => p - q);
    if (isFit()) batch.replaceChildren(h("option", { value: 0 }, `all ${now.xs.length} points`), ...sizes.map((n) => h("option", { value: n }, `${n} of ${now.xs.length} a step`)));
    batch.value = isNoisy() ? run.batch_size : 0;
    const ends = now.rates.map((value) => Math.round(100 * Math.log10(value)));
    [slider.min, slider.max, slider.value] = [...ends, Math.round(100 * Math.log10(run.rate))];
    slider.setAttribute("aria-valuetext", num(run.rate, 3));
    const active = root.getRootNode().activeElement;
    const show = (field, value) => active === field && complaint ? 0 : (field.value = String(rounded(value, 6)));
    show(rate, run.rate);
    starts.forEach((field, n) => {
      const name = now.names[n];
      field.hidden = startNames[n].hidden = !name;
      if (!name) return;
      startNames[n].textContent = n ? name : `start ${name}`;
      field.setAttribute("aria-label", `start ${name}`);
      show(field, run.start[n]);
    });
    rewind.disabled = back.disabled = walk.steps === 0;
    next.disabled = end.disabled = walk.steps === walk.end;
    clear.disabled = !get("kept").length;
    stepText.textContent = `step ${grouped(walk.steps)}`;
  }

  // As text ---

  function tables() {
    const [now, run, walk] = [place(), settings(), walked(settings())];
    const [n, kind] = [now.xs.length, KINDS[run.method]];
    const stride = Math.ceil(walk.steps / 20);
    const all = Array.from({ length: walk.steps + 1 }, (_, step) => step);
    const listed = walk.steps <= 40 ? all : all.filter((step) => step <= 20 || step % stride === 0 || step === walk.steps);
    const extra = kind === "slope" ? [] : now.names.map((name) => `${kind}: ${name}`);
    const list = [
      {
        caption: `Runs on the loss ${now.formula}`,
        columns: ["run", "method", "start", "steps", "loss", "outcome"],
        rows: [["now", run], ...keptRuns().map((one, at) => [LETTERS[at], one])].map(([name, one]) => {
          const taken = walked(one);
          return [name, named(one), one.start.map((x) => num(x)).join(", "), grouped(taken.steps), num(taken.losses[taken.steps]), said(one, taken)];
        }),
      },
      {
        caption: `Steps of the run now: new = old − ${num(run.rate)} × ${kind}${isNoisy(run) ? `, slopes of ${run.batch_size} of ${n} points` : ""}`,
        columns: ["step", ...now.names, "loss", ...now.names.map((name) => `slope ${name}`), ...extra],
        rows: listed.map((step) => [grouped(step), ...[...walk.points[step], walk.losses[step], ...walk.used[step], ...(extra.length ? walk.moves[step] : [])].map((x) => num(x))]),
      },
    ];
    if (isFit()) {
      const [a, b = 0] = walk.points[walk.steps];
      list.push({
        caption: `The points and the line after ${grouped(walk.steps)} steps`,
        columns: ["point", "x", "y", "line", "line − y"],
        rows: [...now.xs].slice(0, 30).map((x, row) => [String(row + 1), ...[x, now.ys[row], a * x + b, a * x + b - now.ys[row]].map((value) => num(value))]),
      });
    }
    return list;
  }

  // All of it ---

  function draw() {
    drawControls();
    drawRuns();
    drawMap();
    drawSums();
    drawChart();
    drawData();
    refresh();
  }
  on(["landscape", ...RUN, "kept", "scale"], () => {
    complaint = "";
    draw();
  });
  draw();
  let wide = map.clientWidth;
  const watch = new ResizeObserver(() => {
    if (map.clientWidth === wide) return;
    wide = map.clientWidth;
    draw();
  });
  watch.observe(map);
  return () => {
    clearInterval(playing);
    watch.disconnect();
    release();
  };
}
