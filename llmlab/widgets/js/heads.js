/* HeadExplorer: every attention head of a model, on a text that the reader types.
 *
 * Draws a thumbnail of each head, with a score; the chosen head large, as lines from queries to keys and as a heat map;
 * the loss and the likeliest next tokens, of the whole model and without the heads and edges that are out.
 * Layers and heads count from 0 in the traits, from 1 on the page.
 * Reads: labels, knows, weights, scores, score_names, cut_weights, loss, loss_whole, candidates, probabilities, revision.
 * Reads and writes: layer, head, token, key, sort_by, shown, without the kernel.
 * Writes: text, ablated, cut_edges, which alone ask the kernel for a new pass.
 */

const WAIT = { text: 60, out: 40 }; // ms before the kernel is asked
const SHORT = { induction: "ind", "previous token": "prev", "first token": "first", entropy: "entr" };
const VIEWS = { edges: "lines", map: "map", both: "lines and map" };
const SMALL = 64; // most pixels a side of a thumbnail

function render({ model, el }) {
  const asks = live(model);
  let run = {}; // the arrays of one revision
  let preview = -1; // the query under the pointer, or chosen by the arrow keys
  let spot = [-1, -1]; // the cell under the pointer: query and key
  let refusal = ""; // why an edge could not be cut
  let thumbs = []; // {layer, head, name, cell, …}, in layer order
  let rows = []; // by token: {key, bar, number, query}
  let backdrop = null; // the lines of all queries of a head
  const sizes = { room: "", lines: 0, map: 0, row: 0 }; // in px
  const timers = {};

  const get = (name) => model.get(name);
  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: "Head explorer: where each attention head looks",
    hint: "Click a query, then a key (or ↑ ↓ Enter ← →): c cuts the edge, x takes the head out, X restores all. [ ] head, { } layer, ? help.",
    touch: "Tap a query, then a key.",
    first: ".llmlab-heads-grid, .llmlab-heads-next, [data-half=edges]",
    tables,
    idle: () => refusal || "· is a space, ⏎ a line end.",
    keys: {
      ArrowUp: (event) => (event.shiftKey ? choose("layer", -1) : step(-1)),
      ArrowDown: (event) => (event.shiftKey ? choose("layer", 1) : step(1)),
      ArrowLeft: (event) => (event.shiftKey ? choose("head", -1) : aside(-1)),
      ArrowRight: (event) => (event.shiftKey ? choose("head", 1) : aside(1)),
      Home: () => point(0),
      End: () => point(run.count - 1),
      Enter: () => hold(query() < 0 ? run.count - 1 : query()),
      "[": () => choose("head", -1),
      "]": () => choose("head", 1),
      "{": () => choose("layer", -1),
      "}": () => choose("layer", 1),
      x: () => toggle(get("layer"), get("head")),
      X: restore,
      c: cut,
      C: () => change({ cut_edges: [] }),
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

  // What the reader does ---

  const choose = (name, by) => set(name, within(get(name) + by, name === "layer" ? run.layers : run.heads));
  function cycle(name, values) {
    set(name, values[(values.indexOf(get(name)) + 1) % values.length]);
  }
  /** The query that is shown: the locked one, or else the one that is pointed at; -1: all of them. */
  const query = () => (get("token") >= 0 ? get("token") : preview);
  function point(token) {
    if (get("token") >= 0) return hold(within(token, run.count));
    look(within(token, run.count));
    follow();
    refresh();
  }
  const step = (by) => point(query() < 0 ? run.count - 1 : query() + by);
  /** Holds a query, and with it a key that it can see. */
  function hold(token, key = get("key")) {
    model.set("key", key > token ? -1 : key);
    set("token", token);
    model.save_changes();
  }
  /** The key of the held query, at first the one that it looks at most. */
  function aside(by) {
    const [token, key] = [get("token"), get("key")];
    if (token < 0) return step(by);
    const weights = [...row(token).subarray(0, token + 1)];
    hold(token, key < 0 ? weights.indexOf(Math.max(...weights)) : within(key + by, token + 1));
  }
  function look(token = -1, cell = [-1, -1]) {
    if (token === preview && String(cell) === String(spot)) return;
    [preview, spot] = [token, cell];
    drawRow();
  }
  function letGo() {
    look();
    hold(-1, -1);
  }
  function lock(token) {
    if (token === get("token")) hold(-1, -1);
    else hold(token);
    root.focus();
  }
  /** A click on a key: held with the query, or held as the query. */
  function lockKey(key) {
    const token = get("token");
    if (token < 0 || key > token) return lock(key);
    hold(token, key === get("key") ? -1 : key);
    root.focus();
  }
  function later(name, action) {
    clearTimeout(timers[name]);
    timers[name] = setTimeout(action, WAIT[name]);
  }
  const submit = () => set("text", field.value);
  /** Writes heads or edges that are out: drawn at once, and the kernel runs the model. */
  function change(traits) {
    refusal = "";
    if (!asks) return refresh();
    for (const [name, list] of Object.entries(traits)) model.set(name, list.sort(byNumbers));
    later("out", () => model.save_changes());
    refresh();
  }
  const isOut = (layer, head) => isIn(get("ablated"), [layer, head]);
  const toggle = (layer, head) => change({ ablated: flip(get("ablated"), [layer, head]) });
  function restore() {
    change({ ablated: [], cut_edges: [] });
  }
  /** The query and key that are pointed at or held. */
  const pair = () => (spot[1] >= 0 ? spot : [get("token"), get("key")]);
  const edge = ([token, key]) => [get("layer"), get("head"), token, key];
  const isCut = (token, key) => isIn(get("cut_edges"), edge([token, key]));
  /** Why this edge cannot be cut; "" where it can. */
  function kept([token, key]) {
    if (key < 0) return "First hold a query and a key.";
    if (key > token) return `${label(token)} cannot see the later ${label(key)}: there is no edge to cut.`;
    const others = Array.from({ length: token + 1 }, (_, at) => at).filter((at) => at !== key && !isCut(token, at));
    return others.length ? "" : `${label(key)} is the last key that ${label(token)} can look at: it cannot be cut.`;
  }
  function cut() {
    if (!asks) return;
    refusal = isCut(...pair()) ? "" : kept(pair());
    if (refusal) refresh();
    else change({ cut_edges: flip(get("cut_edges"), edge(pair())) });
  }

  // The parts that stay ---

  const part = (tag, name, attributes, ...children) => h(tag, { class: `llmlab-heads-${name}`, ...attributes }, ...children);
  const box = (name, ...children) => part("div", name, {}, ...children);
  const veil = box("veil");
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
  const orders = get("score_names").map((name) => [name, `${name}, highest first`]);
  const sorter = chooser("order of the heads", [["layer", "layers"], ...orders], (value) => set("sort_by", value));
  const viewer = chooser("view", Object.entries(VIEWS), (value) => set("shown", value));
  const grid = box("grid");

  const button = (key, action, text = "") => h("button", { disabled: !asks, title: `key ${key}`, onclick: () => (action(), root.focus()) }, text);
  const takes = button("x", () => toggle(get("layer"), get("head")));
  const cuts = button("c", cut);
  const puts = button("X", restore, "Put all back");
  const losses = h("div", { class: "llmlab-note", "aria-live": "polite", "data-loss": "" });
  const choices = h("div", { class: "llmlab-scroll" });
  const first = h("div", { class: "llmlab-note", "data-first": "" });

  const title = h("h4", {});
  const place = h("span", { class: "llmlab-note", title: "in Python" });
  const said = [h("strong", {}), h("span", {}), h("div", {})];
  const readout = part("div", "readout", { "aria-live": "polite", "data-readout": "" }, ...said);
  const lines = canvas({ "data-lines": "" });
  const strand = box("strand", lines);
  const edges = part("div", "edges", {
    onpointermove: (event) => {
      const at = event.target.closest("[data-token]");
      if (!at) return;
      const [held, token] = [get("token"), Number(at.dataset.token)];
      if (held < 0) look(token);
      else look(preview, [held, token]);
    },
    onpointerleave: () => look(),
    onclick: (event) => {
      const at = event.target.closest("[data-token]");
      if (at) (at.dataset.kind === "key" ? lockKey : lock)(Number(at.dataset.token));
    },
  });
  const scroller = box("scroll", edges);
  const stack = (name, ...texts) => box(`${name} llmlab-note`, ...texts.map((text) => h("span", {}, text)));
  const edgesBox = part("div", "half", { "data-half": "edges" }, stack("tops", "keys: looked at", "queries: looking"), scroller);
  const map = canvas({ "data-map": "" });
  const band = box("band");
  const ring = box("spot");
  const crosses = box("gaps");
  const square = part(
    "div",
    "square",
    {
      onpointermove: (event) => look(under(event)[0], under(event)),
      onpointerleave: () => look(),
      onclick: (event) => {
        const [token, key] = under(event);
        if (String([token, key]) === String([get("token"), get("key")])) hold(-1, -1);
        else hold(token, key);
        root.focus();
      },
    },
    map,
    crosses,
    band,
    ring,
  );
  const tops = box("axis llmlab-heads-above");
  const sides = box("axis llmlab-heads-beside");
  const corner = stack("corner", "keys →", "queries ↓");
  const mapBox = part("div", "half", { "data-half": "map" }, box("map", corner, tops, sides, square));
  const swatch = (text, background) => part("span", "swatch", {}, h("i", { style: { background } }), text);
  const legend = box(
    "legend llmlab-row llmlab-note",
    "weight",
    ...[0, 0.05, 0.2, 0.5, 1].map((w) => swatch(String(w), tint(strength(w)))),
    swatch("never seen", `rgba(${GRAY.slice(0, 3)}, ${GRAY[3] / 255})`),
  );
  const help = h(
    "details",
    { class: "llmlab-stage" },
    h("summary", {}, "Keys, scores and colors"),
    ...[
      "↑ ↓, Home, End: query; Enter holds it, Escape lets go. ← →: a key of the held query; c cuts the edge or puts it back, C puts all edges back. x takes the head out or puts it back, X puts all back. [ ] or Shift ← →: head; { } or Shift ↑ ↓: layer. s: next order; v: next view; t: tables; /: to the text.",
      "Beside a head: the score that orders it; in layers, a row each, the highest of the first three, mean weights from 0 to 1. Induction: on random words said twice, the weight on the word that followed the last time. Previous and first token: on this text. Entropy, in nats: 0 for a query that looks at one key, log n for n keys alike.",
      "A head that is out reads nothing: its output is zero. A cut edge has a score of −∞ before the softmax, so the query's other keys share the whole 1. All numbers are then those of the model without them.",
      "Weights below 0.005 are left blank, lines below 0.02 (0.05 in long texts) left out. A color is as strong as the square root of its weight; in a thumbnail a pixel may stand for the largest of several.",
    ].map((text) => h("p", {}, text)),
  );

  const big = box(
    "big",
    h("div", { class: "llmlab-row" }, title, place, box("view", viewer)),
    readout,
    legend,
    box("both", edgesBox, mapBox),
  );
  body.append(
    field,
    count,
    box(
      "parts",
      box(
        "left",
        h("section", {}, h("label", {}, "Heads in the order of ", sorter), h("div", { class: "llmlab-scroll" }, grid)),
        part("section", "panel", {}, h("div", { class: "llmlab-row" }, takes, cuts, puts), losses, choices, first),
      ),
      big,
    ),
    help,
  );

  // What the run says ---

  /** The head as the page names it. */
  const nameOf = (layer, head) => `${layer + 1}.${head + 1}`;
  const textOf = (token) => visible(run.labels[token]);
  const label = (token) => `“${textOf(token)}”`;
  const two = (x) => x.toFixed(2);
  /** A weight from its byte, to two digits; "" where it is as good as 0. */
  const weightText = (byte) => (byte < 1.275 ? "" : two(byte / 255));
  const chosen = () => get("layer") * run.heads + get("head");
  /** The weights of a head as bytes, and the row of a query in the chosen one. */
  const weightsOf = (index) => run.weights.subarray(index * run.count ** 2, (index + 1) * run.count ** 2);
  const row = (token) => weightsOf(chosen()).subarray(token * run.count, (token + 1) * run.count);
  const score = (kind, index) => run.scores[kind * run.layers * run.heads + index];
  const some = (list, noun) => (list.length ? [`${list.length} ${noun}${list.length > 1 ? "s" : ""}`] : []);
  /** What is out, in words. */
  function names() {
    const out = get("ablated");
    const heads = out.length > 3 ? some(out, "head") : out.map(([layer, head]) => nameOf(layer, head));
    return [...heads, ...some(get("cut_edges"), "edge")].join(", ");
  }

  function load() {
    if (run.revision === get("revision")) return;
    const { shape, data } = array(model, "weights");
    run = { revision: get("revision"), layers: shape[0], heads: shape[1], count: shape[2], weights: data };
    run.labels = get("labels");
    run.scores = array(model, "scores").data;
    run.probabilities = array(model, "probabilities").data;
    run.cut = array(model, "cut_weights").data;
    if (preview >= run.count) preview = -1;
    [spot, refusal] = [[-1, -1], ""];
    if (!thumbs.length) buildThumbs();
    buildRows();
    thumbs.forEach(paintThumb);
  }

  // The thumbnails ---

  function buildThumbs() {
    root.style.setProperty("--llmlab-heads-columns", run.heads);
    thumbs = Array.from({ length: run.layers * run.heads }, (_, index) => {
      const [layer, head, picture, text] = [Math.floor(index / run.heads), index % run.heads, canvas(), h("span", {})];
      const name = nameOf(layer, head);
      const show = () => (set("layer", layer), set("head", head), root.focus());
      const pick = part("button", "pick", { tabindex: "-1", onclick: show }, picture, h("b", {}, name), text);
      const cell = part("div", "thumb", { "data-head": `${layer}.${head}` }, pick, part("span", "cross"), part("span", "word", {}, "out"));
      return { layer, head, name, cell, pick, picture, text };
    });
  }

  function paintThumb({ picture }, index) {
    const [bytes, side] = folded(weightsOf(index), run.count, SMALL);
    heat(picture, bytes, side);
    picture.style.imageRendering = side > 32 ? "auto" : ""; // it shrinks
  }

  /** Beside each thumbnail the score that it is sorted by; in layer order the highest of the three mean weights. */
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
    sorter.value = get("sort_by");
    drawChosen();
  }
  function drawChosen() {
    thumbs.forEach(({ layer, head, name, cell, pick }, index) => {
      const gone = isOut(layer, head);
      cell.classList.toggle("llmlab-heads-gone", gone);
      pick.setAttribute("aria-pressed", String(layer === get("layer") && head === get("head")));
      pick.setAttribute("aria-label", `head ${name}, ${caption(index)}${gone ? ", out" : ""}`);
    });
    drawButtons();
  }
  function drawButtons() {
    takes.textContent = `${isOut(get("layer"), get("head")) ? "Put back" : "Take out"} ${nameOf(get("layer"), get("head"))}`;
    puts.disabled = !asks || !names();
    const [token, key] = pair();
    const open = key >= 0 && key <= token;
    cuts.textContent = open ? `${isCut(token, key) ? "Put back" : "Cut"} ${label(token)} → ${label(key)}` : "Cut an edge";
    cuts.disabled = !asks || !open;
  }

  // The chosen head ---

  function buildRows() {
    rows = run.labels.map((text, token) => {
      const cell = (kind, ...more) => part("div", kind, { "data-token": token, "data-kind": kind, title: `token ${token}` }, ...more, h("span", { class: "llmlab-mono" }, visible(text)));
      const [bar, number] = [part("i", "weight"), part("span", "number")];
      return { key: cell("key", bar, number), bar, number, query: cell("query") };
    });
    const column = (kind, ...more) => part("div", "column", {}, ...rows.map((of) => of[kind]), ...more);
    edges.replaceChildren(column("key", veil), strand, column("query"));
  }

  const room = () => `${big.clientWidth} ${window.innerHeight}`;
  /** Sizes, from the room and the number of tokens. */
  function layout() {
    const scale = get("scale");
    const shown = get("shown");
    edgesBox.hidden = shown === "map";
    mapBox.hidden = shown === "edges";
    viewer.value = shown;
    sizes.room = room();
    if (!big.clientWidth) return;
    const tall = Math.max(366 * scale, Math.min(624 * scale, window.innerHeight - 434 * scale)); // less in a small window
    sizes.row = Math.floor(Math.max(13 * scale, Math.min(24 * scale, tall / run.count)));
    edges.style.setProperty("--llmlab-heads-row", `${sizes.row}px`);
    scroller.style.maxHeight = `${tall + 2}px`;
    sizes.lines = strand.clientWidth;
    const wide = Math.min(mapBox.clientWidth - 72 * scale - 4, tall);
    const whole = Math.min(48 * scale, Math.floor(wide / run.count));
    sizes.map = Math.round(whole >= 6 ? whole * run.count : wide); // large cells are all alike
    mapBox.style.setProperty("--llmlab-heads-map", `${sizes.map}px`);
    drawHead();
    follow();
  }

  function strands(context, token, floor) {
    const weights = row(token);
    const [left, right, y] = [2, sizes.lines - 2, (token + 0.5) * sizes.row];
    for (let key = 0; key <= token; key++) {
      const gone = isCut(token, key);
      if (weights[key] < floor && !gone) continue;
      const to = (key + 0.5) * sizes.row;
      context.strokeStyle = gone ? "rgb(153, 153, 153)" : tint(strength(weights[key] / 255));
      context.lineWidth = gone ? 2 : 1 + (4 * weights[key]) / 255;
      context.setLineDash(gone ? [2, 4] : []);
      context.beginPath();
      context.moveTo(right, y);
      context.bezierCurveTo((left + right) / 2, y, (left + right) / 2, to, left, to);
      context.stroke();
      if (!gone) continue;
      context.fillStyle = context.strokeStyle;
      context.font = `${16 * get("scale")}px sans-serif`;
      context.fillText("×", (left + right) / 2 - 5 * get("scale"), (y + to) / 2 + 6 * get("scale"));
    }
  }

  function drawHead() {
    const [layer, head] = [get("layer"), get("head")];
    title.textContent = `Head ${nameOf(layer, head)}${isOut(layer, head) ? ", out" : ""}`;
    place.textContent = `layer=${layer}, head=${head}`;
    drawChosen();
    if (!sizes.row) return;
    if (get("shown") !== "map") {
      backdrop = document.createElement("canvas");
      const context = sheet(backdrop, sizes.lines, sizes.row * run.count);
      const faint = Math.max(5, run.count / 10); // of 255: none smaller
      for (let token = 0; token < run.count; token++) strands(context, token, faint);
    }
    if (get("shown") !== "edges") {
      heat(map, weightsOf(chosen()), run.count);
      const cross = ([, , token, key]) => part("span", "gap", { style: { top: share(token), left: share(key), width: share(1), height: share(1) } }, "×");
      crosses.replaceChildren(...get("cut_edges").filter((one) => one[0] === layer && one[1] === head).map(cross));
      drawAxes();
    }
    drawRow();
  }

  const share = (tokens) => `${(100 * tokens) / run.count}%`;

  /** Labels along both axes, as many as fit. */
  function drawAxes() {
    const every = Math.max(1, Math.ceil((12 * get("scale") * run.count) / sizes.map));
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
    const [from, to] = pair();
    drawButtons();
    if (!sizes.row) return;
    if (get("shown") !== "map") {
      rows.forEach(({ key, bar, number, query: looking }, at) => {
        const byte = weights ? weights[at] : 0;
        const text = weights && isCut(token, at) ? "cut" : weightText(byte);
        if (number.textContent !== text) number.textContent = text;
        bar.style.width = `calc(${(8 * byte) / 255} * var(--llmlab-unit))`;
        key.classList.toggle("llmlab-chosen", at === to && token === from);
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
      ring.hidden = to < 0;
      Object.assign(band.style, { top: share(token), height: share(1) });
      Object.assign(ring.style, { top: share(from), left: share(to), width: share(1), height: share(1) });
      here(tops, "left", to);
      here(sides, "top", to < 0 ? token : from);
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
    const parts = ["", "", ""];
    if (!weights) {
      const [induction, before, start, spread] = get("score_names").map((_, kind) => two(score(kind, chosen())));
      parts[1] = `A query gives ${before} of its weight to the token before it, ${start} to the first; entropy ${spread} nats, induction ${induction}.`;
      const all = weightsOf(chosen());
      const most = all.reduce((best, byte, at) => (at % run.count && at % (run.count + 1) && byte > all[best] ? at : best), 1);
      if (all[most]) parts[2] = `Largest, the first aside: ${label(Math.floor(most / run.count))} at ${label(most % run.count)}, ${two(all[most] / 255)}.`;
    } else {
      parts[0] = `Token ${token} ${label(token)}`;
      const best = [...weights.keys()].filter((key) => weights[key] > 1 && key <= token).sort((a, b) => weights[b] - weights[a]).slice(0, 4);
      parts[1] = ` looks at ${best.map((key) => `${label(key)} ${two(weights[key] / 255)}`).join(", ")}.`;
      parts[2] = get("token") >= 0 ? "Held: Escape lets go. Now a key: click, or ← →." : "Click or Enter holds it.";
    }
    const [from, to] = pair();
    if (to >= 0) {
      parts[2] = `${spot[1] >= 0 ? "Under the pointer" : "Held"}: ${label(from)} `;
      if (to > from) parts[2] += `cannot see ${label(to)}, a later token.`;
      else if (isCut(from, to)) parts[2] += `cannot look at ${label(to)}: cut.`;
      else parts[2] += `looks at ${label(to)} with ${two(row(from)[to] / 255)}.`;
    }
    parts.forEach((text, at) => said[at].textContent !== text && (said[at].textContent = text));
  }
  /** The cell of the map under the pointer: [query, key]. */
  function under(event) {
    const box = square.getBoundingClientRect();
    const at = (distance) => within(Math.floor((run.count * distance) / box.width), run.count);
    return [at(event.clientY - box.top), at(event.clientX - box.left)];
  }
  /** Scrolls the query into view. */
  function follow() {
    const top = query() * sizes.row;
    if (query() < 0) return;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    const end = top + 2 * sizes.row - scroller.clientHeight;
    if (end > scroller.scrollTop) scroller.scrollTop = end;
  }

  // The loss and the next token ---

  function drawPanel() {
    const out = names() !== "";
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
    const tops = sides.map((side) => h("th", { scope: "colgroup", colspan: 2 }, side ? `without ${names()}` : "next token, whole model"));
    choices.replaceChildren(part("table", "next", {}, h("thead", {}, h("tr", {}, ...tops)), h("tbody", {}, ...body)));
    first.textContent = out ? `“${visible(lists[0][0])}”, the whole model's first: ${chance(of(0, 0, 0))}, now ${chance(of(0, 1, 0))}.${listed()}` : "";
  }

  function listed() {
    const edges = get("cut_edges").map(([layer, head, token, key]) => `${nameOf(layer, head)} ${label(token)} → ${label(key)}`);
    return edges.length ? ` Cut: ${edges.slice(0, 3).join(", ")}${edges.length > 3 ? ", …" : ""}.` : "";
  }

  function tables() {
    load();
    const token = query() < 0 ? run.count - 1 : query();
    const out = names() !== "";
    const lists = get("candidates");
    const ranks = lists[0].length;
    const sides = out ? [0, 1] : [0];
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
        caption: `Head ${nameOf(get("layer"), get("head"))}: where token ${token}, ${label(token)}, looks`,
        columns: ["key", "token", "weight"],
        rows: Array.from({ length: token + 1 }, (_, key) => [key, textOf(key), two(row(token)[key] / 255)]),
      },
      {
        caption: `The likeliest next tokens; loss of the text ${digits(get("loss_whole"))} nats a token${out ? `, without what is out ${digits(get("loss"))}` : ""}`,
        columns: ["rank", ...sides.flatMap((side) => [side ? `without ${names()}` : "whole model", "probability"])],
        rows: Array.from({ length: ranks }, (_, rank) => [
          rank + 1,
          ...sides.flatMap((side) => [visible(lists[side][rank]), chance(run.probabilities[3 * side * ranks + rank])]),
        ]),
      },
      {
        caption: "The edges cut: in that head the query may not look at the key",
        columns: ["head", "query", "key", "weight in the whole model"],
        rows: get("cut_edges").map(([layer, head, ...ends], at) => [nameOf(layer, head), ...ends.map((token) => `${token} ${textOf(token)}`), two(run.cut[at] ?? 0)]),
      },
    ].filter(({ rows }) => rows.length);
  }

  function update() {
    load();
    count.textContent = `${run.count} tokens, <s> included. ${asks ? get("knows") : "A recording: typing, taking heads out and cutting edges need a kernel."}`;
    if (document.activeElement !== field) field.value = get("text");
    drawGrid();
    drawPanel();
    layout();
    refresh();
  }
  on("revision", update);
  on(["layer", "head"], () => (drawHead(), refresh()));
  on(["token", "key"], () => ((refusal = ""), drawRow(), follow(), refresh()));
  on("sort_by", () => (drawGrid(), refresh()));
  on(["shown", "scale", "view"], layout);
  on(["ablated", "cut_edges"], drawHead);
  on("scores", () => {
    if (run.revision !== get("revision")) return; // a new run draws all
    run.scores = array(model, "scores").data;
    drawGrid();
    drawRow();
    refresh();
  });
  on("text", () => document.activeElement !== field && (field.value = get("text")));
  const fit = () => room() !== sizes.room && layout();
  const watcher = new ResizeObserver(fit);
  watcher.observe(big);
  window.addEventListener("resize", fit);
  update();
  return () => {
    Object.values(timers).forEach(clearTimeout);
    watcher.disconnect();
    window.removeEventListener("resize", fit);
    release();
  };
}
