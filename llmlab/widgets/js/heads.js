/* HeadExplorer: every attention head of a model, on a text that the reader types.
 *
 * Draws a thumbnail of each head, with a score; the chosen head large, as lines from queries to the keys that they look
 * at and as a heat map; the loss and the likeliest next tokens, of the whole model and without the heads that are out.
 * Layers and heads count from 0 in the traits, from 1 on the page.
 * Reads: labels, weights, scores, score_names, loss, loss_whole, candidates, probabilities, revision.
 * Reads and writes: layer, head, token, sort_by, shown: drawn here, without the kernel.
 * Writes: text, ablated: these two alone ask the kernel for a new pass.
 */

const HUE = [204, 121, 167]; // --llmlab-attention, for canvases: these are painted before any CSS applies
const GRAY = [153, 153, 153, 28]; // --llmlab-masked, faint
const WAIT = { text: 60, ablated: 40 }; // ms before the kernel is asked
const SHORT = { induction: "ind", "previous token": "prev", "first token": "first", entropy: "entr" };
const VIEWS = { edges: "lines", map: "map", both: "lines and map" };
const SMALL = 64; // most pixels a side of a thumbnail

/** How strong a weight of 0 … 1 is drawn: its square root, so that small weights can be seen. */
const strength = (weight) => Math.sqrt(weight);
const pixel = (...rgba) => new Uint32Array(new Uint8ClampedArray(rgba).buffer)[0];
const SHADES = Uint32Array.from({ length: 256 }, (_, byte) => pixel(...HUE, 255 * strength(byte / 255)));
const MASKED = pixel(...GRAY);

const color = (alpha) => `rgba(${HUE}, ${alpha})`;

