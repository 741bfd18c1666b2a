/* BitSlider: a matrix's weights on the grid of few bits, and what the whole model forgets for the bytes it saves.
 *
 * Draws the histogram of the weights with the levels of one group on it, the error map of the matrix, what the chosen
 * weight costs the others of its group; the measured points of size against loss and skills; the facts that are lost.
 * All but what was measured is computed here, from the weights of one matrix, as llmlab.quantization computes it.
 * Reads: matrix, bits, granularity, group_size, symmetric, kept, chosen, cell, near, skill, weights, sizes, measured,
 * progress, scale, view, offline, busy.
 * Writes: matrix, bits, granularity, symmetric, kept, chosen, cell, near, skill, asked, wish, view.
 */

const CELLS = 64; // of the error map, at most, down and across
const N_LARGEST = 24;
const BINS = 96;
const NEAR = 4; // rms weights: where the near histogram ends
const SHOWN_LOST = 8;
const KINDS = ["tensor", "channel", "group"];
const SKILLS = { loss: "loss", facts_true: "true facts", facts_invented: "facts about people", sums_1digit: "sums", copying: "copying" };

const whole = (n) => n.toLocaleString("en-US");
const significant = (value) => (value === 0 ? "0" : value < 0.001 ? "<0.001" : value.toPrecision(3));
const number = (value) => (value === null ? "" : (value < 0 ? "−" : "") + significant(Math.abs(value)));
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
const percent = (part, all) => `${((100 * part) / all).toFixed(1)} %`;
const size = (bytes) => (bytes < 1000 ? `${bytes} bytes` : bytes < 999.5 * 1024 ? `${significant(bytes / 1024)} KiB` : `${significant(bytes / 2 ** 20)} MiB`);
const rms = (sum, n) => (n ? Math.sqrt(sum / n) : 0);

// Quantization, number for number as in Python ---

/** To the nearest whole number, halves to the even one. */
function rounded(x) {
  const near = Math.round(x);
  return near - x === 0.5 && near % 2 ? near - 1 : near;
}
/** The least number of float16 that is not below a scale. */
function kept16(scale) {
  let power = Math.floor(Math.log2(scale));
  if (2 ** power > scale) power--;
  if (2 ** (power + 1) <= scale) power++;
  const step = 2 ** (Math.max(power, -14) - 10);
  return Math.ceil(scale / step) * step;
}
const codesOf = ({ bits, symmetric }) => (symmetric ? [1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1]);

