/* AttentionStepper: one head of attention on numbers that fit on the screen, stage by stage.
 *
 * Draws x and the three matrices W as fields, and of q, k, v, scores, scaled, masked, weights and output those that the
 * stage has reached; frames in their colors the rows and columns that the chosen cell comes from, and spells out its
 * arithmetic. Everything is computed here, from x and the matrices; no kernel is needed.
 * Reads: original, labels.
 * Reads and writes: x, w_q, w_k, w_v, stage, row, column, mask, prefix, window, scaling.
 */

const STAGES = ["x", "qkv", "scores", "scaled", "masked", "weights", "output"];
const SQUARE = STAGES.slice(2, 6);
const INPUTS = ["x", "w_q", "w_k", "w_v"];
const MASKS = ["none", "causal", "prefix", "window"];
const LARGEST = 1000; // in size, of the numbers that can be put in
const HUE = { q: "query", w_q: "query", k: "key", w_k: "key", v: "value", w_v: "value", weights: "attention" };

const product = (a, b) => a.map((row) => b[0].map((_, j) => row.reduce((sum, value, i) => sum + value * b[i][j], 0)));
const transposed = (a) => a[0].map((_, j) => a.map((row) => row[j]));
const size = (...matrices) => Math.max(1e-9, ...matrices.flat(2).map(Math.abs));

const indices = (n) => Array.from({ length: n }, (_, index) => index);
/** `data` as rows of a matrix; an element of `data` is numbered from `start` on. */
const rowsOf = (data, [rows, columns], start = 0) => indices(rows).map((row) => [...data.slice(start + row * columns, start + (row + 1) * columns)]);

function softmax(row) {
  const largest = Math.max(...row);
  const powers = row.map((value) => Math.exp(value - largest));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / total);
}

/** Three significant digits; large numbers as 2.1e7, which a cell has room for. */
function short(value) {
  const minus = value < 0 ? "−" : "";
  if (Math.abs(value) === Infinity) return `${minus}∞`;
  return Math.abs(value) < 99950 ? digits(value) : minus + Math.abs(value).toExponential(1).replace("e+", "e");
}
const wrapped = (value) => (value < 0 ? `(${short(value)})` : short(value));
/** A number of the input as it was typed, up to what float32 holds. */
const full = (value) => String(Number(value.toPrecision(7))).replace("-", "−");

