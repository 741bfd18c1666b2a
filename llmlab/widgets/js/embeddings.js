/* EmbeddingExplorer: the rows of the embedding table on a map, and a word's neighbors in all dimensions.
 *
 * Draws 1,000 words at a checkpoint by two fixed axes, the chosen word's nearest rows as rings on the map and as bars of
 * their cosines beside it, and crosses for the words that are near on the map alone; below, the words nearest to a sum
 * a − b + c, and those nearest to a token of a sentence after each layer.
 * Reads: words, steps, losses, n_dimensions, kinds, places, shares, means, nearest, cosines, sum_nearest, sum_cosines,
 * path_tokens, path_nearest, path_cosines, revision.
 * Reads and writes: word, step, k, neighbor, zoomed, query, position, without the kernel.
 * Writes: analogy, text, which alone ask the kernel, and error.
 */

const KINDS = ["names", "places", "animals", "numbers", "Chinese", "others"];
const MOST = 10; // neighbors that were recorded of each word
const MATCHES = 6; // found words that are shown
const ZOOM = 4;
const REACH = 24; // px from the pointer to the point that it means
const MOTION = 180; // ms
const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const HINT = "← → checkpoint, ↑ ↓ neighbor, Enter goes to it, Backspace returns, / searches, z enlarges. Or click a point.";
const TOUCH_HINT = "Tap a point, a word or a bar. Move the slider through training.";

const three = (value) => value.toFixed(3).replace("-", "−");
const ordinal = (n) => `${grouped(n)}${n % 100 > 10 && n % 100 < 14 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th")}`;
const quoted = (word) => `“${visible(word)}”`;
const plain = (word) => word.trim().toLowerCase();
const isAre = (count) => (count === 1 ? "1 is" : `${count || "none"} are`);

