/* RoPERotator: the pairs of a query and a key as hands of clocks, turned by their positions.
 *
 * Draws a dial for each pair with the hand of the query (blue, whole, a dot at its end) at m·θ and that of the key
 * (orange, dashed, a square at its end) at n·θ, and what the pair adds to the score; the score of the two by distance,
 * near and far, and the wavelengths of the pairs on a log axis.
 * Reads: tokens, trained, bases, methods, factors, table, gains, q, k, scores, revision.
 * Reads and writes: layer, head, query, key, m, n, together, theta, scaling, factor, rope_layout, pair, without the kernel.
 * Writes: text, which alone asks the kernel.
 */

const REACH = 1024; // positions
const NEAR = 32; // distances of the left part of the curve
const DISTANCES = [0, 1, 2, 3, 4, 8, 16, 32, 64, 128, 255, 256, 512, 1023];
const LEAP = 32; // positions
const NAMES = { none: "no scaling", linear: "linear", ntk: "NTK-aware", llama3: "Llama 3", yarn: "YaRN" };
const LAYOUTS = { half: "half: j and j + d/2", interleaved: "interleaved: 2j, 2j + 1" };
const HINT = "← → query, ↑ ↓ key, Space ties them: then the score stays. [ ] head, , . pair, Home back. Or drag the curve.";
const TOUCH_HINT = "Move a slider, tie the two, tap a dial or drag along the curve.";

const three = (value) => value.toFixed(3).replace("-", "−");
const plain = (size) => (size >= 100 ? grouped(size.toFixed(0)) : size.toFixed(size >= 10 ? 1 : 2));
const degrees = (radians) => (((((radians * 180) / Math.PI) % 360) + 360) % 360).toFixed(1);
const quoted = (token) => `“${visible(token)}”`;

/** The highest of a range of the curve: [distance, score]. */
function highest(curve, from, to) {
  let best = from;
  for (let at = from; at < to; at++) if (curve[at] > curve[best]) best = at;
  return [best, curve[best]];
}

