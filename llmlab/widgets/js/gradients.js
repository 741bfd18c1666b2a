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
const FAR = 1000; // half-widths from the middle of the window: diverged
const [BETA1, BETA2, EPSILON] = [0.9, 0.999, 1e-8]; // of Adam
const RUN = ["method", "rate", "momentum", "batch_size", "seed", "start", "step"];
const LETTERS = ["A", "B", "C"];
const TICK = 120; // ms between two pictures of a playing walk
const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const HINT = "Try ↑, a larger rate: when does the walk fly off? → ← step, Space plays, k keeps a run, Shift + arrows move the start.";
const TOUCH_HINT = "Slide the rate and drag the start: when does the walk fly off?";
const KINDS = { plain: "slope", momentum: "velocity", adam: "scaled slope" };

const counted = (n) => `${grouped(n)} step${n === 1 ? "" : "s"}`;
const bracketed = (value) => (value < 0 ? `(${num(value)})` : num(value));
const rounded = (value, n) => Number(value.toPrecision(n));

const limit = (px) => Math.max(-1e5, Math.min(1e5, Math.round(10 * px) / 10));
const through = (spots) => spots.map(([x, y], n) => `${n ? "L" : "M"}${limit(x)} ${limit(y)}`).join("");
const line = (kind, d, more) => drawing("path", { class: `llmlab-desc-${kind}`, d: typeof d === "string" ? d : through(d), ...more });
const way = (name, d, more) => line(`run llmlab-desc-${name}`, d, more);
const disc = (kind, [cx, cy], r, more) => drawing("circle", { class: `llmlab-desc-${kind}`, cx: limit(cx), cy: limit(cy), r, ...more });
/** A text in a picture; `side` is start, middle or end. */
const words = (x, y, side, text, more) => drawing("text", { x, y, "text-anchor": side, "dominant-baseline": "central", ...more }, text);
const picture = (width, height, label, ...parts) => drawing("svg", { width, height, role: "img", "aria-label": label }, ...parts);
const listed = (values, n) => values.map((value) => num(value, n)).join(", ");

// The loss and the walk, as in Python ---