function render({ model, el }) {
  const asks = live(model);
  let run = {}; // the arrays of one revision
  let preview = -1; // the query under the pointer, or the one that the arrow keys chose
  let spot = [-1, -1]; // the cell under the pointer: query and key
  let thumbs = []; // {layer, head, name, cell, …}, in layer order
  let rows = []; // by token: {key, bar, number, query}
  let backdrop = null; // the lines of all queries, drawn once for each head
  const sizes = { width: 0, lines: 0, map: 0, row: 0, bar: 0 }; // in px; a weight of 1 takes a whole bar
  const timers = {};

  const get = (name) => model.get(name);
  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: "Head explorer: where each attention head looks",
    hint: "Point at a token to see where it looks; a click or Enter locks it, Escape lets go. ↑ ↓ token, [ ] head, { } layer, x takes the head out, t tables, ? all keys.",
    tables,
    keys: {
      ArrowUp: (event) => (event.shiftKey ? choose("layer", -1) : step(-1)),
      ArrowDown: (event) => (event.shiftKey ? choose("layer", 1) : step(1)),
      ArrowLeft: (event) => (event.shiftKey ? choose("head", -1) : step(-1)),
      ArrowRight: (event) => (event.shiftKey ? choose("head", 1) : step(1)),
      Home: () => point(0),
      End: () => point(run.count - 1),
      Enter: () => set("token", query() < 0 ? run.count - 1 : query()),
      "[": () => choose("head", -1),
      "]": () => choose("head", 1),
      "{": () => choose("layer", -1),
      "}": () => choose("layer", 1),
      x: () => toggle(get("layer"), get("head")),
      X: () => ablate([]),
      s: () => cycle("sort_by", ["layer", ...get("score_names")]),
      v: () => cycle("shown", Object.keys(VIEWS)),
      "/": () => field.focus(),
      "?": () => (help.open = !help.open),
      Escape: (event) => {
        if (event.target !== field) letGo();
        root.focus();
      },
    },
  });
  root.classList.add("llmlab-heads");

  // What the reader does ----------------------------------------------------------------------------------------------

  const within = (value, size) => Math.max(0, Math.min(size - 1, value));
  const choose = (name, by) => set(name, within(get(name) + by, name === "layer" ? run.layers : run.heads));
  function cycle(name, values) {
    set(name, values[(values.indexOf(get(name)) + 1) % values.length]);
  }
  /** The query that is shown: the locked one, or else the one that is pointed at; -1: all of them. */
  const query = () => (get("token") >= 0 ? get("token") : preview);
  function point(token) {
    if (get("token") >= 0) return set("token", within(token, run.count));
    look(within(token, run.count));
    follow();
    refresh();
  }
  const step = (by) => point(query() < 0 ? run.count - 1 : query() + by);
  function look(token = -1, cell = [-1, -1]) {
    if (token === preview && String(cell) === String(spot)) return;
    [preview, spot] = [token, cell];
    drawRow();
  }
  function letGo() {
    look();
    set("token", -1);
  }
  function lock(token) {
    set("token", token === get("token") ? -1 : token);
    root.focus();
  }
  function later(name, action) {
    clearTimeout(timers[name]);
    timers[name] = setTimeout(action, WAIT[name]);
  }
  const submit = () => set("text", field.value);
  function ablate(pairs) {
    if (!asks || pairs.length + get("ablated").length === 0) return;
    model.set("ablated", pairs.sort((a, b) => a[0] - b[0] || a[1] - b[1])); // crossed out at once
    later("ablated", () => model.save_changes());
  }
  const isOut = (layer, head) => get("ablated").some((pair) => pair[0] === layer && pair[1] === head);
  function toggle(layer, head) {
    const others = get("ablated").filter((pair) => pair[0] !== layer || pair[1] !== head);
    ablate(isOut(layer, head) ? others : [...others, [layer, head]]);
  }

  // The parts that stay -----------------------------------------------------------------------------------------------

  const part = (tag, name, attributes, ...children) => h(tag, { class: `llmlab-heads-${name}`, ...attributes }, ...children);
  const box = (name, ...children) => part("div", name, {}, ...children);
  const veil = part("div", "veil");
  const canvas = (attributes) => h("canvas", { "aria-hidden": "true", ...attributes });
  const typed = (event) => event.isComposing || later("text", submit);
  const field = part("textarea", "text", {
    rows: 3,
    "aria-label": "text",
    spellcheck: "false",
    disabled: !asks,
    oninput: typed,
    oncompositionend: typed,
    onchange: submit,
  });
  const count = h("div", { class: "llmlab-note", "data-count": "" });
  const select = (name, label, options) => {
    const node = h("select", { "aria-label": label, onchange: () => set(name, node.value) });
    node.append(...options.map(([value, text]) => h("option", { value }, text)));
    return node;
  };
  const orders = get("score_names").map((name) => [name, `${name}, highest first`]);
  const sorter = select("sort_by", "order of the heads", [["layer", "layers"], ...orders]);
  const viewer = select("shown", "view", Object.entries(VIEWS));
  const grid = box("grid");
  const gridNote = h("div", { class: "llmlab-note" });

  const takes = h("button", { "data-take": "", disabled: !asks, title: "key x", onclick: () => toggle(get("layer"), get("head")) });
  const puts = h("button", { "data-put": "", disabled: !asks, title: "key X", onclick: () => (ablate([]), root.focus()) }, "Put all back");
  const losses = h("div", { "aria-live": "polite", "data-loss": "" });
  const choices = h("div", { class: "llmlab-scroll" });
  const first = h("div", { class: "llmlab-note" });

  const title = h("h4", {});
  const place = h("span", { class: "llmlab-note" });
  const said = [h("strong", {}), h("span", {}), h("div", {})];
  const readout = part("div", "readout", { "aria-live": "polite", "data-readout": "" }, ...said);
  const lines = canvas({ "data-lines": "" });
  const strand = box("strand", lines);
  const edges = part("div", "edges", {
    onpointermove: (event) => {
      const at = event.target.closest("[data-token]");
      if (!at) return;
      const [locked, token] = [get("token"), Number(at.dataset.token)];
      if (locked < 0) look(token);
      else look(preview, [locked, token]);
    },
    onpointerleave: () => look(),
    onclick: (event) => {
      const at = event.target.closest("[data-token]");
      if (at) lock(Number(at.dataset.token));
    },
  });
  const scroller = box("scroll", edges);
  const stack = (name, ...texts) => box(`${name} llmlab-note`, ...texts.map((text) => h("span", {}, text)));
  const edgesBox = part("div", "half", { "data-half": "edges" }, stack("tops", "keys: looked at", "queries: looking"), scroller);
  const map = canvas({ "data-map": "" });
  const band = part("div", "band", { hidden: true });
  const ring = part("div", "spot", { hidden: true });
  const square = part(
    "div",
    "square",
    {
      onpointermove: (event) => look(under(event)[0], under(event)),
      onpointerleave: () => look(),
      onclick: (event) => lock(under(event)[0]),
    },
    map,
    band,
    ring,
  );
  const tops = box("axis llmlab-heads-above");
  const sides = box("axis llmlab-heads-beside");
  const bars = canvas({ "data-bars": "" });
  const corner = stack("corner", "keys →", "queries ↓");
  const mapBox = part(
    "div",
    "half",
    { "data-half": "map" },
    box("map", corner, tops, sides, square, stack("scale", "1", "the row", "0"), bars),
  );
  const swatch = (text, background) => part("span", "swatch", {}, h("i", { style: { background } }), text);
  const legend = box(
    "legend llmlab-row llmlab-note",
    "weight",
    ...[0, 0.05, 0.2, 0.5, 1].map((w) => swatch(String(w), color(strength(w)))),
    swatch("a later token: never seen", `rgba(${GRAY.slice(0, 3)}, ${GRAY[3] / 255})`),
  );
  const help = h(
    "details",
    { class: "llmlab-stage" },
    h("summary", {}, "Keys, scores and colors"),
    ...[
      "↑ ↓ or ← →: token; Home, End: the first, the last. [ ] or Shift ← →: head; { } or Shift ↑ ↓: layer. x takes the head out or puts it back, X puts all back. s: next order; v: next view; t: tables; /: to the text, Escape: back.",
      "Scores are mean weights, from 0 to 1. Induction: on random words said twice, the weight on the word that followed the last time. Previous token, first token: on this text. Entropy, in nats: 0 for a query that looks at one key, log n for n keys alike.",
      "A head that is out reads nothing: its output is zero. Weights, scores and loss are then those of the model without it; where it would look is still drawn.",
      "Weights have two digits; those below 0.005 are left blank, lines below 0.02 (0.05 in long texts) left out. A color is as strong as the square root of its weight. In a thumbnail of a long text a pixel is the largest of several weights.",
    ].map((text) => h("p", {}, text)),
  );

  const big = part(
    "section",
    "big",
    {},
    h("div", { class: "llmlab-row" }, title, place, part("label", "view", {}, "Show ", viewer)),
    readout,
    box("both", edgesBox, mapBox),
    legend,
  );
  body.append(
    field,
    count,
    box(
      "parts",
      box(
        "left",
        h("section", {}, h("label", {}, "Heads in the order of ", sorter), h("div", { class: "llmlab-scroll" }, grid), gridNote),
        part("section", "panel", {}, h("h4", {}, "Take heads out"), h("div", { class: "llmlab-row" }, takes, puts), losses, choices, first),
      ),
      big,
    ),
    help,
  );

  // What the run says -------------------------------------------------------------------------------------------------

  /** The head as the page names it. */
  const nameOf = (layer, head) => `${layer + 1}.${head + 1}`;
  const textOf = (token) => visible(run.labels[token]);
  const label = (token) => `“${textOf(token)}”`;
  const two = (x) => x.toFixed(2);
  /** A weight from its byte, to two digits; "" where it is as good as 0. */
  const weightText = (byte) => (byte < 1.275 ? "" : two(byte / 255));
  /** The row of a query in the chosen head, as bytes. */
  function row(token, head = get("layer") * run.heads + get("head")) {
    const start = (head * run.count + token) * run.count;
    return run.weights.subarray(start, start + run.count);
  }
  const score = (kind, index) => run.scores[kind * run.layers * run.heads + index];
  const names = (most = 3) => (get("ablated").length > most ? `${get("ablated").length} heads` : get("ablated").map((pair) => nameOf(...pair)).join(", "));

  function load() {
    if (run.revision === get("revision")) return;
    const { shape, data } = array(model, "weights");
    run = { revision: get("revision"), layers: shape[0], heads: shape[1], count: shape[2], weights: data };
    run.labels = get("labels");
    run.scores = array(model, "scores").data;
    run.probabilities = array(model, "probabilities").data;
    if (preview >= run.count) preview = -1;
    spot = [-1, -1];
    if (!thumbs.length) buildThumbs();
    buildRows();
    thumbs.forEach(paintThumb);
  }

  // The thumbnails ----------------------------------------------------------------------------------------------------

  function buildThumbs() {
    root.style.setProperty("--llmlab-heads-columns", run.heads);
    thumbs = Array.from({ length: run.layers * run.heads }, (_, index) => {
      const [layer, head, picture, text] = [Math.floor(index / run.heads), index % run.heads, canvas(), h("span", {})];
      const name = nameOf(layer, head);
      const show = () => (set("layer", layer), set("head", head), root.focus());
      const flip = () => (toggle(layer, head), root.focus());
      const pick = part("button", "pick", { tabindex: "-1", onclick: show }, picture, h("b", {}, name), text);
      const out = part("button", "out", { tabindex: "-1", disabled: !asks, onclick: flip });
      const cell = part("div", "thumb", { "data-head": `${layer}.${head}` }, pick, part("span", "cross"), part("span", "word", {}, "out"), out);
      return { layer, head, name, cell, pick, out, picture, text };
    });
  }

  function paintThumb({ picture }, index) {
    const fold = Math.ceil(run.count / SMALL);
    const side = Math.ceil(run.count / fold);
    const most = new Uint8Array(side * side);
    for (let token = 0; token < run.count; token++) {
      const weights = row(token, index);
      const line = Math.floor(token / fold) * side;
      for (let key = 0; key <= token; key++) {
        const at = line + Math.floor(key / fold);
        if (weights[key] > most[at]) most[at] = weights[key];
      }
    }
    paint(picture, most, side);
  }

  /** Bytes of weights as a square of pixels: one hue, and gray above the diagonal. */
  function paint(picture, bytes, side) {
    picture.width = picture.height = side;
    picture.style.imageRendering = side > 32 && picture !== map ? "auto" : "pixelated"; // smooth where it shrinks
    const context = picture.getContext("2d");
    const image = context.createImageData(side, side);
    const pixels = new Uint32Array(image.data.buffer);
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++) pixels[y * side + x] = x > y ? MASKED : SHADES[bytes[y * side + x]];
    context.putImageData(image, 0, 0);
  }

  /** Under each thumbnail the score that it is sorted by; in layer order the highest of the three mean weights. */
  function caption(index) {
    const all = get("score_names");
    let kind = all.indexOf(get("sort_by"));
    if (kind < 0) kind = [0, 1, 2].reduce((best, other) => (score(other, index) > score(best, index) ? other : best));
    return `${SHORT[all[kind]]} ${two(score(kind, index))}`;
  }
  function order() {
    const indices = thumbs.map((_, index) => index);
    const kind = get("score_names").indexOf(get("sort_by"));
    return kind < 0 ? indices : indices.sort((a, b) => score(kind, b) - score(kind, a) || a - b);
  }
  function drawGrid() {
    grid.replaceChildren(...order().map((index) => thumbs[index].cell));
    thumbs.forEach(({ text }, index) => (text.textContent = caption(index)));
    gridNote.textContent = get("sort_by") === "layer" ? "A row is a layer. Under each head its highest score: induction, previous or first token." : "";
    sorter.value = get("sort_by");
    drawChosen();
  }
  function drawChosen() {
    thumbs.forEach(({ layer, head, name, cell, pick, out }, index) => {
      const gone = isOut(layer, head);
      cell.classList.toggle("llmlab-heads-gone", gone);
      pick.setAttribute("aria-pressed", String(layer === get("layer") && head === get("head")));
      pick.setAttribute("aria-label", `head ${name}, ${caption(index)}${gone ? ", out" : ""}`);
      out.textContent = gone ? "+" : "×";
      out.title = gone ? `put head ${name} back` : `take head ${name} out`;
      out.setAttribute("aria-label", out.title);
    });
    takes.textContent = `${isOut(get("layer"), get("head")) ? "Put back" : "Take out"} ${nameOf(get("layer"), get("head"))}`;
    puts.disabled = !asks || !get("ablated").length;
  }

  // The chosen head ---------------------------------------------------------------------------------------------------

  function buildRows() {
    rows = run.labels.map((text, token) => {
      const cell = (kind, ...more) => part("div", kind, { "data-token": token, "data-kind": kind, title: `token ${token}` }, ...more, h("span", { class: "llmlab-mono" }, visible(text)));
      const [bar, number] = [part("i", "weight"), part("span", "number")];
      return { key: cell("key", bar, number), bar, number, query: cell("query") };
    });
    const column = (kind, ...more) => part("div", "column", {}, ...rows.map((of) => of[kind]), ...more);
    edges.replaceChildren(column("key", veil), strand, column("query"));
  }

  /** Sizes that follow from the room there is and from the number of tokens. */
  function layout() {
    const scale = get("scale");
    const shown = get("shown");
    edgesBox.hidden = shown === "map";
    mapBox.hidden = shown === "edges";
    viewer.value = shown;
    sizes.width = big.clientWidth;
    if (!sizes.width) return;
    const tall = 624 * scale;
    sizes.bar = 32 * scale;
    sizes.row = Math.round(Math.max(16 * scale, Math.min(24 * scale, tall / run.count)));
    edges.style.setProperty("--llmlab-heads-row", `${sizes.row}px`);
    sizes.lines = strand.clientWidth;
    const room = Math.min(mapBox.clientWidth - 72 * scale - 4, tall);
    const whole = Math.min(48 * scale, Math.floor(room / run.count));
    sizes.map = Math.round(whole >= 6 ? whole * run.count : room); // large cells are all alike
    mapBox.style.setProperty("--llmlab-heads-map", `${sizes.map}px`);
    drawHead();
    follow();
  }

  /** A canvas of so many CSS pixels, sharp on every screen, empty. */
  function sheet(picture, width, height) {
    const dots = window.devicePixelRatio || 1;
    const [wide, high] = [Math.max(1, Math.round(width * dots)), Math.max(1, Math.round(height * dots))];
    if (picture.width !== wide) picture.width = wide;
    if (picture.height !== high) picture.height = high;
    Object.assign(picture.style, { width: `${width}px`, height: `${height}px` });
    const context = picture.getContext("2d");
    context.setTransform(dots, 0, 0, dots, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  }
  function strands(context, token, floor) {
    const weights = row(token);
    const [left, right, y] = [2, sizes.lines - 2, (token + 0.5) * sizes.row];
    for (let key = 0; key <= token; key++) {
      if (weights[key] < floor) continue;
      const to = (key + 0.5) * sizes.row;
      context.strokeStyle = color(strength(weights[key] / 255));
      context.lineWidth = 1 + (4 * weights[key]) / 255;
      context.beginPath();
      context.moveTo(right, y);
      context.bezierCurveTo((left + right) / 2, y, (left + right) / 2, to, left, to);
      context.stroke();
    }
  }

  function drawHead() {
    const [layer, head] = [get("layer"), get("head")];
    title.textContent = `Head ${nameOf(layer, head)}${isOut(layer, head) ? ", out" : ""}`;
    place.textContent = `layer ${layer + 1} of ${run.layers}, head ${head + 1} of ${run.heads}; in Python layer=${layer}, head=${head}`;
    drawChosen();
    if (!sizes.row) return;
    if (get("shown") !== "map") {
      backdrop = document.createElement("canvas");
      const context = sheet(backdrop, sizes.lines, sizes.row * run.count);
      const faint = Math.max(5, run.count / 10); // of 255: lines of smaller weights are left out
      for (let token = 0; token < run.count; token++) strands(context, token, faint);
    }
    if (get("shown") !== "edges") {
      const start = (layer * run.heads + head) * run.count * run.count;
      paint(map, run.weights.subarray(start, start + run.count * run.count), run.count);
      drawAxes();
    }
    drawRow();
  }

  const share = (tokens) => `${(100 * tokens) / run.count}%`;

  /** Labels along both axes, as many as there is room for. */
  function drawAxes() {
    const cell = sizes.map / run.count;
    const every = Math.max(1, Math.ceil((12 * get("scale")) / cell));
    const some = rows.map((_, token) => token).filter((token) => token % every === 0);
    const text = (token, side) => h("span", { class: "llmlab-mono", style: { [side]: share(token + 0.5) } }, textOf(token));
    const mark = () => part("span", "here llmlab-mono", { hidden: true });
    tops.replaceChildren(...some.map((token) => text(token, "left")), mark());
    sides.replaceChildren(...some.map((token) => text(token, "top")), mark());
  }

  /** What follows the pointer: the row of one query, in every view. */
  function drawRow() {
    const token = query();
    const weights = token < 0 ? null : row(token);
    if (!sizes.row) return;
    if (get("shown") !== "map") {
      rows.forEach(({ key, bar, number, query: looking }, at) => {
        const byte = weights ? weights[at] : 0;
        if (number.textContent !== weightText(byte)) number.textContent = weightText(byte);
        const wide = `${(sizes.bar * byte) / 255}px`;
        if (bar.style.width !== wide) bar.style.width = wide;
        key.classList.toggle("llmlab-chosen", at === spot[1] && token === spot[0]);
        looking.classList.toggle("llmlab-chosen", at === token);
      });
      veil.style.top = `${sizes.row * (weights ? token + 1 : run.count)}px`;
      const context = sheet(lines, sizes.lines, sizes.row * run.count);
      context.globalAlpha = weights ? 0.08 : 1;
      context.drawImage(backdrop, 0, 0, sizes.lines, sizes.row * run.count);
      context.globalAlpha = 1;
      if (weights) strands(context, token, 1);
    }
    if (get("shown") !== "edges") {
      band.hidden = token < 0;
      ring.hidden = spot[0] < 0;
      Object.assign(band.style, { top: share(token), height: share(1) });
      Object.assign(ring.style, { top: share(spot[0]), left: share(spot[1]), width: share(1), height: share(1) });
      const context = sheet(bars, sizes.map, sizes.bar);
      const wide = sizes.map / run.count;
      context.fillStyle = color(1);
      for (let key = 0; key <= token; key++) context.fillRect(key * wide, sizes.bar * (1 - weights[key] / 255), Math.max(1, wide - 1), sizes.bar);
      here(tops, "left", spot[1]);
      here(sides, "top", spot[0] < 0 ? token : spot[0]);
    }
    words(token, weights);
  }
  function here(axis, side, token) {
    const mark = axis.lastElementChild;
    mark.hidden = token < 0;
    if (token < 0) return;
    mark.style[side] = share(token + 0.5);
    mark.textContent = textOf(token);
  }

  function words(token, weights) {
    const index = get("layer") * run.heads + get("head");
    const parts = ["", "", ""];
    if (!weights) {
      const [induction, before, start, spread] = get("score_names").map((_, kind) => two(score(kind, index)));
      parts[1] = `A query gives ${before} of its weight to the token before it and ${start} to the first token; entropy ${spread} nats; induction ${induction}.`;
      const [from, to, most] = strongest();
      if (most > 0) parts[2] = `Its largest weight, the first token aside: ${label(from)} looks at ${label(to)} with ${two(most / 255)}.`;
    } else {
      parts[0] = `Token ${token} ${label(token)}`;
      const best = [...weights.keys()].filter((key) => weights[key] > 1 && key <= token).sort((a, b) => weights[b] - weights[a]).slice(0, 5);
      parts[1] = ` looks at ${best.map((key) => `${label(key)} ${two(weights[key] / 255)}`).join(", ")}.`;
      parts[2] = get("token") >= 0 ? "Locked: Escape lets go." : "Click or Enter locks it.";
    }
    const [from, to] = spot;
    if (to >= 0) parts[2] = `Under the pointer: ${label(from)} ${to > from ? `cannot see ${label(to)}, a later token` : `looks at ${label(to)} with ${two(row(from)[to] / 255)}`}.`;
    parts.forEach((text, at) => said[at].textContent !== text && (said[at].textContent = text));
  }
  /** The largest weight of the head on a token after the first: [query, key, byte]. */
  function strongest() {
    let best = [0, 0, 0];
    for (let token = 1; token < run.count; token++) {
      const weights = row(token);
      for (let key = 1; key < token; key++) if (weights[key] > best[2]) best = [token, key, weights[key]];
    }
    return best;
  }

  /** The cell of the map under the pointer: [query, key]. */
  function under(event) {
    const box = square.getBoundingClientRect();
    const at = (distance) => within(Math.floor((run.count * distance) / box.width), run.count);
    return [at(event.clientY - box.top), at(event.clientX - box.left)];
  }
  /** Scrolls the chosen query into view, where the lines are higher than their frame. */
  function follow() {
    const top = query() * sizes.row;
    if (query() < 0) return;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    const end = top + 2 * sizes.row - scroller.clientHeight;
    if (end > scroller.scrollTop) scroller.scrollTop = end;
  }

  // The loss and the next token ---------------------------------------------------------------------------------------

  const chance = (p) => (p < 0.0005 ? "<0.001" : p.toFixed(3));
  function drawPanel() {
    const out = get("ablated").length > 0;
    const [whole, without] = [get("loss_whole"), get("loss")];
    const change = without - whole;
    const after = out ? `; ${digits(without)} without ${names()} (${change >= 0.001 ? "+" : ""}${digits(change)})` : "";
    losses.textContent = `Loss of the text: ${digits(whole)} nats a token${after}.`;
    const lists = get("candidates");
    const ranks = lists[0].length;
    const of = (list, side, rank) => run.probabilities[(list * 2 + side) * ranks + rank];
    const cells = (side, rank) => {
      const p = of(side, side, rank);
      const bar = h("div", { class: "llmlab-track" }, part("div", "bar", { style: { width: `${100 * p}%` } }));
      return [h("td", { class: "llmlab-text llmlab-mono" }, visible(lists[side][rank])), h("td", { class: "llmlab-number" }, chance(p), bar)];
    };
    const sides = out ? [0, 1] : [0];
    const body = Array.from({ length: ranks }, (_, rank) => h("tr", { "data-candidate": rank }, ...sides.flatMap((side) => cells(side, rank))));
    const tops = sides.map((side) => h("th", { scope: "colgroup", colspan: 2 }, side ? `without ${names()}` : "whole model"));
    choices.replaceChildren(part("table", "next", {}, h("caption", {}, "Likeliest next tokens"), h("thead", {}, h("tr", {}, ...tops)), h("tbody", {}, ...body)));
    first.textContent = out ? `“${visible(lists[0][0])}”, the whole model's first: ${chance(of(0, 0, 0))}, now ${chance(of(0, 1, 0))}.` : "";
  }

  /** The same as text. */
  function tables() {
    load();
    const token = query() < 0 ? run.count - 1 : query();
    const out = get("ablated").length > 0;
    const lists = get("candidates");
    const ranks = lists[0].length;
    const sides = out ? [0, 1] : [0];
    const chosen = nameOf(get("layer"), get("head"));
    const sorted = get("sort_by") === "layer" ? "in layer order" : `sorted by ${get("sort_by")}, highest first`;
    return [
      {
        caption: `The heads (layer.head), ${sorted}; entropy in nats`,
        columns: ["head", ...get("score_names"), "taken out"],
        rows: order().map((index) => {
          const { layer, head, name } = thumbs[index];
          return [name, ...get("score_names").map((_, kind) => two(score(kind, index))), isOut(layer, head) ? "out" : ""];
        }),
      },
      {
        caption: `Head ${chosen}: where token ${token}, ${label(token)}, looks`,
        columns: ["key", "token", "weight"],
        rows: Array.from({ length: token + 1 }, (_, key) => [key, textOf(key), two(row(token)[key] / 255)]),
      },
      {
        caption: `The likeliest next tokens; loss of the text ${digits(get("loss_whole"))} nats a token${out ? `, without the heads ${digits(get("loss"))}` : ""}`,
        columns: ["rank", ...["whole model", `without ${names(Infinity)}`].slice(0, sides.length).flatMap((name) => [name, "probability"])],
        rows: Array.from({ length: ranks }, (_, rank) => [
          rank + 1,
          ...sides.flatMap((side) => [visible(lists[side][rank]), chance(run.probabilities[3 * side * ranks + rank])]),
        ]),
      },
    ];
  }

  function update() {
    load();
    count.textContent = `${run.count} tokens, <s> included; · is a space, ⏎ a line end.${asks ? "" : " A recording: typing and taking heads out need a kernel."}`;
    if (document.activeElement !== field) field.value = get("text");
    drawGrid();
    drawPanel();
    layout();
    refresh();
  }
  on("revision", update);
  on(["layer", "head"], () => (drawHead(), refresh()));
  on("token", () => (drawRow(), follow(), refresh()));
  on("sort_by", () => (drawGrid(), refresh()));
  on(["shown", "scale", "view"], layout);
  on("ablated", drawHead);
  on("scores", () => {
    if (run.revision !== get("revision")) return; // with a new run it is drawn as a whole
    run.scores = array(model, "scores").data;
    drawGrid();
    drawRow();
    refresh();
  });
  on("text", () => document.activeElement !== field && (field.value = get("text")));
  const watcher = new ResizeObserver(() => big.clientWidth !== sizes.width && layout());
  watcher.observe(big);
  update();
  return () => {
    Object.values(timers).forEach(clearTimeout);
    watcher.disconnect();
    release();
  };
}

export default { render };