/** The scale and the zero point of numbers from `low` to `high`. */
function gridOf(low, high, setting) {
  const [lowest, highest] = codesOf(setting);
  if (setting.kept === 100 && low === high && low) return { scale: kept16(Math.abs(low)), zero: setting.symmetric ? 0 : lowest + (low < 0) };
  if (setting.kept !== 100) [low, high] = [(low * setting.kept) / 100, (high * setting.kept) / 100];
  [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  const scale = (setting.symmetric ? Math.max(-low, high) / highest : (high - low) / (highest - lowest)) || 1;
  return { scale: kept16(scale), zero: setting.symmetric ? 0 : within(lowest + rounded(-low / scale), highest + 1) };
}
/** The grid of the numbers from `first` to `end`, without the one at `left`. */
function gridWithin(w, first, end, setting, left = -1) {
  let [low, high] = [Infinity, -Infinity];
  for (let at = first; at < end; at++)
    if (at !== left) {
      if (w[at] < low) low = w[at];
      if (w[at] > high) high = w[at];
    }
  return gridOf(low, high, setting);
}
/** What becomes of one number: [by how much it is off, 1 if it is 0 then and 2 if it was clipped]. */
function fateOf(x, { scale, zero }, lowest, highest) {
  const at = Math.fround(x / scale);
  const code = Math.max(lowest, Math.min(highest, rounded(at) + zero));
  const error = Math.abs(Math.fround(x - Math.fround((code - zero) * scale)));
  return [error, (code === zero ? 1 : 0) + (Math.abs(at + zero - code) > 0.5001 ? 2 : 0)];
}
/** Where the group of a weight begins and ends. */
function bounds({ granularity, group_size }, [rows, columns], index) {
  if (granularity === "tensor") return [0, rows * columns];
  const start = index - (index % columns);
  if (granularity === "channel") return [start, start + columns];
  const first = start + Math.floor((index - start) / group_size) * group_size;
  return [first, Math.min(first + group_size, start + columns)];
}
/** The whole matrix at a setting. */
function quantized(w, shape, setting) {
  const [lowest, highest] = codesOf(setting);
  const [errors, fates, steps] = [new Float32Array(w.length), new Uint8Array(w.length), []];
  let [square, zeros, clipped] = [0, 0, 0];
  for (let first = 0, end; first < w.length; first = end) {
    end = bounds(setting, shape, first)[1];
    const grid = gridWithin(w, first, end, setting);
    steps.push(grid.scale);
    for (let at = first; at < end; at++) {
      const [error, fate] = fateOf(w[at], grid, lowest, highest);
      errors[at] = error;
      fates[at] = fate;
      square += error * error;
      zeros += fate & 1;
      clipped += fate >> 1;
    }
  }
  steps.sort((a, b) => a - b);
  return { errors, fates, zeros, clipped, rms: rms(square, w.length), median: steps[(steps.length - 1) >> 1], largest: steps.at(-1), n_groups: steps.length };
}
/** What a weight costs the others of its group: step, rms error and how many land on 0, with it and without it. */
function costOf(w, shape, setting, index) {
  const [first, end] = bounds(setting, shape, index);
  const [lowest, highest] = codesOf(setting);
  const found = { first, n: end - first, weight: w[index] };
  if (found.n === 1) return { ...found, step: gridWithin(w, first, end, setting).scale, rms: 0, zeros: 0, step_without: null, rms_without: null, zeros_without: null };
  for (const [name, left] of [["", -1], ["_without", index]]) {
    const grid = gridWithin(w, first, end, setting, left);
    let [square, zeros] = [0, 0];
    for (let at = first; at < end; at++)
      if (at !== index) {
        const [error, fate] = fateOf(w[at], grid, lowest, highest);
        square += error * error;
        zeros += fate & 1;
      }
    Object.assign(found, { [`step${name}`]: grid.scale, [`rms${name}`]: rms(square, found.n - 1), [`zeros${name}`]: zeros });
  }
  return found;
}
/** The weight that is largest beside the second largest of its group. */
function costliest(w, shape, setting) {
  let [best, most] = [0, -1];
  for (let first = 0, end; first < w.length; first = end) {
    end = bounds(setting, shape, first)[1];
    let [one, two, place] = [-1, -1, first];
    for (let at = first; at < end; at++) {
      const far = Math.abs(w[at]);
      if (far > one) [one, two, place] = [far, one, at];
      else if (far > two) two = far;
    }
    const ratio = two >= 0 && one > 0 ? one / two : 0;
    if (ratio > most) [best, most] = [place, ratio];
  }
  return best;
}
function farthest(w) {
  const found = [];
  let least = -1;
  for (let at = 0; at < w.length; at++) {
    const far = Math.abs(w[at]);
    if (found.length === N_LARGEST && far <= least) continue;
    let place = found.length;
    while (place && Math.abs(w[found[place - 1]]) < far) place--;
    found.splice(place, 0, at);
    found.length = Math.min(found.length, N_LARGEST);
    least = Math.abs(w[found.at(-1)]);
  }
  return found;
}
/** The error map: rms or largest error of each cell. */
function folding(errors, [rows, columns], how) {
  const [down, across] = [Math.ceil(rows / CELLS), Math.ceil(columns / CELLS)];
  const [high, wide] = [Math.ceil(rows / down), Math.ceil(columns / across)];
  const cells = new Float64Array(high * wide);
  const counts = new Uint32Array(high * wide);
  for (let at = 0, row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, at++) {
      const cell = Math.floor(row / down) * wide + Math.floor(column / across);
      counts[cell]++;
      if (how === "max") cells[cell] = Math.max(cells[cell], errors[at]);
      else cells[cell] += errors[at] * errors[at];
    }
  if (how === "rms") cells.forEach((sum, cell) => (cells[cell] = rms(sum, counts[cell])));
  return { cells, high, wide, down, across };
}
/** Bins from −most to most: weights, those on 0, those clipped; `beyond` lie outside. */
function binned(w, fates, most, n) {
  const [all, zeros, clipped] = [new Uint32Array(n), new Uint32Array(n), new Uint32Array(n)];
  let beyond = 0;
  for (let at = 0; at < w.length; at++) {
    if (Math.abs(w[at]) > most) {
      beyond++;
      continue;
    }
    const bin = within(Math.floor(((w[at] + most) / (2 * most)) * n), n);
    all[bin]++;
    zeros[bin] += fates[at] & 1;
    clipped[bin] += fates[at] >> 1;
  }
  return { all, zeros, clipped, beyond };
}
function matrixBytes([rows, columns], { bits, granularity, group_size, symmetric }) {
  const scales = { tensor: 1, channel: rows, group: rows * Math.ceil(columns / group_size) }[granularity];
  return rows * Math.ceil((columns * bits) / 8) + scales * (symmetric ? 2 : 3);
}
const keyOf = ({ bits, granularity, group_size, symmetric, kept }) =>
  [bits, granularity === "group" ? `group of ${group_size}` : granularity, symmetric ? "symmetric" : "asymmetric", kept].join("|");
const wordsOf = ({ bits, granularity, group_size, symmetric, kept }) =>
  `${bits} bits, ${symmetric ? "symmetric" : "asymmetric"}, a scale for each ${{ tensor: "matrix", channel: "row", group: `group of ${group_size}` }[granularity]}${kept === 100 ? "" : `, ${kept} % of the range`}`;

/** The Wilson 95 % interval of a share. */
function interval([right, n]) {
  const [z2, p] = [1.959964 ** 2, right / n];
  const [middle, half] = [(p + z2 / (2 * n)) / (1 + z2 / n), (Math.sqrt(z2) / (1 + z2 / n)) * Math.sqrt((p * (1 - p)) / n + z2 / (4 * n * n))];
  return [right ? middle - half : 0, right < n ? middle + half : 1];
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  let kept = {}; // what was computed from the weights that are shown
  /** The matrix with what does not depend on the setting, computed once. */
  function matrix() {
    if (kept.of !== get("weights")) {
      const { shape, data: w } = array(model, "weights");
      let [square, most] = [0, 0];
      for (const x of w) [square, most] = [square + x * x, Math.max(most, Math.abs(x))];
      kept = { of: get("weights"), name: get("matrix"), shape, w, rms: rms(square, w.length), most: most || 1, top: farthest(w) };
    }
    return kept;
  }
  const setting = (bits = get("bits")) => ({ bits, ...Object.fromEntries(["granularity", "group_size", "symmetric", "kept"].map((name) => [name, get(name)])) });
  const found = () => {
    const [of, key] = [matrix(), keyOf(setting())];
    if (of.key !== key) Object.assign(of, { key, made: quantized(of.w, of.shape, setting()) });
    return of.made;
  };
  const chosen = () => within(get("chosen"), matrix().w.length);
  const place = (index) => [Math.floor(index / matrix().shape[1]), index % matrix().shape[1]];
  const total = (of = setting()) => get("sizes").other + Object.values(get("sizes").shapes).reduce((sum, shape) => sum + matrixBytes(shape, of), 0);
  const most = () => (get("near") ? Math.min(matrix().most, NEAR * matrix().rms || 1) : matrix().most);
  const step = (by) => {
    const { top } = matrix();
    set("chosen", top[within(top.indexOf(chosen()) + by, top.length)]);
  };

  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: "Bit slider: a matrix in few bits, and what the model forgets",
    hint: "↑ ↓ bits; g groups; s symmetry; ← → the largest weights, w the costliest one. How many weights land on 0?",
    touch: "Move the bits, then tap an outlier: what does its scale cost the others?",
    first: ".llmlab-bits-first",
    keys: {
      ArrowUp: () => set("bits", Math.min(8, get("bits") + 1)),
      ArrowDown: () => set("bits", Math.max(2, get("bits") - 1)),
      g: () => set("granularity", KINDS[(KINDS.indexOf(get("granularity")) + 1) % 3]),
      s: () => set("symmetric", !get("symmetric")),
      k: () => set("kept", Math.max(10, get("kept") - 5)),
      K: () => set("kept", Math.min(100, get("kept") + 5)),
      z: () => set("near", !get("near")),
      c: () => set("cell", get("cell") === "rms" ? "max" : "rms"),
      w: () => set("chosen", costliest(matrix().w, matrix().shape, setting())),
      ArrowRight: () => step(1),
      ArrowLeft: () => step(-1),
      Home: () => set("chosen", matrix().top[0]),
      End: () => set("chosen", matrix().top.at(-1)),
      m: () => measure("this"),
    },
    tables,
  });

  function measure(wish) {
    if (!live(model) || get("busy")) return;
    model.set({ wish, asked: get("asked") + 1 });
    model.save_changes();
  }

  // The controls, made once.
  const control = (text, ...nodes) => h("label", { class: "llmlab-bits-control" }, h("span", {}, text), ...nodes);
  const needs = live(model) ? {} : { disabled: true, title: "this needs a kernel" };
  const matrixChoice = chooser("matrix", Object.keys(get("sizes").shapes).map((name) => [name, name]), (name) => set("matrix", name));
  Object.assign(matrixChoice, needs);
  const slider = (label, name, min, max, by) => h("input", { type: "range", min, max, step: by, "aria-label": label, oninput: ({ target }) => set(name, Number(target.value)) });
  const bits = slider("bits", "bits", 2, 8, 1);
  const bitsText = h("b", { "data-bits": "" });
  const range = slider("percent of each group's range that is kept", "kept", 10, 100, 5);
  const rangeText = h("span", { "data-kept": "" });
  const press = (text, title, onclick, data) => h("button", { title, onclick, ...data }, text);
  const kinds = KINDS.map((name) =>
    press({ tensor: "matrix", channel: "row", group: `${get("group_size")} in a row` }[name], "which weights share a scale (key g)", () => set("granularity", name), { "data-kind": name }),
  );
  const symmetric = press("Symmetric", "codes around 0, or a zero point (key s)", () => set("symmetric", !get("symmetric")), { "data-symmetric": "" });
  const near = press("Near 0", `the histogram to ${NEAR} times the rms weight (key z)`, () => set("near", !get("near")), { "data-near": "" });
  const cell = press("", "what a cell shows (key c)", () => set("cell", get("cell") === "rms" ? "max" : "rms"), { "data-cell": "" });
  const headline = h("p", { class: "llmlab-bits-headline", "aria-live": "polite" });
  const bars = h("div", { class: "llmlab-bits-bars" });
  const legend = h("div", { class: "llmlab-bits-legend llmlab-note" });
  const canvas = h("canvas", { role: "img" });
  const mark = h("span", { class: "llmlab-bits-mark" });
  const map = h("div", { class: "llmlab-bits-map" }, canvas, mark);
  const mapText = h("div", { class: "llmlab-note", "data-map": "" });
  const detail = h("div", { class: "llmlab-bits-detail", "aria-live": "polite" });
  const skill = chooser("measure", Object.entries(SKILLS), (value) => set("skill", value));
  const asks = [press("Measure this setting", "the whole model, in this kernel (key m)", () => measure("this"), { "data-measure": "this" }), press("Measure 8 to 2 bits", "the whole model at each number of bits, in this kernel", () => measure("all"), { "data-measure": "all" })];
  asks.forEach((one) => Object.assign(one, needs));
  const progress = h("span", { class: "llmlab-note", "data-progress": "", role: "status", "aria-live": "polite" });
  const points = h("div", { class: "llmlab-bits-points" });
  const pointsText = h("div", { "data-scores": "" });
  const lost = h("div", { "data-lost": "" });
  body.append(
    h(
      "div",
      { class: "llmlab-bits-first" },
      h("div", { class: "llmlab-bits-controls" }, control("Matrix", matrixChoice), control("Bits", bits, bitsText), h("span", { class: "llmlab-bits-control", role: "group", "aria-label": "which weights share a scale" }, "A scale for each", ...kinds), symmetric, control("Range kept", range, rangeText)),
      headline,
      h("div", { class: "llmlab-bits-pair" }, h("section", {}, h("div", { class: "llmlab-row" }, h("h4", {}, "Weights"), near), bars, legend), h("section", {}, h("div", { class: "llmlab-row" }, h("h4", {}, "Error map:"), cell), map, mapText)),
      detail,
    ),
    h("div", { class: "llmlab-bits-panels" }, h("section", {}, h("div", { class: "llmlab-row" }, h("h4", {}, "Bytes of the model against"), skill), points, pointsText, h("div", { class: "llmlab-row" }, ...asks, progress)), h("section", {}, h("h4", {}, "Facts lost at this setting"), lost)),
  );

  // Histogram.
  let scaleX = (x) => x;
  function drawBars() {
    const [{ w, top, shape }, { fates }, limit, scale] = [matrix(), found(), most(), get("scale")];
    const width = Math.max(200, bars.clientWidth);
    const [high, rug, foot] = [150 * scale, 24 * scale, 18 * scale];
    scaleX = (x) => ((x + limit) / (2 * limit)) * width;
    const { all, zeros, clipped, beyond } = binned(w, fates, limit, BINS);
    const tallest = Math.max(1, ...all);
    const shapes = [];
    const box = (kind, bin, from, n) => n && shapes.push(drawing("rect", { class: `llmlab-bits-${kind}`, x: (bin * width) / BINS, y: high - (high * (from + n)) / tallest, width: Math.max(1, width / BINS - 1), height: (high * n) / tallest }));
    all.forEach((n, bin) => {
      box("on0", bin, 0, zeros[bin]);
      box("level", bin, zeros[bin], n - zeros[bin] - clipped[bin]);
      box("clipped", bin, n - clipped[bin], clipped[bin]);
    });
    const [[first, end], [lowest, highest]] = [bounds(setting(), shape, chosen()), codesOf(setting())];
    const { scale: gap, zero } = gridWithin(w, first, end, setting());
    const tight = gap / (2 * limit) * width < 4;
    for (let code = lowest; code <= highest; code++) {
      const x = scaleX((code - zero) * gap);
      if (x >= 0 && x <= width) shapes.push(drawing("line", { class: `llmlab-bits-grid${tight ? " llmlab-bits-tight" : ""}`, "data-level": code, x1: x, x2: x, y1: tight ? high - 20 * scale : 0, y2: high }));
    }
    if (end - first <= 1024) for (let at = first; at < end; at++) if (Math.abs(w[at]) <= limit) shapes.push(drawing("line", { class: "llmlab-bits-mate", x1: scaleX(w[at]), x2: scaleX(w[at]), y1: high + 2, y2: high + 9 * scale }));
    const dot = (at, mine) => Math.abs(w[at]) <= limit && shapes.push(drawing("circle", { class: mine ? "llmlab-bits-mine" : "llmlab-bits-dot", "data-at": at, cx: scaleX(w[at]), cy: high + 15 * scale, r: (mine ? 5 : 3.5) * scale }));
    [...top].reverse().forEach((at) => at !== chosen() && dot(at, false));
    dot(chosen(), true);
    const label = (x, text, anchor) => drawing("text", { x, y: high + rug + 13 * scale, "text-anchor": anchor }, text);
    shapes.push(drawing("line", { class: "llmlab-bits-axis", x1: 0, x2: width, y1: high, y2: high }), label(1, number(-limit), "start"), label(width / 2, "0", "middle"), label(width - 1, number(limit), "end"));
    const picture = drawing("svg", { width: "100%", height: high + rug + foot, viewBox: `0 0 ${width} ${high + rug + foot}`, role: "img", "aria-label": `histogram of ${whole(w.length)} weights from ${number(-limit)} to ${number(limit)}, with the levels of one group` }, ...shapes);
    bars.replaceChildren(picture);
    const swatch = (kind) => h("i", { class: `llmlab-bits-swatch llmlab-bits-${kind}` });
    const whose = setting().granularity === "tensor" ? "the matrix" : "the chosen weight's group";
    legend.replaceChildren(
      swatch("on0"), ` on 0: ${percent(found().zeros, w.length)} `, swatch("level"), " on another level ", swatch("clipped"), ` clipped: ${percent(found().clipped, w.length)} · `,
      `lines: the levels of ${whose}${end - first <= 1024 ? ", ticks its weights" : ""}; dots: the ${top.length} largest weights${beyond ? `; ${whole(beyond)} lie farther out` : ""}`,
    );
  }
  bars.addEventListener("click", ({ clientX }) => {
    const x = clientX - bars.getBoundingClientRect().left;
    const { top, w } = matrix();
    const off = (at) => Math.abs(scaleX(w[at]) - x);
    const seen = top.filter((at) => Math.abs(w[at]) <= most());
    if (seen.length) set("chosen", seen.reduce((best, at) => (off(at) < off(best) ? at : best)));
  });

  // Error map.
  let folds;
  function drawMap() {
    const of = matrix();
    folds = folding(found().errors, of.shape, get("cell"));
    const { cells, high, wide, down, across } = folds;
    [canvas.width, canvas.height] = [wide, high];
    const context = canvas.getContext("2d");
    const image = context.createImageData(wide, high);
    const full = of.rms || 1;
    cells.forEach((error, at) => image.data.set([213, 94, 0, Math.round(255 * Math.sqrt(Math.min(1, error / full)))], 4 * at));
    context.putImageData(image, 0, 0);
    const [row, column] = place(chosen());
    Object.assign(mark.style, { left: `${(100 * Math.floor(column / across)) / wide}%`, top: `${(100 * Math.floor(row / down)) / high}%`, width: `${100 / wide}%`, height: `${100 / high}%` });
    const how = get("cell") === "rms" ? "rms error" : "largest error";
    canvas.setAttribute("aria-label", `error map of ${of.shape[0]} rows and ${of.shape[1]} columns: ${how} of cells of ${down} × ${across} weights`);
    cell.textContent = how;
    mapText.replaceChildren(...mapWords());
  }
  function mapWords(at) {
    const { cells, wide, down, across } = folds;
    const { shape, rms: full } = matrix();
    if (at === undefined)
      return [h("i", { class: "llmlab-bits-ramp" }), ` 0 to ${number(full)}, the rms weight; a cell is ${down} ${down > 1 ? "rows" : "row"} × ${across} ${across > 1 ? "columns" : "column"} of ${shape[0]} × ${shape[1]}`];
    const [i, j] = [Math.floor(at / wide) * down, (at % wide) * across];
    return [`rows ${i}–${Math.min(i + down, shape[0]) - 1}, columns ${j}–${Math.min(j + across, shape[1]) - 1}: ${number(cells[at])}`];
  }
  function cellUnder({ clientX, clientY }) {
    const box = canvas.getBoundingClientRect();
    const part = (at, from, length, n) => within(Math.floor(((at - from) / length) * n), n);
    return part(clientY, box.top, box.height, folds.high) * folds.wide + part(clientX, box.left, box.width, folds.wide);
  }
  map.addEventListener("pointermove", (event) => mapText.replaceChildren(...mapWords(cellUnder(event))));
  map.addEventListener("pointerleave", () => mapText.replaceChildren(...mapWords()));
  map.addEventListener("click", (event) => {
    const { w, shape } = matrix();
    const at = cellUnder(event);
    const [top, left] = [Math.floor(at / folds.wide) * folds.down, (at % folds.wide) * folds.across];
    let best = top * shape[1] + left;
    for (let row = top; row < Math.min(top + folds.down, shape[0]); row++)
      for (let column = left; column < Math.min(left + folds.across, shape[1]); column++)
        if (Math.abs(w[row * shape[1] + column]) > Math.abs(w[best])) best = row * shape[1] + column;
    set("chosen", best);
  });

  function headlineText() {
    const [{ name, shape, w, rms: full }, made] = [matrix(), found()];
    const bytes = matrixBytes(shape, setting());
    const steps = made.n_groups === 1 ? `one step of ${number(made.largest)}` : `steps of ${number(made.median)} in the median of ${whole(made.n_groups)} groups and ${number(made.largest)} in the worst`;
    return `${name} at ${get("bits")} bits: ${steps}. ${percent(made.zeros, w.length)} of its weights land on 0; the rms error is ${percent(made.rms, full || 1)} of the rms weight. The matrix takes ${size(bytes)} (${significant((8 * bytes) / w.length)} bits a weight, all told), the model ${size(total())} instead of ${size(get("sizes").full)}.`;
  }
  function detailText() {
    const [{ w, shape }, index] = [matrix(), chosen()];
    const [row, column] = place(index);
    const { n, weight, step: its, step_without: less, rms: off, rms_without: without, zeros, zeros_without } = costOf(w, shape, setting(), index);
    const name = h("b", {}, `Weight ${number(weight)} (row ${row}, column ${column})`);
    if (less === null) return [name, ` has a scale of its own: ${number(its)}.`];
    const group = { tensor: "the whole matrix", channel: `its row of ${n}`, group: `its group of ${n}` }[get("granularity")];
    if (its === less) return [name, ` costs nothing: without it ${group} would have the same step, ${number(its)}, and the other ${whole(n - 1)} weights the same rms error, ${number(off)}.`];
    return [name, ` sets the scale of ${group}: a step of ${number(its)}, without it ${number(less)}. The other ${whole(n - 1)} weights pay: an rms error of ${number(off)} in the place of ${number(without)}, and ${whole(zeros)} of them on 0 in the place of ${whole(zeros_without)}.`];
  }

  // What was measured.
  const result = () => get("measured")[keyOf(setting())];
  let placed = [];
  function drawPoints() {
    const [all, scale, by] = [get("measured"), get("scale"), get("skill")];
    const { full, ...rest } = all;
    const some = Object.values(rest).sort((a, b) => a.bytes - b.bytes);
    points.hidden = !full;
    placed = [];
    if (!full) {
      pointsText.replaceChildren(h("p", { class: "llmlab-note", "data-silent": "" }, live(model) ? `Not measured yet. At which number of bits, from 8 down to 2, does the first fact go?` : "Nothing was measured before this page was saved."));
      return;
    }
    const width = Math.max(200, points.clientWidth);
    const [left, right, top, high, foot] = [46 * scale, 14 * scale, 16 * scale, 150 * scale, 20 * scale];
    const ofLoss = by === "loss";
    const value = (one) => (ofLoss ? one.loss : one.scores[by][0]);
    const ends = (one) => (ofLoss ? one.more.slice(1).map((more) => full.loss + more) : interval(one.scores[by]).map((share) => share * one.scores[by][1]));
    const [low, far] = ofLoss ? [Math.min(full.loss, ...some.map(value)) * 0.95, Math.max(full.loss * 1.2, ...some.map((one) => ends(one)[1])) * 1.05] : [0, full.scores[by][1]];
    const y = (v) => top + (ofLoss ? (high * Math.log(far / Math.max(v, low))) / Math.log(far / low) : high * (1 - v / far));
    const widest = 1.04 * Math.max(total({ ...setting(8), symmetric: false }), ...some.map((one) => one.bytes));
    const x = (bytes) => left + ((width - left - right) * bytes) / widest;
    const line = (kind, x1, y1, x2, y2) => drawing("line", { class: `llmlab-bits-${kind}`, x1, x2, y1, y2 });
    const text = (at, down, words, anchor) => drawing("text", { x: at, y: down, "text-anchor": anchor }, words);
    const marks = [line("axis", left, top + high, width - right, top + high), line("axis", left, top, left, top + high)];
    for (const v of ofLoss ? [low / 0.95, far / 1.05] : [0, far / 2, far]) marks.push(text(left - 6 * scale, y(v) + 4 * scale, ofLoss ? significant(v) : String(v), "end"));
    marks.push(text(left, top + high + 15 * scale, "0", "middle"));
    const here = total();
    marks.push(line("here", x(here), top, x(here), top + high), text(Math.max(left + 60 * scale, Math.min(width - 60 * scale, x(here))), top + high + 15 * scale, `this setting: ${size(here)}`, "middle"));
    marks.push(line("full", left, y(value(full)), width - right, y(value(full))), text(left + 6 * scale, y(value(full)) - 4 * scale, `as it is, ${size(full.bytes)}: ${ofLoss ? value(full).toFixed(3) : value(full)}`, "start"));
    for (const one of some) {
      const [at, down, [from, to]] = [x(one.bytes), y(value(one)), ends(one)];
      const r = 5 * scale;
      const now = keyOf(one) === keyOf(setting()) ? " llmlab-bits-now" : "";
      const form = { tensor: () => drawing("circle", { cx: at, cy: down, r }), channel: () => drawing("rect", { x: at - r, y: down - r, width: 2 * r, height: 2 * r }), group: () => drawing("path", { d: `M${at} ${down - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z` }) }[one.granularity]();
      form.setAttribute("class", `llmlab-bits-point${one.symmetric ? "" : " llmlab-bits-open"}${now}`);
      form.dataset.point = keyOf(one);
      form.append(drawing("title", {}, one.words));
      marks.push(line("interval", at, y(from), at, y(to)), form, text(at + 9 * scale, down + (down > top + high - 16 * scale ? -6 : 14) * scale, String(one.bits), "start"));
      placed.push([at, down, one]);
    }
    const named = `${SKILLS[by]} against bytes of the model, ${some.length} settings measured`;
    points.replaceChildren(drawing("svg", { width: "100%", height: top + high + foot, viewBox: `0 0 ${width} ${top + high + foot}`, role: "img", "aria-label": named }, ...marks));
    const one = result();
    const score = (name) => `${SKILLS[name]} ${one.scores[name][0]} of ${one.scores[name][1]} (${full.scores[name][0]})`;
    pointsText.replaceChildren(
      h("p", {}, one ? `This setting: loss ${one.loss.toFixed(3)} (${signed(one.more[0])}, 95 % from ${signed(one.more[1])} to ${signed(one.more[2])}); ${Object.keys(one.scores).map(score).join(", ")}.` : "This setting was not measured."),
      h("p", { class: "llmlab-note" }, `In brackets: the model as it is. Numbers: bits; ● a scale for the matrix, ■ row, ◆ group; outlined: asymmetric. Bars: 95 % intervals${ofLoss ? " of the difference; the loss is drawn on a log scale" : ""}.`),
    );
  }
  points.addEventListener("click", ({ clientX, clientY }) => {
    const box = points.getBoundingClientRect();
    const off = ([at, down]) => Math.hypot(at - clientX + box.left, down - clientY + box.top);
    if (!placed.length) return;
    const best = placed.reduce((one, other) => (off(other) < off(one) ? other : one));
    if (off(best) > 24 * get("scale")) return;
    const { bits, granularity, symmetric, kept } = best[2];
    model.set({ bits, granularity, symmetric, kept });
    model.save_changes();
  });
  function drawLost() {
    const one = result();
    if (!one) {
      lost.replaceChildren(h("p", { class: "llmlab-note" }, "Not measured at this setting."));
      return;
    }
    const known = ["facts_true", "facts_invented"].reduce((sum, name) => sum + get("measured").full.scores[name][0], 0);
    const worded = one.lost.filter((texts) => texts[3]).length;
    const also = (worded ? ` ${worded} of them still hold the answer, in other words.` : "") + (one.gained ? ` ${one.gained} that it did not know are right now.` : "");
    const rows = one.lost.slice(0, SHOWN_LOST).map(([asked, answer, says, inIt]) => h("li", {}, `${asked} `, h("b", {}, answer), inIt ? " — now " : " — says ", h("q", {}, says || "nothing")));
    const more = one.lost.length - rows.length;
    lost.replaceChildren(
      h("p", {}, `${one.lost.length} of ${known} facts that the model knew are no longer answered right.${also}`),
      h("ul", { class: "llmlab-bits-lost" }, ...rows),
      ...(more > 0 ? [h("p", { class: "llmlab-note" }, `The first of each kind are those told most often. ${whole(more)} more are in the table (key t).`)] : []),
    );
  }
  function drawProgress() {
    progress.textContent = get("progress");
    asks.forEach((one) => (one.disabled = !live(model) || get("busy")));
  }

  function tables() {
    const [{ name, w, shape, most: far, rms: full, top }, made] = [matrix(), found()];
    const bytes = matrixBytes(shape, setting());
    const { all, zeros, clipped } = binned(w, made.fates, far, 16);
    const ends = (bin) => number(-far + (2 * far * bin) / 16);
    const { cells, wide, down, across } = folding(made.errors, shape, get("cell"));
    const order = [...cells.keys()].sort((a, b) => cells[b] - cells[a]).slice(0, 8);
    const span = (first, n, last) => `${first}–${Math.min(first + n, last) - 1}`;
    const one = result();
    const results = Object.entries(get("measured")).sort((a, b) => b[1].bytes - a[1].bytes);
    return [
      {
        caption: `${name}: ${wordsOf(setting())}`,
        columns: ["what", "value"],
        rows: [
          ["shape", `${shape[0]} × ${shape[1]}`],
          ["bytes", whole(bytes)],
          ["bits a weight, all told", significant((8 * bytes) / w.length)],
          ["median step", significant(made.median)],
          ["largest step", significant(made.largest)],
          ["land on 0", percent(made.zeros, w.length)],
          ["clipped", percent(made.clipped, w.length)],
          ["rms error", significant(made.rms)],
          ["rms weight", significant(full)],
          ["bytes of the model", whole(total())],
        ],
      },
      { caption: "Weights by size", columns: ["from", "to", "weights", "land on 0", "clipped"], rows: [...all.keys()].map((bin) => [ends(bin), ends(bin + 1), ...[all, zeros, clipped].map((each) => whole(each[bin]))]) },
      {
        caption: "The chosen weight and the largest ones",
        columns: ["weight", "value", "step", "step without it", "rms error of the others", "without it"],
        rows: [...new Set([chosen(), ...top.slice(0, 8)])].map((at) => {
          const its = costOf(w, shape, setting(), at);
          const [row, column] = place(at);
          return [`row ${row}, column ${column}${at === chosen() ? ", chosen" : ""}`, ...[its.weight, its.step, its.step_without, its.rms, its.rms_without].map(number)];
        }),
      },
      {
        caption: `The largest cells of the error map: ${get("cell") === "rms" ? "rms" : "largest"} error`,
        columns: ["rows", "columns", "error"],
        rows: order.map((at) => [span(Math.floor(at / wide) * down, down, shape[0]), span((at % wide) * across, across, shape[1]), significant(cells[at])]),
      },
      {
        caption: results.length ? "The whole model, measured" : "The whole model: not measured",
        columns: ["setting", "bytes", "loss", "more loss, from", "to", ...Object.values(SKILLS).slice(1)],
        rows: results.map(([, each]) => [each.words, whole(each.bytes), each.loss.toFixed(3), ...(each.more ? each.more.slice(1).map(signed) : ["", ""]), ...Object.values(each.scores).map(([right, n]) => `${right} of ${n}`)]),
      },
      {
        caption: one ? `Facts lost at ${wordsOf(setting())}` : "Facts lost at this setting: not measured",
        columns: ["asked", "answer", "it says", "the answer is in it"],
        rows: (one?.lost ?? []).map(([asked, answer, says, inIt]) => [asked, answer, says, inIt ? "yes" : ""]),
      },
    ];
  }

  function update() {
    matrixChoice.value = get("matrix");
    bits.value = get("bits");
    bitsText.textContent = get("bits");
    range.value = get("kept");
    rangeText.textContent = `${get("kept")} %`;
    kinds.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.kind === get("granularity"))));
    symmetric.setAttribute("aria-pressed", String(get("symmetric")));
    near.setAttribute("aria-pressed", String(get("near")));
    skill.value = get("skill");
    headline.textContent = headlineText().replace(/ (?=[KM]iB|%)/g, "\u00a0");
    detail.replaceChildren(...detailText());
    drawBars();
    drawMap();
    drawPoints();
    drawLost();
    drawProgress();
    refresh();
  }

  on(["bits", "granularity", "group_size", "symmetric", "kept", "chosen", "cell", "near", "skill", "weights", "measured", "scale"], update);
  on(["progress", "busy"], drawProgress);
  update();
  const ended = [bars, points].map((node) => onWidth(node, () => (drawBars(), drawPoints())));
  return () => {
    ended.forEach((end) => end());
    release();
  };
}
