/* HeadSharing: query heads wired to the kv heads that they read, from MHA over GQA and MQA to MLA, and what each costs.
 *
 * Draws the query heads above what the cache keeps of a token, as wide as it has numbers, with the wires between them;
 * weights and cache against a memory; the recorded quality of the laboratory model; the speed, once it was measured.
 * Every figure but these two is computed here, from the whole numbers in `models`.
 * Reads: models, model_name, attention, n_kv_heads, head, tiled, context, memory_bytes, dtype, skill, study, timing,
 * scale, view, offline.
 * Writes: model_name, attention, n_kv_heads, head, tiled, context, memory_bytes, dtype, skill, asked, view.
 */

const BITS = { float32: 32, bfloat16: 16, int8: 8, int4: 4 };
const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
const GIB = 2 ** 30;
const MEMORIES = [1 / 256, 1 / 64, 8, 16, 24, 48, 80, 141, 640].map((gib) => gib * GIB);
const LONGEST = 20; // the power of two of the longest context

const whole = (n) => n.toLocaleString("en-US");
const count = (n, thing) => `${whole(n)} ${thing}${n === 1 ? "" : "s"}`;
/** Three significant digits, final zeros kept. */
const significant = (value) => (value === 0 ? "0" : value < 0.001 ? "<0.001" : value.toPrecision(3));
/** The same without final zeros: 4 times, 14.2 times. */
const times = (value) => `${whole(Number(value.toPrecision(3)))} times`;
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
/** Bytes in binary units: 68719476736 is 64.0 GiB. */
function size(bytes) {
  let [step, value] = [0, bytes];
  for (; value >= 999.5 && step < UNITS.length - 1; step++) value /= 1024;
  return `${step ? significant(value) : bytes} ${UNITS[step]}`;
}
const isLatent = (step) => step.attention === "mla";
const kind = (shape, step) => (isLatent(step) ? "MLA" : step.n_kv_heads === shape.n_heads ? "MHA" : step.n_kv_heads === 1 ? "MQA" : "GQA");
const label = (shape, step) => kind(shape, step) + (isLatent(step) ? "" : ` ${step.n_kv_heads}`);

/** All figures of one step. The same formulas as in Python. */
function figures(shape, step, { context, memory_bytes, dtype }) {
  const bytes = (numbers) => Math.ceil((numbers * BITS[dtype]) / 8);
  const token = bytes(step.numbers * shape.n_layers);
  const weights = bytes(step.parameters);
  return { token, weights, cache: token * context, total: weights + token * context, longest: Math.max(0, Math.floor((memory_bytes - weights) / token)) };
}