function render({ model, el }) {
  const get = (name) => model.get(name);
  const shapes = Object.fromEntries(INPUTS.map((name) => [name, get(name).shape])); // a widget keeps them
  const [[T, D], d, dv] = [shapes.x, shapes.w_q[1], shapes.w_v[1]];
  const OFFSET = { q: 0, k: d, v: 2 * d };
  const label = (token) => visible(get("labels")[token] ?? "");
  const quoted = (token) => `“${label(token)}”`;
  const atStage = () => STAGES.indexOf(get("stage"));
  const columnsOf = (stage) => ({ x: D, qkv: 2 * d + dv, output: dv })[stage] ?? T;
  const original = {}; // the inputs at the start, as rows of numbers
  const m = {}; // all matrices now
  INPUTS.reduce((start, name) => {
    original[name] = rowsOf(array(model, "original").data, shapes[name], start);
    return start + shapes[name][0] * shapes[name][1];
  }, 0);
  let hovered = null; // {stage, row, column} under the pointer
  let complaint = ""; // about what was typed
  let drawn = -1; // the stage drawn last

  const { root, body, status, set, on, refresh, release } = frame(model, el, {
    label: "Attention on a small example, stage by stage",
    hint: "Change any number of x or W (e). Space: next stage, Backspace: back; ↑ ↓ query, ← → key; m mask, d ÷ √d, r reset.",
    touch: "Change any number of x or W, and go on stage by stage.",
    first: ".llmlab-attn-flow, .llmlab-attn-legend",
    tables,
    idle: () => complaint,
    keys: {
      " ": (event) => (event.shiftKey ? go(atStage() - 1) : forward()),
      Backspace: () => go(atStage() - 1),
      Home: () => go(0),
      End: () => go(STAGES.length - 1),
      ...Object.fromEntries(STAGES.map((_, index) => [String(index + 1), () => go(index)])),
      ArrowUp: () => move(-1, 0),
      ArrowDown: () => move(1, 0),
      ArrowLeft: () => move(0, -1),
      ArrowRight: () => move(0, 1),
      m: () => set("mask", MASKS[(MASKS.indexOf(get("mask")) + 1) % MASKS.length]),
      "[": () => resize(-1),
      "]": () => resize(1),
      d: () => set("scaling", !get("scaling")),
      r: reset,
      e: edit,
    },
  });

  // What the reader does ----------------------------------------------------------------------------------------------

  function go(index) {
    set("stage", STAGES[Math.max(0, Math.min(STAGES.length - 1, index))]);
  }
  function forward() {
    go((atStage() + 1) % STAGES.length);
  }
  const chosen = () => ({ stage: get("stage"), row: get("row"), column: Math.min(get("column"), columnsOf(get("stage")) - 1) });
  function move(down, right) {
    const { stage, row, column } = chosen();
    pick(Math.max(0, Math.min(T - 1, row + down)), Math.max(0, Math.min(columnsOf(stage) - 1, column + right)));
  }
  function pick(row = get("row"), column = get("column")) {
    set("row", row);
    set("column", column);
  }
  /** A click on a cell chooses what of it belongs to the stage: its query, its key, or its column of the output. */
  function click(name, row, column) {
    const stage = get("stage");
    if (stage === "qkv") return pick(row, OFFSET[name] + column);
    if (stage === "output") return name === "output" ? pick(row, column) : name === "v" ? pick(undefined, column) : name !== "k" && pick(row);
    if (SQUARE.includes(name)) pick(row, column);
    else pick(...(name === "q" ? [row] : [undefined, row]));
  }
  function resize(by) {
    const name = get("mask");
    if (name === "prefix" || name === "window") set(name, Math.max(1, Math.min(T, get(name) + by)));
  }
  function edit() {
    const { stage, row, column } = chosen();
    const [name, part] = place(column);
    const field = stage === "qkv" ? parts[`w_${name}`].cells[0][part] : parts.x.cells[row][stage === "x" ? column : 0];
    field.focus();
  }
  function write(name, change) {
    const { shape, data } = array(model, name);
    change(data);
    set(name, { dtype: "float32", shape, data: new DataView(data.buffer) });
  }
  function reset() {
    complaint = "";
    for (const name of INPUTS) if (String(original[name]) !== String(m[name])) write(name, (data) => data.set(original[name].flat()));
    update();
  }

  // The fields --------------------------------------------------------------------------------------------------------

  const where = (name, row, column) => (name === "x" ? `x of ${quoted(row)}, number ${column}` : `${name.replace("w", "W")}, row ${row}, column ${column}`);
  /** Takes over what stands in a field, or says what was expected and puts the old number back. */
  function commit(name, row, column, text) {
    const value = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : NaN;
    const right = Math.abs(value) <= LARGEST;
    complaint = right ? "" : `${where(name, row, column)}: expected a number from −${LARGEST} to ${LARGEST}, got ${text ? `“${text}”` : "nothing"}.`;
    const field = parts[name].cells[row][column];
    if (right && value !== m[name][row][column]) write(name, (data) => (data[row * m[name][0].length + column] = value));
    else update();
    field.value = full(m[name][row][column]);
  }
  function field(name, row, column) {
    const unchanged = () => node.value === full(m[name][row][column]);
    const finish = () => unchanged() || commit(name, row, column, node.value.trim().replace("−", "-"));
    const node = h("input", {
      type: "text",
      inputmode: "decimal",
      class: "llmlab-attn-field",
      tabindex: row || column ? -1 : 0,
      autocomplete: "off",
      onfocus() {
        for (const other of parts[name].cells.flat()) other.tabIndex = other === node ? 0 : -1; // one stop for Tab
        node.value = full(m[name][row][column]);
        node.select();
        if (name === "x" && get("stage") === "x") pick(row, column);
      },
      onblur() {
        finish();
        node.value = short(m[name][row][column]);
      },
      onkeydown(event) {
        const step = { ArrowUp: 0.5, ArrowDown: -0.5 }[event.key];
        if (event.key === "Escape") node.value = full(m[name][row][column]);
        if (event.key !== "Enter" && !step) return;
        event.preventDefault();
        event.stopPropagation();
        finish();
        if (step) {
          commit(name, row, column, String(Math.max(-LARGEST, Math.min(LARGEST, m[name][row][column] + step))));
          return node.select();
        }
        if (complaint) return node.select();
        const all = parts[name].cells.flat();
        all[(all.indexOf(node) + (event.shiftKey ? all.length - 1 : 1)) % all.length].focus();
      },
    });
    return node;
  }

  // The parts that stay -----------------------------------------------------------------------------------------------

  /** A button that gives the focus back to the widget when the pointer pressed it, so that Space steps on. */
  const button = (attributes, action, ...content) =>
    h("button", { ...attributes, onclick: (event) => (action(), event.detail && root.focus()) }, ...content);

  /** A matrix on the page: a caption over a grid of cells, made once and filled at each change. */
  function matrix(name) {
    const [rows, columns] = shapes[name] ?? [T, { q: d, k: d, v: dv, output: dv }[name] ?? T];
    const head = Number(SQUARE.includes(name));
    const grid = h("div", {
      class: `llmlab-attn-grid ${head ? "llmlab-attn-square" : ""}`,
      role: INPUTS.includes(name) ? "group" : "img",
      style: { gridTemplateColumns: `calc(10 * var(--llmlab-unit)) repeat(${columns}, minmax(max(var(--llmlab-attn-wide) * var(--llmlab-unit), var(--llmlab-attn-digits) * 1ch + 4px), 1fr))` },
    });
    const area = (row, column) => ({ gridArea: `${row + head + 1} / ${column + 2}` });
    const names = { rows: [], columns: [] };
    if (head) {
      grid.append(h("div", { class: "llmlab-attn-label llmlab-attn-corner", style: area(-1, -1) }, "key →"));
      names.columns = indices(T).map((token) => h("div", { class: "llmlab-attn-label llmlab-attn-top", "data-key": token, style: area(-1, token) }));
    }
    if (!name.startsWith("w_")) names.rows = indices(T).map((token) => h("div", { class: "llmlab-attn-label", "data-query": token, style: area(token, -1) }));
    const cells = indices(rows).map((row) =>
      indices(columns).map((column) => {
        const cell = INPUTS.includes(name) ? field(name, row, column) : h("div", { class: "llmlab-attn-cell" });
        Object.assign(cell.style, area(row, column));
        Object.assign(cell.dataset, { matrix: name, row, column });
        return cell;
      }),
    );
    grid.append(...names.columns, ...names.rows, ...cells.flat());
    const caption = h("div", { class: "llmlab-attn-caption" });
    return { name, node: h("div", { class: "llmlab-attn-matrix", "data-name": name }, caption, grid), caption, grid, cells, names, head, area };
  }
  const parts = Object.fromEntries([...INPUTS, "q", "k", "v", ...SQUARE, "output"].map((name) => [name, matrix(name)]));

  const back = button({ title: "key Backspace" }, () => go(atStage() - 1), "Back");
  const next = button({ title: "key Space" }, forward);
  const tabs = STAGES.map((stage, index) => button({ "data-stage": stage, title: `key ${index + 1}` }, () => go(index), stage === "qkv" ? "q, k, v" : stage));
  const kinds = MASKS.map((kind) => button({ "data-mask": kind, title: "key m" }, () => set("mask", kind), kind));
  const extent = h("select", { "aria-label": "tokens", title: "keys [ ]", onchange: () => set(get("mask"), Number(extent.value)) }, ...indices(T).map((n) => h("option", { value: n + 1 }, String(n + 1))));
  const before = h("span");
  const extents = h("label", { class: "llmlab-row" }, before, extent, "tokens");
  const scale = button({ "data-scaling": "", title: "key d" }, () => set("scaling", !get("scaling")), `÷ √${d}`);
  const resets = button({ "data-reset": "", title: "key r" }, reset, "Reset the numbers");
  const arrow = () => h("span", { "aria-hidden": "true", class: "llmlab-attn-arrow" }, "→");
  const panel = h("section", { class: "llmlab-attn-panel", "aria-live": "polite", "data-panel": "" });
  const legend = h("div", { class: "llmlab-note llmlab-attn-legend" });
  const unit = (...names) => h("div", { class: "llmlab-attn-unit" }, ...names.map((name) => parts[name].node));
  const aboveX = unit("x");
  aboveX.prepend(h("div", { class: "llmlab-note" }, "The boxes are fields: type a number and press Enter, or ↑ ↓ to step by 0.5."));
  const flow = h(
    "div",
    {
      class: "llmlab-attn-flow",
      onpointermove: (event) => hover(event.target.closest("[data-matrix]")),
      onpointerleave: () => hover(null),
      onclick(event) {
        if (event.target.tagName === "INPUT") return;
        const { matrix: name, row, column, query, key } = event.target.dataset;
        if (name) click(name, Number(row), Number(column));
        if (query !== undefined) pick(Number(query));
        if (key !== undefined && SQUARE.includes(get("stage"))) pick(undefined, Number(key));
        if (!panel.contains(event.target)) root.focus();
      },
    },
    aboveX,
    ...["q", "k", "v"].map((name) => unit(`w_${name}`, name)),
    ...[...SQUARE, "output"].map((name) => unit(name)),
    panel,
  );
  body.append(
    h("div", { class: "llmlab-row llmlab-attn-stages" }, back, next, h("div", { class: "llmlab-row", role: "group", "aria-label": "stage" }, ...tabs.flatMap((tab, index) => (index ? [arrow(), tab] : [tab])))),
    h(
      "div",
      { class: "llmlab-row llmlab-attn-settings" },
      h("div", { class: "llmlab-row", role: "group", "aria-label": "mask" }, "Mask", ...kinds, extents),
      h("div", { class: "llmlab-row" }, "Scaling", scale),
      resets,
    ),
    flow,
    legend,
  );

  // The numbers -------------------------------------------------------------------------------------------------------

  /** Whether a query may look at a key. */
  function seen(query, key) {
    const mask = get("mask");
    if (mask === "none" || (mask === "prefix" && key < get("prefix"))) return true;
    return key <= query && (mask !== "window" || query - key < get("window"));
  }
  function compute() {
    for (const name of INPUTS) m[name] = rowsOf(array(model, name).data, shapes[name]);
    for (const name of "qkv") m[name] = product(m.x, m[`w_${name}`]);
    m.scores = product(m.q, transposed(m.k));
    m.scaled = m.scores.map((row) => row.map((score) => (get("scaling") ? score / Math.sqrt(d) : score)));
    m.masked = m.scaled.map((row, query) => row.map((score, key) => (seen(query, key) ? score : -Infinity)));
    m.weights = m.masked.map(softmax);
    m.output = product(m.weights, m.v);
  }

  // The arithmetic of a cell: parts are a text, {hue, text} or {power} ---------------------------------------------------

  const colored = (hue, text) => (hue ? { hue, text } : text);
  const products = (a, hueA, b, hueB) => a.flatMap((value, i) => [i ? " + " : "", colored(hueA, wrapped(value)), "·", colored(hueB, wrapped(b[i]))]);
  /** Which of q, k and v a column of the stage qkv belongs to, and which column of it that is. */
  const place = (column) => (column < d ? ["q", column] : column < 2 * d ? ["k", column - d] : ["v", column - 2 * d]);
  const column = (matrix, index) => matrix.map((row) => row[index]);

  const last = () => (get("window") === 1 ? "the last token" : `the last ${get("window")} tokens`);
  function why(row, key) {
    const mask = get("mask");
    if (mask === "none") return "no mask";
    if (key > row) return `later than the query${seen(row, key) ? `, but in the prefix of ${get("prefix")}` : ""}`;
    if (mask === "window") return `${seen(row, key) ? "" : "not "}among ${last()}`;
    return key === row ? "the query's own token" : "earlier than the query";
  }
  function arithmetic(stage, row, col) {
    const query = label(row);
    if (stage === "x") return [`x(${query})[${col}] = ${short(m.x[row][col])}`];
    if (stage === "qkv") {
      const [name, part] = place(col);
      const terms = products(m.x[row], "", column(m[`w_${name}`], part), HUE[name]);
      return [`${name}(${query})[${part}] = x(${query}) · `, colored(HUE[name], `W_${name}[:, ${part}]`), " = ", ...terms, ` = ${short(m[name][row][part])}`];
    }
    const value = (name) => short(m[name][row][col]);
    if (stage === "scores")
      return [colored("query", `q(${query})`), " · ", colored("key", `k(${label(col)})`), " = ", ...products(m.q[row], "query", m.k[col], "key"), ` = ${value(stage)}`];
    if (stage === "scaled") return [get("scaling") ? `${value("scores")} ÷ √${d} = ${value(stage)}` : `not scaled: ${value("scores")} stays ${value(stage)}`];
    if (stage === "masked") return [`${why(row, col)}: ${seen(row, col) ? `${value("scaled")} stays ${value(stage)}` : "−∞ before the softmax, so its weight is exactly 0"}`];
    if (stage === "weights") {
      if (!seen(row, col)) return ["e", { power: "−∞" }, " = 0: the weight is exactly 0"];
      const largest = Math.max(...m.masked[row]);
      const power = (key) => ["e", { power: `${short(m.masked[row][key])}−${wrapped(largest)}` }];
      const keys = indices(T).filter((key) => seen(row, key));
      const value = (key) => [short(Math.exp(m.masked[row][key] - largest))];
      const share = (of) => [...of(col), " ÷ (", ...keys.flatMap((key, i) => [i ? " + " : "", ...of(key)]), ") = "];
      return [...share(power), ...share(value), colored("attention", short(m.weights[row][col]))];
    }
    const keys = indices(T).filter((key) => seen(row, key));
    const terms = products(keys.map((key) => m.weights[row][key]), "attention", keys.map((key) => m.v[key][col]), "value");
    return [`output(${query})[${col}] = `, colored("attention", `weights(${query})`), " · ", colored("value", `v[:, ${col}]`), " = ", ...terms, ` = ${value(stage)}`];
  }
  const plain = (list) => list.map((part) => part.text ?? (part.power ? `^(${part.power})` : part)).join("");
  const node = (part) => (part.text ? h("span", { class: `llmlab-attn-${part.hue}` }, part.text) : part.power ? h("sup", {}, part.power) : part);

  /** What a stage does to the chosen cell, in words. */
  function sentence(stage, row, col) {
    const [query, key] = [quoted(row), quoted(col)];
    const best = (name) => m[name][row].indexOf(Math.max(...m[name][row]));
    const mask = get("mask");
    if (stage === "x") return `${query} enters as a row of ${D} numbers: ${m.x[row].map(short).join(", ")}.`;
    if (stage === "qkv")
      return { q: `The query of ${query}: what it looks for.`, k: `The key of ${query}: what it can be found by.`, v: `The value of ${query}: what it hands to those that look at it.` }[place(col)[0]];
    if (stage === "scores")
      return `How well does the key of ${key} fit the query of ${query}? Their dot product is ${short(m.scores[row][col])}${best("scores") === col ? ", the largest of the row" : `; the largest of the row is ${short(m.scores[row][best("scores")])}, with ${quoted(best("scores"))}`}.`;
    if (stage === "scaled") return get("scaling") ? `A sum of ${d} independent products spreads √${d} times as wide as one of them; dividing by √${d} undoes that, so longer vectors do not sharpen the weights.` : "Scaling is off: the scores go to the softmax as they are.";
    if (stage === "masked")
      return {
        none: "No mask: every query may look at every key.",
        causal: "Causal: a query may look at its own token and at earlier ones.",
        prefix: `Prefix: the first ${get("prefix")} tokens may be looked at from everywhere; among the others, only earlier ones.`,
        window: `Window: a query may look at ${last()}, its own included.`,
      }[mask];
    const top = best("weights");
    const most = `${short(m.weights[row][top])}`;
    if (stage === "output") return `The output of ${query} is a mean of the values, weighted: ${most} of it is the value of ${quoted(top)}.`;
    if (!seen(row, col)) return `${query} gives ${key} nothing: ${why(row, col)}.`;
    return `${query} gives ${short(m.weights[row][col])} of its attention to ${key}${top === col ? ", the largest weight of its row" : `; the largest weight, ${most}, goes to ${quoted(top)}`}.`;
  }

  // Drawing -----------------------------------------------------------------------------------------------------------

  function titles() {
    const kind = get("mask");
    return {
      x: "x: one row a token",
      ...Object.fromEntries(["q", "k", "v"].flatMap((name) => [[`w_${name}`, `W_${name}`], [name, `${name} = x · W_${name}`]])),
      scores: "scores = q · kᵀ",
      scaled: `scaled = scores${get("scaling") ? ` ÷ √${d}` : ", not scaled"}`,
      masked: `masked: ${kind}${get(kind) ? ` of ${get(kind)}` : ""}`,
      weights: "weights = softmax of each row",
      output: "output = weights · v",
    };
  }
  const shown = (name) => (INPUTS.includes(name) ? 0 : name in OFFSET ? 1 : STAGES.indexOf(name)) <= atStage();

  function fill(name, most) {
    const part = parts[name];
    const start = original[name];
    if (start) part.grid.style.setProperty("--llmlab-attn-digits", Math.max(...m[name].flat().map((value) => short(value).length))); // a field does not widen by itself
    m[name].forEach((row, i) =>
      row.forEach((value, j) => {
        const cell = part.cells[i][j];
        const hidden = (name === "masked" || name === "weights") && !seen(i, j);
        const hue = name === "weights" ? "attention" : value < 0 ? "negative" : "positive";
        cell.style.backgroundColor = hidden || !value ? "" : `rgb(var(--llmlab-${hue}) / ${((name === "weights" ? 1 : 0.5) * Math.abs(value)) / most})`;
        const text = short(value);
        if (start) {
          if (document.activeElement !== cell) cell.value = text;
          cell.setAttribute("aria-label", where(name, i, j));
          cell.title = value === start[i][j] ? "" : `at the start: ${full(start[i][j])}`;
          cell.classList.toggle("llmlab-attn-edited", value !== start[i][j]);
          return;
        }
        if (cell.textContent !== text) cell.textContent = text;
        cell.classList.toggle("llmlab-attn-masked", hidden);
        cell.classList.toggle("llmlab-attn-strong", name === "weights" && value > 0.78);
      }),
    );
    for (const names of Object.values(part.names)) names.forEach((text, token) => (text.textContent = text.title = label(token)));
    part.grid.setAttribute("aria-label", titles()[name]);
  }
  /** A swatch for each share of the full tint. */
  const swatches = (shares) => shares.map((share) => h("span", { class: "llmlab-attn-swatch", style: { backgroundColor: share.color } }));
  function drawLegend() {
    const signed = [-1, -0.5, 0, 0.5, 1].map((share) => ({ color: share ? `rgb(var(--llmlab-${share < 0 ? "negative" : "positive"}) / ${Math.abs(share) / 2})` : "" }));
    const groups = [["x, W", INPUTS], ["q, k, v, output", ["q", "k", "v"]], ["scores", ["scores"]]];
    const most = groups.filter(([, names]) => shown(names[0])).map(([text, names]) => `±${short(size(...names.map((name) => m[name])))} ${text}`);
    legend.replaceChildren(
      h("span", { class: "llmlab-attn-scale" }, "negative", ...swatches(signed), `positive; full tint: ${most.join("; ")}`),
      ...(shown("masked") ? [h("span", { class: "llmlab-attn-scale" }, h("span", { class: "llmlab-attn-swatch llmlab-attn-masked" }), "masked")] : []),
      ...(shown("weights") ? [h("span", { class: "llmlab-attn-scale" }, "weight 0", ...swatches([0, 0.25, 0.5, 0.75, 1].map((share) => ({ color: `rgb(var(--llmlab-attention) / ${share})` }))), "1")] : []),
    );
  }

  /** A frame around cells of a matrix, in the color of their meaning; it takes no pointer. */
  function band(name, hue, [row, column], [rows, columns] = [1, 1], kind = "band") {
    const { grid, head } = parts[name];
    const style = { gridArea: `${row + head + 1} / ${column + 2} / span ${rows} / span ${columns}`, borderColor: hue ? `rgb(var(--llmlab-${hue}))` : "" };
    grid.append(h("div", { class: `llmlab-attn-${kind}`, "data-band": `${name} ${row} ${column} ${rows} ${columns}`, style }));
  }
  /** What depends on the cell under the pointer, or else on the chosen one. */
  function draw() {
    const { stage, row, column: col } = hovered ?? chosen();
    for (const old of flow.querySelectorAll("[data-band]")) old.remove();
    const square = SQUARE.includes(stage);
    const target = stage === "qkv" ? place(col) : [stage, col];
    if (stage === "qkv") {
      band("x", "", [row, 0], [1, D]);
      band(`w_${target[0]}`, HUE[target[0]], [0, target[1]], [D, 1]);
    }
    if (square) {
      band("q", "query", [row, 0], [1, d]);
      band("k", "key", [col, 0], [1, d]);
      for (const name of SQUARE.slice(0, SQUARE.indexOf(stage))) band(name, "", [row, col]);
      if (stage === "weights") band("masked", "attention", [row, 0], [1, T]);
    }
    if (stage === "output") {
      band("weights", "attention", [row, 0], [1, T]);
      band("v", "value", [0, col], [T, 1]);
    }
    band(target[0], "", [row, target[1]], [1, 1], hovered ? "preview" : "chosen");
    for (const { name, names } of Object.values(parts)) {
      const strong = name === "k" && square ? col : name === "v" && stage === "output" ? -1 : row;
      names.rows.forEach((text, token) => text.classList.toggle("llmlab-attn-at", token === strong));
      names.columns.forEach((text, token) => text.classList.toggle("llmlab-attn-at", square && token === col));
    }
    panel.replaceChildren(
      h("h4", {}, `${target[0]}: ${square ? `query ${quoted(row)}, key ${quoted(col)}` : `${quoted(row)}, number ${target[1]}`}`),
      h("p", {}, sentence(stage, row, col)),
      h("p", { class: "llmlab-attn-arithmetic", "data-arithmetic": "" }, ...arithmetic(stage, row, col).map(node)),
    );
  }
  function hover(cell) {
    const { matrix: name, row, column } = cell?.dataset ?? {};
    const next = !name || name.startsWith("w_") || (name === "x" && get("stage") !== "x") ? null : { stage: name in OFFSET ? "qkv" : name, row: Number(row), column: Number(column) + (OFFSET[name] ?? 0) };
    if (JSON.stringify(next) === JSON.stringify(hovered)) return;
    hovered = next;
    draw();
  }

  function controls() {
    const last = atStage() === STAGES.length - 1;
    back.disabled = atStage() === 0;
    next.textContent = last ? "From the start" : "Next stage";
    tabs.forEach((tab, index) => tab.setAttribute("aria-pressed", String(index === atStage())));
    kinds.forEach((kind) => kind.setAttribute("aria-pressed", String(kind.dataset.mask === get("mask"))));
    scale.setAttribute("aria-pressed", String(get("scaling")));
    extents.hidden = get("mask") !== "prefix" && get("mask") !== "window";
    before.textContent = get("mask") === "prefix" ? "the first" : "the last";
    extent.value = get(get("mask")) ?? 1;
    resets.disabled = INPUTS.every((name) => String(original[name]) === String(m[name]));
  }

  /** The same as text. */
  function tables() {
    const { stage, row, column: col } = chosen();
    const names = SQUARE.includes(stage) ? SQUARE.slice(0, SQUARE.indexOf(stage) + 1) : [stage];
    const rows = names.map((name) => [name === "qkv" ? place(col)[0] : name, plain(arithmetic(name, row, col))]);
    const all = indices(T).map(label);
    return [
      { caption: "The chosen cell", columns: ["stage", "arithmetic"], rows },
      ...Object.keys(parts).filter(shown).map((name) => {
        const [square, weight] = [SQUARE.includes(name), name.startsWith("w_")];
        return {
          caption: titles()[name],
          columns: [square ? "query" : weight ? "row" : "token", ...(square ? all : m[name][0].map((_, index) => String(index)))],
          rows: m[name].map((line, index) => [weight ? String(index) : all[index], ...line.map(short)]),
        };
      }),
    ];
  }

  function update() {
    compute();
    const most = { inputs: size(...INPUTS.map((name) => m[name])), vectors: size(m.q, m.k, m.v), scores: size(m.scores) };
    for (const [name, part] of Object.entries(parts)) {
      part.node.hidden = !shown(name);
      part.node.parentNode.hidden = ![...part.node.parentNode.children].some((child) => child.dataset.name && shown(child.dataset.name));
      part.node.parentNode.classList.toggle("llmlab-attn-past", SQUARE.includes(name) && STAGES.indexOf(name) < atStage() - 1); // hidden where room lacks
      if (!shown(name)) continue;
      const now = get("stage") === name || (get("stage") === "qkv" && name in OFFSET);
      part.node.classList.toggle("llmlab-attn-now", now);
      part.node.classList.toggle("llmlab-attn-arrive", now && drawn >= 0 && atStage() > drawn);
      part.caption.replaceChildren(...titles()[name].split(/_(.)/).map((text, index) => (index % 2 ? h("sub", {}, text) : text)));
      fill(name, name === "weights" ? 1 : INPUTS.includes(name) ? most.inputs : SQUARE.includes(name) ? most.scores : most.vectors);
    }
    drawn = atStage();
    hovered = hovered && STAGES.indexOf(hovered.stage) <= drawn ? hovered : null;
    draw();
    drawLegend();
    controls();
    refresh();
    status.classList.toggle("llmlab-error", Boolean(complaint || get("error")));
  }
  on([...INPUTS, "labels", "stage", "row", "column", "mask", "prefix", "window", "scaling"], update);
  update();
  return release;
}
