/* BitSlider: a matrix's weights on the grid of few bits, and what the whole model forgets for the bytes it saves.
 *
 * Draws the histogram of the weights with the levels of one group, the error map, what the chosen weight costs its
 * group; measured points of size against loss and skills; the facts that are lost. All but what was measured is
 * computed here, from the weights of one matrix, as llmlab.quantization computes it.
 * Reads: matrix, bits, granularity, group_size, symmetric, kept, chosen, cell, skill, weights, sizes, measured,
 * progress, scale, view, offline, busy.
 * Writes: matrix, bits, granularity, symmetric, kept, chosen, cell, skill, asked, wish, view.
 */

const CELLS = 64; // of the error map, at most, down and across
const N_LARGEST = 24;
const BINS = 96;
const KINDS = ["tensor", "channel", "group"];
const FORMS = { tensor: "●○", channel: "■□", group: "◆◇" }; // symmetric, asymmetric
const SKILLS = { loss: "loss", facts_true: "true facts", facts_invented: "facts about people", sums_1digit: "sums", copying: "copying" };

const whole = (n) => n.toLocaleString("en-US");
const significant = (value) => (value === 0 ? "0" : value < 0.001 ? "<0.001" : value.toPrecision(3));
const number = (value) => (value === null ? "" : (value < 0 ? "−" : "") + significant(Math.abs(value)));
const percent = (part, all) => `${((100 * part) / all).toFixed(1)} %`;
const size = (bytes) => (bytes < 999.5 * 1024 ? `${significant(bytes / 1024)} KiB` : `${significant(bytes / 2 ** 20)} MiB`);
const rms = (sum, n) => (n ? Math.sqrt(sum / n) : 0);