/** The sign of a kind of word around a point, of about 2 r px: a path. */
const SIGNS = [
  (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
  (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
  (x, y, r) => `M${x} ${y - 1.4 * r}l${1.3 * r} ${2.3 * r}h${-2.6 * r}z`,
  (x, y, r) => `M${x} ${y - 1.6 * r}l${1.6 * r} ${1.6 * r}l${-1.6 * r} ${1.6 * r}l${-1.6 * r} ${-1.6 * r}z`,
  (x, y, r) => `M${x - 1.4 * r} ${y}h${2.8 * r}M${x} ${y - 1.4 * r}v${2.8 * r}`,
  (x, y, r) => `M${x - 0.5 * r} ${y - 0.5 * r}h${r}v${r}h${-r}z`,
];
const cross = (x, y, r) => `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`;
/** Room that a label takes, in px at scale 1. */
const roomOf = (text) => [...text].reduce((sum, letter) => sum + (letter > "\u2e80" ? 13 : 7.2), 6);

function render({ model, el }) {
  const asks = live(model);
  const get = (name) => model.get(name);
  const words = get("words");
  const steps = get("steps");
  const numberOf = new Map(words.map((word, n) => [word, n]));
  const [kinds, places, shares, means, nearest, cosines] = ["kinds", "places", "shares", "means", "nearest", "cosines"].map((name) => array(model, name).data);
  const N = words.length;
  const members = KINDS.map((_, kind) => words.map((_, n) => n).filter((n) => kinds[n] === kind));
  let sums, path; // what the kernel said last
  let shown; // the places that are drawn: 2 N numbers, on their way during a motion
  let motion = 0;
  let spots = []; // the points in px
  let hovered = -1;
  const visited = [];

  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: "The embedding table as a map",
    hint: HINT,
    touch: TOUCH_HINT,
    first: ".llmlab-emb-first",
    tables,
    idle: () => (asks ? "Rows without their mean row; the map is fitted to each checkpoint. · is a space." : "A recording: another sum or sentence needs a kernel."),
    keys: {
      ArrowRight: () => go(at() + 1),
      ArrowLeft: () => go(at() - 1),
      Home: () => go(0),
      End: () => go(steps.length - 1),
      ArrowDown: () => set("neighbor", within(get("neighbor") + 1, get("k"))),
      ArrowUp: () => set("neighbor", within(get("neighbor"), get("k") + 1) - 1),
      Enter: () => pick(near()[looked()]),
      Backspace: () => visited.length && pick(visited.pop(), true),
      z: () => set("zoomed", !get("zoomed")),
      "/": () => field.focus(),
      "[": () => set("k", Math.max(1, get("k") - 1)),
      "]": () => set("k", Math.min(MOST, get("k") + 1)),
      ",": () => set("position", within(get("position") - 1, get("path_tokens").length)),
      ".": () => set("position", within(get("position") + 1, get("path_tokens").length)),
    },
  });

  // What follows from the traits ---

  const at = () => steps.indexOf(get("step"));
  const chosen = () => numberOf.get(get("word"));
  const looked = () => within(get("neighbor"), get("k"));
  const near = (n = chosen(), step = at()) => nearest.subarray((step * N + n) * MOST, (step * N + n) * MOST + get("k"));
  const cosineOf = (place, n = chosen(), step = at()) => cosines[(step * N + n) * MOST + place];
  const kept = (step) => `${(100 * (shares[2 * step] + shares[2 * step + 1])).toFixed(1)}%`;
  /** The other words by their distance on the map from the chosen one: [number, distance]. */
  function around(step = at(), n = chosen()) {
    const base = 2 * step * N;
    const far = new Float64Array(N);
    for (let one = 0; one < N; one++) {
      const x = places[base + 2 * one] - places[base + 2 * n];
      const y = places[base + 2 * one + 1] - places[base + 2 * n + 1];
      far[one] = x * x + y * y;
    }
    return [...far.keys()].filter((one) => one !== n).sort((a, b) => far[a] - far[b] || a - b).map((one) => [one, Math.sqrt(far[one])]);
  }
  function sharedAt(step) {
    const true_ = new Set(near(chosen(), step));
    return around(step).slice(0, get("k")).filter(([n]) => true_.has(n)).length;
  }
  function matches() {
    const query = plain(get("query"));
    if (!query) return [];
    const order = (word) => (plain(word) === query ? 0 : plain(word).startsWith(query) ? 1 : 2);
    return words.filter((word) => plain(word).includes(query)).sort((a, b) => order(a) - order(b));
  }

  // What the reader does ---

  function pick(n, back = false) {
    if (n !== chosen()) {
      if (!back) visited.push(chosen());
      model.set("word", words[n]);
      model.set("neighbor", -1);
      model.save_changes();
    }
    root.focus({ preventScroll: true });
  }
  const go = (index) => set("step", steps[within(index, steps.length)]);
  function found(text) {
    const word = [text, ` ${text.trim()}`, text.trim()].find((one) => numberOf.has(one));
    model.set("error", word ? "" : `“${text}” is none of the ${grouped(N)} words`);
    return word;
  }
  function add() {
    const chosenWords = parts.map((part) => found(part.value));
    const wrong = chosenWords.indexOf(undefined);
    if (wrong >= 0) found(parts[wrong].value);
    else if (String(chosenWords) !== String(get("analogy"))) set("analogy", chosenWords);
  }

  const read = () => set("text", text.value);
  const onEnter = (action) => (event) => event.key === "Enter" && action();

  // The parts that stay ---

  const button = (attributes, action, ...content) =>
    h("button", { ...attributes, onclick: (event) => (action(), event.detail && root.focus({ preventScroll: true })) }, ...content);
  const field = h("input", {
    type: "text",
    "aria-label": "search for a word",
    placeholder: "search for a word",
    class: "llmlab-emb-search",
    spellcheck: "false",
    autocomplete: "off",
    oninput: () => set("query", field.value),
    onkeydown(event) {
      const first = matches()[0];
      if (event.key === "Enter" && first) pick(numberOf.get(first));
      if (event.key === "ArrowDown") finds.querySelector("button")?.focus();
    },
  });
  const finds = h("div", { class: "llmlab-row llmlab-emb-finds", role: "group", "aria-label": "words found" });
  const back = button({ "aria-label": "earlier checkpoint", "data-earlier": "" }, () => go(at() - 1), "←");
  const next = button({ "aria-label": "later checkpoint", "data-later": "" }, () => go(at() + 1), "→");
  const slider = h("input", { type: "range", min: 0, max: steps.length - 1, step: 1, "aria-label": "checkpoint", oninput: () => go(Number(slider.value)) });
  const stepText = h("span", { class: "llmlab-emb-step", "data-step": "" });
  const sentence = h("p", { class: "llmlab-emb-sentence", "aria-live": "polite" });
  const map = h("div", { class: "llmlab-emb-map" });
  const zoom = button({ "data-zoom": "", title: "key z" }, () => set("zoomed", !get("zoomed")), `Enlarge ${ZOOM} ×`);
  const axes = h("span", { "data-axes": "" });
  const count = chooser("how many neighbors", Array.from({ length: MOST }, (_, n) => [n + 1, n + 1]), (k) => set("k", Number(k)));
  count.title = "keys [ and ]";
  const barsTitle = h("span");
  const bars = h("div", { class: "llmlab-emb-bars", role: "group" });
  const mapTitle = h("h4");
  const chips = h("div", { class: "llmlab-row llmlab-emb-chips", role: "group", "aria-label": "nearest on the map, in order" });
  const swatch = (kind, ...nodes) => h("span", { class: "llmlab-emb-swatch" }, drawing("svg", { width: 16, height: 16, viewBox: "0 0 16 16", "aria-hidden": "true" }, ...nodes), ` ${kind}`);
  const legend = h(
    "div",
    { class: "llmlab-note llmlab-emb-legend" },
    ...KINDS.map((kind, n) => swatch(`${kind} ${members[n].length}`, drawing("path", { class: `llmlab-emb-kind llmlab-emb-kind-${n}`, d: SIGNS[n](8, 8, 4) }))),
    swatch("nearest", drawing("circle", { class: "llmlab-emb-ring", cx: 8, cy: 8, r: 6 })),
    swatch("near on the map alone", drawing("path", { class: "llmlab-emb-cross", d: cross(8, 8, 4) })),
  );
  const parts = ["a", "b", "c"].map((name) => h("input", { type: "text", "aria-label": `word ${name}`, class: "llmlab-emb-part", spellcheck: "false", autocomplete: "off", disabled: !asks, onchange: add, onkeydown: onEnter(add) }));
  const sumTitle = h("p", { class: "llmlab-emb-sentence", "aria-live": "polite", "data-sum": "" });
  const sumBars = h("div", { class: "llmlab-emb-bars", role: "group", "aria-label": "words nearest to the sum" });
  const text = h("input", { type: "text", "aria-label": "sentence", class: "llmlab-emb-text", spellcheck: "false", autocomplete: "off", disabled: !asks, onchange: read, onkeydown: onEnter(read) });
  const tokens = h("div", { class: "llmlab-row llmlab-emb-tokens", role: "group", "aria-label": "tokens of the sentence" });
  const layers = h("div", { class: "llmlab-emb-layers" });
  const pathNote = h("p", { class: "llmlab-emb-sentence", "aria-live": "polite", "data-path": "" });
  body.append(
    h(
      "div",
      { class: "llmlab-emb-first" },
      h("div", { class: "llmlab-row" }, field, finds),
      h("div", { class: "llmlab-row llmlab-emb-steps" }, back, slider, next, stepText),
      sentence,
      h(
        "div",
        { class: "llmlab-emb-halves" },
        h("div", { class: "llmlab-emb-left" }, map, h("div", { class: "llmlab-row llmlab-note" }, zoom, axes)),
        h("div", {}, h("h4", { class: "llmlab-row llmlab-emb-count" }, count, barsTitle), bars, mapTitle, chips),
      ),
      legend,
    ),
    h(
      "div",
      { class: "llmlab-emb-halves llmlab-stage" },
      h("section", {}, h("h4", {}, "A sum of three rows"), h("div", { class: "llmlab-row" }, parts[0], "−", parts[1], "+", parts[2]), sumTitle, sumBars),
      h("section", {}, h("h4", {}, "A token on its way through the layers"), text, tokens, pathNote, layers),
    ),
  );

  // The map ---

  /** From where to where the points reach along an axis (0, 1). */
  function reach(axis) {
    let [low, high] = [Infinity, -Infinity];
    for (let n = axis; n < 2 * N; n += 2) [low, high] = [Math.min(low, shown[n]), Math.max(high, shown[n])];
    return [low, high];
  }
  const target = () => places.subarray(2 * at() * N, 2 * (at() + 1) * N);

  function drawMap() {
    const scale = get("scale");
    const width = Math.max(200, map.clientWidth || 500 * scale);
    const height = Math.round(Math.min(380 * scale, 0.85 * width));
    const zoomed = get("zoomed");
    const [pad, r] = [12 * scale, (zoomed ? 4 : 2.8) * scale];
    const ends = [reach(0), reach(1)];
    const sizes = ends.map(([low, high]) => high - low);
    const unit = Math.min((width - 2 * pad) / sizes[0], (height - 2 * pad) / sizes[1]) * (zoomed ? ZOOM : 1);
    const n = chosen();
    const middle = [0, 1].map((axis) => (zoomed ? shown[2 * n + axis] : (ends[axis][0] + ends[axis][1]) / 2));
    const round = (px) => Math.round(10 * px) / 10;
    spots = words.map((_, one) => [round(width / 2 + unit * (shown[2 * one] - middle[0])), round(height / 2 - unit * (shown[2 * one + 1] - middle[1]))]);
    const isIn = ([x, y]) => x >= 0 && y >= 0 && x <= width && y <= height;

    const points = [...KINDS.keys()].reverse().map((kind) =>
      drawing("path", { class: `llmlab-emb-kind llmlab-emb-kind-${kind}`, d: members[kind].filter((one) => isIn(spots[one])).map((one) => SIGNS[kind](...spots[one], r)).join("") }),
    );
    const true_ = [...near()];
    const onMap = around().slice(0, get("k")).map(([one]) => one);
    const false_ = onMap.filter((one) => !true_.includes(one));
    const rings = true_.filter((one) => isIn(spots[one])).map((one) => drawing("circle", { class: "llmlab-emb-ring", "data-ring": words[one], cx: spots[one][0], cy: spots[one][1], r: 7 * scale }));
    const crosses = false_.filter((one) => isIn(spots[one])).flatMap((one) =>
      ["llmlab-emb-halo", "llmlab-emb-cross"].map((kind, top) => drawing("path", { class: kind, "data-cross": top ? words[one] : false, d: cross(...spots[one], 5 * scale) })),
    );
    const link = true_[looked()];
    const marks = [
      drawing("path", { class: "llmlab-emb-link", "data-link": words[link], d: `M${spots[n]}L${spots[link]}` }),
      ...rings,
      ...crosses,
      drawing("circle", { class: "llmlab-emb-chosen", cx: spots[n][0], cy: spots[n][1], r: 10 * scale }),
      drawing("circle", { class: "llmlab-emb-chosen", cx: spots[n][0], cy: spots[n][1], r: 6 * scale }),
    ];
    const labels = labelsOf([n, ...true_, ...(zoomed ? false_ : [])].filter((one) => isIn(spots[one])), width, height, scale, link, false_);
    hover = drawing("g", {});
    const away = true_.filter((one) => !isIn(spots[one])).length;
    const said = `map of ${grouped(N)} words at step ${grouped(get("step"))}; ${quoted(words[n])} is chosen`;
    const svg = drawing("svg", { width, height, role: "img", "aria-label": said }, ...points, ...marks, ...labels, hover);
    map.replaceChildren(svg);
    map.dataset.unit = unit;
    drawHover();
    const k = get("k");
    const outside = zoomed ? ` Outside: ${away} of the ${k} nearest.` : "";
    axes.textContent = `The axes keep ${kept(at())} of the variance. Mean over all words: ${digits(means[at() * MOST + k - 1])} of the ${k} nearest here are among those ${k}; by chance ${digits((k * k) / (N - 1))}.${outside}`;
    zoom.setAttribute("aria-pressed", String(zoomed));
  }
  let hover;
  /** Labels beside their points, where room is left: of the places around a point the nearest free one. */
  function labelsOf(wanted, width, height, scale, link, crossed) {
    const taken = wanted.map((one) => ({ left: spots[one][0] - 7, right: spots[one][0] + 7, top: spots[one][1] - 7, bottom: spots[one][1] + 7 }));
    const free = (box) => box.left >= 0 && box.right <= width && box.top >= 0 && box.bottom <= height && !taken.some((other) => box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom);
    return wanted.flatMap((one, place) => {
      const [x, y] = spots[one];
      const label = `${crossed.includes(one) ? "✕ " : ""}${visible(words[one])}`;
      const [wide, tall] = [roomOf(label) * scale, 15 * scale];
      for (const far of [12, 22, 34, 48, 64, 84, 110])
        for (const turn of [0, 4, 7, 1, 5, 3, 6, 2]) {
          const [dx, dy] = [Math.cos((turn * Math.PI) / 4), Math.sin((turn * Math.PI) / 4)];
          const [cx, cy] = [x + dx * (far * scale + (Math.abs(dx) * wide) / 2), y + dy * (far * scale + tall / 4)];
          const box = { left: cx - wide / 2, right: cx + wide / 2, top: cy - tall / 2, bottom: cy + tall / 2 };
          if (!free(box)) continue;
          taken.push(box);
          const name = drawing("text", { class: `llmlab-emb-label ${place ? "" : "llmlab-emb-own"} ${one === link ? "llmlab-emb-looked" : ""}`, "data-label": words[one], x: cx, y: cy, "text-anchor": "middle", "dominant-baseline": "central" }, label);
          const lead = drawing("path", { class: "llmlab-emb-lead", d: `M${x} ${y}L${cx - (dx * wide) / 2} ${cy - (dy * tall) / 2}` });
          return far > 22 ? [lead, name] : [name];
        }
      return [];
    });
  }
  function drawHover() {
    if (hovered < 0) return hover.replaceChildren();
    const scale = get("scale");
    const [x, y] = spots[hovered];
    const kind = kinds[hovered] < KINDS.length - 1 ? `, ${KINDS[kinds[hovered]]}` : "";
    const name = visible(words[hovered]) + kind;
    const wide = roomOf(name) * scale;
    const left = Math.max(0, Math.min(map.clientWidth - wide, x - wide / 2));
    const top = y > 36 * scale ? y - 32 * scale : y + 12 * scale;
    hover.replaceChildren(
      drawing("circle", { class: "llmlab-emb-hover", cx: x, cy: y, r: 8 * scale }),
      drawing("rect", { class: "llmlab-emb-tip", x: left, y: top, width: wide, height: 20 * scale, rx: 4 }),
      drawing("text", { "data-hover": words[hovered], x: left + wide / 2, y: top + 10 * scale, "text-anchor": "middle", "dominant-baseline": "central" }, name),
    );
  }
  /** The point that the pointer means; −1 where none is within reach. */
  function under(event) {
    const box = map.firstChild.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let [best, least] = [-1, (REACH * get("scale")) ** 2];
    spots.forEach(([px, py], n) => {
      const far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least) [best, least] = [n, far];
    });
    return best;
  }
  function point(n) {
    if (n === hovered) return;
    hovered = n;
    drawHover();
  }
  map.addEventListener("pointermove", (event) => point(under(event)));
  map.addEventListener("pointerleave", () => point(-1));
  map.addEventListener("click", (event) => {
    const n = hovered >= 0 ? hovered : under(event); // a click says where it was in whole px, a move more exactly
    if (n >= 0) pick(n);
  });

  /** Moves the points to where they are at this checkpoint. */
  function move() {
    cancelAnimationFrame(motion);
    const [from, to] = [shown, target()];
    const start = performance.now();
    function tick() {
      const part = Math.min(1, (performance.now() - start) / MOTION);
      shown = part < 1 ? from.map((value, n) => value + part * (to[n] - value)) : to;
      drawMap();
      if (part < 1) motion = requestAnimationFrame(tick);
    }
    if (STILL.matches) shown = to;
    else motion = requestAnimationFrame(tick);
    draw();
  }

  // Beside the map ---

  const bar = (attributes, action, place, word, cosine, note) =>
    button(
      { tabindex: -1, class: "llmlab-ranked llmlab-emb-bar", ...attributes },
      action,
      h("span", { class: "llmlab-note" }, String(place + 1)),
      h("span", { class: "llmlab-emb-word" }, visible(word)),
      h("span", { class: "llmlab-track" }, h("span", { class: "llmlab-bar", style: { width: `${100 * Math.max(0, Math.min(1, cosine))}%` } })),
      h("span", { "data-cosine": "" }, three(cosine)),
      h("span", { class: "llmlab-note", "data-note": "" }, note),
    );
  function drawBars() {
    const k = get("k");
    const order = around();
    const place = new Map(order.map(([n], number) => [n, number + 1]));
    const true_ = [...near()];
    count.value = k;
    barsTitle.textContent = `nearest in ${get("n_dimensions")} dimensions`;
    bars.setAttribute("aria-label", `nearest to ${visible(get("word"))}`);
    bars.replaceChildren(
      ...true_.map((n, number) => {
        const note = `${ordinal(place.get(n))} on the map`;
        return bar({ "data-bar": words[n], "aria-pressed": String(number === get("neighbor")), title: "again: choose this word" }, () => (number === get("neighbor") ? pick(n) : set("neighbor", number)), number, words[n], cosineOf(number), note);
      }),
    );
    const flat = order.slice(0, k).map(([n]) => n);
    const both = flat.filter((n) => true_.includes(n)).length;
    mapTitle.textContent = `Nearest on the map: ${both} of ${k} among them`;
    chips.replaceChildren(
      ...flat.map((n) => {
        const right = true_.includes(n);
        return h("button", { class: right ? "" : "llmlab-emb-false", "data-chip": words[n], "aria-label": `${visible(words[n])}, ${right ? "near in all dimensions too" : "near on the map alone"}`, onclick: () => pick(n) }, `${right ? "○" : "✕"} ${visible(words[n])}`);
      }),
    );
    const first = looked();
    sentence.replaceChildren(
      h("span", { "data-claim": "" }, `Of the ${k} nearest to ${quoted(get("word"))} on the map, ${isAre(both)} among its ${k} nearest in ${get("n_dimensions")} dimensions.`),
      h("span", { "data-looked": "" }, `${quoted(words[true_[first]])}: cosine ${three(cosineOf(first))}, ${first ? `${ordinal(first + 1)} nearest` : "the nearest"} in ${get("n_dimensions")} dimensions, ${ordinal(place.get(true_[first]))} on the map.`),
    );
  }
  function drawSteps() {
    const step = at();
    slider.value = step;
    const said = `step ${grouped(steps[step])} of ${grouped(steps.at(-1))}${step ? "" : ", untrained"}, loss ${digits(get("losses")[step])} nats a token`;
    slider.setAttribute("aria-valuetext", said);
    stepText.textContent = said;
    back.disabled = step === 0;
    next.disabled = step === steps.length - 1;
  }
  function drawFinds() {
    const all = matches();
    if (field.value !== get("query")) field.value = get("query");
    const rest = all.length - MATCHES;
    finds.replaceChildren(
      ...all.slice(0, MATCHES).map((word) => h("button", { "data-match": word, "aria-pressed": String(word === get("word")), onclick: () => pick(numberOf.get(word)) }, visible(word))),
      h("span", { class: "llmlab-note" }, !plain(get("query")) ? `${grouped(N)} words, chosen: ${visible(get("word"))}` : !all.length ? "no word has that" : rest > 0 ? `and ${rest} more` : ""),
    );
  }

  // Below ---

  function readAnswers() {
    const data = (name) => array(model, name).data;
    sums = { ids: data("sum_nearest"), cosines: data("sum_cosines") };
    path = { ids: data("path_nearest"), cosines: data("path_cosines"), rows: get("path_nearest").shape[1] };
  }
  const sumRow = () => [...sums.ids.subarray(at() * MOST, (at() + 1) * MOST)].map((n, place) => [n, sums.cosines[at() * MOST + place]]);
  const lettersOf = (n) => ["a", "b", "c"].filter((_, part) => get("analogy")[part] === words[n]).join(" ");
  function drawSum() {
    const given = get("analogy");
    parts.forEach((part, n) => root.getRootNode().activeElement === part || (part.value = visible(given[n]).replaceAll("·", " ").trim()));
    const row = sumRow();
    const first = row.findIndex(([n]) => !lettersOf(n));
    const own = row.slice(0, first).length;
    sumTitle.textContent = `Nearest to ${quoted(given[0])} − ${quoted(given[1])} + ${quoted(given[2])}: ${quoted(words[row[0][0]])}${own ? `, a word of the sum. The first that is none of the three is ${quoted(words[row[first][0]])}, in place ${first + 1}` : ""}.`;
    sumBars.replaceChildren(
      ...row.slice(0, get("k")).map(([n, cosine], place) => {
        return bar({ "data-sum-bar": words[n] }, () => pick(n), place, words[n], cosine, lettersOf(n) ? "in the sum" : "");
      }),
    );
  }
  const pathRow = (layer) => {
    const base = (get("position") * path.rows + layer) * MOST;
    return Array.from({ length: get("k") }, (_, place) => [path.ids[base + place], path.cosines[base + place]]);
  };
  function drawPath() {
    const held = tokens.matches(":focus-within");
    if (root.getRootNode().activeElement !== text) text.value = get("text");
    tokens.replaceChildren(
      ...get("path_tokens").map((token, n) =>
        h("button", { class: n === get("position") ? "llmlab-chosen" : "", tabindex: n === get("position") ? 0 : -1, "aria-pressed": String(n === get("position")), "data-token": n, title: "keys , and .", onclick: () => set("position", n) }, visible(token)),
      ),
    );
    if (held) tokens.children[get("position")].focus();
    const [[n, cosine]] = pathRow(path.rows - 1);
    pathNote.textContent = `After the last layer the vector of ${quoted(get("path_tokens")[get("position")])} is nearest to the row of ${quoted(words[n])}, cosine ${three(cosine)}.`;
    layers.replaceChildren(
      ...Array.from({ length: path.rows }, (_, layer) =>
        h(
          "div",
          { class: "llmlab-emb-layer", "data-layer": layer },
          h("span", { class: "llmlab-note" }, layer ? `layer ${layer}` : "the table"),
          h("span", { class: "llmlab-row" }, ...pathRow(layer).slice(0, 3).map(([one, of]) => h("span", { class: "llmlab-emb-near" }, `${visible(words[one])} `, h("small", {}, three(of))))),
        ),
      ),
    );
  }

  // As text ---

  function tables() {
    const [k, step, name] = [get("k"), at(), visible(get("word"))];
    const order = around();
    const place = new Map(order.map(([n], number) => [n, number + 1]));
    const true_ = [...near()];
    const dimensions = get("n_dimensions");
    const kind = (n) => KINDS[kinds[n]];
    const [a, b, c] = get("analogy").map(visible);
    return [
      {
        caption: `Nearest to ${name} in ${dimensions} dimensions at step ${grouped(get("step"))}`,
        columns: ["place", "word", "kind", "cosine", "place on the map"],
        rows: true_.map((n, number) => [number + 1, visible(words[n]), kind(n), three(cosineOf(number)), place.get(n)]),
      },
      {
        caption: `Nearest to ${name} on the map: ${sharedAt(step)} of ${k} are among the ${k} nearest in ${dimensions} dimensions`,
        columns: ["place", "word", "kind", "distance", "also near"],
        rows: order.slice(0, k).map(([n, far], number) => [number + 1, visible(words[n]), kind(n), three(far), true_.includes(n) ? "yes" : "no"]),
      },
      {
        caption: `${name} at every checkpoint`,
        columns: ["step", "loss", "nearest", "cosine", "shared with the map", "variance kept"],
        rows: steps.map((one, index) => [String(one), three(get("losses")[index]), visible(words[near(chosen(), index)[0]]), three(cosineOf(0, chosen(), index)), `${sharedAt(index)} of ${k}`, kept(index)]),
      },
      {
        caption: `${a} − ${b} + ${c} at step ${grouped(get("step"))}, no word left out`,
        columns: ["place", "word", "cosine", "in the sum"],
        rows: sumRow().map(([n, cosine], number) => [number + 1, visible(words[n]), three(cosine), lettersOf(n)]),
      },
      {
        caption: `Words nearest to token ${get("position") + 1}, ${visible(get("path_tokens")[get("position")])}`,
        columns: ["after", ...Array.from({ length: k }, (_, n) => String(n + 1))],
        rows: Array.from({ length: path.rows }, (_, layer) => [layer ? `layer ${layer}` : "the table", ...pathRow(layer).map(([n, of]) => `${visible(words[n])} ${three(of)}`)]),
      },
    ];
  }

  // All of it ---

  function draw() {
    drawFinds();
    drawSteps();
    drawBars();
    drawMap();
    drawSum();
    drawPath();
    refresh();
  }
  on("step", move);
  on(["word", "k", "neighbor", "scale"], draw);
  on("zoomed", drawMap);
  on("query", drawFinds);
  on("position", () => (drawPath(), refresh()));
  on("revision", () => (readAnswers(), draw()));
  readAnswers();
  shown = target();
  draw();
  const unwatch = onWidth(map, drawMap);
  return () => {
    cancelAnimationFrame(motion);
    unwatch();
    release();
  };
}
