/* CostCalculator: what the weights and the KV cache of a model take, and whether a memory holds them.
 *
 * Draws one bar each for weights, cache and both on one scale, with the memory as a line; what would fit; and the
 * parameters by part. Every figure is computed here, from the whole numbers in `models`; no kernel is needed.
 * Reads: models, model_name, batch_size, context, weight_dtype, cache_dtype, n_kv_heads, memory_bytes, scale, view.
 * Writes: model_name, batch_size, context, weight_dtype, cache_dtype, n_kv_heads, memory_bytes, view.
 */

const BITS = { float32: 32, bfloat16: 16, int8: 8, int4: 4 };
const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
const GIB = 2 ** 30;
const PRESETS = [16, 24, 80];
const SHADES = { "token embedding": 0.6, "position embedding": 0.8, attention: 0.3, "feed-forward": 0.1, norms: 1, head: 0.45 };
const LIMITS = {
  cache_bytes_per_token: "One token in the cache",
  largest_context: "Longest context that fits",
  largest_batch: "Largest batch that fits",
  context_where_cache_outweighs_weights: "Cache outweighs weights at",
};
const MOST = { batch_size: 2 ** 10, context: 2 ** 20, memory_bytes: 2 ** 50 };

const whole = (n) => n.toLocaleString("en-US");
const count = (n, thing) => `${whole(n)} ${thing}${n === 1 ? "" : "s"}`;

const inEach = (rows) => (rows === 1 ? "in the one row" : `in each of ${whole(rows)} rows`);

/** Three significant digits, final zeros kept. */
const significant = (value) => (value === 0 ? "0" : value < 0.001 ? "<0.001" : value.toPrecision(3));

/** Bytes in binary units: 68719476736 is 64.0 GiB. */
function size(bytes) {
  let [step, value] = [0, bytes];
  for (; value >= 999.5 && step < UNITS.length - 1; step++) value /= 1024;
  return `${step ? significant(value) : bytes} ${UNITS[step]}`;
}

/** 6738415616 is 6.74 billion. */
function inWords(n) {
  const [unit, name] = [[1e9, " billion"], [1e6, " million"], [1e3, " thousand"]].find(([unit]) => n >= 0.9995 * unit) ?? [1, ""];
  return unit === 1 ? String(n) : significant(n / unit) + name;
}

/** All figures of one setting, as whole numbers. The same formulas as in llmlab.costs. */
function figures(shape, { batch_size, context, weight_dtype, cache_dtype, n_kv_heads, memory_bytes }) {
  const parts = shape.parts.map(([name, n]) => [name, n + (name === "attention" ? shape.per_kv_head * (n_kv_heads - 1) : 0)]);
  const n_parameters = parts.reduce((sum, [, n]) => sum + n, 0);
  const weight_bytes = Math.ceil((n_parameters * BITS[weight_dtype]) / 8);
  const per_token = Math.ceil((2 * shape.n_layers * n_kv_heads * shape.head_dim * BITS[cache_dtype]) / 8);
  const cache_bytes = per_token * context * batch_size;
  const left = memory_bytes - weight_bytes;
  return {
    parts: parts.filter(([, n]) => n > 0),
    n_parameters,
    weight_bytes,
    cache_bytes_per_token: per_token,
    cache_bytes,
    total_bytes: weight_bytes + cache_bytes,
    fits: cache_bytes <= left,
    largest_context: Math.max(0, Math.floor(left / (per_token * batch_size))),
    largest_batch: Math.max(0, Math.floor(left / (per_token * context))),
    context_where_cache_outweighs_weights: Math.floor(weight_bytes / (per_token * batch_size)) + 1,
  };
}