const css = (name) => ({ class: `llmlab-bits-${name}` });
const note = (text) => h("p", { class: "llmlab-note" }, text);
const row = (...children) => h("div", { class: "llmlab-row" }, ...children);
const span = (first, n, last) => `${first}–${Math.min(first + n, last) - 1}`;
const div = (name, ...children) => h("div", css(name), ...children);
const picture = (width, height, label, shapes) => drawing("svg", { width: "100%", height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...shapes);

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
  const found = { first, n: end - first, weight: w[index], step_without: null, rms_without: null };
  for (const [name, left] of [["", -1], ["_without", index]].slice(0, found.n)) {
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
/** The one of the largest weights without which its group's step would be the smallest part of what it is. */
function costliest({ w, shape, top }, setting) {
  const parts = top.map((at) => {
    const { step, step_without } = costOf(w, shape, setting, at);
    return [at, (step_without ?? step) / step];
  });
  return parts.reduce((best, one) => (one[1] < best[1] ? one : best))[0];
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
/** Bins from −most to most: weights, those on 0, those clipped. */
function binned(w, fates, most, n) {
  const bins = [0, 1, 2].map(() => new Uint32Array(n));
  w.forEach((x, at) => {
    const bin = within(Math.floor(((x + most) / (2 * most)) * n), n);
    bins[0][bin]++;
    bins[1][bin] += fates[at] & 1;
    bins[2][bin] += fates[at] >> 1;
  });
  return bins;
}
function matrixBytes([rows, columns], { bits, granularity, group_size, symmetric }) {
  const scales = { tensor: 1, channel: rows, group: rows * Math.ceil(columns / group_size) }[granularity];
  return rows * Math.ceil((columns * bits) / 8) + scales * (symmetric ? 2 : 3);
}
const EACH = { tensor: () => "matrix", channel: () => "row", group: ({ group_size }) => `group of ${group_size}` };
/** A setting in words; `measured` knows it by them. */
function wordsOf(of) {
  const kept = of.kept === 100 ? "" : `, ${of.kept} % of the range`;
  return `${of.bits} bits, ${of.symmetric ? "symmetric" : "asymmetric"}, a scale for each ${EACH[of.granularity](of)}${kept}`;
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  let kept = {};
  /** What does not depend on the setting, once. */
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
    const [of, key] = [matrix(), wordsOf(setting())];
    if (of.key !== key) Object.assign(of, { key, made: quantized(of.w, of.shape, setting()) });
    return of.made;
  };
  const chosen = () => within(get("chosen"), matrix().w.length);
  const place = (index) => [Math.floor(index / matrix().shape[1]), index % matrix().shape[1]];
  const total = (of = setting()) => get("sizes").other + Object.values(get("sizes").shapes).reduce((sum, shape) => sum + matrixBytes(shape, of), 0);
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
      s: () => turn("symmetric"),
      k: () => set("kept", Math.max(10, get("kept") - 5)),
      K: () => set("kept", Math.min(100, get("kept") + 5)),
      c: () => turn("cell"),
      w: () => set("chosen", costliest(matrix(), setting())),
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
  const control = (text, ...nodes) => h("label", css("control"), h("span", {}, text), ...nodes);
  const needs = live(model) ? {} : { disabled: true, title: "this needs a kernel" };
  const matrixChoice = chooser("matrix", Object.keys(get("sizes").shapes).map((name) => [name, name]), (name) => set("matrix", name));
  Object.assign(matrixChoice, needs);
  const slider = (label, name, min, max, by) => h("input", { type: "range", min, max, step: by, "aria-label": label, oninput: ({ target }) => set(name, Number(target.value)) });
  const bits = slider("bits", "bits", 2, 8, 1);
  const bitsText = h("b");
  const range = slider("percent of the range kept", "kept", 10, 100, 5);
  const rangeText = h("span", css("kept"));
  const press = (text, title, onclick, data) => h("button", { title, onclick, [`data-${data}`]: "" }, text);
  const turn = (name) => set(name, name === "cell" ? (get(name) === "rms" ? "max" : "rms") : !get(name));
  const kinds = KINDS.map((name) => press(EACH[name](setting()), "key g", () => set("granularity", name), name));
  const symmetric = press("Symmetric", "codes around 0, or a zero point (key s)", () => turn("symmetric"), "symmetric");
  const cell = press("", "what a cell shows (key c)", () => turn("cell"), "cell");
  const headline = h("p", { ...css("headline"), "aria-live": "polite" });
  const bars = div("bars");
  const legend = note("");
  const canvas = h("canvas", { role: "img" });
  const mark = h("span", css("mark"));
  const map = div("map", canvas, mark);
  const mapText = note("");
  const detail = h("p", { ...css("detail"), "aria-live": "polite" });
  const skill = chooser("measure", Object.entries(SKILLS), (value) => set("skill", value));
  const asks = [press("Measure this setting", "the whole model, in this kernel (key m)", () => measure("this"), "this"), press("Measure 8 to 2 bits", "in this kernel", () => measure("all"), "all")];
  asks.forEach((one) => Object.assign(one, needs));
  const progress = h("span", { class: "llmlab-note", "data-progress": "", role: "status", "aria-live": "polite" });
  const points = div("points");
  const pointsText = h("div", { "data-scores": "" });
  const lost = h("div", { "data-lost": "" });
  body.append(
    div(
      "first",
      div("controls", control("Matrix", matrixChoice), control("Bits", bits, bitsText), h("span", { ...css("control"), role: "group", "aria-label": "which weights share a scale" }, "A scale for each", ...kinds), symmetric, control("Range kept", range, rangeText)),
      headline,
      div("pair", h("section", {}, h("h4", {}, "Weights"), bars, legend), h("section", {}, row(h("h4", {}, "Error map:"), cell), map, mapText)),
      detail,
    ),
    div("panels", h("section", {}, row(h("h4", {}, "Bytes of the model against"), skill), points, pointsText, row(...asks, progress)), h("section", {}, h("h4", {}, "Facts lost at this setting"), lost)),
  );

  // Histogram.
  let toX;
  function drawBars() {
    const [{ w, top, shape, most }, { fates, zeros, clipped }, scale] = [matrix(), found(), get("scale")];
    const [width, edge, high] = [Math.max(200, bars.clientWidth), 6 * scale, 150 * scale];
    toX = (x) => edge + ((x + most) / (2 * most)) * (width - 2 * edge);
    const [all, ...parts] = binned(w, fates, most, BINS);
    const tallest = Math.max(...all);
    const shapes = [];
    const add = (tag, kind, attributes) => shapes.push(drawing(tag, { ...css(kind), ...attributes }));
    const y = (n) => high * (1 - n / tallest);
    const box = (kind, bin, from, n) => n && add("rect", kind, { x: toX(-most + (2 * most * bin) / BINS), y: y(from + n), width: Math.max(1, width / BINS - 1), height: high - y(n) });
    all.forEach((n, bin) => {
      const [none, cut] = parts.map((part) => part[bin]);
      box("on0", bin, 0, none);
      box("level", bin, none, n - none - cut);
      box("clipped", bin, n - cut, cut);
    });
    const upright = (kind, x, y1, y2, more) => add("line", kind, { x1: x, x2: x, y1, y2, ...more });
    const [[first, end], [lowest, highest]] = [bounds(setting(), shape, chosen()), codesOf(setting())];
    const grid = gridWithin(w, first, end, setting());
    const tight = toX(grid.scale) - toX(0) < 4;
    for (let code = lowest; code <= highest; code++) upright("grid", toX((code - grid.zero) * grid.scale), tight ? high - 20 * scale : 0, high, { "data-level": code });
    const few = end - first < 1000;
    for (let at = first; few && at < end; at++) upright("mate", toX(w[at]), high + 2, high + 9 * scale);
    const dot = (at, kind, r) => add("circle", kind, { "data-at": at, cx: toX(w[at]), cy: high + 15 * scale, r: r * scale });
    top.forEach((at) => at !== chosen() && dot(at, "dot", 3.5));
    dot(chosen(), "mine", 5);
    const label = (x, text, anchor) => drawing("text", { x, y: high + 37 * scale, "text-anchor": anchor }, text);
    add("line", "axis", { x1: 0, x2: width, y1: high, y2: high });
    shapes.push(label(1, number(-most), "start"), label(width / 2, "0", "middle"), label(width - 1, number(most), "end"));
    bars.replaceChildren(picture(width, high + 42 * scale, `histogram of ${whole(w.length)} weights from ${number(-most)} to ${number(most)}, with the levels of one group`, shapes));
    const swatch = (kind) => h("i", css(`swatch llmlab-bits-${kind}`));
    legend.replaceChildren(
      swatch("on0"), ` on 0: ${percent(zeros, w.length)} `, swatch("level"), " on another level ", swatch("clipped"), ` clipped: ${percent(clipped, w.length)}. `,
      `Lines: the levels of ${get("granularity") === "tensor" ? "the matrix" : "the chosen weight’s group"}${few ? "; ticks: its weights" : ""}; dots: the ${top.length} largest weights, in ${new Set(top.map((at) => place(at)[0])).size} of ${shape[0]} rows.`,
    );
  }
  bars.addEventListener("click", ({ clientX }) => {
    const x = clientX - bars.getBoundingClientRect().left;
    const { top, w } = matrix();
    const off = (at) => Math.abs(toX(w[at]) - x);
    set("chosen", top.reduce((best, at) => (off(at) < off(best) ? at : best)));
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
    const [i, j] = place(chosen());
    Object.assign(mark.style, { left: `${(100 * Math.floor(j / across)) / wide}%`, top: `${(100 * Math.floor(i / down)) / high}%`, width: `${100 / wide}%`, height: `${100 / high}%` });
    const how = get("cell") === "rms" ? "rms error" : "largest error";
    canvas.setAttribute("aria-label", `error map: ${how} of cells of ${down} × ${across} weights`);
    cell.textContent = how;
    mapText.replaceChildren(...mapWords());
  }
  function mapWords(at) {
    const { cells, wide, down, across } = folds;
    const { shape, rms: full } = matrix();
    if (at === undefined)
      return [...[0, 1, 2, 3, 4].map((n) => h("i", { ...css("swatch"), style: { background: `rgb(213 94 0 / ${n / 4})` } })), ` 0, 1/16, 1/4, 9/16, 1 of the rms weight, ${number(full)}; a cell: ${down} × ${across} weights of ${shape[0]} rows × ${shape[1]} columns`];
    return [`rows ${span(Math.floor(at / wide) * down, down, shape[0])}, columns ${span((at % wide) * across, across, shape[1])}: ${number(cells[at])}`];
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
    const [i, j] = place(index);
    const { n, weight, step: its, step_without: less, rms: off, rms_without: without, zeros, zeros_without } = costOf(w, shape, setting(), index);
    const name = h("b", {}, `Weight ${number(weight)} (row ${i}, column ${j})`);
    if (less === null) return [name, ` has a scale of its own: ${number(its)}.`];
    const group = get("granularity") === "tensor" ? "the whole matrix" : `its ${get("granularity") === "channel" ? "row" : "group"} of ${n}`;
    if (its === less) return [name, ` costs nothing: without it ${group} would have the same step, ${number(its)}.`];
    return [name, ` sets the scale of ${group}: a step of ${number(its)}, without it ${number(less)}. To the other ${whole(n - 1)} weights it means an rms error of ${number(off)} instead of ${number(without)}, and ${whole(zeros)} of them on 0 instead of ${whole(zeros_without)}.`];
  }

  // What was measured.
  const result = () => get("measured")[wordsOf(setting())];
  function drawPoints() {
    const [{ full, ...rest }, scale, by] = [get("measured"), get("scale"), get("skill")];
    const some = Object.values(rest).sort((a, b) => a.bytes - b.bytes);
    points.hidden = !full;
    if (!full) {
      return pointsText.replaceChildren(note(live(model) ? "Not measured yet. At how many bits, from 8 down, does the first fact go?" : "Nothing was measured before this page was saved."));
    }
    const width = Math.max(200, points.clientWidth);
    const [left, right, top, high, foot] = [46 * scale, 14 * scale, 16 * scale, 150 * scale, 20 * scale];
    const ofLoss = by === "loss";
    const value = (one) => one.values[by];
    const reach = some.flatMap((one) => one.ends[by]);
    const [low, far] = ofLoss ? [full.loss * 0.95, 1.05 * Math.max(full.loss * 1.2, ...reach)] : [0, full.scores[by][1]];
    const y = (v) => top + (ofLoss ? (high * Math.log(far / Math.max(v, low))) / Math.log(far / low) : high * (1 - v / far));
    const widest = 1.04 * Math.max(total({ ...setting(8), symmetric: false }), ...some.map((one) => one.bytes));
    const x = (bytes) => left + ((width - left - right) * bytes) / widest;
    const line = (kind, x1, y1, x2, y2) => drawing("line", { ...css(kind), x1, x2, y1, y2 });
    const text = (x, y, words, anchor) => drawing("text", { x, y, "text-anchor": anchor }, words);
    const marks = [line("axis", left, top + high, width - right, top + high), line("axis", left, top, left, top + high)];
    for (const v of ofLoss ? [low / 0.95, far / 1.05] : [0, far / 2, far]) marks.push(text(left - 6 * scale, y(v) + 4 * scale, ofLoss ? significant(v) : String(v), "end"));
    marks.push(text(left, top + high + 15 * scale, "0", "middle"));
    const here = total();
    marks.push(line("here", x(here), top, x(here), top + high), text(Math.min(width - 60 * scale, Math.max(left + 60 * scale, x(here))), top + high + 15 * scale, `this setting: ${size(here)}`, "middle"));
    marks.push(line("full", left, y(value(full)), width - right, y(value(full))), text(left + 6 * scale, y(value(full)) - 4 * scale, `as it is, ${size(full.bytes)}: ${ofLoss ? value(full).toFixed(3) : value(full)}`, "start"));
    for (const one of some) {
      const [at, down, [from, to]] = [x(one.bytes), y(value(one)), one.ends[by].map(y)];
      const r = 6 * scale;
      const form = drawing("text", { ...css(one === result() ? "now" : "point"), x: at, y: down + r, "text-anchor": "middle", "data-point": one.words }, FORMS[one.granularity][one.symmetric ? 0 : 1]);
      const under = Math.max(from, down + r) + 12 * scale;
      marks.push(line("interval", at, from, at, to), form, text(at, under < top + high ? under : Math.min(to, down - r) - 3 * scale, String(one.bits), "middle"));
    }
    points.replaceChildren(picture(width, top + high + foot, `${SKILLS[by]} against bytes of the model, ${some.length} settings measured`, marks));
    pointsText.replaceChildren(
      h("p", {}, result()?.said ?? "This setting was not measured."),
      note(`In brackets: the model as it is. Numbers: bits; a scale for ● the matrix, ■ a row, ◆ a group; outlined: asymmetric. Bars: 95 % intervals${ofLoss ? " of the difference; the loss is drawn on a log scale" : ""}.`),
    );
  }
  function drawLost() {
    const one = result();
    if (!one) return lost.replaceChildren(note("Not measured at this setting."));
    const rows = one.lost.slice(0, 8).map(([asked, answer, says, inIt]) => h("li", {}, `${asked} `, h("b", {}, answer), inIt ? " — now " : " — says ", h("q", {}, says || "nothing")));
    const more = one.lost.length - rows.length;
    lost.replaceChildren(
      h("p", {}, one.forgot),
      h("ul", css("lost"), ...rows),
      ...(more > 0 ? [note(`Those told most often come first; ${more} more are in the table.`)] : []),
    );
  }
  function drawProgress() {
    progress.textContent = get("progress");
    asks.forEach((one) => (one.disabled = !live(model) || get("busy")));
  }

  function tables() {
    const [{ name, w, shape, most: far, rms: full, top }, made] = [matrix(), found()];
    const bytes = matrixBytes(shape, setting());
    const bins = binned(w, made.fates, far, 16);
    const ends = (bin) => number(-far + (2 * far * bin) / 16);
    const { cells, wide, down, across } = folding(made.errors, shape, get("cell"));
    const order = [...cells.keys()].sort((a, b) => cells[b] - cells[a]).slice(0, 8);
    const one = result();
    const results = Object.values(get("measured")).sort((a, b) => b.bytes - a.bytes);
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
      { caption: "Weights by size", columns: ["from", "to", "weights", "land on 0", "clipped"], rows: [...bins[0].keys()].map((bin) => [ends(bin), ends(bin + 1), ...bins.map((each) => whole(each[bin]))]) },
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
        rows: results.map(({ row }) => row),
      },
      {
        caption: one ? `Facts lost at ${wordsOf(setting())}` : "Facts lost at this setting: not measured",
        columns: ["asked", "answer", "it says", "the answer is in it"],
        rows: one?.lost ?? [],
      },
    ];
  }

  function update() {
    matrixChoice.value = get("matrix");
    bits.value = get("bits");
    bitsText.textContent = get("bits");
    range.value = get("kept");
    rangeText.textContent = `${get("kept")} %`;
    const pressed = (button, is) => button.setAttribute("aria-pressed", String(is));
    kinds.forEach((one, at) => pressed(one, KINDS[at] === get("granularity")));
    pressed(symmetric, get("symmetric"));
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

  on(["bits", "granularity", "group_size", "symmetric", "kept", "chosen", "cell", "skill", "weights", "measured", "scale"], update);
  on(["progress", "busy"], drawProgress);
  update();
  const ended = [bars, points].map((node) => onWidth(node, () => (drawBars(), drawPoints())));
  return () => {
    ended.forEach((end) => end());
    release();
  };
}
