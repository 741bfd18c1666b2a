/* TokenTour: one prompt from text to the next token.
 *
 * Draws, for the chosen token: its bytes, its row of the embedding table, what each head of the chosen layer looks at,
 * what each layer would say next, and the likeliest next tokens.
 * Reads: prompt, ids, labels, token_bytes, candidates, embeddings, weights, probabilities, revision.
 * Writes: prompt, position, layer, n_new, temperature. Choosing a token or a layer is drawn here, without the kernel;
 * in a recording the controls that need the kernel are off.
 */

function render({ model, el }) {
  const asks = live(model);
  const ended = () => model.get("labels").at(-1) === "</s>";
  const append = () => asks && !ended() && set("n_new", model.get("n_new") + 1);
  const undo = () => asks && model.get("n_new") > 0 && set("n_new", model.get("n_new") - 1);
  const choose = (name, step, count) => set(name, Math.min(count - 1, Math.max(0, model.get(name) + step)));
  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: "Token tour: from text to the next token",
    hint: asks
      ? "Type a prompt and press Enter. ← → choose a token, ↑ ↓ a layer; Space appends the next token, Backspace takes it back."
      : "← → choose a token, ↑ ↓ a layer; t shows the numbers as tables.",
    touch: asks ? "Type a prompt; tap a token, or a layer." : "Tap a token, or a layer.",
    keys: {
      ArrowLeft: () => choose("position", -1, model.get("ids").length),
      ArrowRight: () => choose("position", 1, model.get("ids").length),
      ArrowUp: () => choose("layer", -1, model.get("weights").shape[0]),
      ArrowDown: () => choose("layer", 1, model.get("weights").shape[0]),
      Home: () => set("position", 0),
      End: () => set("position", model.get("ids").length - 1),
      " ": append,
      Backspace: undo,
    },
    tables,
    idle: () => (ended() ? "The model has ended its text." : ""),
  });

  const input = h("input", {
    type: "text",
    "aria-label": "prompt",
    style: { flex: "1 1 240px" },
    disabled: !asks,
    onkeydown: (event) => {
      if (event.key === "Enter") submit();
      if (event.key === "Escape") input.value = model.get("prompt");
    },
    onchange: () => submit(),
  });
  const appendButton = h("button", { onclick: append }, "Append the next token");
  const undoButton = h("button", { onclick: undo }, "Take it back");
  const temperature = h(
    "select",
    { "aria-label": "temperature", disabled: !asks, onchange: () => set("temperature", Number(temperature.value)) },
  );
  const stages = h("div");
  body.append(h("div", { class: "llmlab-row" }, input, appendButton, undoButton, temperature));
  if (!asks) body.append(h("div", { class: "llmlab-note" }, "A recording: a new prompt or token needs the model in a notebook."));
  body.append(stages);

  function submit() {
    set("prompt", input.value);
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
          onclick: () => set("position", index),
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
    const some = [...row.slice(0, 4)].map((value) => digits(value)).join(", ");
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
              style: shade("attention", 0.65 * weight),
              title: `head ${head + 1}: ${digits(weight)} of its attention`,
            },
            weight >= 0.005 ? weight.toFixed(2) : "",
          ),
        ),
      );
    });
    const head = h("tr", {}, h("td"), ...labels.map((label) => h("th", { class: "llmlab-mono", scope: "col" }, visible(label))));
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
            onclick: () => set("layer", index - 1),
          },
          name,
        ),
        h("span", { class: "llmlab-mono" }, visible(model.get("candidates")[index][position][0])),
        bar(probability),
        h("span", {}, probability.toFixed(3)),
      );
    }
    return stage("Stage 3: what each layer would say if it were the last", grid);
  }

  function next(position) {
    const { shape, data } = array(model, "probabilities");
    const [layers, count, ranks] = shape;
    const columns = [0, 1].map(() => h("div", { class: "llmlab-choices" }));
    const labels = model.get("candidates")[layers - 1][position];
    const actual = model.get("labels")[position + 1];
    labels.forEach((label, rank) => {
      const probability = data[((layers - 1) * count + position) * ranks + rank];
      columns[Number(2 * rank >= ranks)].append(
        h("span", { class: "llmlab-rank" }, `${rank + 1}.`),
        h("span", { class: "llmlab-mono" }, visible(label)),
        bar(probability),
        h("span", {}, probability.toFixed(3) + (label === actual ? " ← the text" : "")),
      );
    });
    return stage(`Stage 4: the likeliest tokens after “${visible(model.get("labels")[position])}”`, h("div", { class: "llmlab-tour-next", "data-next": "" }, ...columns));
  }

  const stage = (title, ...children) => h("section", { class: "llmlab-stage" }, h("h4", {}, title), ...children);
  const note = (text) => h("div", { class: "llmlab-note" }, text);
  const bar = (share) =>
    h("div", { class: "llmlab-track" }, h("div", { class: "llmlab-bar", style: { width: `${(100 * share).toFixed(1)}%` } }));

  /** The picture as text; the same tables as in Python. */
  function tables() {
    const { position, layer } = chosen();
    const weights = array(model, "weights");
    const [, heads, count] = weights.shape;
    const labels = model.get("labels");
    const range = (length) => [...Array(length).keys()];
    const look = (head, index) =>
      index <= position ? weights.data[((layer * heads + head) * count + position) * count + index].toFixed(2) : "";
    const { shape, data } = array(model, "probabilities");
    const probability = (stop, rank) => data[(stop * count + position) * shape[2] + rank].toFixed(3);
    const said = (stop, rank) => visible(model.get("candidates")[stop][position][rank]);
    return [
      {
        caption: `“${model.get("prompt")}”: its tokens, and how much “${visible(labels[position])}” attends to each in layer ${layer + 1}`,
        columns: ["token", "id", "bytes", ...range(heads).map((head) => `head ${head + 1}`)],
        rows: range(count).map((index) => [
          visible(labels[index]),
          String(model.get("ids")[index]),
          model.get("token_bytes")[index],
          ...range(heads).map((head) => look(head, index)),
        ]),
      },
      {
        caption: "what the model would say if it stopped after a layer",
        columns: ["layer", "token", "probability"],
        rows: range(shape[0]).map((stop) => [stop ? `after layer ${stop}` : "before layer 1", said(stop, 0), probability(stop, 0)]),
      },
      {
        caption: `the likeliest tokens after “${visible(labels[position])}”`,
        columns: ["token", "probability"],
        rows: range(shape[2]).map((rank) => [said(shape[0] - 1, rank), probability(shape[0] - 1, rank)]),
      },
    ];
  }

  const chosen = () => ({
    position: Math.max(0, Math.min(model.get("position"), model.get("ids").length - 1)),
    layer: Math.max(0, Math.min(model.get("layer"), model.get("weights").shape[0] - 1)),
  });
  function draw() {
    const ids = model.get("ids");
    if (!ids.length || model.get("embeddings").shape[0] !== ids.length) return;
    const { position, layer } = chosen();
    const held = stages.matches(":focus-within");
    const parts = h("div", { class: "llmlab-tour-parts" }, attention(position, layer), lens(position, layer), next(position));
    stages.replaceChildren(tokens(position), embedding(position), parts);
    if (held) root.focus(); // the button that had the focus is gone
  }
  function controls() {
    appendButton.disabled = !asks || ended();
    undoButton.disabled = !asks || model.get("n_new") === 0;
    const now = model.get("temperature"); // Python may have set it to one that is not listed
    const listed = [...new Set([0, 0.5, 1, 1.5, now])].sort((a, b) => a - b);
    temperature.replaceChildren(...listed.map((value) => h("option", { value, selected: value === now }, `temperature ${digits(value)}`)));
    if (!input.matches(":focus")) input.value = model.get("prompt");
  }
  function update() {
    controls();
    draw();
    refresh();
  }
  on(["prompt", "n_new", "temperature"], controls);
  on(["revision", "position", "layer"], update);
  update();
  return release;
}
