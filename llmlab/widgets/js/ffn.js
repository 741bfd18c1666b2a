/* FactTracer: a fact traced through layers and tokens, the units of a cell, and the fact edited.
 *
 * Draws a grid, tokens by layers, of what restoring an activation brings back; the units of the chosen cell with their
 * texts; and what an edit did, before and after. Reads: trace, unit_list, verdict, progress, examples, recorded.
 * Reads and writes: kind, unit, without the kernel; text, corruption, other, place, layer, token, new_answer, asked,
 * which ask it. In a saved page, what it would answer is looked up in `recorded`.
 */

const RESTORED = [["residual", "the stream"], ["attention.out", "attention's output"], ["ffn.out", "the feed-forward output"]];
const SPOILED = [["noise", "noise on the subject"], ["exchange", "another subject"], ["control", "control: noise elsewhere"]];
const HINT = "← → layer, ↑ ↓ token, k what is restored, [ ] unit, e edits the fact at the cell. Or click a cell.";
const TOUCH_HINT = "Tap a cell or a unit; choose another fact, or edit this one.";

const percent = (share) => String(share).replace("-", "−");
const outOf = ([right, all]) => `${right} of ${all}`.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
const quote = (text) => `“${text}”`;
const line = (text) => text.replaceAll("\n", "⏎");
/** A share of 0 … 100 as a ground: blue where something comes back, orange where even more is lost. */
const shade = (share) => `rgb(var(--llmlab-${share < 0 ? "negative" : "positive"}) / ${(0.65 * Math.min(1, Math.abs(share) / 100) ** 0.7).toFixed(3)})`;

