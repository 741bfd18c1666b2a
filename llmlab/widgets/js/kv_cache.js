/* KVCacheStepper: one generation without a cache and with one, step by step.
 *
 * Draws two lanes, a column a token: its key and value in the chosen layer and kv head, bordered by what the step did
 * with them (new, again, kept), and a row for each step so far; meters of both lanes; the logits of the likeliest next
 * tokens. May ask to predict the next step's keys. After an edit step 0 shows which cached columns survive.
 * Reads: prompt, max_new_tokens, n_prompt, n_kept, n_held, ids, labels, labels_before, moved, key_vectors, value_vectors,
 *   computed, flops, milliseconds, cache_bytes, difference, difference_at, key_difference, agree, candidates, logits,
 *   probabilities, revision.
 * Reads and writes: step, layer, head, token, playing, predicting, guess, revealed.
 * Writes: prompt, edited, max_new_tokens, which alone ask the kernel for passes.
 */

const NAMES = ["without a cache", "with a cache"];
const SECONDS = 0.9; // a step, when it plays
// The accents of base.css, for canvases: painted before CSS applies.
const HUES = { key: [230, 159, 0], value: [0, 158, 115], again: [213, 94, 0], kept: [153, 153, 153] };

function render({ model, el }) {
  const asks = live(model);
  let run = {}; // the arrays of one revision
  let hovered = -1; // the token under the pointer
  let drawn = -1; // the step drawn last
  let wrong = ""; // in the number of new tokens

  const get = (name) => model.get(name);
  const last = () => get("agree").length - 1;
  const atStep = () => Math.min(get("step"), last());
  const now = () => get("n_prompt") + atStep(); // tokens that have run
  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: "KV cache: recompute everything, or append one column",
    hint: "Space: next step; ← → step, Shift ← → token; ↑ ↓ layer, [ ] kv head; e edits a word of the prompt; p: predict, a: play, t: tables.",
    touch: "Play it, or predict each step; tap a token to hold it.",
    first: ".llmlab-kv-lanes",
    idle: () => wrong,
    tables,
    keys: {
      " ": forward,
      ArrowRight: (event) => (event.shiftKey ? hold(1) : atStep() < last() && forward()),
      ArrowLeft: (event) => (event.shiftKey ? hold(-1) : go(atStep() - 1)),
      Home: () => go(0),
      End: () => (get("predicting") ? ask() : go(last())),
      ArrowUp: () => choose("layer", -1),
      ArrowDown: () => choose("layer", 1),
      "[": () => choose("head", -1),
      "]": () => choose("head", 1),
      a: play,
      p: predict,
      e: edit,
      Escape: () => (set("token", -1), root.focus()),
    },
  });

  // What the reader does ---

  function go(step) {
    set("step", Math.max(0, Math.min(last(), step)));
  }
  function forward() {
    if (get("predicting")) ask();
    else go(atStep() < last() ? atStep() + 1 : 0);
  }
  function choose(name, by) {
    set(name, Math.max(0, Math.min(run[name] - 1, get(name) + by)));
  }
  function hold(by) {
    const from = get("token") < 0 ? now() - 1 : get("token");
    set("token", Math.max(0, Math.min(now() - 1, from + by)));
  }
  function play() {
    if (get("predicting")) return;
    if (!get("playing") && atStep() === last()) go(0);
    set("playing", !get("playing"));
  }
  function predict() {
    const begins = !get("predicting");
    set("playing", false);
    set("predicting", begins);
    if (begins && atStep() === last()) go(0);
    if (begins) ask();
    else root.focus();
  }
  /** Opens the field for the prompt as it becomes, with the held word selected in it. */
  function edit() {
    if (!asks) return;
    edits.hidden = false;
    if (!get("edited")) edits.value = get("prompt");
    edits.focus();
    const token = get("token");
    if (token < 1 || token >= get("n_prompt")) return;
    const start = get("labels").slice(1, token).join("").length;
    const word = get("labels")[token].trimStart();
    const end = start + get("labels")[token].length;
    if (edits.value.slice(0, end).endsWith(word)) edits.setSelectionRange(end - word.length, end);
  }
  const write = () => set("edited", edits.value === get("prompt") ? "" : edits.value);
  function takeBack() {
    set("edited", "");
    edits.hidden = true;
    root.focus();
  }
  function ask() {
    if (!question.hidden) guesses[0].focus();
  }
  function reveal() {
    const guess = guesses.map((field) => (/^\d{1,6}$/.test(field.value.trim()) ? Number(field.value) : -1));
    const missing = guess.indexOf(-1);
    if (missing >= 0) {
      verdict.textContent = "Type both numbers, then press Enter.";
      return guesses[missing].focus();
    }
    guesses.forEach((field) => (field.value = ""));
    set("guess", guess);
    set("revealed", atStep() + 1);
    go(atStep() + 1);
    if (question.hidden) root.focus();
    else guesses[0].focus();
  }

  // The parts that stay ---

  const field = (attributes, enter) =>
    h("input", {
      ...attributes,
      onkeydown: (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        event.stopPropagation();
        enter();
      },
    });
  const submit = () => {
    edits.hidden = true; // a new prompt takes the edit back
    if (prompt.value !== get("prompt")) set("prompt", prompt.value);
  };
  const recount = () => {
    wrong = /^\d+$/.test(count.value) ? "" : "Expected a whole number of new tokens.";
    if (!wrong) set("max_new_tokens", Number(count.value));
    refresh();
  };
  const prompt = field({ type: "text", class: "llmlab-kv-prompt", "aria-label": "prompt", onchange: submit }, () => (submit(), root.focus()));
  const edits = field({ type: "text", class: "llmlab-kv-prompt", "aria-label": "the prompt after the edit", hidden: true, onchange: write }, () => (write(), root.focus()));
  const opens = h("button", { onclick: () => (get("edited") ? takeBack() : edit()), title: "key e" });
  const count = field({ type: "number", min: 1, max: 47, "aria-label": "new tokens", onchange: recount }, () => (recount(), root.focus()));
  const back = h("button", { onclick: () => go(atStep() - 1), title: "key ←" }, "Back");
  const next = h("button", { onclick: forward, title: "key Space" }, "Next step");
  const plays = h("button", { onclick: play, title: "key a" }, "Play");
  const predicts = h("button", { onclick: predict, title: "key p" }, "Predict, then reveal");
  const slider = h("input", { type: "range", min: 0, "aria-label": "step", oninput: () => go(Number(slider.value)) });
  const select = (name) => h("select", { "aria-label": name, onchange: (event) => set(name, Number(event.target.value)) });
  const selects = { layer: select("layer"), head: select("head") };
  const sentence = h("div", { class: "llmlab-kv-sentence", "aria-live": "polite" });
  const totals = h("div", { class: "llmlab-kv-totals" });
  const guesses = NAMES.map((name) => field({ type: "text", inputmode: "numeric", "aria-label": `keys ${name}` }, reveal));
  const asked = h("span");
  const question = h(
    "div",
    { class: "llmlab-row" },
    asked,
    ...guesses.map((input, lane) => h("label", {}, `${NAMES[lane]} `, input)),
    h("button", { onclick: reveal }, "Reveal"),
  );
  const verdict = h("div", { "aria-live": "polite", "data-verdict": "" });
  const panel = h("section", { class: "llmlab-kv-panel" }, verdict, question);
  const lanes = h("div", {
    class: "llmlab-kv-lanes",
    onpointermove: (event) => hover(event.target.closest("[data-token]")),
    onpointerleave: () => hover(null),
    onclick: (event) => {
      const cell = event.target.closest("[data-token]");
      if (cell) set("token", Number(cell.dataset.token) === get("token") ? -1 : Number(cell.dataset.token));
      root.focus();
    },
  });
  const detail = h("div", { class: "llmlab-kv-detail llmlab-scroll", "data-detail": "" });
  const legend = h("div", { class: "llmlab-note" });
  const meters = h("div", { class: "llmlab-scroll" });
  const choices = h("div", { class: "llmlab-scroll" });
  const agreement = h("div", { class: "llmlab-note", "data-difference": "" });
  const promptRow = h("div", { class: "llmlab-row" }, prompt, edits, opens, h("label", {}, "new tokens ", count));
  body.append(
    promptRow,
    h("div", { class: "llmlab-row llmlab-kv-controls" }, back, next, plays, slider, predicts, selects.layer, selects.head),
    sentence,
    totals,
    panel,
    lanes,
    legend,
    detail,
    h("div", { class: "llmlab-kv-figures" }, meters, choices),
    agreement,
  );
  if (!asks) {
    prompt.disabled = edits.disabled = opens.disabled = count.disabled = true;
    promptRow.append(h("span", { class: "llmlab-note" }, "A recording: another prompt or an edit needs a kernel."));
  }

  // What the run says ---

  const loaded = () => run.revision === get("revision");
  function load() {
    if (loaded()) return;
    const [layer, head, length, width] = get("key_vectors").shape;
    run = { revision: get("revision"), layer, head, length, width };
    for (const name of ["key_vectors", "value_vectors", "computed", "flops", "milliseconds", "cache_bytes", "difference", "logits", "probabilities", "moved"])
      run[name] = array(model, name).data;
    for (const [name, node] of Object.entries(selects)) {
      const word = name === "head" ? "kv head" : name;
      node.replaceChildren(...Array.from({ length: run[name] }, (_, index) => h("option", { value: index }, `${word} ${index + 1} of ${run[name]}`)));
    }
  }
  const at = (name, lane, step = atStep()) => run[name][lane * (last() + 1) + step];
  const sum = (name, lane, step = atStep()) => Array.from({ length: step + 1 }, (_, s) => at(name, lane, s)).reduce((a, b) => a + b, 0);
  const label = (index) => `“${visible(get("labels")[index])}”`;
  const keys = (n) => `${n} ${n === 1 ? "key" : "keys"}`;

  /** What a step did with a token in a lane: new, again or kept; "" where it has not run. */
  function status(lane, token, step = atStep()) {
    const tokens = get("n_prompt") + step;
    if (token >= tokens) return "";
    if (token < tokens - at("computed", lane, step)) return "kept";
    return token < (step ? tokens - 1 : get("n_kept")) ? "again" : "new";
  }
  /** What an edit did with a token's column, in words. */
  function edited(token) {
    if (token >= get("n_held") || token >= get("n_prompt")) return "";
    if (token < get("n_kept")) return "It stands before the change: kept.";
    const far = run.moved[(get("layer") * run.head + get("head")) * run.length + token];
    const [was, is] = [get("labels_before")[token], get("labels")[token]];
    const how = far < 1e-4 ? "is the same" : `moved by up to ${fixed(far)}`;
    return `${was === is ? "The same word" : `“${visible(was)}” before`}: its column ${how} in this layer and head.`;
  }
  /** The vector of a token in the chosen layer and kv head. */
  function vector(name, token) {
    const start = ((get("layer") * run.head + get("head")) * run.length + token) * run.width;
    return run[name].subarray(start, start + run.width);
  }
  const work = (value) => withUnit(value, 1000, "FLOP");
  const size = (value) => withUnit(value, 1024, "B");
  const time = (value) => (value < 999.5 ? `${value.toPrecision(3)} ms` : `${(value / 1000).toPrecision(3)} s`);
  const times = (a, b) => `${a / b < 99.5 ? (a / b).toPrecision(2) : Math.round(a / b)} ×`;
  /** A rounding error: 4.8 × 10⁻⁶. */
  function tiny(value) {
    if (!(value > 0)) return String(value);
    const [digit, power] = value.toExponential(1).split("e");
    return `${digit} × 10${[...power].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? (c === "-" ? "⁻" : "")).join("")}`;
  }

  // Drawing ---

  function words() {
    const step = atStep();
    const [all, some] = [at("computed", 0), at("computed", 1)];
    const again = step ? all - 1 : 0;
    sentence.textContent = step
      ? `Step ${step} of ${last()} (decode) runs ${label(now() - 1)}: ${keys(all)} without a cache, ${again} of them again; ${some} with one.`
      : `Step 0 of ${last()} (prefill) runs the prompt. Both lanes compute ${keys(all)}${all === some ? "" : `, with the cache ${some}`}.`;
    const [most, least] = [sum("computed", 0), sum("computed", 1)];
    const scope = step === last() ? `The whole run, ${step + 1} new ${step ? "tokens" : "token"}` : `So far, ${step + 1} ${step ? "steps" : "step"}`;
    if (get("n_held") && !step) {
      const first = get("n_kept");
      const was = visible(get("labels_before")[first] ?? "");
      const words = `“${was}”` === label(first) ? "The prompt changed" : `“${was}” became ${label(first)}`;
      sentence.textContent = `${words}: ${first} of ${get("n_held")} columns survive; ${keys(some)} (${work(at("flops", 1))}) in place of ${all} (${work(at("flops", 0))}).`;
      totals.textContent = "Columns before the change are still right; later ones saw it, also those of words that stayed.";
      return;
    }
    totals.textContent = `${scope}: ${keys(most)} computed without a cache, ${least} with one, in each layer and kv head.`;
  }

  function questions() {
    const step = atStep();
    const predicting = get("predicting");
    const guess = get("guess");
    const told = predicting && get("revealed") === step && guess.length === 2;
    panel.hidden = !predicting;
    question.hidden = step === last();
    asked.textContent = `Step ${step + 1} will run ${label(now())}. How many keys does it compute in each layer and kv head?`;
    if (!told) {
      verdict.textContent = question.hidden ? "That was the last step. Home begins again, p ends the predictions." : "";
      return;
    }
    const right = [0, 1].map((lane) => guess[lane] === at("computed", lane));
    const reasons = [`${at("computed", 0)} without a cache (every token so far)`, `${at("computed", 1)} with one (the newest token alone)`];
    const judged = right.every(Boolean) ? "Right." : `You said ${guess[0]} and ${guess[1]}: ${right.some(Boolean) ? "one is right." : "both are off."}`;
    verdict.textContent = `${judged} Step ${step} computed ${reasons.join(", ")}.`;
  }

  /** A canvas of one pixel per number; `paint(x, y)` gives [red, green, blue, alpha 0 … 1] or null. */
  function pixels(width, height, paint, attributes) {
    const canvas = h("canvas", { width, height, "aria-hidden": "true", ...attributes });
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const hue = paint(x, y);
        if (hue) image.data.set([hue[0], hue[1], hue[2], Math.round(255 * hue[3])], 4 * (y * width + x));
      }
    context.putImageData(image, 0, 0);
    return canvas;
  }

  function lane(index) {
    const [labels, prompt, count, step] = [get("labels"), get("n_prompt"), now(), atStep()];
    const at_ = (row, column, span = 1) => ({ gridRow: String(row), gridColumn: `${column + 2} / span ${span}` });
    const gutter = (row, text) => h("div", { class: "llmlab-kv-gutter", style: { gridRow: String(row) } }, text);
    const grid = h("div", {
      class: `llmlab-kv-grid ${step !== drawn ? "llmlab-kv-moved" : ""}`,
      role: "img",
      "aria-label": `${NAMES[index]}: ${runs(index).map(([name, , n]) => `${n} ${name}`).join(", ")}`,
      style: { gridTemplateColumns: `calc(5 * var(--llmlab-unit)) repeat(${labels.length}, minmax(calc(6 * var(--llmlab-unit)), 1fr))` },
    });
    const band = (text, column, span, on) =>
      h("div", { class: `llmlab-kv-band ${on ? "llmlab-kv-on" : ""}`, style: at_(1, column, span), title: text }, h("span", {}, text));
    grid.append(band("prefill", 0, prompt, step === 0), band("decode", prompt, labels.length - prompt, step > 0));
    labels.slice(0, count + 1).forEach((text, token) => {
      const coming = token === count;
      const changed = !step && token < get("n_held") && get("labels_before")[token] !== text;
      grid.append(
        h(
          "div",
          {
            class: `llmlab-kv-label ${changed && !coming ? "llmlab-kv-changed" : ""} llmlab-mono ${coming ? "llmlab-kv-coming" : ""}`,
            style: at_(2, token),
            title: coming ? `${text}: chosen by this step; it runs in the next` : text,
            ...(coming ? {} : { "data-token": token }),
          },
          visible(text),
        ),
      );
    });
    const gone = index && !step ? get("labels_before").slice(count + 1, labels.length) : [];
    gone.forEach((text, token) => grid.append(h("div", { class: "llmlab-kv-label llmlab-mono llmlab-kv-coming", style: at_(2, count + 1 + token), title: `${text}: dropped from the cache` }, h("s", {}, visible(text)))));
    [["K", "key", "key_vectors"], ["V", "value", "value_vectors"]].forEach(([letter, name, vectors], kind) => {
      const row = 3 + kind;
      grid.append(gutter(row, letter));
      const largest = largestOf(vectors, count);
      grid.append(
        pixels(
          count,
          run.width,
          (token, y) => [...(HUES[status(index, token)] ?? HUES[name]), 0.08 + (0.92 * Math.abs(vector(vectors, token)[y])) / largest],
          { class: "llmlab-kv-strip", style: at_(row, 0, count) },
        ),
      );
      for (let token = 0; token < run.length; token++) {
        const state = status(index, token);
        grid.append(
          h("div", {
            class: `llmlab-kv-cell llmlab-kv-${state || "empty"}`,
            style: { ...at_(row, token), ...(state === "new" && { borderColor: `rgb(var(--llmlab-${name}))` }) },
            ...(state && { "data-token": token, "data-status": state, "data-cell": letter }),
          }),
        );
      }
    });
    for (const [name, start, n] of runs(index))
      grid.append(
        h("div", { class: `llmlab-kv-run ${name === "new" ? "llmlab-kv-whole" : ""}`, style: at_(5, start, n), title: `${n} ${name}` }, n > 2 ? `${name}: ${n} tokens` : name),
      );
    const tall = last() > 8 ? 3 : 4; // pixels of a row
    const scaled = (size) => `calc(${Math.max(0, size)}px * var(--llmlab-scale))`;
    const done = ["key", "again", "kept"].map((name) => [...HUES[name], name === "kept" ? 0.25 : 0.9]);
    grid.append(
      h("div", { class: "llmlab-kv-gutter", style: { gridRow: "6", paddingTop: scaled(Math.min(step * tall, (last() + 1) * tall - 17)) } }, String(step)),
      pixels(
        labels.length,
        last() + 1,
        (token, s) => (s > step ? null : { new: done[0], again: done[1], kept: done[2] }[status(index, token, s)] ?? null),
        {
          class: "llmlab-kv-history",
          style: { ...at_(6, 0, labels.length), height: scaled((last() + 1) * tall) },
        },
      ),
    );
    const title = index ? "With a cache: append one column" : "Without a cache: recompute everything";
    const wide = (unit) => `calc(${5 + unit * labels.length} * var(--llmlab-unit))`; // both lanes in a row where they fit
    return h("section", { class: "llmlab-kv-lane", "data-lane": index, style: { flexBasis: wide(6), maxWidth: wide(9) } }, h("h4", {}, title), grid);
  }
  /** Neighbors with one status as [status, first token, how many]. */
  function runs(index) {
    const found = [];
    for (let token = 0; token < now(); token++) {
      const name = status(index, token);
      if (found.at(-1)?.[0] === name) found.at(-1)[2]++;
      else found.push([name, token, 1]);
    }
    return found;
  }
  function largestOf(name, count) {
    let largest = 1e-9;
    for (let token = 0; token < count; token++) for (const x of vector(name, token)) largest = Math.max(largest, Math.abs(x));
    return largest;
  }

  function drawLanes() {
    const scrolled = lanes.scrollLeft;
    lanes.replaceChildren(lane(0), lane(1));
    lanes.scrollLeft = scrolled;
    const newest = lanes.querySelector(`[data-lane="1"] [data-cell="K"][data-token="${now() - 1}"]`);
    if (newest && atStep() !== drawn) {
      const [inner, outer] = [newest.getBoundingClientRect(), lanes.getBoundingClientRect()];
      lanes.scrollLeft += Math.max(0, inner.right + inner.width - outer.right) + Math.min(0, inner.left - 2 * inner.width - outer.left);
    }
    drawn = atStep();
    legend.textContent =
      `A column is a token; in it the ${run.width} numbers of its key (K) and value (V) in layer ${get("layer") + 1}, kv head ${get("head") + 1}, ` +
      `stronger where larger in size: up to ${digits(largestOf("key_vectors", now()))} and ${digits(largestOf("value_vectors", now()))}. ` +
      "Solid border: new. Dashed: computed again for nothing. Gray: kept and reused. Below, a row for each step so far. " +
      `Keys and values computed again differ from the kept ones by at most ${tiny(get("key_difference"))} in the whole run.`;
  }

  function hover(cell) {
    const token = cell ? Number(cell.dataset.token) : -1;
    if (token === hovered) return;
    hovered = token;
    drawDetail();
  }
  function drawDetail() {
    const held = get("token") >= 0 && get("token") < now() ? get("token") : -1;
    const token = held >= 0 ? held : hovered >= 0 && hovered < now() ? hovered : now() - 1;
    for (const cell of lanes.querySelectorAll(".llmlab-kv-shown")) cell.classList.remove("llmlab-kv-shown");
    if (held >= 0 || hovered >= 0)
      for (const cell of lanes.querySelectorAll(`[data-token="${token}"]`)) cell.classList.add("llmlab-kv-shown");
    const meaning = { new: "new", again: "again, for nothing", kept: "kept, reused" };
    const row = (letter, name) =>
      h("tr", {}, h("th", { scope: "row" }, letter), ...[...vector(name, token).slice(0, 6)].map((x) => h("td", { class: "llmlab-number" }, fixed(x))), h("td", {}, "…"));
    detail.replaceChildren(
      h(
        "div",
        { class: "llmlab-kv-which" },
        h("strong", {}, `Token ${token} ${label(token)}`),
        held >= 0 ? ", held: Escape lets go" : hovered >= 0 ? ", click holds it" : token === now() - 1 ? ", the newest" : "",
        ...[0, 1].map((index) => h("div", {}, `${NAMES[index]}: ${meaning[status(index, token)]}`)),
        h("div", {}, edited(token)),
      ),
      h("table", {}, h("tbody", {}, row("K", "key_vectors"), row("V", "value_vectors"))),
    );
  }
  const fixed = (x) => x.toFixed(2).replace("-", "−");

  const head = (text, span) => h("th", { scope: span ? "colgroup" : "col", colspan: span }, text);
  function drawMeters() {
    const step = atStep();
    const bar = (share, parts) =>
      h("div", { class: "llmlab-track llmlab-kv-bar" }, ...parts.map(([part, name]) => h("div", { style: { width: `${100 * part * share}%`, background: `rgb(var(--llmlab-${name}))` } })));
    const cell = (text, value, most, again) =>
      h("td", {}, text, bar(most > 0 ? value / most : 0, again === undefined ? [[1, "masked"]] : [[1 - again, "key"], [again, "wasted"]]));
    const line = (title, name, shown) => {
      const peak = Math.max(...[0, 1].flatMap((index) => Array.from({ length: last() + 1 }, (_, s) => at(name, index, s))));
      const [here, far] = [[0, 1].map((index) => at(name, index)), [0, 1].map((index) => sum(name, index))];
      const wasted = (index, values, isNew) => (name === "computed" ? 1 - isNew / values[index] : undefined);
      const fresh = step ? 1 : at("computed", 1);
      return h(
        "tr",
        { "data-meter": name },
        h("th", { scope: "row" }, title),
        ...here.map((value, index) => cell(shown(value), value, peak, wasted(index, here, index ? here[1] : fresh))),
        ...far.map((value, index) => cell(shown(value), value, Math.max(...far), wasted(index, far, now() - get("n_kept")))),
        h("td", {}, times(far[0], far[1])),
      );
    };
    const bytes = run.cache_bytes;
    meters.replaceChildren(
      h(
        "table",
        { class: "llmlab-kv-meters" },
        h("caption", {}, "What it costs"),
        h("thead", {}, h("tr", {}, h("td"), head("this step", 2), head("so far", 2), h("td")), h("tr", {}, h("td"), ...["without", "with a cache", "without", "with a cache", "ratio"].map((text) => head(text)))),
        h(
          "tbody",
          {},
          line("keys, in each kv head", "computed", String),
          line("work in matrix products", "flops", work),
          line("time, fastest of 3 runs", "milliseconds", time),
          h("tr", { "data-meter": "cache_bytes" }, h("th", { scope: "row" }, "memory of the cache"), cell("0 B", 0, 1), cell(size(bytes[step]), bytes[step], bytes[last()]), h("td", { colspan: 3, class: "llmlab-text" }, `${size(bytes[step] / now())} a token, all layers`)),
        ),
      ),
    );
  }

  function drawChoices() {
    const step = atStep();
    const ranks = get("candidates")[step].length;
    const of = (name, index, rank) => run[name][(index * (last() + 1) + step) * ranks + rank];
    const track = (p) => h("td", { class: "llmlab-kv-p" }, chance(p), h("div", { class: "llmlab-track llmlab-kv-bar" }, h("div", { style: { width: `${100 * p}%`, background: "var(--llmlab-accent)" } })));
    const rows = get("candidates")[step].map((text, rank) =>
      h(
        "tr",
        { "data-candidate": rank },
        h("th", { scope: "row", class: "llmlab-mono" }, visible(text)),
        ...[0, 1].map((index) => h("td", { class: "llmlab-number" }, fixed(of("logits", index, rank)))),
        ...[0, 1].map((index) => track(of("probabilities", index, rank))),
      ),
    );
    const relative = at("difference", 1);
    const verdict = get("agree")[step]
      ? relative <= 1e-5
        ? "The two lanes agree up to rounding"
        : "The two lanes choose the same token, with a difference larger than rounding in float32 explains"
      : "The two lanes choose different tokens here, and the run follows the one with the cache";
    choices.replaceChildren(
      h(
        "table",
        {},
        h("caption", {}, `The next token, after ${label(now() - 1)}`),
        h("thead", {}, h("tr", {}, h("td"), head("logit", 2), head("probability", 2)), h("tr", {}, h("td"), ...["without", "with", "without", "with"].map((text) => head(text)))),
        h("tbody", {}, ...rows),
      ),
    );
    agreement.textContent = `${verdict}: over the whole vocabulary the logits differ by at most ${tiny(at("difference", 0))}, at “${visible(get("difference_at")[step])}”; that is ${tiny(relative)} of the largest logit.`;
  }

  /** The same as text. While the reader predicts, later steps are left out. */
  function tables() {
    load();
    const steps = Array.from({ length: (get("predicting") ? atStep() : last()) + 1 }, (_, s) => s);
    const some = (name, token) => `${[...vector(name, token).slice(0, 4)].map(fixed).join(", ")}, …`;
    return [
      {
        caption: "Step by step, without a cache and with one",
        columns: ["step", "phase", "keys without", "keys with", "work without", "work with", "time without", "time with", "cache", "largest logit difference", "next token"],
        rows: steps.map((s) => [
          s,
          s ? "decode" : get("n_held") ? "edit" : "prefill",
          ...[0, 1].map((index) => at("computed", index, s)),
          ...[0, 1].map((index) => work(at("flops", index, s))),
          ...[0, 1].map((index) => time(at("milliseconds", index, s))),
          size(run.cache_bytes[s]),
          tiny(at("difference", 0, s)),
          visible(get("labels")[get("n_prompt") + s]),
        ]),
      },
      {
        caption: `Step ${atStep()}: keys and values in layer ${get("layer") + 1}, kv head ${get("head") + 1}`,
        columns: ["token", "text", "without a cache", "with one", "key", "value"],
        rows: Array.from({ length: now() }, (_, token) => [token, visible(get("labels")[token]), status(0, token), status(1, token), some("key_vectors", token), some("value_vectors", token)]),
      },
      {
        caption: `The edit: ${get("n_kept")} of ${get("n_held")} cached columns survive`,
        columns: ["column", "before", "after", "in the cache"],
        rows: get("labels_before").map((was, at) => {
          const there = at < get("n_prompt");
          return [at, visible(was), there ? visible(get("labels")[at]) : "", at < get("n_kept") ? "kept" : there ? "computed again" : "dropped"];
        }),
      },
    ].filter(({ rows }) => rows.length);
  }

  function controls() {
    const ends = atStep() === last();
    if (document.activeElement !== prompt) prompt.value = get("prompt");
    if (get("edited")) edits.hidden = false;
    if (document.activeElement !== edits) edits.value = get("edited") || get("prompt");
    opens.textContent = get("edited") ? "Take the edit back" : "Edit a word";
    if (document.activeElement !== count) count.value = get("max_new_tokens");
    back.disabled = atStep() === 0;
    next.textContent = ends && !get("predicting") ? "From the start" : "Next step";
    next.disabled = ends && get("predicting");
    plays.textContent = get("playing") ? "Pause" : "Play";
    plays.disabled = slider.disabled = get("predicting");
    predicts.setAttribute("aria-pressed", String(get("predicting")));
    slider.max = last();
    slider.value = atStep();
    for (const [name, node] of Object.entries(selects)) node.value = get(name);
  }

  let timer = 0;
  function schedule() {
    clearTimeout(timer);
    if (get("playing")) timer = setTimeout(() => (atStep() < last() ? go(atStep() + 1) : set("playing", false)), 1000 * SECONDS);
  }
  function update() {
    if (last() < 0) return;
    load();
    controls();
    words();
    questions();
    drawLanes();
    drawDetail();
    drawMeters();
    drawChoices();
    refresh();
    schedule();
  }
  on(["revision", "step", "layer", "head"], update);
  on(["predicting", "guess", "revealed"], () => (controls(), questions(), refresh()));
  on("playing", () => (controls(), schedule()));
  on("token", () => loaded() && drawDetail());
  on("milliseconds", () => {
    if (!loaded()) return; // a new run draws all
    run.milliseconds = array(model, "milliseconds").data;
    drawMeters();
    refresh();
  });
  on(["prompt", "edited", "max_new_tokens"], controls);
  update();
  return () => {
    clearTimeout(timer);
    release();
  };
}