function render({ model, el }) {
  const NAMES = ["model_name", "batch_size", "context", "weight_dtype", "cache_dtype", "n_kv_heads", "memory_bytes"];
  const settings = () => Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
  const shape = () => model.get("models").find(({ name }) => name === model.get("model_name"));
  const divisors = () => Array.from({ length: shape().n_heads }, (_, i) => i + 1).filter((n) => shape().n_heads % n === 0);
  let complaint = "";

  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: "Cost calculator: weights and KV cache against a memory",
    hint: "↑ ↓ double or halve the context, ← → the batch; g fewer, G more kv heads. When does the cache outgrow the weights?",
    touch: "When does the cache outgrow the weights?",
    first: ".llmlab-costs-controls, .llmlab-costs-headline, .llmlab-costs-picture",
    keys: {
      ArrowUp: () => bounded("context", 2 * model.get("context")),
      ArrowDown: () => bounded("context", Math.floor(model.get("context") / 2)),
      ArrowRight: () => bounded("batch_size", 2 * model.get("batch_size")),
      ArrowLeft: () => bounded("batch_size", Math.floor(model.get("batch_size") / 2)),
      g: () => set("n_kv_heads", divisors().findLast((n) => n < model.get("n_kv_heads")) ?? 1),
      G: () => set("n_kv_heads", divisors().find((n) => n > model.get("n_kv_heads")) ?? shape().n_heads),
    },
    tables,
    idle: () => complaint,
  });

  const bounded = (name, value) => set(name, Math.min(MOST[name], Math.max(1, value)));

  // The controls, made once.
  const choice = (name, label, options, onchange) =>
    h(
      "select",
      { "aria-label": label, "data-control": name, onchange: (event) => onchange(event.target.value) },
      ...options.map(([value, text]) => h("option", { value }, text)),
    );
  const dtype = (name, label) => choice(name, label, Object.keys(BITS).map((key) => [key, `${key}, ${BITS[key]} bits`]), (value) => set(name, value));

  /** A slider over powers of two and a field for any whole number, for one trait. */
  function numberOf(name, label) {
    const slider = h("input", {
      type: "range",
      min: 0,
      max: Math.log2(MOST[name]),
      step: 1,
      "aria-label": `${label}, powers of two`,
      "data-control": `${name}-slider`,
      oninput: () => bounded(name, 2 ** Number(slider.value)),
    });
    const field = entry(name, label, MOST[name], Number.isInteger, (value) => set(name, value));
    return { slider, field };
  }

  /** A field for a number. What is typed counts at Enter and when the field is left; Escape leaves it as it was. */
  function entry(name, label, most, kind, use) {
    const take = () => typed(field, label, most, kind, use);
    const field = h("input", {
      type: "text",
      inputmode: kind === Number.isInteger ? "numeric" : "decimal",
      maxlength: 24,
      "aria-label": label,
      "data-control": name,
      onchange: take,
      onkeydown: (event) => {
        if (event.key === "Enter") take(event.preventDefault());
        if (event.key === "Escape") update();
      },
    });
    return field;
  }

  /** What was typed, if it is a number of the right kind; otherwise the status line says what was expected. */
  function typed(field, label, most, kind, use) {
    const value = Number(field.value.replace(/,(?=\d{3}\b)/g, ""));
    const right = field.value.trim() !== "" && kind(value) && value > 0 && value <= most;
    complaint = right ? "" : `${label}: expected ${kind === Number.isInteger ? "a whole number of 1" : "a number above 0 and up"} to ${whole(most)}, got ${field.value || "nothing"}.`;
    if (right) use(value);
    update();
  }

  const names = model.get("models").map(({ name }) => [name, name]);
  const modelChoice = choice("model_name", "model", names, (value) => {
    model.set("model_name", value);
    model.set("n_kv_heads", shape().n_kv_heads);
    model.save_changes();
  });
  const batch = numberOf("batch_size", "batch");
  const context = numberOf("context", "context");
  const weights = dtype("weight_dtype", "dtype of the weights");
  const cache = dtype("cache_dtype", "dtype of the cache");
  const heads = choice("n_kv_heads", "kv heads", [], (value) => set("n_kv_heads", Number(value)));
  const ofHeads = h("span", { class: "llmlab-note", "data-published": "" });
  const presets = [...PRESETS.map((gib) => [String(gib * GIB), `${gib} GiB`]), ["", "other"]];
  const preset = choice("preset", "memory, common sizes", presets, (value) => (value ? set("memory_bytes", Number(value)) : gib.focus()));
  const gib = entry("memory_gib", "memory in GiB", MOST.memory_bytes / GIB, Number.isFinite, (value) => set("memory_bytes", Math.max(1, Math.round(value * GIB))));
  const unit = (text) => h("span", { class: "llmlab-note" }, text);
  const control = (text, ...nodes) => h("div", { class: "llmlab-costs-control" }, h("span", {}, text), ...nodes);

  const headline = h("p", { class: "llmlab-costs-headline", "aria-live": "polite" });
  const picture = h("div", { class: "llmlab-costs-picture" });
  body.append(
    h(
      "div",
      { class: "llmlab-costs-controls" },
      control("Model", modelChoice),
      control("Memory", preset, gib, unit("GiB")),
      control("Batch", batch.slider, batch.field, unit("rows")),
      control("Context", context.slider, context.field, unit("tokens")),
      control("Weights", weights),
      control("Cache", cache),
      control("KV heads", heads, ofHeads),
    ),
    headline,
    picture,
  );

  // The picture.
  const percent = (part) => `${(100 * part).toFixed(3)}%`;
  const span = (kind, part, text = "", title = text) => h("span", { class: `llmlab-costs-${kind}`, style: { width: percent(part) }, title }, part > 0.11 * model.get("scale") ? text : "");

  /** One bar on the common scale: its name, its spans, its value. `line` is where the memory ends, from 0 to 1. */
  function bar(name, figure, value, text, line, ...spans) {
    return [
      h("span", {}, name),
      h("span", { class: "llmlab-costs-track" }, ...spans, h("span", { class: "llmlab-costs-line", style: { left: percent(line) } })),
      h("span", { class: "llmlab-costs-value", "data-figure": figure, "data-value": value }, text),
    ];
  }

  function bars(all, now, asPublished) {
    const full = 1.04 * Math.max(all.total_bytes, now.memory_bytes, asPublished.cache_bytes);
    const [weight, half, line] = [all.weight_bytes / full, all.cache_bytes / 2 / full, now.memory_bytes / full];
    const over = all.total_bytes - now.memory_bytes;
    const halves = () => [span("keys", half, "keys", "keys: half of the cache"), span("values", half, "values", "values: half of the cache")];
    const weightSpan = () => span("weights", weight, "weights");
    const memory = h("span", { class: `llmlab-costs-memory ${line > 0.5 ? "llmlab-costs-before" : ""}`, style: { left: percent(line) } }, `memory ${size(now.memory_bytes)}`);
    const ghost = h("span", { class: "llmlab-costs-ghost", "data-ghost": "", style: { width: percent(asPublished.cache_bytes / full) }, title: `with ${asPublished.n_kv_heads} kv heads: ${size(asPublished.cache_bytes)}` });
    const both = h("span", { class: "llmlab-costs-both", style: { width: percent(weight + 2 * half) } });
    if (over > 0) both.append(h("span", { class: "llmlab-costs-over", style: { width: percent(over / all.total_bytes) }, title: "does not fit" }));
    return h(
      "div",
      { class: "llmlab-costs-bars", role: "group", "aria-label": "bytes, on one scale" },
      h("span"),
      h("span", { class: "llmlab-costs-axis" }, h("span", { class: "llmlab-costs-line", style: { left: percent(line) } }), memory),
      h("span"),
      ...bar("Weights", "weight_bytes", all.weight_bytes, size(all.weight_bytes), line, weightSpan()),
      ...bar("Cache", "cache_bytes", all.cache_bytes, size(all.cache_bytes), line, ...halves(), ...(asPublished.cache_bytes === all.cache_bytes ? [] : [ghost])),
      ...bar("Together", "total_bytes", all.total_bytes, size(all.total_bytes), line, weightSpan(), ...halves(), both),
    );
  }

  function limits(all, now, { n_layers, head_dim }) {
    const rows = inEach(now.batch_size);
    const line = (name, value, text, more) => [
      h("span", {}, LIMITS[name]),
      h("b", { "data-figure": name, "data-value": value }, text),
      h("span", { class: "llmlab-note" }, more),
    ];
    return h(
      "div",
      { class: "llmlab-costs-limits" },
      ...line("cache_bytes_per_token", all.cache_bytes_per_token, size(all.cache_bytes_per_token), `2 × ${n_layers} layers × ${now.n_kv_heads} kv heads × ${head_dim} numbers × ${BITS[now.cache_dtype] / 8} bytes`),
      ...line("largest_context", all.largest_context, count(all.largest_context, "token"), `${rows}, beside the weights in ${size(now.memory_bytes)}`),
      ...line("largest_batch", all.largest_batch, count(all.largest_batch, "row"), `of ${count(now.context, "token")} each`),
      ...line("context_where_cache_outweighs_weights", all.context_where_cache_outweighs_weights, count(all.context_where_cache_outweighs_weights, "token"), `${rows}: from there on the cache is larger than the weights`),
    );
  }

  function parts(all) {
    const share = (n) => `${significant((100 * n) / all.n_parameters)} %`;
    const shade = (name) => ({ background: `rgb(var(--llmlab-masked) / ${SHADES[name]})` });
    const segment = ([name, n]) => {
      const node = span("part", n / all.n_parameters, name, `${name}: ${whole(n)}`);
      Object.assign(node.style, shade(name));
      return node;
    };
    return h(
      "div",
      {},
      h("h4", { "data-figure": "n_parameters", "data-value": all.n_parameters }, `Parameters by part: ${inWords(all.n_parameters)}`),
      h(
        "div",
        { class: "llmlab-costs-track", role: "img", "aria-label": all.parts.map(([name, n]) => `${name} ${share(n)}`).join(", ") },
        ...all.parts.map(segment),
      ),
      h(
        "div",
        { class: "llmlab-row llmlab-costs-key" },
        ...all.parts.map(([name, n]) => h("span", {}, h("span", { class: "llmlab-costs-swatch", style: shade(name) }), `${name} ${inWords(n)}, ${share(n)}`)),
      ),
    );
  }

  function headlineText(all, now) {
    const more = all.cache_bytes > all.weight_bytes;
    const ratio = more
      ? `${significant(all.cache_bytes / all.weight_bytes)} times the ${size(all.weight_bytes)} of the weights`
      : `${significant((100 * all.cache_bytes) / all.weight_bytes)} % of the ${size(all.weight_bytes)} of the weights`;
    const over = all.total_bytes - now.memory_bytes;
    const verdict = all.fits ? `that fits in ${size(now.memory_bytes)} and leaves ${size(-over)}` : `that does not fit in ${size(now.memory_bytes)}: ${size(over)} too much`;
    return `${now.model_name} with ${count(now.batch_size, "row")} of ${count(now.context, "token")}: the cache takes ${size(all.cache_bytes)}, ${ratio}. Together ${size(all.total_bytes)}; ${verdict}.`;
  }

  function notes(all, now, asPublished, { name, source, n_kv_heads, max_seq_len, learned_positions, window, n_experts, n_experts_per_token }) {
    const found = [];
    if (now.n_kv_heads !== n_kv_heads) found.push(["hypothetical", `Hypothetical: ${name} has ${count(n_kv_heads, "kv head")}, and its cache takes ${size(asPublished.cache_bytes)} (dashed). With ${now.n_kv_heads} it is another model, to be converted or trained anew.`]);
    if (now.context > max_seq_len) found.push(["context", learned_positions ? `${name} has a table of ${whole(max_seq_len)} positions: it cannot read ${count(now.context, "token")}.` : `${name} is made for at most ${count(max_seq_len, "token")}.`]);
    if (window && now.context > window) found.push(["window", `Its queries look back at most ${count(window, "token")}: a rolling cache could drop the older ones. Counted here are all.`]);
    if (n_experts) found.push(["experts", `All ${n_experts} experts of a layer lie in memory; a token visits ${n_experts_per_token} of them.`]);
    if ([now.weight_dtype, now.cache_dtype].some((dtype) => dtype.startsWith("int"))) found.push(["scales", "The scales that int8 and int4 numbers need are not counted."]);
    found.push(["rest", "Counted are weights and cache alone; activations and the framework's own buffers come on top. 1 GiB is 1,024³ bytes."]);
    if (source) found.push(["source", `Shape: ${source}.`]);
    return h("div", {}, ...found.map(([kind, text]) => h("div", { class: `llmlab-note ${kind === "hypothetical" ? "llmlab-costs-warn" : ""}`, "data-note": kind }, text)));
  }

  function tables() {
    const [now, all] = [settings(), figures(shape(), settings())];
    const [rows, tokens] = [count(now.batch_size, "row"), count(now.context, "token")];
    const left = now.memory_bytes - all.total_bytes;
    const bytes = (what, n) => [what, size(n), whole(n)];
    return [
      {
        caption: `${now.model_name}: parameters`,
        columns: ["part", "parameters", "share"],
        rows: [...all.parts.map(([name, n]) => [name, whole(n), `${significant((100 * n) / all.n_parameters)} %`]), ["all", whole(all.n_parameters), "100 %"]],
      },
      {
        caption: `Memory for ${rows} of ${tokens}`,
        columns: ["what", "size", "bytes"],
        rows: [
          bytes(`weights in ${now.weight_dtype}`, all.weight_bytes),
          bytes(`one token in the cache, ${now.cache_dtype}, ${now.n_kv_heads} kv heads`, all.cache_bytes_per_token),
          bytes("cache", all.cache_bytes),
          bytes("weights and cache", all.total_bytes),
          bytes("memory", now.memory_bytes),
          bytes(left >= 0 ? "left" : "too much", Math.abs(left)),
        ],
      },
      {
        caption: `What ${size(now.memory_bytes)} hold`,
        columns: ["question", "answer"],
        rows: [
          [`most tokens ${inEach(now.batch_size)}`, whole(all.largest_context)],
          [`most rows of ${tokens}`, whole(all.largest_batch)],
          [`with ${rows}, the cache outweighs the weights from this many tokens on`, whole(all.context_where_cache_outweighs_weights)],
        ],
      },
    ];
  }

  function update() {
    const [now, chosen] = [settings(), shape()];
    const all = figures(chosen, now);
    modelChoice.value = now.model_name;
    for (const [{ slider, field }, value, thing] of [[batch, now.batch_size, "row"], [context, now.context, "token"]]) {
      slider.value = Math.round(Math.log2(value));
      slider.setAttribute("aria-valuetext", count(value, thing));
      field.value = value;
    }
    weights.value = now.weight_dtype;
    cache.value = now.cache_dtype;
    const options = divisors();
    if (heads.dataset.options !== options.join()) {
      heads.dataset.options = options.join();
      heads.replaceChildren(...options.map((n) => h("option", { value: n }, String(n))));
    }
    heads.value = now.n_kv_heads;
    ofHeads.textContent = `for ${count(chosen.n_heads, "query head")}; ${chosen.source ? "published" : "its own"}: ${chosen.n_kv_heads}`;
    preset.value = PRESETS.includes(now.memory_bytes / GIB) ? String(now.memory_bytes) : "";
    gib.value = Number((now.memory_bytes / GIB).toPrecision(6));
    headline.textContent = headlineText(all, now).replace(/ (?=[KMGTP]iB)/g, "\u00a0"); // a number and its unit stay together
    headline.dataset.fits = String(all.fits);
    const asPublished = { ...figures(chosen, { ...now, n_kv_heads: chosen.n_kv_heads }), n_kv_heads: chosen.n_kv_heads };
    picture.replaceChildren(bars(all, now, asPublished), limits(all, now, chosen), parts(all), notes(all, now, asPublished, chosen));
    refresh();
  }

  on([...NAMES, "scale"], () => {
    complaint = "";
    update();
  });
  update();
  return release;
}