/** The kv head that each query head reads. */
function wires({ n_heads }, { n_kv_heads }, tiled) {
  return Array.from({ length: n_heads }, (_, head) => (tiled ? head % n_kv_heads : Math.floor((head * n_kv_heads) / n_heads)));
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const shape = () => get("models").find(({ name }) => name === get("model_name"));
  const now = () => ({ context: get("context"), memory_bytes: get("memory_bytes"), dtype: get("dtype") });
  /** The number of the step that is shown; of a model whose traits are still on the way, its own. */
  const at = () => {
    const found = shape().steps.findIndex((step) => step.attention === get("attention") && (isLatent(step) || step.n_kv_heads === get("n_kv_heads")));
    return found < 0 ? shape().own : found;
  };
  const step = () => shape().steps[at()];
  const own = () => shape().steps[shape().own];
  const lastHead = () => shape().n_heads - 1;
  /** Whether tiling would change a wire. */
  const canTile = () => !isLatent(step()) && step().n_kv_heads > 1 && step().n_kv_heads < shape().n_heads;
  let looked = -1; // the query head under the pointer

  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: "Head sharing: query heads and what the cache keeps for them",
    hint: "g more sharing, G less; ← → a query head; ↑ ↓ the context; m tiles the heads. What fits that did not before?",
    touch: "Tap a query head, then let the heads share more. What fits that did not before?",
    first: ".llmlab-gqa-first",
    keys: {
      g: () => take(at() + 1),
      G: () => take(at() - 1),
      ArrowRight: () => set("head", Math.min(lastHead(), get("head") + 1)),
      ArrowLeft: () => set("head", Math.max(0, get("head") - 1)),
      Home: () => set("head", 0),
      End: () => set("head", lastHead()),
      ArrowUp: () => set("context", Math.min(2 ** LONGEST, 2 * get("context"))),
      ArrowDown: () => set("context", Math.max(1, Math.floor(get("context") / 2))),
      m: () => canTile() && set("tiled", !get("tiled")),
    },
    tables,
  });

  /** Goes to a step, of another model too. */
  function take(number, name = get("model_name")) {
    const other = get("models").find((one) => one.name === name);
    const next = other.steps[within(number, other.steps.length)];
    const sizes = other.memory === shape().memory ? {} : { memory_bytes: other.memory, context: other.max_seq_len };
    const head = Math.min(get("head"), other.n_heads - 1);
    model.set({ model_name: name, attention: next.attention, n_kv_heads: next.n_kv_heads, head, ...sizes });
    model.save_changes();
  }

  /** Puts new children into a node; the button in it that had the focus has it again. */
  function anew(node, ...children) {
    const held = [...node.querySelectorAll("button")].indexOf(document.activeElement);
    node.replaceChildren(...children);
    if (held >= 0) node.querySelectorAll("button")[held]?.focus();
  }

  // The controls, made once.
  const control = (text, ...nodes) => h("label", { class: "llmlab-gqa-control" }, h("span", {}, text), ...nodes);
  const modelChoice = chooser("model", get("models").map(({ name }) => [name, name]), (name) => take(get("models").find((one) => one.name === name).own, name));
  const memory = chooser("memory", [], (value) => set("memory_bytes", Number(value)));
  const dtype = chooser("numbers of weights and cache", Object.keys(BITS).map((key) => [key, key]), (value) => set("dtype", value));
  const context = h("input", { type: "range", min: 0, max: LONGEST, step: 1, "aria-label": "context, powers of two", oninput: () => set("context", 2 ** Number(context.value)) });
  const tokens = h("span", { "data-tokens": "" });
  const steps = h("div", { class: "llmlab-row llmlab-gqa-steps", role: "group", "aria-label": "steps of sharing" });
  const tile = h("button", { "data-tile": "", title: "wire head h to kv head h mod G (key m)", onclick: () => set("tiled", !get("tiled")) }, "Tile: h mod G");
  const headline = h("p", { class: "llmlab-gqa-headline", "aria-live": "polite" });
  const picture = h("div", { class: "llmlab-gqa-picture" });
  const detail = h("div", { class: "llmlab-gqa-detail", "aria-live": "polite" });
  const bytes = h("div", { class: "llmlab-gqa-bytes" });
  const skill = chooser("measure of quality", get("study").measures.map((name) => [name, name.replaceAll("_", " ")]), (value) => set("skill", value));
  const quality = h("div");
  const measure = h("button", { "data-measure": "", disabled: !live(model), title: live(model) ? "one decoding step of attention for each number of kv heads, in this kernel" : "this needs a kernel", onclick: () => set("asked", get("asked") + 1) }, "Measure on this machine");
  const speed = h("div");
  body.append(
    h(
      "div",
      { class: "llmlab-gqa-first" },
      h("div", { class: "llmlab-gqa-controls" }, control("Model", modelChoice), control("Memory", memory), control("Kept in", dtype), control("Context", context, tokens), tile),
      steps,
      headline,
      picture,
      detail,
      bytes,
    ),
    h(
      "div",
      { class: "llmlab-gqa-panels" },
      h("section", {}, h("div", { class: "llmlab-row" }, h("h4", {}, "Quality, recorded:"), skill), quality),
      h("section", {}, h("div", { class: "llmlab-row" }, h("h4", {}, "Speed:"), measure), speed),
    ),
  );

  // The wires.
  picture.addEventListener("pointermove", (event) => look(headUnder(event)));
  picture.addEventListener("pointerleave", () => look(-1));
  picture.addEventListener("click", (event) => set("head", headUnder(event)));
  function headUnder({ clientX }) {
    const box = picture.getBoundingClientRect();
    return within(Math.floor(((clientX - box.left) / box.width) * shape().n_heads), shape().n_heads);
  }
  function look(head) {
    if (looked === head) return;
    looked = head;
    draw();
  }

  function draw() {
    const [{ n_heads, head_dim }, { n_kv_heads, numbers, latent, rope }, scale] = [shape(), step(), get("scale")];
    const mla = isLatent(step());
    const width = Math.max(240, picture.clientWidth);
    const [tall, fall] = [24 * scale, (mla ? 44 : 84) * scale];
    const slot = width / n_heads;
    const gap = Math.min(4, slot / 5);
    const chosen = Math.min(n_heads - 1, looked < 0 ? get("head") : looked);
    const [right, drawn] = [wires(shape(), step(), false), wires(shape(), step(), get("tiled"))];
    const middle = (head) => (head + 0.5) * slot;
    const place = (group) => ((group + 0.5) * width) / n_kv_heads;
    const box = (kindOf, x, y, wide, high, more = {}) => drawing("rect", { class: `llmlab-gqa-${kindOf}`, x, y, width: Math.max(1, wide), height: high, ...more });
    const text = (x, y, words, more = {}) => drawing("text", { x, y, "text-anchor": "middle", ...more }, words);
    const wire = (kindOf, x, y, toX, toY) => drawing("line", { class: `llmlab-gqa-wire ${kindOf}`, x1: x, y1: y, x2: toX, y2: toY });
    const fits = (words, wide) => String(words).length * 7.5 * scale < wide;
    const [lines, tops, boxes] = [[], [], []];
    const bottom = tall + fall + (mla ? tall + fall : 0);
    const unit = width / Math.max(2 * n_heads * head_dim, mla ? 1.5 * numbers : 0); // of the picture, for one number

    for (let head = 0; head < n_heads; head++) {
      const mine = head === chosen;
      const mate = !mla && drawn[head] === drawn[chosen];
      const state = mine ? "llmlab-gqa-mine" : mate ? "llmlab-gqa-mate" : "";
      tops.push(box(`query ${state}`, head * slot + gap / 2, 1, slot - gap, tall, { "data-head": head, "data-reads": mla ? "latent" : drawn[head] }));
      if (fits(n_heads - 1, slot)) tops.push(text(middle(head), tall / 2 + 5 * scale, head));
      if (mla) continue;
      const wrong = drawn[head] !== right[head] ? "llmlab-gqa-wrong" : "";
      lines.push([mine ? 2 : mate ? 1 : 0, wire(`${state} ${wrong}`, middle(head), tall + 1, place(drawn[head]), bottom)]);
    }
    if (mla) {
      const [keep, turn] = [latent * unit, Math.max(2, rope * unit)];
      const from = (width - keep - turn - 8 * scale) / 2;
      const turned = from + keep + 8 * scale;
      for (let head = 0; head < n_heads; head++) {
        const state = head === chosen ? "llmlab-gqa-mine" : "";
        const half = (slot - gap) / 2;
        lines.push([head === chosen ? 2 : 0, wire(state, middle(head), tall + 1, middle(head), tall + fall)]);
        lines.push([head === chosen ? 2 : 0, wire(`llmlab-gqa-made ${state}`, middle(head), 2 * tall + fall, from + keep / 2, bottom)]);
        if (head === chosen) lines.push([3, wire(`llmlab-gqa-made ${state}`, middle(head) - half / 2, 2 * tall + fall, turned + turn / 2, bottom)]);
        boxes.push(box("key llmlab-gqa-dashed", head * slot + gap / 2, tall + fall, half, tall), box("value llmlab-gqa-dashed", head * slot + gap / 2 + half, tall + fall, half, tall));
      }
      boxes.push(box("key", from, bottom, keep, tall / 2, { "data-latent": latent }), box("value", from, bottom + tall / 2, keep, tall / 2), box("key", turned, bottom, turn, tall, { "data-rope": rope }));
      boxes.push(text(from - 8, bottom + tall / 2 + 5 * scale, `latent: ${latent}`, { "text-anchor": "end" }));
      boxes.push(text(turned + turn + 8, bottom + tall / 2 + 5 * scale, `RoPE key: ${rope}`, { "text-anchor": "start" }));
    } else {
      const half = (slot - gap) / 2;
      const named = ["kv head ", "kv ", ""].find((name) => fits(name + (n_kv_heads - 1), width / n_kv_heads));
      for (let group = 0; group < n_kv_heads; group++) {
        boxes.push(box("key", place(group) - half, bottom, half, tall, { "data-kv": group }), box("value", place(group), bottom, half, tall));
        if (group === drawn[chosen]) boxes.push(box("chosen", place(group) - half, bottom, 2 * half, tall));
        if (named !== undefined) boxes.push(text(place(group), bottom + tall + 14 * scale, named + group));
      }
    }
    lines.sort((a, b) => a[0] - b[0]);
    const high = bottom + tall + (mla ? 2 : 18 * scale);
    const named = mla
      ? `${n_heads} query heads; keys and values of each are made from one latent of ${latent} numbers, with a RoPE key of ${rope}`
      : `${n_heads} query heads above ${count(n_kv_heads, "kv head")}; head ${chosen} reads kv head ${drawn[chosen]}`;
    picture.replaceChildren(
      drawing("svg", { width: "100%", height: high, viewBox: `0 0 ${width} ${high}`, role: "img", "aria-label": named }, box("room", 0, bottom, width, tall), ...lines.map(([, line]) => line), ...tops, ...boxes),
    );
    detail.replaceChildren(...told(chosen, right, drawn));
    detail.title = `${whole(numbers)} of ${whole(2 * n_heads * head_dim)} numbers`;
  }

  /** What is said of one query head. */
  function told(head, right, drawn) {
    const [{ n_heads }, { n_kv_heads, latent, rope }] = [shape(), step()];
    if (isLatent(step()))
      return [h("b", {}, `Query head ${head}`), ` reads a key and a value of its own (dashed: made from the ${latent} numbers of the latent, never kept) and the one RoPE key of ${rope} numbers, which all ${n_heads} heads share.`];
    const mates = drawn.flatMap((group, other) => (group === drawn[head] && other !== head ? [other] : []));
    const run = mates.length > 8 ? `${mates.length} others` : mates.length > 1 ? `heads ${mates.slice(0, -1).join(", ")} and ${mates.at(-1)}` : `head ${mates[0]}`;
    const shared = mates.length ? `, as ${mates.length > 1 ? "do" : "does"} ${run}` : ", which is its own";
    const rule = get("tiled") && canTile() ? `h mod G = ${head} mod ${n_kv_heads}` : `h·G // H = ${head}·${n_kv_heads} // ${n_heads}`;
    const line = [h("b", {}, `Query head ${head}`), ` reads kv head ${drawn[head]}${shared}: ${rule} = ${drawn[head]}.`];
    if (drawn[head] !== right[head]) line.push(h("b", { "data-wrong": "" }, ` It was trained with kv head ${right[head]}.`));
    return line;
  }

  function headlineText(one, all) {
    const [{ name, n_heads }, { n_kv_heads, latent, rope }] = [shape(), step()];
    const shares = isLatent(step())
      ? `all ${n_heads} query heads read one latent of ${latent} numbers and a RoPE key of ${rope}`
      : n_kv_heads === n_heads
        ? `${count(n_heads, "query head")}, each with a kv head of its own`
        : n_kv_heads === 1
          ? `all ${n_heads} query heads share 1 kv head`
          : `${n_heads} query heads share ${n_kv_heads} kv heads, ${n_heads / n_kv_heads} to each`;
    const less = one.token < all.token ? `, ${times(all.token / one.token)} less than with a kv head for each` : "";
    const own = at() === shape().own || name === get("study").model ? "" : shape().source ? " (not what was published)" : " (not as it was trained)";
    const wrong = wires(shape(), step(), true).filter((group, head) => group !== wires(shape(), step(), false)[head]).length;
    if (get("tiled") && canTile())
      return `Tiled, ${wrong} of ${n_heads} query heads of ${name} read a kv head that they were not trained with (dashed). No shape, no byte and no error tells: only the answers are wrong.`;
    return `${name[0].toUpperCase()}${name.slice(1)}: ${shares}${own}. A token takes ${size(one.token)} of cache${less}.`;
  }

  // Bytes against the memory.
  function drawBytes(one, all) {
    const { memory_bytes, dtype: of } = now();
    const full = 1.03 * Math.max(memory_bytes, one.total, all.total);
    const part = (value) => `${((100 * value) / full).toFixed(3)}%`;
    const span = (name, wide, words, title) => h("span", { class: `llmlab-gqa-span llmlab-gqa-${name}`, style: { width: part(wide) }, title }, wide / full > 0.12 * get("scale") ? words : "");
    const over = one.total - memory_bytes;
    const mla = isLatent(step());
    const halves = [span("key", one.cache / 2, mla ? "latent" : "keys", `cache: ${size(one.cache)}`), span("value", one.cache / 2, mla ? "of both" : "values", `cache: ${size(one.cache)}`)];
    const line = memory_bytes / full;
    const ofToken = mla ? `${shape().n_layers} layers × (${step().latent} + ${step().rope})` : `2 × ${shape().n_layers} layers × ${count(step().n_kv_heads, "kv head")} × ${shape().head_dim}`;
    const figure = (name, words, value, shown, note) => [h("span", {}, words), h("b", { "data-figure": name, "data-value": value }, shown), h("span", { class: "llmlab-note" }, note)];
    const ghost = one.token === all.token ? [] : [h("span", { class: "llmlab-gqa-ghost", style: { width: part(all.total) }, title: `with a kv head for each: ${size(all.total)}` }, (all.total - one.total) / full > 0.22 * get("scale") ? `MHA: ${size(all.total)}` : "")];
    const made = shape().max_seq_len < get("context") ? ` ${shape().name} is made for ${whole(shape().max_seq_len)}.` : "";
    const window = shape().window ? ` Its window of ${whole(shape().window)} tokens is not counted.` : "";
    const sameWeights = isLatent(own()) && !mla ? " The weights are counted as published." : "";
    bytes.replaceChildren(
      h(
        "div",
        { class: "llmlab-gqa-track", role: "img", "aria-label": `weights ${size(one.weights)}, cache ${size(one.cache)}, memory ${size(memory_bytes)}` },
        span("weights", one.weights, "weights", `weights: ${size(one.weights)}`),
        ...halves,
        ...ghost,
        h("span", { class: "llmlab-gqa-line", style: { left: part(memory_bytes) } }),
        h("span", { class: `llmlab-gqa-memory ${line > 0.5 ? "llmlab-gqa-before" : ""}`, style: { left: part(memory_bytes) } }, `memory ${size(memory_bytes)}`),
      ),
      h(
        "div",
        { class: "llmlab-gqa-figures" },
        ...figure("cache_bytes_per_token", "One token", one.token, size(one.token), `${ofToken} numbers × ${BITS[of] / 8} bytes`),
        ...figure("cache_bytes", count(get("context"), "token"), one.cache, size(one.cache), `with ${size(one.weights)} of weights ${over > 0 ? `${size(over)} too much for` : "fits in"} ${size(memory_bytes)}.${made}`),
        ...figure("largest_context", "Fits at most", one.longest, count(one.longest, "token"), `${one.longest ? "beside the weights" : "the weights alone are too large"}${one.token === all.token ? "" : `; with a kv head for each ${whole(all.longest)}`}.${window}${sameWeights}`),
      ),
    );
    bytes.dataset.fits = String(over <= 0);
  }

  // Quality and speed.
  function drawQuality() {
    const { settings, reference, seeds, model: trained } = get("study");
    const found = settings.map((one) => [one, one.found[get("skill")]]);
    const ends = found.flatMap(([, [, , low, high]]) => [low, high]);
    const [least, most] = [Math.min(0, ...ends), Math.max(0, ...ends)];
    const room = 0.06 * (most - least || 1);
    const x = (value) => `${((100 * (value - least + room)) / (most - least + 2 * room)).toFixed(2)}%`;
    const laboratory = get("models").find(({ name }) => name === trained);
    const here = get("model_name") === trained;
    const rows = found.map(([one, [mean, less, low, high, verdict]]) => {
      const number = laboratory.steps.findIndex((other) => one.n_heads === laboratory.n_heads && other.attention === one.attention && other.numbers === one.numbers);
      const said = one.name === reference ? mean.toFixed(3) : `${signed(less)} ${verdict}`;
      const dot = one.name === reference ? [] : [h("span", { class: `llmlab-gqa-interval ${verdict.startsWith("no") ? "llmlab-gqa-open" : ""}`, style: { left: x(low), width: `calc(${x(high)} - ${x(low)})` } }), h("span", { class: "llmlab-gqa-dot", style: { left: x(less) } })];
      const parts = [
        h("span", { class: "llmlab-gqa-name" }, h("span", {}, one.name), h("span", { class: "llmlab-note" }, size(Math.ceil((one.numbers * laboratory.n_layers * BITS[get("dtype")]) / 8)))),
        h("span", { class: "llmlab-gqa-axis" }, h("span", { class: "llmlab-gqa-zero", style: { left: x(0) } }), ...dot),
        h("span", { class: "llmlab-note" }, said),
      ];
      const data = { "data-setting": one.name };
      if (number < 0) return h("div", { class: "llmlab-gqa-row", ...data }, ...parts);
      return h("button", { class: "llmlab-ranked", ...data, title: "the wires of this step", "aria-pressed": String(here && number === at()), onclick: () => take(number, trained) }, ...parts);
    });
    const better = get("skill") === "bits per byte" ? "lower is better" : "share of right answers";
    const note = `${better} · ${trained}, trained anew with equal parameters, less ${reference}: ${seeds} pairs of seeds, 95 % intervals. Bytes are those of a token.`;
    anew(quality, h("div", { class: "llmlab-gqa-rows" }, ...rows), h("div", { class: "llmlab-note" }, note));
  }

  function drawSpeed() {
    const { seconds, model: whose, n_heads, head_dim, n_keys, threads } = get("timing");
    if (!seconds) {
      speed.replaceChildren(h("p", { class: "llmlab-note", "data-silent": "" }, live(model) ? "Not measured yet: how far does the time of a step fall when a fourth of the bytes is read?" : "Nothing was measured before this page was saved."));
      return;
    }
    const [most, slowest] = seconds[0];
    const full = Math.max(1, ...seconds.map(([, taken]) => taken / slowest));
    const bar = (name, part) => h("span", { class: `llmlab-gqa-${name}`, style: { width: `${((100 * part) / full).toFixed(2)}%` } });
    const rows = seconds.map(([n, taken]) =>
      h("div", { class: "llmlab-gqa-row", "data-speed": n }, h("span", {}, `${n} kv`), h("span", { class: "llmlab-gqa-pair" }, bar("read", n / most), bar("taken", taken / slowest)), h("span", { class: "llmlab-note" }, `bytes ${significant(n / most)}, time ${significant(taken / slowest)}`)),
    );
    const of = whose === get("model_name") ? "" : ` Measured with the heads of ${whose}.`;
    speed.replaceChildren(
      h("div", { class: "llmlab-gqa-rows llmlab-gqa-timed" }, ...rows),
      h("div", { class: "llmlab-note" }, `Outlined: bytes read; filled: time, both ÷ those with ${most} kv heads, ${significant(1000 * slowest)} ms. One step of one layer at ${whole(n_keys)} keys, ${n_heads} heads of ${head_dim}, float32, ${count(threads, "thread")}, on the machine that measured. MLA was not timed.${of}`),
    );
  }

  function tables() {
    const [{ name, n_heads, own, steps: all }, { n_kv_heads, latent, rope }] = [shape(), step()];
    const reads = (tiled, group) => wires(shape(), step(), tiled).flatMap((one, head) => (one === group ? [head] : [])).join(", ");
    const { settings, reference, model: trained } = get("study");
    const { seconds, model: whose } = get("timing");
    return [
      {
        caption: `${name} in ${get("dtype")}; now ${label(shape(), step())}`,
        columns: ["step", "numbers a token and layer", "one token", count(get("context"), "token"), `most tokens in ${size(get("memory_bytes"))}`],
        rows: all.map((one, number) => {
          const { token, cache, longest } = figures(shape(), one, now());
          return [label(shape(), one) + (number === own ? ", its own" : ""), whole(one.numbers), size(token), size(cache), whole(longest)];
        }),
      },
      isLatent(step())
        ? { caption: "What is kept, and who reads it", columns: ["kept", "query heads"], rows: [`latent of ${latent}`, `RoPE key of ${rope}`].map((what) => [what, `all ${n_heads}`]) }
        : {
            caption: `Which query heads read a kv head: ${get("tiled") ? "h mod G" : "h·G // H"}`,
            columns: ["kv head", "read by", "trained with"],
            rows: Array.from({ length: n_kv_heads }, (_, group) => [String(group), reads(get("tiled"), group), reads(false, group)]),
          },
      {
        caption: `Quality of ${trained}: ${get("skill")}, less ${reference}`,
        columns: ["setting", "numbers a token and layer", "mean", "difference", "from", "to", "verdict"],
        rows: settings.map((one) => {
          const [mean, less, low, high, verdict] = one.found[get("skill")];
          return [one.name, whole(one.numbers), mean.toFixed(3), signed(less), signed(low), signed(high), verdict];
        }),
      },
      {
        caption: seconds ? `Speed as measured with the heads of ${whose}` : "Speed on this machine: not measured",
        columns: ["kv heads", "bytes read ÷ MHA", "time ÷ MHA"],
        rows: (seconds ?? []).map(([n, taken]) => [String(n), significant(n / seconds[0][0]), significant(taken / seconds[0][1])]),
      },
    ];
  }

  function update() {
    const [one, all] = [step(), shape().steps[0]].map((of) => figures(shape(), of, now()));
    modelChoice.value = get("model_name");
    dtype.value = get("dtype");
    skill.value = get("skill");
    const sizes = [...new Set([...MEMORIES, get("memory_bytes")])].sort((a, b) => a - b);
    memory.replaceChildren(...sizes.map((value) => h("option", { value }, size(value))));
    memory.value = get("memory_bytes");
    context.value = Math.round(Math.log2(get("context")));
    context.setAttribute("aria-valuetext", count(get("context"), "token"));
    tokens.textContent = count(get("context"), "token");
    anew(
      steps,
      ...shape().steps.map((of, number) => {
        const marked = number === shape().own ? (shape().source ? "published" : "its own") : "";
        const button = h("button", { "data-step": label(shape(), of), "aria-pressed": String(number === at()), onclick: () => take(number) }, h("span", {}, label(shape(), of)), h("small", {}, size(figures(shape(), of, now()).token)));
        if (marked) button.append(h("small", { "data-own": "" }, `● ${marked}`));
        return button;
      }),
    );
    tile.disabled = !canTile();
    tile.setAttribute("aria-pressed", String(get("tiled") && canTile()));
    headline.textContent = headlineText(one, all).replace(/ (?=[KMGTP]iB)/g, "\u00a0");
    draw();
    drawBytes(one, all);
    drawQuality();
    drawSpeed();
    refresh();
  }

  on(["model_name", "attention", "n_kv_heads", "head", "tiled", "context", "memory_bytes", "dtype", "skill", "timing", "scale"], update);
  update();
  const ended = onWidth(picture, draw);
  return () => {
    ended();
    release();
  };
}
