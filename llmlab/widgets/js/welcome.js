/* TokenTour: one prompt from text to the next token.
 *
 * Draws, for the chosen token: its bytes, its row of the embedding table, what each head of the chosen layer looks at,
 * what each layer would say next, and the likeliest next tokens.
 * Reads: prompt, ids, labels, token_bytes, candidates, embeddings, weights, probabilities, revision, busy, error, scale.
 * Writes: prompt, position, layer, n_new, temperature. Choosing a token or a layer is drawn here, without the kernel.
 */

function render({ model, el }) {
  const append = () => change("n_new", model.get("n_new") + 1);
  const undo = () => model.get("n_new") > 0 && change("n_new", model.get("n_new") - 1);
  const { root, release } = frame(model, el, "Token tour: from text to the next token", {
    ArrowLeft: () => choose("position", -1, model.get("ids").length),
    ArrowRight: () => choose("position", 1, model.get("ids").length),
    ArrowUp: () => choose("layer", -1, model.get("weights").shape[0]),
    ArrowDown: () => choose("layer", 1, model.get("weights").shape[0]),
    Home: () => change("position", 0),
    End: () => change("position", model.get("ids").length - 1),
    " ": append,
    Backspace: undo,
    Escape: () => root.focus(),
  });

  const input = h("input", {
    type: "text",
    "aria-label": "prompt",
    style: { flex: "1 1 240px" },
    onkeydown: (event) => {
      event.stopPropagation();
      if (event.key === "Enter") submit();
      if (event.key === "Escape") root.focus();
    },
    onchange: () => submit(),
  });
  const appendButton = h("button", { onclick: append }, "Append the next token");
  const undoButton = h("button", { onclick: undo }, "Take it back");
  const temperature = h(
    "select",
    { "aria-label": "temperature", onchange: () => change("temperature", Number(temperature.value)) },
    ...["0", "0.5", "1", "1.5"].map((value) => h("option", { value }, `temperature ${value}`)),
  );
  const status = h("div", { class: "llmlab-note", role: "status", "aria-live": "polite" });
  const stages = h("div");
  root.append(
    h(
      "div",
      { class: "llmlab-hint" },
      "Type a prompt and press Enter. Then ← → choose a token, ↑ ↓ a layer; Space appends the model's next token, Backspace takes it back.",
    ),
    status,
    h("div", { class: "llmlab-row" }, input, appendButton, undoButton, temperature),
    stages,
  );

  function change(name, value) {
    if (model.get(name) === value) return;
    model.set(name, value);
    model.save_changes();
  }
  function choose(name, step, count) {
    change(name, Math.min(count - 1, Math.max(0, model.get(name) + step)));
  }
  function submit() {
    if (input.value !== model.get("prompt")) change("prompt", input.value);
    root.focus();
  }

  /** A color of strength 0 … 1 over the widget's ground, and text that stays readable on it. */
  const shade = (name, strength) => ({ background: `rgb(var(--llmlab-${name}) / ${strength.toFixed(3)})` });

  function tokens(position) {
    const first = model.get("ids").length - model.get("n_new");
    const chips = model.get("labels").map((label, index) =>
      h(
        "button",
        {
          class: `llmlab-chip ${index >= first ? "llmlab-new" : ""} ${index === position ? "llmlab-chosen" : ""}`,
          "aria-pressed": String(index === position),
          "data-token": index,
          onclick: () => change("position", index),
        },
        h("span", { class: "llmlab-mono" }, visible(label)),
        h("small", {}, String(model.get("ids")[index])),
      ),
    );
    const bytes = model.get("token_bytes")[position];
    const count = bytes.split(" ").length;
    return stage(
      "Stage 1: text becomes tokens",
      h("div", { class: "llmlab-row" }, ...chips),
      note(
        `Token ${position} is “${visible(model.get("labels")[position])}”, number ${model.get("ids")[position]} of the ` +
          `vocabulary: ${count === 1 ? "the byte" : `the ${count} bytes`} ${bytes} (hexadecimal). A dashed border: written by the model.`,
      ),
    );
  }

  function embedding(position) {
    const { shape, data } = array(model, "embeddings");
    const row = data.subarray(position * shape[1], (position + 1) * shape[1]);
    const largest = row.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
    const canvas = h("canvas", { class: "llmlab-strip", width: shape[1], height: 1, role: "img" });
    const context = canvas.getContext("2d");
    row.forEach((value, index) => {
      const hue = value < 0 ? "213 94 0" : "0 114 178"; // over the ground of either theme
      context.fillStyle = `rgb(${hue} / ${(Math.abs(value) / largest).toFixed(3)})`;
      context.fillRect(index, 0, 1, 1);
    });
    const some = [...row.slice(0, 6)].map((value) => digits(value)).join(", ");
    canvas.setAttribute("aria-label", `${shape[1]} numbers, the first are ${some}`);
    return stage(
      "Stage 2: the chosen token becomes a vector",
      canvas,
      note(`${shape[1]} numbers, a row of the table: ${some}, … Blue above 0, orange below; the largest size is ${digits(largest)}.`),
    );
  }

  function attention(position, layer) {
    const { shape, data } = array(model, "weights");
    const [, heads, count] = shape;
    const labels = model.get("labels").slice(0, position + 1);
    const rows = Array.from({ length: heads }, (_, head) => {
      const start = ((layer * heads + head) * count + position) * count;
      const weights = [...data.subarray(start, start + position + 1)];
      return h(
        "tr",
        {},
        h("th", { scope: "row" }, `head ${head + 1}`),
        ...weights.map((weight) =>
          h(
            "td",
            {
              class: "llmlab-cell",
              style: shade("attention", 0.85 * weight),
              title: `head ${head + 1}: ${digits(weight)} of its attention`,
            },
            weight >= 0.005 ? weight.toFixed(2) : "",
          ),
        ),
      );
    });
    const head = h("tr", {}, h("th", {}), ...labels.map((label) => h("th", { class: "llmlab-mono", scope: "col" }, visible(label))));
    return stage(
      `Stage 3: where “${visible(labels[position])}” looks in layer ${layer + 1}`,
      h("div", { class: "llmlab-scroll" }, h("table", { "data-layer": layer }, h("thead", {}, head), h("tbody", {}, ...rows))),
      note("A row for each head; it adds up to 1, up to rounding. Weights below 0.005 are left blank; later tokens cannot be seen."),
    );
  }

  function lens(position, layer) {
    const { shape, data } = array(model, "probabilities");
    const [layers, count, ranks] = shape;
    const grid = h("div", { class: "llmlab-choices" });
    for (let index = 0; index < layers; index++) {
      const probability = data[(index * count + position) * ranks];
      const name = index === 0 ? "before layer 1" : `after layer ${index}`;
      grid.append(
        h(
          "button",
          {
            class: index === layer + 1 ? "llmlab-chosen" : "",
            "aria-pressed": String(index === layer + 1),
            disabled: index === 0,
            onclick: () => change("layer", index - 1),
          },
          name,
        ),
        h("span", { class: "llmlab-mono" }, visible(model.get("candidates")[index][position][0])),
        bar(probability),
        h("span", {}, probability.toFixed(3)),
      );
    }
    return stage("Stage 3: what the model would say if it stopped after each layer", grid);
  }

  function next(position) {
    const { shape, data } = array(model, "probabilities");
    const [layers, count, ranks] = shape;
    const grid = h("div", { class: "llmlab-choices", "data-next": "" });
    const labels = model.get("candidates")[layers - 1][position];
    const actual = model.get("labels")[position + 1];
    labels.forEach((label, rank) => {
      const probability = data[((layers - 1) * count + position) * ranks + rank];
      grid.append(
        h("span", {}, `${rank + 1}.`),
        h("span", { class: "llmlab-mono" }, visible(label)),
        bar(probability),
        h("span", {}, probability.toFixed(3) + (label === actual ? " ← the text" : "")),
      );
    });
    return stage(`Stage 4: the likeliest tokens after “${visible(model.get("labels")[position])}”`, grid);
  }

  const stage = (title, ...children) => h("section", { class: "llmlab-stage" }, h("h4", {}, title), ...children);
  const note = (text) => h("div", { class: "llmlab-note" }, text);
  const bar = (share) =>
    h("div", { class: "llmlab-track" }, h("div", { class: "llmlab-bar", style: { width: `${(100 * share).toFixed(1)}%` } }));

  function draw() {
    const ids = model.get("ids");
    if (!ids.length || model.get("embeddings").shape[0] !== ids.length) return;
    const position = Math.min(model.get("position"), ids.length - 1);
    const layer = Math.min(model.get("layer"), model.get("weights").shape[0] - 1);
    const held = stages.contains(document.activeElement);
    stages.replaceChildren(tokens(position), embedding(position), attention(position, layer), lens(position, layer), next(position));
    if (held) root.focus(); // the button that had the focus is gone
  }
  function controls() {
    const problem = model.get("error");
    status.className = problem ? "llmlab-note llmlab-error" : "llmlab-note";
    const ended = model.get("labels").at(-1) === "</s>";
    status.textContent = problem || (model.get("busy") ? "The model is at work …" : ended ? "The model has ended its text." : "\u00a0");
    appendButton.disabled = ended;
    undoButton.disabled = model.get("n_new") === 0;
    temperature.value = String(model.get("temperature"));
    if (document.activeElement !== input) input.value = model.get("prompt");
  }
  const update = () => (controls(), draw());
  const small = ["change:busy", "change:error", "change:prompt", "change:n_new", "change:temperature"];
  const large = ["change:revision", "change:position", "change:layer"];
  small.forEach((event) => model.on(event, controls));
  large.forEach((event) => model.on(event, update));
  update();
  return () => {
    small.forEach((event) => model.off(event, controls));
    large.forEach((event) => model.off(event, update));
    release();
  };
}

export default { render };