function power(value, n) {
  let result = 1;
  for (let i = 0; i < n; i++) result *= value;
  return result;
}
function lossAt({ terms, xs, ys }, a, b = 0) {
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
/** Whether the loss falls to some side of a point without slope: its least curvature, from slopes nearby. */
function fallsAside(place, [a, b = 0]) {
  const [here, byA, byB] = [[a, b], [a + 1e-4, b], [a, b + 1e-4]].map((point) => slopeAt(place, point));
  const [aa, ab, bb] = [byA[0] - here[0], byA[1] - here[1], byB[1] - here[1]].map((rise) => (rise || 0) / 1e-4);
  return (aa + bb) / 2 - Math.hypot((aa - bb) / 2, ab) < -0.01;
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
/** A run of at most STEPS steps: for `all` its points what was there; `end`, its number of steps; `outcome`. */
function walkOf(place, { method, rate, momentum, batch_size, seed, start }) {
  const below = randomFrom(seed);
  const n = place.xs.length;
  const keep = method === "momentum" ? momentum : 0;
  const all = [];
  let [point, first, second, outcome] = [start, start.map(() => 0), start.map(() => 0), "walking"];
  let [shrink1, shrink2, calm] = [1, 1, 0];
  while (all.length < STEPS + CALM && outcome === "walking") {
    const slope = slopeAt(place, point);
    const loss = lossAt(place, ...point);
    const rows = batch_size > 0 && batch_size < n ? drawn(below, n, batch_size) : null;
    const used = rows ? slopeAt(place, point, rows) : slope;
    let [parts, move] = [first.map((v) => [v, 0])];
    if (method === "adam") {
      [shrink1, shrink2] = [shrink1 * BETA1, shrink2 * BETA2];
      first = first.map((m, at) => BETA1 * m + (1 - BETA1) * used[at]);
      second = second.map((v, at) => BETA2 * v + (1 - BETA2) * (used[at] * used[at]));
      parts = first.map((m, at) => [m / (1 - shrink1), second[at] / (1 - shrink2)]);
      move = parts.map(([m, v]) => m / (Math.sqrt(v) + EPSILON));
    } else move = first = first.map((v, at) => keep * v + used[at]);
    all.push({ point, loss, slope, used, move, parts, rows });
    const away = place.window.some(([low, high], at) => Math.abs(point[at] - (low + high) / 2) > (FAR * (high - low)) / 2);
    calm = Math.sqrt(slope.reduce((sum, g) => sum + g * g, 0)) <= place.tolerance ? calm + 1 : 0;
    if (!Number.isFinite(loss) || away) outcome = "diverged";
    else if (calm === CALM) outcome = "settled";
    point = point.map((x, at) => x - rate * move[at]);
  }
  let end = all.length - (outcome === "settled" ? CALM : 1);
  if (end > STEPS) [end, outcome] = [STEPS, "walking"];
  if (outcome === "settled" && fallsAside(place, all[end].point)) outcome = "flat";
  return { all, end, outcome };
}

// Pictures of a loss ---

/** Lines of equal loss: [level, segments as [x, y, x, y]], in shares of the picture from its left upper corner. */
function contours(place) {
  const [wide, high] = [140, 94];
  const [[left, right], [bottom, top]] = place.frame;
  const values = Array.from({ length: high + 1 }, (_, y) =>
    Array.from({ length: wide + 1 }, (_, x) => lossAt(place, left + (x / wide) * (right - left), top - (y / high) * (top - bottom))),
  );
  return place.levels.map((level) => {
    const segments = [];
    for (let y = 0; y < high; y++)
      for (let x = 0; x < wide; x++) {
        const corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1], [x, y]];
        const cut = [];
        for (let edge = 0; edge < 4; edge++) {
          const [[x1, y1], [x2, y2]] = corners.slice(edge, edge + 2);
          const [p, q] = [values[y1][x1], values[y2][x2]];
          const part = (level - p) / (q - p);
          if (p < level !== q < level) cut.push((x1 + part * (x2 - x1)) / wide, (y1 + part * (y2 - y1)) / high);
        }
        for (let at = 0; at < cut.length; at += 4) segments.push(cut.slice(at, at + 4));
      }
    return [level, segments];
  });
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const points = { xs: array(model, "xs").data, ys: array(model, "ys").data };
  const places = Object.fromEntries(get("landscapes").map((one) => [one.name, { ...one, ...(one.terms.length ? { xs: [], ys: [] } : points) }]));
  const known = new Map(); // walks by their settings
  const lines = new Map(); // contours by landscape
  let place, run, walk, runs, scale; // the loss, the settings, their walk, all runs as [name, settings, walk]
  let playing = 0;

  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: "Descent: walks downhill on a loss",
    hint: HINT,
    touch: TOUCH_HINT,
    first: ".llmlab-desc-first",
    tables,
    idle: () => `Settled: the slope stays at most ${num(place.tolerance)} long. Diverged: 1,000 times half the picture away.${isInside() ? "" : " The point lies outside of the picture."}`,
    keys: {
      ArrowRight: (event) => (event.shiftKey ? nudge(1, 0) : go(walk.steps + 1)),
      ArrowLeft: (event) => (event.shiftKey ? nudge(-1, 0) : go(walk.steps - 1)),
      ArrowUp: (event) => (event.shiftKey ? nudge(0, 1) : setRate(run.rate * 1.1)),
      ArrowDown: (event) => (event.shiftKey ? nudge(0, -1) : setRate(run.rate / 1.1)),
      Home: () => go(0),
      End: () => go(STEPS),
      " ": () => play(),
      k: () => keep(),
      c: () => set("kept", []),
      m: () => set("method", { plain: "momentum", momentum: "adam", adam: "plain" }[run.method]),
      r: () => isNoisy(run) && drawAnew(),
    },
  });

  // What follows from the traits ---

  const fits = (start) => start.length === place.names.length;
  const isNoisy = ({ batch_size }) => batch_size > 0 && batch_size < place.xs.length;
  const isInside = () => place.window.every(([low, high], at) => low <= walk.last.point[at] && walk.last.point[at] <= high);
  function walked(one) {
    const key = JSON.stringify([place.name, ...RUN.map((name) => name !== "step" && one[name])]);
    if (known.size > 40) known.clear();
    const found = known.get(key) ?? walkOf(place, one);
    known.set(key, found);
    const steps = Math.min(one.step, found.end);
    return { ...found, steps, taken: found.all.slice(0, steps + 1), last: found.all[steps], outcome: steps === found.end ? found.outcome : "walking" };
  }
  function read() {
    place = places[get("landscape")];
    scale = get("scale");
    run = Object.fromEntries(RUN.map((name) => [name, get(name)]));
    if (!fits(run.start)) run.start = place.start; // another landscape arrives before its start
    walk = walked(run);
    const kept = get("kept").filter(({ start }) => fits(start));
    runs = [["now", run, walk], ...kept.map((one, n) => [LETTERS[n], one, walked(one)])];
  }
  function named(one) {
    const method = { plain: "plain", momentum: `momentum ${num(one.momentum, 3)}`, adam: "Adam" }[one.method];
    return `${method}, rate ${num(one.rate, 3)}${isNoisy(one) ? `, ${one.batch_size} of ${place.xs.length} points a step` : ""}`;
  }
  function said(one, { steps, outcome, taken, last: { loss } }) {
    const first = taken[0].loss;
    const after = `after ${counted(steps)}`;
    if (outcome === "diverged") {
      const product = one.rate * place.curvature;
      const why = one.method === "plain" && product > 2 ? ` Rate × steepest curvature is ${num(product, 3)}, more than 2: each step lands farther off, on the other side.` : "";
      return `diverged ${after}: the loss went from ${num(first, 3)} to ${num(loss, 3)}.${why}`;
    }
    if (outcome === "flat") return `stopped ${after} where the slope is 0 and there is no valley: to the sides the loss falls. Move the start a little.`;
    if (outcome === "settled") {
      const local = place.terms.length && loss - place.lowest > 0.01 ? `, not the deepest valley: that has ${num(place.lowest, 3)}` : "";
      return `settled ${after}, loss ${num(loss, 3)}${local}.`;
    }
    const way = loss > first ? "higher than at the start" : isNoisy(one) ? "moved by the slopes of mini-batches" : "still on the way";
    return `${after}: loss ${num(loss, 3)} (at the start ${num(first, 3)}), ${way}.`;
  }

  // What the reader does ---

  const go = (step) => set("step", Math.max(0, step > walk.end ? STEPS : step));
  const setRate = (rate) => set("rate", rounded(Math.max(place.rates[0], Math.min(place.rates[1], rate)), 3));
  function setStart(values) {
    const fine = place.window.map(([low, high], at) => {
      const unit = 10 ** Math.floor(Math.log10((high - low) / 200));
      return rounded(Math.round(Math.max(low, Math.min(high, values[at])) / unit) * unit, 12);
    });
    if (String(fine) !== String(run.start)) set("start", fine);
  }
  const nudge = (...by) => setStart(place.window.map(([low, high], at) => run.start[at] + (by[at] * (high - low)) / 50));
  const keep = () => set("kept", [...runs.slice(1).map(([, one]) => one), run].slice(-LETTERS.length));
  const drawAnew = () => set("seed", (run.seed + 1) % 1000);
  function choose(landscape) {
    const { start, rate } = places[landscape];
    for (const pair of Object.entries({ landscape, start, rate, batch_size: 0, kept: [] })) model.set(...pair);
    model.save_changes();
  }
  function play(stop = Boolean(playing)) {
    clearInterval(playing);
    playing = 0;
    if (!stop && STILL.matches) go(STEPS);
    else if (!stop) {
      if (walk.steps === walk.end) go(0);
      const stride = Math.ceil(walk.end / 50);
      playing = setInterval(() => {
        go(Math.min(walk.end, walk.steps + stride));
        if (walk.steps === walk.end) play(true);
      }, TICK);
    }
    playButton.textContent = playing ? "Pause" : "Play";
    sentence.setAttribute("aria-live", playing ? "off" : "polite"); // a voice cannot follow
  }

  // The parts that stay ---

  const row = (kind, ...nodes) => h("div", { class: `llmlab-row ${kind}` }, ...nodes);
  const button = (sign, action, text, more) =>
    h("button", { [`data-${sign}`]: "", ...more, onclick: (event) => (action(), event.detail && root.focus({ preventScroll: true })) }, text);
  /** A field for a number; what cannot be used is taken back. */
  function entry(label, use) {
    const field = h("input", { type: "number", step: "any", "aria-label": label, class: "llmlab-desc-field", onchange: () => (field.value && use(Number(field.value)), draw()) });
    return field;
  }
  const chooseWhich = chooser("loss", get("landscapes").map(({ name, terms }) => [name, terms.length ? name : `fit: ${name}`]), choose);
  const method = chooser("method", [["plain", "plain"], ["momentum", "momentum"], ["adam", "Adam"]], (value) => set("method", value));
  const share = entry("momentum", (value) => value >= 0 && value < 1 && set("momentum", value));
  const batch = entry("points a step", (value) => value % 1 === 0 && value > 0 && value <= place.xs.length && set("batch_size", value % place.xs.length));
  const ofPoints = h("span");
  const again = button("again", drawAnew, "Draw anew", { title: "key r" });
  const slider = h("input", { type: "range", step: 1, "aria-label": "rate, log scale", oninput: () => setRate(10 ** (slider.value / 100)) });
  const rate = entry("learning rate", (value) => value > 0 && set("rate", value));
  const starts = [0, 1].map((at) => entry("start", (value) => set("start", run.start.map((old, n) => (n === at ? value : old)))));
  const startNames = [h("span"), h("span")];
  const backward = [button("home", () => go(0), "|←", { "aria-label": "to the start" }), button("back", () => go(walk.steps - 1), "←", { "aria-label": "one step back" })];
  const onward = [button("forth", () => go(walk.steps + 1), "→", { "aria-label": "one step" }), button("end", () => go(STEPS), "→|", { "aria-label": "to the end" })];
  const playButton = button("play", () => play(), "Play");
  const stepText = h("span", { class: "llmlab-desc-step" });
  const clear = button("clear", () => set("kept", []), "Clear");
  const sentence = h("div", { "aria-live": "polite" });
  const box = (kind, ...nodes) => h("div", { class: `llmlab-desc-${kind}` }, ...nodes);
  const [others, sums, chart, data, map] = ["others", "sums", "chart", "data", "map"].map((kind) => box(kind));
  const controls = row("llmlab-desc-line", row("", ...backward, ...onward, playButton), stepText, row("", startNames[0], starts[0], startNames[1], starts[1]), row("", button("keep", keep, "Keep", { title: "key k" }), clear));
  body.append(box("first", row("", chooseWhich, method, share, batch, ofPoints, again, row("llmlab-desc-rate", "rate", slider, rate)), controls, box("runs", sentence, others), box("halves", map, box("beside", sums, chart, data))));

  // The map or the curve ---

  let toValues; // from px to parameters

  function drawMap() {
    const width = Math.max(200, map.clientWidth || 480 * scale);
    const height = Math.round(Math.min(330 * scale, 0.8 * width));
    const flat = place.names.length === 1;
    const [left, low, up] = [44 * scale, 32 * scale, 6 * scale];
    const [wide, tall] = [width - left - up, height - low - up];
    const [across, along] = place.frame;
    const curve = Array.from({ length: flat ? 241 : 0 }, (_, n) => across[0] + (n / 240) * (across[1] - across[0]));
    const at = ([x, y]) => [((x - across[0]) / (across[1] - across[0])) * wide, ((along[1] - y) / (along[1] - along[0])) * tall];
    toValues = (x, y) => [across[0] + ((x - left) / wide) * (across[1] - across[0]), along[1] - ((y - up) / tall) * (along[1] - along[0])];
    const spot = (point) => at(flat ? [point[0], lossAt(place, point[0])] : point);
    const bold = { class: "llmlab-desc-name" };
    const axes = [
      ...place.ticks[0].map((value) => words(left + at([value, 0])[0], height - low + 9 * scale, "middle", num(value))),
      ...place.ticks[1].map((value) => words(left - 5 * scale, up + at([0, value])[1], "end", num(value))),
      words(width - up, height - 6 * scale, "end", place.names[0], bold),
      words(3 * scale, up + 7 * scale, "start", flat ? "loss" : place.names[1], bold),
    ];
    const ways = runs.map(([, , { taken }]) => taken.map(({ point }) => spot(point)));
    const { point, loss, slope, move } = walk.last;
    const parts = [
      drawing("rect", { class: "llmlab-desc-ground", width: wide, height: tall }),
      ...(flat ? [line("curve", curve.map((x) => spot([x])))] : mapLines(wide, tall)),
      ...ways.map((spots, n) => way(runs[n][0], spots, { "data-way": runs[n][0] })).reverse(),
      line("dots", ways[0].slice(0, 60).map((one) => `${through([one])}h0`).join("")),
    ];
    const reach = 0.12 * (across[1] - across[0]);
    if (flat && isInside()) parts.push(line("aside", [-reach, reach].map((x) => at([point[0] + x, loss + x * slope[0]])), { "data-tangent": "" }));
    if (walk.outcome === "walking") {
      const to = spot(point.map((x, n) => x - run.rate * move[n]));
      parts.push(line("aside", [ways[0].at(-1), to], { "data-ahead": "" }), disc("ahead", to, 4.5 * scale));
    }
    parts.push(disc("start", ways[0][0], 8 * scale), disc("here", ways[0].at(-1), 4.5 * scale, { "data-here": "" }), disc("hit", ways[0][0], 14 * scale));
    const about = `${flat ? "curve" : "map"} of the loss ${place.formula}; the walk is at ${listed(point, 3)} after ${counted(walk.steps)}`;
    map.replaceChildren(picture(width, height, about, ...axes, drawing("svg", { x: left, y: up, width: wide, height: tall, overflow: "hidden" }, ...parts)));
  }
  /** Contours and their labels, which keep clear of each other. */
  function mapLines(wide, tall) {
    if (!lines.has(place.name)) lines.set(place.name, contours(place));
    const taken = [];
    const labels = lines.get(place.name).flatMap(([level, segments]) => {
      let [best, most] = [null, 26 * scale];
      for (let n = 0; n < segments.length; n += 5) {
        const [x, y] = [segments[n][0] * wide, segments[n][1] * tall];
        if (x < 24 * scale || y < 12 * scale || x > wide - 24 * scale || y > tall - 12 * scale) continue;
        const room = Math.min(80 * scale, ...taken.map(([a, b]) => Math.hypot(a - x, 1.5 * (b - y)))) * (x > wide / 2 ? 1 : 0.7);
        if (room > most) [best, most] = [[x, y], room];
      }
      if (best) taken.push(best);
      return best ? [words(...best, "middle", num(level, 3), { class: "llmlab-desc-level", "data-level": level })] : [];
    });
    return [...lines.get(place.name).map(([, all]) => line("contour", all.map(([x, y, x2, y2]) => through([[x * wide, y * tall], [x2 * wide, y2 * tall]])).join(""))), ...labels];
  }
  let [dragging, dragged] = [false, false];
  function dragTo(event) {
    const box = map.firstChild.getBoundingClientRect();
    setStart(toValues(event.clientX - box.left, event.clientY - box.top));
  }
  map.addEventListener("pointerdown", (event) => {
    dragging = dragged = !event.button && (event.pointerType === "mouse" || event.target.matches(".llmlab-desc-hit")); // a finger scrolls elsewhere
    if (!dragging) return;
    map.setPointerCapture(event.pointerId);
    dragTo(event);
  });
  map.addEventListener("pointermove", (event) => dragging && dragTo(event));
  map.addEventListener("lostpointercapture", () => (dragging = false));
  map.addEventListener("click", (event) => {
    if (!dragged) dragTo(event); // a tap
    root.focus({ preventScroll: true });
  });

  // Beside it ---

  /** The step to come; of a walk that has ended, its first. */
  function drawSums() {
    const n = walk.outcome === "walking" ? walk.steps : 0;
    const { point, slope, used, move, parts } = walk.all[n];
    const sum = (name, kind, text) => h("p", { class: "llmlab-desc-sum" }, h("b", {}, name), h("span", { [`data-${kind}`]: "" }, text));
    const rows = place.names.flatMap((name, at) => {
      const made = {
        momentum: `velocity ${num(run.momentum, 3)} × ${bracketed(parts[at][0])} + ${bracketed(used[at])} = ${num(move[at])}`,
        adam: `scaled slope ${num(parts[at][0])} / √${num(parts[at][1])} = ${num(move[at])}`,
      }[run.method];
      const then = `${num(point[at])} − ${num(run.rate)} × ${bracketed(move[at])} = ${num(point[at] - run.rate * move[at])}`;
      return made ? [sum(name, "made", made), sum("", "sum", then)] : [sum(name, "sum", then)];
    });
    if (isNoisy(run)) rows.push(h("p", { class: "llmlab-note" }, `Slope from ${run.batch_size} of ${place.xs.length} points: ${listed(used, 3)}; from all: ${listed(slope, 3)}.`));
    sums.replaceChildren(h("h4", {}, `Step ${grouped(n + 1)}${n ? "" : ", the first"}: old − rate × ${KINDS[run.method]} = new`), ...rows);
  }
  function drawChart() {
    const [width, height] = [chart.clientWidth || 300 * scale, (place.xs.length ? 104 : 150) * scale];
    const [left, low, right, up] = [58, 18, 30, 8].map((px) => px * scale);
    const logOf = (value) => (value > 0 ? Math.log10(value) : value <= 0 ? -Infinity : Infinity);
    const lists = runs.map(([, , { taken }]) => taken.map(({ loss }) => logOf(loss - place.lowest)));
    const last = Math.max(1, ...lists.map((list) => list.length - 1));
    const logs = lists.flat().filter(Number.isFinite);
    const high = Math.ceil(Math.max(...logs, -8));
    const bottom = Math.min(high - 1, Math.max(high - 10, Math.floor(Math.min(...logs, high))));
    const x = (step) => left + (step / last) * (width - left - right);
    const y = (log) => up + ((high - Math.max(bottom, Math.min(high, log))) / (high - bottom)) * (height - low - up);
    const marks = [high, Math.round((high + bottom) / 2), bottom].flatMap((power) => [
      line("contour", `M${left} ${y(power)}H${width - right}`),
      words(left - 4 * scale, y(power), "end", num(10 ** power).replace("1 × ", "")),
    ]);
    const ends = [];
    const curves = lists.flatMap((list, n) => {
      const to = x(list.length - 1);
      let beside = y(list.at(-1));
      while (ends.some(([other, at]) => Math.abs(other - to) < 30 * scale && Math.abs(at - beside) < 12 * scale)) beside -= 12 * scale;
      ends.push([to, beside]);
      return [way(runs[n][0], list.map((log, step) => [x(step), y(log)])), words(to + 4 * scale, beside, "start", runs[n][0], { class: "llmlab-desc-level" })];
    });
    const feet = [words(left, height - 7 * scale, "start", "0"), words(x(last), height - 7 * scale, "end", counted(last))];
    const label = `Loss by step${place.lowest ? `, above its lowest, ${num(place.lowest, 3)}` : ""}, log scale`;
    chart.replaceChildren(h("h4", {}, label), picture(width, height, label, ...marks, ...feet, ...curves));
  }
  function drawData() {
    data.hidden = !place.xs.length;
    if (data.hidden) return;
    const [[a, b = 0], rows] = [walk.last.point, walk.last.rows];
    const sizes = [data.clientWidth || 300 * scale, 116 * scale];
    const ends = [place.xs, place.ys].map((list) => [Math.min(...list), Math.max(...list)]);
    const spot = (pair) => pair.map((value, at) => {
      const share = 0.03 + (0.94 * (value - ends[at][0])) / (ends[at][1] - ends[at][0] || 1);
      return sizes[at] * (at ? 1 - share : share);
    });
    const text = `y = ${num(a, 3)} x${place.names.length > 1 ? ` ${b < 0 ? "−" : "+"} ${num(Math.abs(b), 3)}` : ""}`;
    const dots = Array.from(place.xs, (x, n) => disc(!rows || rows.includes(n) ? "used" : "unused", spot([x, place.ys[n]]), 3.5 * scale));
    data.replaceChildren(
      h("h4", {}, `${text}${rows ? "; filled: the next mini-batch" : ""}`),
      picture(...sizes, `${place.xs.length} points and the line ${text}`, way("now", ends[0].map((x) => spot([x, a * x + b]))), ...dots),
    );
  }
  function drawRuns() {
    const rows = runs.map(([name, one, taken]) => {
      const swatch = drawing("svg", { class: "llmlab-desc-swatch", width: 32, height: 10, "aria-hidden": "true" }, way(name, "M0 5H32"));
      return h("p", { class: "llmlab-desc-verdict" }, swatch, h("b", {}, name), h("span", { "data-run": name }, `${named(one)}: ${said(one, taken)}`));
    });
    sentence.replaceChildren(rows[0]);
    others.replaceChildren(...rows.slice(1));
  }
  function drawControls() {
    const n = place.xs.length;
    for (const [node, value] of [[chooseWhich, place.name], [method, run.method], [share, run.momentum], [batch, run.batch_size || n], [rate, rounded(run.rate, 6)]]) node.value = value;
    share.hidden = run.method !== "momentum";
    batch.hidden = ofPoints.hidden = !n;
    again.hidden = !isNoisy(run);
    ofPoints.textContent = `of ${n} points a step`;
    [slider.min, slider.max, slider.value] = [...place.rates, run.rate].map((value) => Math.round(100 * Math.log10(value)));
    slider.setAttribute("aria-valuetext", num(run.rate, 3));
    starts.forEach((field, at) => {
      field.hidden = startNames[at].hidden = at >= run.start.length;
      startNames[at].textContent = `${at ? "" : "start "}${place.names[at]}`;
      field.ariaLabel = `start ${place.names[at]}`;
      field.value = field.hidden ? "" : rounded(run.start[at], 6);
    });
    for (const one of backward) one.disabled = walk.steps === 0;
    for (const one of onward) one.disabled = walk.steps === walk.end;
    clear.disabled = runs.length < 2;
    stepText.textContent = `step ${grouped(walk.steps)}`;
  }

  // As text ---

  function tables() {
    const [n, kind, { steps, taken, last }] = [place.xs.length, KINDS[run.method], walk];
    const extra = kind === "slope" ? [] : place.names.map((name) => `${kind}: ${name}`);
    const numbers = (list) => list.map((value) => num(value));
    const list = [
      {
        caption: `Runs on the loss ${place.formula}`,
        columns: ["run", "method", "start", "steps", "loss", "outcome"],
        rows: runs.map(([name, one, way]) => [name, named(one), listed(one.start), grouped(way.steps), num(way.last.loss), said(one, way)]),
      },
      {
        caption: `Steps of the run now: new = old − ${num(run.rate)} × ${kind}${isNoisy(run) ? `, slopes of ${run.batch_size} of ${n} points` : ""}`,
        columns: ["step", ...place.names, "loss", ...place.names.map((name) => `slope ${name}`), ...extra],
        rows: taken.flatMap(({ point, loss, used, move }, step) =>
          steps > 40 && step > 20 && step % Math.ceil(steps / 20) && step < steps ? [] : [[grouped(step), ...numbers([...point, loss, ...used, ...(extra.length ? move : [])])]],
        ),
      },
    ];
    const [a, b = 0] = last.point;
    const line = (x, y) => numbers([x, y, a * x + b, a * x + b - y]);
    if (n)
      list.push({
        caption: `The points and the line after ${counted(steps)}`,
        columns: ["point", "x", "y", "line", "line − y"],
        rows: [...place.xs].slice(0, 30).map((x, row) => [String(row + 1), ...line(x, place.ys[row])]),
      });
    return list;
  }

  // All of it ---

  function draw() {
    read();
    for (const part of [drawControls, drawRuns, drawMap, drawSums, drawChart, drawData, refresh]) part();
  }
  on(["landscape", ...RUN, "kept", "scale"], draw);
  draw();
  const unwatch = onWidth(map, draw);
  return () => {
    clearInterval(playing);
    unwatch();
    release();
  };
}