function render({ model, el }) {
  const asks = live(model);
  const get = (name) => model.get(name);
  const [bases, methods, factors, trained] = ["bases", "methods", "factors", "trained"].map(get);
  const [table, gains] = ["table", "gains"].map((name) => array(model, name).data);
  const known = Math.min(trained.length, REACH);
  let q, k, scores; // what the kernel recorded last: {shape, data}
  let P; // pairs
  let quiet = false;
  let now; // what is drawn: see `measure`

  const { root, body, on, set, refresh, release } = frame(model, el, {
    label: "Query and key turned by their positions",
    hint: HINT,
    touch: TOUCH_HINT,
    first: ".llmlab-rope-first",
    tables,
    idle: () => (asks ? "q and k as the model computed them, before their rotation. · is a space." : "A recording: another sentence needs a kernel."),
    keys: {
      ArrowRight: () => move("m", 1),
      ArrowLeft: () => move("m", -1),
      ArrowUp: () => move("n", 1),
      ArrowDown: () => move("n", -1),
      PageUp: () => move("m", LEAP),
      PageDown: () => move("m", -LEAP),
      Home: () => place(get("query"), get("key")),
      " ": () => set("together", !get("together")),
      "[": () => goHead(-1),
      "]": () => goHead(1),
      ",": () => set("pair", Math.max(-1, get("pair") - 1)),
      ".": () => set("pair", within(get("pair") + 1, P)),
      l: () => set("rope_layout", get("rope_layout") === "half" ? "interleaved" : "half"),
      s: () => set("scaling", methods[(methods.indexOf(get("scaling")) + 1) % methods.length]),
    },
  });

  // What the reader does ---

  function write(values) {
    const changed = Object.entries(values).filter(([name, value]) => get(name) !== value);
    if (!changed.length) return;
    quiet = true; // one picture is enough
    changed.forEach(([name, value]) => model.set(name, value));
    quiet = false;
    model.save_changes();
    draw();
  }
  const place = (m, n) => write({ m, n });
  /** Moves one of the two, both if they are tied; the one that is met is taken along. */
  function move(name, by) {
    const [m, n] = [get("m"), get("n")];
    if (get("together")) {
      by = Math.max(-n, Math.min(REACH - 1 - m, by));
      return place(m + by, n + by);
    }
    const to = within(get(name) + by, REACH);
    place(name === "m" ? to : Math.max(m, to), name === "n" ? to : Math.min(n, to));
  }
  /** The query so far from the key; where the key leaves no room, it makes some. */
  function distance(far) {
    const n = Math.min(get("n"), REACH - 1 - far);
    place(n + far, n);
  }
  function choose(query, key) {
    write({ query, key, m: query, n: key });
  }
  function goHead(by) {
    const [layers, heads] = q.shape;
    const to = (get("layer") * heads + get("head") + by + layers * heads) % (layers * heads);
    write({ layer: Math.floor(to / heads), head: to % heads });
  }

  // The parts that stay ---

  const field = (label, ...parts) => h("label", { class: "llmlab-row llmlab-note llmlab-rope-field" }, h("span", {}, label), ...parts);
  const numbers = (count) => Array.from({ length: count }, (_, n) => [n, n + 1]);
  const text = h("input", { type: "text", "aria-label": "sentence", class: "llmlab-rope-text", spellcheck: "false", autocomplete: "off", disabled: !asks, onchange: () => set("text", text.value), onkeydown: (event) => event.key === "Enter" && set("text", text.value) });
  const layer = chooser("layer", numbers(get("q").shape[0]), (value) => set("layer", Number(value)));
  const head = chooser("head", numbers(get("q").shape[1]), (value) => set("head", Number(value)));
  head.title = "keys [ and ]";
  const query = chooser("token of the query", [], (value) => choose(Number(value), Math.min(get("key"), Number(value))));
  const key = chooser("token of the key", [], (value) => choose(get("query"), Number(value)));
  function positioned(name, label, sign) {
    const slider = h("input", { type: "range", min: 0, max: REACH - 1, step: 1, "aria-label": label, "data-slider": name, oninput: () => {
      move(name, Number(slider.value) - get(name));
      slider.value = get(name); // where it stops
    } });
    const said = h("output", { class: "llmlab-rope-at", "data-at": name });
    const step = (by, mark) => h("button", { "aria-label": `${label} ${by > 0 ? "+" : "−"} 1`, "data-step": `${name}${mark}`, onclick: () => move(name, by) }, mark);
    return { slider, said, row: h("div", { class: "llmlab-row llmlab-rope-position" }, h("span", { class: `llmlab-rope-sign llmlab-rope-${name}` }, sign), step(-1, "−"), slider, step(1, "+"), said) };
  }
  const parts = { m: positioned("m", "position of the query, m", "q at m ="), n: positioned("n", "position of the key, n", "k at n =") };
  const tie = h("button", { "data-tie": "", title: "Space", onclick: () => set("together", !get("together")) }, "Tie both");
  const back = h("button", { "data-back": "", title: "Home: where they stand in the sentence", onclick: () => place(get("query"), get("key")) }, "Back");
  const theta = chooser("base", bases.map((base) => [base, grouped(base)]), (value) => set("theta", Number(value)));
  const scaling = chooser("scaling", methods.map((name) => [name, NAMES[name] ?? name]), (value) => set("scaling", value));
  scaling.title = "key s";
  const factor = chooser("factor", factors.map((value) => [value, `${value} ×`]), (value) => set("factor", Number(value)));
  const layout = chooser("layout", Object.entries(LAYOUTS), (value) => set("rope_layout", value));
  layout.title = "key l";
  const claim = h("p", { class: "llmlab-rope-claim", "aria-live": "polite" });
  const dials = h("div", { class: "llmlab-rope-dials", role: "group", "aria-label": "the pairs, the fastest first" });
  const detail = h("p", { class: "llmlab-note", "aria-live": "polite", "data-detail": "" });
  const curve = h("div", { class: "llmlab-rope-curve" });
  const waves = h("div", { class: "llmlab-rope-waves" });
  const sample = (name, label) => h("span", { class: "llmlab-rope-swatch" }, drawing("svg", { width: 28, height: 12, viewBox: "0 0 28 12", "aria-hidden": "true" }, ...hand(name, 2, 6, 22, 6, 1)), ` ${label}`);
  const legend = h("span", { class: "llmlab-note llmlab-row llmlab-rope-legend" }, sample("m", "q, turned by m·θ"), sample("n", "k, turned by n·θ"), h("span", {}, "Hands: the longer, the larger the pair. Below: what it adds."));
  body.append(
    h(
      "div",
      { class: "llmlab-rope-first" },
      h("div", { class: "llmlab-row" }, text, field("layer", layer), field("head", head), field("q", query), field("k", key)),
      h("div", { class: "llmlab-row llmlab-rope-places" }, parts.m.row, parts.n.row, h("div", { class: "llmlab-row" }, tie, back)),
      h("div", { class: "llmlab-row" }, field("base", theta), field("beyond the trained length", scaling, factor), field("pairs", layout), legend),
      claim,
      dials,
      detail,
      h("div", { class: "llmlab-rope-halves" }, curve, waves),
    ),
  );

  // What follows from the traits ---

  /** Pairs of a vector of d numbers: [[a, b], …]. */
  function pairsOf(numbers) {
    return Array.from({ length: P }, (_, j) => (get("rope_layout") === "half" ? [numbers[j], numbers[j + P]] : [numbers[2 * j], numbers[2 * j + 1]]));
  }
  function frequencies(base = get("theta"), method = get("scaling")) {
    const row = (bases.indexOf(base) * methods.length + methods.indexOf(method)) * factors.length + factors.indexOf(get("factor"));
    return { freqs: [...table.subarray(row * P, (row + 1) * P)], gain: gains[row] };
  }
  /** All that is drawn. What a pair adds at a distance Δ is a·cos Δθ + b·sin Δθ. */
  function measure() {
    const [layers, heads, T, d] = q.shape;
    const [l, hd, n] = ["layer", "head", "n"].map(get);
    const m = Math.max(get("m"), n); // Python takes the other along a moment later
    const qa = within(get("query"), T);
    const ka = within(get("key"), qa + 1);
    P = d / 2;
    const group = Math.floor(hd / (heads / k.shape[1]));
    const vector = (from, start) => pairsOf(from.data.subarray(start * d, (start + 1) * d));
    const qs = vector(q, (l * heads + hd) * T + qa);
    const ks = vector(k, (l * k.shape[1] + group) * T + ka);
    const { freqs, gain } = frequencies();
    const by = gain / Math.sqrt(d);
    const turned = (pairs, at) => pairs.map(([a, b], j) => {
      const [c, s] = [Math.cos(at * freqs[j]), Math.sin(at * freqs[j])];
      return [a * c - b * s, a * s + b * c];
    });
    const [tq, tk] = [turned(qs, m), turned(ks, n)];
    const adds = tq.map(([a, b], j) => (a * tk[j][0] + b * tk[j][1]) * by);
    const even = qs.map(([a, b], j) => (a * ks[j][0] + b * ks[j][1]) * by);
    const odd = qs.map(([a, b], j) => (a * ks[j][1] - b * ks[j][0]) * by);
    const far = new Float64Array(REACH);
    for (let at = 0; at < REACH; at++) for (let j = 0; j < P; j++) far[at] += even[j] * Math.cos(at * freqs[j]) + odd[j] * Math.sin(at * freqs[j]);
    const row = [...scores.data.subarray(((l * heads + hd) * T + qa) * T, ((l * heads + hd) * T + qa) * T + qa + 1)];
    const top = Math.max(...row);
    const total = row.reduce((sum, value) => sum + Math.exp(value - top), 0);
    now = { d, m, n, qa, ka, gain, qs, ks, tq, tk, freqs, adds, far, score: adds.reduce((sum, value) => sum + value, 0), own: row[ka], weight: Math.exp(row[ka] - top) / total };
  }
  const token = (at) => get("tokens")[at];
  const asTrained = () => get("theta") === trained.theta && get("scaling") === "none" && get("rope_layout") === trained.layout;

  // The dials ---

  /** A hand from (x, y) to (x2, y2): a function declaration, for the legend above. */
  function hand(name, x, y, x2, y2, scale) {
    const end = name === "m" ? drawing("circle", { class: "llmlab-rope-end-m", cx: x2, cy: y2, r: 3 * scale }) : drawing("rect", { class: "llmlab-rope-end-n", x: x2 - 3 * scale, y: y2 - 3 * scale, width: 6 * scale, height: 6 * scale });
    return [drawing("path", { class: `llmlab-rope-hand-${name}`, d: `M${x} ${y}L${x2} ${y2}` }), end];
  }
  function makeDials() {
    dials.replaceChildren(
      ...Array.from({ length: P }, (_, j) => {
        const face = drawing("svg", { viewBox: "0 0 56 56", "aria-hidden": "true" });
        const add = h("span", { class: "llmlab-rope-adds", "data-adds": j });
        return h("button", { tabindex: -1, class: "llmlab-rope-dial", "data-dial": j, onclick: () => set("pair", get("pair") === j ? -1 : j) }, face, add);
      }),
    );
  }
  function drawDials() {
    const { tq, tk, adds } = now;
    const [longQ, longK] = [tq, tk].map((pairs) => Math.max(...pairs.map(([a, b]) => Math.hypot(a, b))) || 1);
    const most = Math.max(...adds.map(Math.abs)) || 1;
    [...dials.children].forEach((dial, j) => {
      const point = ([a, b], long) => {
        const reach = 22 / Math.sqrt(long * Math.hypot(a, b) || 1); // as long as the root of the pair's length
        return [28 + reach * a, 28 - reach * b];
      };
      const [face, add] = dial.children;
      face.replaceChildren(
        drawing("circle", { class: "llmlab-rope-face", cx: 28, cy: 28, r: 26 }),
        ...hand("n", 28, 28, ...point(tk[j], longK), 1),
        ...hand("m", 28, 28, ...point(tq[j], longQ), 1),
        drawing("text", { class: "llmlab-rope-number", x: 1, y: 11 }, String(j)),
      );
      const side = adds[j] < 0 ? "negative" : "positive";
      const bar = h("i", { class: "llmlab-rope-bar", style: { width: `${(50 * Math.abs(adds[j])) / most}%`, [adds[j] < 0 ? "right" : "left"]: "50%", background: `rgb(var(--llmlab-${side}))` } });
      add.replaceChildren(h("span", {}, `${adds[j] < 0 ? "" : "+"}${three(adds[j])}`), h("span", { class: "llmlab-rope-track" }, bar));
      dial.setAttribute("aria-pressed", String(j === get("pair")));
      dial.setAttribute("aria-label", `pair ${j}, wavelength ${plain((2 * Math.PI) / now.freqs[j])} tokens, adds ${three(adds[j])}`);
    });
    const j = get("pair");
    const { freqs, m, n } = now;
    detail.textContent =
      j < 0
        ? `Pair 0 turns once in ${plain((2 * Math.PI) / freqs[0])} tokens, pair ${P - 1} once in ${plain((2 * Math.PI) / freqs[P - 1])}. Choose a dial for its angles.`
        : `Pair ${j}, numbers ${numbersOf(j)}: θ = ${digits(freqs[j])} radians a token, a turn in ${plain((2 * Math.PI) / freqs[j])} tokens. q turned by ${degrees(m * freqs[j])}°, k by ${degrees(n * freqs[j])}°; m − n = ${m - n} is all that counts of the two places. Adds ${three(now.adds[j])}.`;
  }
  const numbersOf = (j) => (get("rope_layout") === "half" ? `${j}, ${j + P}` : `${2 * j}, ${2 * j + 1}`);

  // The curve ---

  let toDistance = () => 0; // from px
  function drawCurve() {
    const scale = get("scale");
    const { far, m, n } = now;
    const width = Math.max(200, curve.clientWidth || 400 * scale);
    const height = 156 * scale;
    const [left, right, top, bottom] = [34 * scale, 8 * scale, 30 * scale, height - 20 * scale];
    const inner = width - left - right;
    const gap = 12 * scale;
    const nearWide = 0.42 * (inner - gap);
    const farWide = inner - gap - nearWide;
    const [low, high] = [Math.min(0, ...far), Math.max(0, ...far)];
    const y = (value) => bottom - ((value - low) / (high - low || 1)) * (bottom - top);
    const start = left + nearWide + gap;
    const x = (at) => (at <= NEAR ? left + (at / NEAR) * nearWide : start + ((at - NEAR) / (REACH - 1 - NEAR)) * farWide);
    toDistance = (px) => within(Math.round(px < left + nearWide + gap / 2 ? Math.min(NEAR, ((px - left) / nearWide) * NEAR) : Math.max(NEAR, NEAR + ((px - start) / farWide) * (REACH - 1 - NEAR))), REACH);
    const line = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => `${n ? "L" : "M"}${x(from + n).toFixed(1)} ${y(far[from + n]).toFixed(1)}`).join("");
    const apart = m - n;
    const label = (text, px, py, attributes) => drawing("text", { x: px, y: py, "text-anchor": "middle", ...attributes }, text);
    const edge = x(known - 1);
    const flip = x(apart) > width - 60 * scale;
    const ticks = [0, 8, 16, 24, NEAR, ...[256, 512, 768, 1023].filter((at) => farWide > 200 * scale || at === 256 || at === 1023)];
    const svg = drawing(
      "svg",
      { width, height, role: "img", "aria-label": `score by distance from 0 to ${REACH - 1}; at ${apart} it is ${three(now.score)}` },
      ...(known < REACH ? [drawing("rect", { class: "llmlab-rope-beyond", x: edge, y: top, width: width - right - edge, height: bottom - top })] : []),
      drawing("path", { class: "llmlab-rope-axis", d: `M${left} ${y(0)}H${left + nearWide}M${start} ${y(0)}H${width - right}M${left} ${top}V${bottom}` }),
      drawing("path", { class: "llmlab-rope-line", d: line(0, NEAR) }),
      drawing("path", { class: "llmlab-rope-line llmlab-rope-thin", d: line(NEAR + 1, REACH - 1) }),
      drawing("path", { class: "llmlab-rope-edge", d: `M${edge} ${top - 4}V${bottom}` }),
      label(`trained: ${trained.length}`, edge + 3 * scale, top - 6 * scale, { "text-anchor": "start" }),
      label("score by distance m − n", left, 11 * scale, { "text-anchor": "start", class: "llmlab-rope-title" }),
      ...ticks.map((at) => label(grouped(at), x(at), height - 6 * scale, at === REACH - 1 ? { "text-anchor": "end", x: width - right } : {})),
      ...[low, 0, high].filter((value) => !value || Math.abs(y(value) - y(0)) > 12 * scale).map((value) => label(digits(value, 2), left - 4 * scale, y(value) + 4 * scale, { "text-anchor": "end" })),
      drawing("path", { class: "llmlab-rope-cursor", d: `M${x(apart)} ${top}V${bottom}` }),
      drawing("circle", { class: "llmlab-rope-dot", "data-dot": apart, cx: x(apart), cy: y(far[apart]), r: 5 * scale }),
      label(three(far[apart]), x(apart) + (flip ? -8 : 8) * scale, Math.max(top + 10 * scale, y(far[apart]) - 6 * scale), { class: "llmlab-rope-value", "text-anchor": flip ? "end" : "start" }),
    );
    curve.replaceChildren(svg);
  }
  const toPointer = (event) => distance(toDistance(event.clientX - curve.getBoundingClientRect().left));
  curve.addEventListener("pointerdown", (event) => {
    curve.setPointerCapture(event.pointerId);
    toPointer(event);
    root.focus({ preventScroll: true });
    event.preventDefault();
  });
  curve.addEventListener("pointermove", (event) => event.buttons && curve.hasPointerCapture(event.pointerId) && toPointer(event));

  // The wavelengths ---

  function drawWaves() {
    const scale = get("scale");
    const { freqs, m, n } = now;
    const width = Math.max(200, waves.clientWidth || 400 * scale);
    const height = 156 * scale;
    const [left, right] = [52 * scale, 16 * scale];
    const before = frequencies(trained.theta, "none").freqs;
    const lengths = (list) => list.map((freq) => (2 * Math.PI) / freq);
    const [own, old] = [lengths(freqs), lengths(before)];
    const decades = Math.ceil(Math.log10(Math.max(...own, ...old, REACH)));
    const x = (size) => left + (Math.max(0, Math.log10(size)) / decades) * (width - left - right);
    const [top, bottom] = [30 * scale, height - 20 * scale];
    const label = (text, px, py, attributes) => drawing("text", { x: px, y: py, "text-anchor": "middle", ...attributes }, text);
    const powers = Array.from({ length: decades + 1 }, (_, power) => power);
    const short = (power) => (power < 3 ? String(10 ** power) : power < 6 ? `${10 ** (power - 3)}k` : `${10 ** (power - 6)}M`);
    const slow = own.filter((size) => size > trained.length).length;
    const apart = m - n;
    const [rowNow, rowOld] = [top + 0.35 * (bottom - top), top + 0.75 * (bottom - top)];
    const svg = drawing(
      "svg",
      { width, height, role: "img", "aria-label": `wavelengths from ${plain(own[0])} to ${plain(own[P - 1])} tokens; ${slow} of ${P} pairs are longer than ${trained.length}` },
      drawing("rect", { class: "llmlab-rope-beyond", x: x(trained.length), y: top, width: width - right - x(trained.length), height: bottom - top }),
      drawing("path", { class: "llmlab-rope-axis", d: `M${left} ${bottom}H${width - right}${powers.map((power) => `M${x(10 ** power)} ${bottom}v${4 * scale}`).join("")}` }),
      ...powers.map((power) => label(short(power), x(10 ** power), height - 6 * scale)),
      drawing("path", { class: "llmlab-rope-edge", d: `M${x(trained.length)} ${top - 4}V${bottom}` }),
      label(`trained: ${trained.length}`, x(trained.length) + 3 * scale, top - 6 * scale, { "text-anchor": "start" }),
      label("wavelengths, tokens", 0, 11 * scale, { "text-anchor": "start", class: "llmlab-rope-title" }),
      ...(apart > 0 ? [drawing("path", { class: "llmlab-rope-cursor", d: `M${x(apart)} ${top}V${bottom}` }), label(`m − n: ${apart}`, Math.max(left, x(apart)), top - 6 * scale, Math.abs(x(apart) - x(trained.length) - 36 * scale) < 76 * scale ? { y: bottom - 4 * scale } : {})] : []),
      ...old.map((size) => drawing("circle", { class: "llmlab-rope-old", cx: x(size), cy: rowOld, r: 4 * scale })),
      ...own.map((size, j) => drawing("path", { class: "llmlab-rope-link", d: `M${x(old[j])} ${rowOld - 4 * scale}L${x(size)} ${rowNow + 4 * scale}` })),
      ...own.map((size, j) => drawing("circle", { class: j === get("pair") ? "llmlab-rope-wave llmlab-rope-looked" : "llmlab-rope-wave", "data-wave": j, cx: x(size), cy: rowNow, r: (j === get("pair") ? 6 : 4) * scale })),
      ...[[0, "start"], [P - 1, "middle"]].map(([j]) => label(String(j), x(own[j]), rowNow - 8 * scale)),
      label("now", 0, rowNow + 4 * scale, { "text-anchor": "start" }),
      label("trained", 0, rowOld + 4 * scale, { "text-anchor": "start" }),
    );
    waves.replaceChildren(svg);
  }

  // All of it ---

  function drawControls() {
    const said = { layer: get("layer"), head: get("head") };
    layer.value = said.layer;
    head.value = said.head;
    const tokens = get("tokens");
    const option = (at) => h("option", { value: at }, `${at} ${visible(tokens[at])}`);
    query.replaceChildren(...tokens.map((_, at) => option(at)));
    key.replaceChildren(...tokens.slice(0, now.qa + 1).map((_, at) => option(at)));
    query.value = now.qa;
    key.value = now.ka;
    if (root.getRootNode().activeElement !== text) text.value = get("text");
    for (const [name, { slider, said: at }] of Object.entries(parts)) {
      slider.value = get(name);
      at.textContent = grouped(get(name));
    }
    tie.setAttribute("aria-pressed", String(get("together")));
    back.disabled = now.m === now.qa && now.n === now.ka;
    theta.value = get("theta");
    scaling.value = get("scaling");
    factor.value = get("factor");
    factor.disabled = get("scaling") === "none";
    layout.value = get("rope_layout");
  }
  function drawClaim() {
    const { m, n, qa, ka, far, score, own, weight } = now;
    const home = qa - ka;
    const same = m - n === home;
    const home_ = m === qa ? "as in the model itself" : "as in the sentence before both were moved";
    const there = !asTrained() ? `; the model, as trained, has ${three(own)}` : !same ? `; in the sentence, at ${home}, it is ${three(own)}` : `, ${home_}`;
    const [within_, beyond] = [highest(far, 0, known), known < REACH ? highest(far, known, REACH) : null];
    const after = !beyond ? "" : beyond[1] > within_[1] ? ` Beyond, it reaches ${three(beyond[1])}, at ${beyond[0]}.` : ` Beyond, it stays below that: ${three(beyond[1])} at ${beyond[0]}.`;
    claim.replaceChildren(
      h("span", { "data-claim": "" }, `q of ${quoted(token(qa))} · k of ${quoted(token(ka))} / √${now.d} = `, h("b", {}, three(score)), ` at distance ${m - n}${there}, weight ${three(weight)}.`),
      h("span", { "data-peak": "" }, `Within the trained ${trained.length} the score is highest at distance ${within_[0]}: ${three(within_[1])}.${after}`),
    );
  }
  function tables() {
    const { qs, ks, freqs, m, n, adds, qa, ka, d, far, own, weight } = now;
    const settings = `base ${grouped(get("theta"))}, ${get("scaling") === "none" ? "no scaling" : `${get("scaling")} ${get("factor")}`}${now.gain === 1 ? "" : `, scores × ${three(now.gain)}`}, layout ${get("rope_layout")}`;
    const size = ([a, b]) => three(Math.hypot(a, b));
    const distances = [...new Set([...DISTANCES, m - n, trained.length - 1])].filter((at) => at < REACH).sort((a, b) => a - b);
    return [
      {
        caption: `Head ${get("layer") + 1}.${get("head") + 1}: the ${P} pairs of q of ${quoted(token(qa))} at ${m} and k of ${quoted(token(ka))} at ${n}; score ${three(now.score)}, over √${d}; ${settings}`,
        columns: ["pair", "numbers", "wavelength, tokens", "m·θ mod 360°", "n·θ mod 360°", "|q|", "|k|", "adds"],
        rows: adds.map((add, j) => [String(j), numbersOf(j), plain((2 * Math.PI) / freqs[j]), degrees(m * freqs[j]), degrees(n * freqs[j]), size(qs[j]), size(ks[j]), three(add)]),
      },
      {
        caption: `The score by distance; the model itself has ${three(own)} at ${qa - ka}, weight ${three(weight)}`,
        columns: ["distance", "score", "trained"],
        rows: distances.map((at) => [String(at), three(far[at]), at < trained.length ? "yes" : "no"]),
      },
    ];
  }
  function draw() {
    measure();
    if (dials.children.length !== P) makeDials();
    drawControls();
    drawClaim();
    drawDials();
    drawCurve();
    drawWaves();
    refresh();
  }
  function read() {
    [q, k, scores] = ["q", "k", "scores"].map((name) => array(model, name));
    draw();
  }
  on(["layer", "head", "query", "key", "m", "n", "together", "theta", "scaling", "factor", "rope_layout", "pair", "scale"], () => quiet || draw());
  on("revision", read);
  read();
  const unwatch = onWidth(curve, () => (drawCurve(), drawWaves()));
  return () => {
    unwatch();
    release();
  };
}