function render({ model, el }) {
  const asks = live(model);
  const get = (name) => model.get(name);
  const store = { traces: {}, units: {}, edits: [], ...get("recorded") };
  const recordedTexts = get("examples").filter((text) => Object.keys(store.traces).some((key) => key.startsWith(`${text}|`)));
  const texts = asks ? get("examples") : recordedTexts;
  let found; // the trace that is shown
  let [T, L] = [0, 0];

  const { root, body, on, set, refresh, release } = frame(model, el, {
    label: "A fact traced through layers and tokens",
    hint: HINT,
    touch: TOUCH_HINT,
    first: ".llmlab-fact-first",
    tables,
    idle: () => (asks ? "100: the answer is as likely as in the prompt that nothing spoils. · is a space." : "A recording: another fact, cell or edit than these needs a kernel."),
    keys: {
      ArrowRight: () => go(get("layer") + 1, get("token")),
      ArrowLeft: () => go(get("layer") - 1, get("token")),
      ArrowUp: () => go(get("layer"), get("token") - 1),
      ArrowDown: () => go(get("layer"), get("token") + 1),
      k: () => set("kind", RESTORED[(RESTORED.findIndex(([name]) => name === get("kind")) + 1) % 3][0]),
      "[": () => set("unit", Math.max(0, get("unit") - 1)),
      "]": () => set("unit", within(get("unit") + 1, (get("unit_list").units ?? [0]).length)),
      e: () => edit.disabled || ask(),
    },
  });

  // What the reader does; without a kernel, what it would answer is looked up ---

  let quiet = false;
  function write(values) {
    quiet = true; // one message, one picture
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    if (!asks) answer(values);
    quiet = false;
    model.save_changes();
    draw();
  }
  function answer(values) {
    if ("text" in values || "corruption" in values) {
      const trace = store.traces[`${get("text")}|${get("corruption")}`] ?? store.traces[`${get("text")}|noise`];
      if (trace) {
        const other = trace.text !== get("trace").text;
        model.set("trace", trace);
        model.set("corruption", trace.corruption);
        if (other) {
          const last = trace.tokens.length - 1;
          const layer = (trace.grid.residual ?? []).findIndex((row) => row[last][0] >= 50);
          model.set("layer", layer < 0 ? trace.layers - 1 : layer);
          model.set("token", last);
          model.set("unit", 0);
          model.set("new_answer", choices()[0] ?? "");
        }
      }
    }
    const list = store.units[`${get("trace").text}|${get("layer")}|${get("token")}`];
    if (list) model.set("unit_list", list);
  }
  function go(layer, token) {
    const [to, at] = [within(layer, L), within(token, T)];
    if (to !== get("layer") || at !== get("token")) write({ layer: to, token: at });
  }
  function type() {
    const typed = text.value.trim();
    if (typed && typed !== get("text")) write({ text: typed });
  }
  function ask() {
    const known = store.edits.find((one) => one.text === found.text && one.answer === get("new_answer"));
    if (asks) write({ asked: get("asked") + 1 });
    else if (known) write({ verdict: known });
  }
  /** The answers that an edit can be asked for. */
  const choices = () => (asks ? get("trace").answers : store.edits.filter((one) => one.text === get("trace").text).map((one) => one.answer));

  // The parts that stay ---

  const field = (label, ...parts) => h("label", { class: "llmlab-row llmlab-note llmlab-fact-field" }, h("span", {}, label), ...parts);
  const text = h("input", { type: "text", "aria-label": "prompt", class: "llmlab-fact-text", spellcheck: "false", autocomplete: "off", disabled: !asks, onchange: type, onkeydown: (event) => event.key === "Enter" && type() });
  const example = chooser("example", [["", "examples …"], ...texts.map((one) => [one, one])], (value) => value && write({ text: value }));
  example.disabled = !texts.length;
  const spoil = chooser("what spoils the second run", SPOILED, (value) => write({ corruption: value }));
  const other = chooser("the other subject", [], (value) => write({ other: value }));
  const place = chooser("the token with noise", [], (value) => write({ place: Number(value) }));
  other.disabled = place.disabled = !asks;
  const kind = chooser("what is restored", RESTORED, (value) => set("kind", value));
  kind.title = "key k";
  const claim = h("p", { class: "llmlab-fact-claim", "aria-live": "polite" });
  const grid = h("div", { class: "llmlab-fact-grid", role: "group", "aria-label": "what comes back, a row for each token and a column for each layer" });
  const list = h("div", { class: "llmlab-fact-units", role: "group", "aria-label": "units, the most needed first" });
  const unitHead = h("h4");
  const unitText = h("div", { class: "llmlab-fact-texts", "aria-live": "polite" });
  const where = h("span", { "data-where": "" });
  const answers = chooser("new answer", [], (value) => value && write({ new_answer: value }));
  const word = h("input", { type: "text", "aria-label": "or another word", class: "llmlab-fact-word", spellcheck: "false", autocomplete: "off", disabled: !asks, onchange: () => word.value.trim() && write({ new_answer: word.value.trim() }) });
  const edit = h("button", { "data-edit": "", title: "key e", onclick: ask }, "Edit");
  const progress = h("span", { class: "llmlab-note", "data-progress": "", role: "status", "aria-live": "polite" });
  const result = h("section", { class: "llmlab-stage", "data-result": "" });
  body.append(
    h(
      "div",
      { class: "llmlab-fact-first" },
      h("div", { class: "llmlab-row" }, text, example),
      h("div", { class: "llmlab-row llmlab-fact-choices" }, field("spoiled by", spoil, other, place), field("restored", kind)),
      claim,
      h("div", { class: "llmlab-fact-halves" }, h("div", {}, grid), h("div", {}, unitHead, list, unitText)),
      h("div", { class: "llmlab-row llmlab-fact-edit" }, where, answers, word, edit, progress),
    ),
    result,
  );

  // The grid ---

  const cellOf = (layer, token) => found.grid[get("kind")]?.[layer]?.[token];
  const kindName = () => RESTORED.find(([name]) => name === get("kind"))[1];
  const tokenName = (at) => quote(visible(found.tokens[at]));
  function drawGrid() {
    const heads = [h("span", { class: "llmlab-fact-corner llmlab-note" }, "token / layer"), ...Array.from({ length: L }, (_, layer) => h("span", { class: "llmlab-note" }, String(layer + 1)))];
    const rows = found.tokens.flatMap((token, at) => {
      const spoiled = found.places.includes(at);
      const name = h("span", { class: spoiled ? "llmlab-fact-token llmlab-fact-spoiled" : "llmlab-fact-token", title: spoiled ? "spoiled" : false, "data-token": at }, `${spoiled ? "≈ " : ""}${visible(token)}`);
      const cells = Array.from({ length: L }, (_, layer) => {
        const cell = cellOf(layer, at);
        const said = cell ? `${percent(cell[0])} %` : "nothing to bring back";
        return h("button", { tabindex: -1, class: "llmlab-cell llmlab-fact-cell", "data-cell": `${layer},${at}`, "aria-label": `layer ${layer + 1} at ${tokenName(at)}: ${said}`, style: { background: cell ? shade(cell[0]) : "transparent" }, onclick: () => go(layer, at) }, cell ? percent(cell[0]) : "·");
      });
      return [name, ...cells];
    });
    grid.style.setProperty("--llmlab-fact-layers", L);
    grid.replaceChildren(...heads, ...rows);
  }
  let drawn = [];
  function drawCells() {
    const now = [found, get("kind")];
    if (now.some((one, at) => one !== drawn[at])) {
      const held = grid.matches(":focus-within");
      drawGrid();
      if (held) root.focus({ preventScroll: true });
      drawn = now;
    }
    const chosen = `${get("layer")},${get("token")}`;
    for (const cell of grid.querySelectorAll("[data-cell]")) cell.setAttribute("aria-pressed", String(cell.dataset.cell === chosen));
  }
  function drawClaim() {
    const [layer, token] = [get("layer"), get("token")];
    const cell = cellOf(layer, token);
    const own = found.first === found.answer ? "" : ` The model's own first choice is ${quote(found.first)}.`;
    const first = h("span", { "data-claim": "" }, `${quote(found.text)} → ${quote(found.answer)} `, h("b", {}, found.high), `; with ${found.how} `, h("b", {}, found.low), `.${own}`);
    const then = !cell
      ? `That costs the answer less than 0.1 nats: there is nothing to bring back.`
      : `Restoring ${kindName()} of layer ${layer + 1} at ${tokenName(token)} brings back ${percent(cell[0])} % of its log-probability: ${cell[1]}.`;
    claim.replaceChildren(first, h("span", { "data-cell-claim": "" }, then));
  }

  // The units ---

  /** The units of the chosen cell, or null while the kernel reads. */
  function unitsHere() {
    const units = get("unit_list");
    return units.text === found.text && units.layer === get("layer") && units.token === get("token") ? units : null;
  }
  const marked = ([before, token, after]) => h("span", { class: "llmlab-fact-line" }, line(before), h("b", {}, line(token)), line(after));
  function drawUnits() {
    const here = unitsHere();
    unitHead.textContent = `Layer ${get("layer") + 1} at ${tokenName(get("token"))}: its ${here ? `${here.units.length} ` : ""}units that count most`;
    if (!here) {
      list.replaceChildren(h("p", { class: "llmlab-note" }, asks ? "reading …" : "These units were not recorded."));
      unitText.replaceChildren();
      return;
    }
    const held = list.matches(":focus-within");
    const chosen = within(get("unit"), here.units.length);
    const head = h("div", { class: "llmlab-fact-unit llmlab-note", "aria-hidden": "true" }, ...["unit", "activation", "p without", "pushes"].map((name) => h("span", {}, name)));
    const rows = here.units.map((unit, at) => {
      const cells = [unit.name, unit.activation, unit.without, unit.pushes.map(visible).join(" ")];
      const label = `unit ${unit.name}, ${unit.activation}; without it ${unit.without}`;
      return h("button", { tabindex: -1, class: "llmlab-fact-unit", "data-unit": at, "aria-pressed": String(at === chosen), "aria-label": label, onclick: () => set("unit", at) }, ...cells.map((cell) => h("span", {}, cell)));
    });
    list.replaceChildren(head, ...rows);
    if (held) root.focus({ preventScroll: true });
    const unit = here.units[chosen];
    unitText.replaceChildren(
      h("p", { class: "llmlab-note", "data-unit-said": "" }, `Unit ${unit.name}, of ${here.of}, alone at 0 here: ${here.p} becomes ${unit.without} (${unit.lost} nats). It pushes ${unit.pushes.map(visible).join(" ")}; most excited at:`),
      ...unit.texts.map((one) => h("p", { class: "llmlab-note llmlab-fact-excerpt" }, h("span", {}, one[3]), marked(one))),
    );
  }

  // The edit ---

  /** The place of an edit at the chosen cell: [words, whether there is one]. */
  function site() {
    if (!found.fact.length) return ["Only a prompt in the world's own wording can be edited.", false];
    const part = get("kind") === "attention.out" ? "attention" : "feed-forward";
    const [token, end] = [get("token"), found.subject[1] - 1];
    if (token < found.last && token !== end) return [`Edit: choose a cell at ${tokenName(end)} or ${tokenName(found.last)}.`, false];
    return [`Edit layer ${get("layer") + 1}, ${part}, at the ${token >= found.last ? "prompt's" : "subject's"} last token: ${quote(found.fact[2])} →`, true];
  }
  function drawEdit() {
    const [list, chosen] = [choices(), get("new_answer")];
    const known = store.edits.find((one) => one.text === found.text && one.answer === chosen);
    where.textContent = asks ? site()[0] : known ? `Recorded edit in ${known.where}: ${quote(found.fact[2])} →` : "No edit of this fact was recorded.";
    answers.replaceChildren(...(list.includes(chosen) ? [] : [h("option", { value: "" }, list.length ? "…" : "none recorded")]), ...list.map((one) => h("option", { value: one }, one)));
    answers.value = list.includes(chosen) ? chosen : "";
    if (root.getRootNode().activeElement !== word) word.value = list.includes(chosen) ? "" : chosen;
    word.placeholder = "or another word";
    edit.disabled = !known;
    answers.disabled = !list.length;
    drawProgress();
  }
  function drawProgress() {
    progress.textContent = get("progress");
    if (asks) edit.disabled = !site()[1] || !get("new_answer") || Boolean(get("progress"));
  }
  function drawResult() {
    const done = get("verdict");
    result.hidden = !done.text || done.text !== found.text;
    if (result.hidden) return result.replaceChildren();
    const row = (tag, cells) => h("tr", {}, ...cells.map((cell, at) => h(at ? tag : "th", at ? {} : { scope: tag === "th" ? "col" : "row" }, cell)));
    const changed = done.skills.filter(([, before, after]) => before[0] !== after[0]);
    const table = (rows, label) => h("table", { "aria-label": label }, h("thead", {}, row("th", ["asked", "before", "after"])), h("tbody", {}, ...rows.map(([name, before, after]) => row("td", [name, outOf(before), outOf(after)]))));
    const [[newBefore, newAfter], [oldBefore, oldAfter]] = done.p;
    result.replaceChildren(
      h("h4", {}, done.caption),
      h("p", { class: "llmlab-note", "data-edit-said": "" }, `The whole answer ${quote(done.answer)}: ${newBefore} before, ${newAfter} after; ${quote(found.fact[2])}: ${oldBefore} before, ${oldAfter} after. The change is ${done.size} of the matrix's length. The model is as it was.`),
      h("div", { class: "llmlab-fact-halves" },
        h("div", { class: "llmlab-scroll" }, table(done.rows, "what the edit did")),
        h("div", {}, changed.length ? table(changed, "skills that changed") : "", h("p", { class: "llmlab-note" }, `${changed.length ? `The other ${done.skills.length - changed.length}` : `All ${done.skills.length}`} skills answer as many right as before.`)),
      ),
    );
  }

  // All of it ---

  function drawControls() {
    if (root.getRootNode().activeElement !== text) text.value = asks ? get("text") : found.text;
    example.value = texts.includes(found.text) ? found.text : "";
    spoil.value = get("corruption");
    for (const option of spoil.options) option.disabled = !asks && !store.traces[`${found.text}|${option.value}`];
    spoil.disabled = !asks && [...spoil.options].every((option) => option.disabled);
    other.hidden = get("corruption") !== "exchange";
    other.replaceChildren(...found.others.map((one) => h("option", { value: one }, one)));
    other.value = found.other;
    place.hidden = get("corruption") !== "control";
    place.replaceChildren(...found.tokens.map((token, at) => h("option", { value: at }, `${at} ${visible(token)}`)).filter((_, at) => at && !(at >= found.subject[0] && at < found.subject[1])));
    place.value = found.places[0];
    kind.value = get("kind");
  }
  function tables() {
    const cells = Array.from({ length: L }, (_, layer) => layer);
    const all = [
      {
        caption: `What restoring ${kindName()} brings back, in %: ${quote(found.text)} → ${quote(found.answer)} ${found.high}, ${found.low} with ${found.how}`,
        columns: ["token", ...cells.map((layer) => `layer ${layer + 1}`)],
        rows: found.tokens.map((token, at) => [`${at} ${visible(token)}`, ...cells.map((layer) => (cellOf(layer, at) ? percent(cellOf(layer, at)[0]) : ""))]),
      },
    ];
    const here = unitsHere();
    if (here)
      all.push({
        caption: `Units of layer ${get("layer") + 1} at ${tokenName(get("token"))}: with all ${here.p}`,
        columns: ["unit", "activation", "p without it", "pushes", "the text that excites it most"],
        rows: here.units.map((one) => [one.name, one.activation, one.without, one.pushes.map(visible).join(" "), one.texts.length ? line(`${one.texts[0][0]}[${one.texts[0][1]}]${one.texts[0][2]}`) : ""]),
      });
    const done = get("verdict");
    if (done.text && done.text === found.text)
      all.push({
        caption: done.caption,
        columns: ["asked", "before", "after"],
        rows: [...done.rows, ...done.skills.map(([name, ...counts]) => [`skill ${name}`, ...counts])].map(([name, before, after]) => [name, outOf(before), outOf(after)]),
      });
    return all;
  }
  function draw() {
    found = get("trace");
    L = found.layers;
    T = found.tokens.length;
    for (const part of [drawControls, drawClaim, drawCells, drawUnits, drawEdit, drawResult, refresh]) part();
  }
  on(["text", "corruption", "kind", "layer", "token", "unit", "new_answer", "trace", "unit_list", "verdict", "scale"], () => quiet || draw());
  on("progress", drawProgress);
  draw();
  return release;
}
