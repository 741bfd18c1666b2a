/* RoundingStepper: a row of weights rounded column by column, while those still free make up for the error (GPTQ).
 *
 * Draws the weights over the levels of their codes, the arrows of the last step, how far each weight moved, how much its
 * input comes together with the one just rounded; the error of the outputs so far, with the others' help and without.
 * All steps of all settings come from Python; nothing is computed here but differences.
 * Reads: matrix, columns, rows, weights, errors, best_errors, scales, together, scale, view, offline.
 * Reads and writes: step, row, bits, compensate, diagonal, chosen. Writes: view.
 */

const BITS = [2, 3, 4];
const significant = (value) => (value === 0 ? "0" : value < 0.001 ? "<0.001" : value.toPrecision(3));
const number = (value) => (value < 0 ? "−" : "") + significant(Math.abs(value));
const figure = (value) => (value >= 999.5 ? grouped(Number(value.toPrecision(3))) : significant(value));
/** Two digits after the point, a true minus, no sign of a 0. */
const fixed = (value) => {
  const text = Math.abs(value).toFixed(2);
  return (value < 0 && text !== "0.00" ? "−" : "") + text;
};
const signed = (value) => (value < 0 || fixed(value) === "0.00" ? fixed(value) : `+${fixed(value)}`);
const whole = (code) => String(code).replace("-", "−");
const css = (name) => ({ class: `llmlab-round-${name}` });
const ERROR = "Σ((w − ŵ)·x)²";

function render({ model, el }) {
  const get = (name) => model.get(name);
  let arrays = {};
  const load = () => (arrays = Object.fromEntries(["weights", "errors", "best_errors", "scales", "together"].map((name) => [name, array(model, name).data])));
  const n = () => get("columns").length;
  const step = () => within(get("step"), n() + 1);
  const last = () => Math.max(0, step() - 1); // the place of the column rounded last
  let hovered = -1;

  // What is shown, from the arrays.
  const atRow = () => Math.max(0, get("rows").indexOf(get("row")));
  const grid = () => atRow() * BITS.length + BITS.indexOf(get("bits"));
  const setting = () => grid() * 2 + Number(get("diagonal"));
  const size = () => arrays.scales[grid()];
  const path = (t, helped = get("compensate")) => {
    const first = ((setting() * 2 + Number(helped)) * (n() + 1) + t) * n();
    return [...arrays.weights.slice(first, first + n())];
  };
  const error = (helped, t = step()) => arrays.errors[(setting() * 2 + Number(helped)) * (n() + 1) + t];
  const best = () => arrays.best_errors[setting()];
  const ways = () => grouped(2 ** n());
  const moves = () => path(step()).map((w, k) => (w - path(Math.max(0, step() - 1))[k]) / size());
  const beside = () => Array.from({ length: n() }, (_, k) => (get("diagonal") ? Number(k === last()) : arrays.together[last() * n() + k]));
  const code = (w) => Math.round(w / size());

  const go = (to) => set("step", within(to, n() + 1));
  const turn = (by) => set("row", get("rows")[(atRow() + by + get("rows").length) % get("rows").length]);
  const look = (by) => set("chosen", within((get("chosen") < 0 ? last() : get("chosen")) + by, n()));
  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: "Rounding stepper: a row of weights, rounded one column after another",
    hint: "→ rounds the next weight, ← takes it back. Key c: the others stay. Who moves, and how far?",
    touch: "Tap Next: another weight is rounded. Who moves, and how far?",
    first: ".llmlab-round-first",
    keys: {
      ArrowRight: () => go(step() + 1),
      ArrowLeft: () => go(step() - 1),
      Home: () => go(0),
      End: () => go(n()),
      ArrowDown: () => look(1),
      ArrowUp: () => look(-1),
      Escape: () => (set("chosen", -1), root.focus()),
      b: () => set("bits", BITS[(BITS.indexOf(get("bits")) + 1) % BITS.length]),
      r: () => turn(1),
      R: () => turn(-1),
      c: () => set("compensate", !get("compensate")),
      h: () => set("diagonal", !get("diagonal")),
    },
    tables,
  });

  // The controls, made once.
  const button = (name, text, title, onclick) => h("button", { [`data-${name}`]: "", title, onclick }, text);
  const back = button("back", "Back", "take the last column back (key ←)", () => go(step() - 1));
  const next = button("next", "Next", "round the next column (key →)", () => go(step() + 1));
  const end = button("end", "End", "round all columns (key End)", () => go(n()));
  const start = button("start", "Start", "no column is rounded (key Home)", () => go(0));
  const helps = button("helps", "The others make up for it", "whether free weights move (key c)", () => set("compensate", !get("compensate")));
  const apart = button("apart", "Only the diagonal of H", "the control: as if no two inputs came together (key h)", () => set("diagonal", !get("diagonal")));
  const bits = chooser("bits of a code", BITS.map((b) => [b, `${b} bits`]), (value) => set("bits", Number(value)));
  const row = chooser("row of the matrix", get("rows").map((one) => [one, `row ${one}`]), (value) => set("row", Number(value)));
  bits.title = "bits of a code (key b)";
  row.title = "row of the matrix (keys r and R)";
  const headline = h("p", { ...css("headline"), "aria-live": "polite" });
  const picture = h("div", css("picture"));
  const detail = h("div", { ...css("detail"), "aria-live": "polite" });
  const swatch = (value) => h("span", css("swatch"), h("i", { class: "llmlab-cell", style: { background: tone(value) } }), fixed(value));
  const legend = h("div", { class: "llmlab-note llmlab-round-legend" }, h("span", {}, "How much two inputs come together:"), ...[-1, -0.5, 0, 0.5, 1].map(swatch));
  const figures = h("div", css("figures"));
  const about = h("p", { class: "llmlab-note" });
  body.append(
    h("div", css("first"), h("div", { class: "llmlab-row" }, start, back, next, end, bits, row, helps, apart), headline, picture, legend, detail, figures),
    about,
  );

  // The picture.
  const under = ({ clientX }) => {
    const box = picture.getBoundingClientRect();
    const gutter = GUTTER * get("scale");
    return Math.floor(((clientX - box.left - gutter) / (box.width - gutter)) * n());
  };
  picture.addEventListener("pointermove", (event) => hover(under(event)));
  picture.addEventListener("pointerleave", () => hover(-1));
  picture.addEventListener("click", (event) => {
    const place = under(event);
    if (place >= 0 && place < n()) go(place + 1);
  });
  function hover(place) {
    if (place === hovered) return;
    hovered = place < n() ? place : -1;
    drawDetail();
  }

  const GUTTER = 32;
  function tone(value) {
    return `rgb(var(--llmlab-${value < 0 ? "negative" : "positive"}) / ${(0.6 * Math.abs(value)).toFixed(3)})`;
  }
  function draw() {
    const scale = get("scale");
    const [width, gutter, high] = [Math.max(240, picture.clientWidth), GUTTER * scale, 190 * scale];
    const slot = (width - gutter) / n();
    const narrow = slot < 42 * scale; // numbers stand upright then
    const [line, cell] = [18 * scale, (narrow ? 40 : 24) * scale];
    const [before, now, first] = [path(Math.max(0, step() - 1)), path(step()), path(0)];
    const most = 2 ** (get("bits") - 1) - 1;
    const all = [false, true].flatMap((helped) => Array.from({ length: n() + 1 }, (_, t) => path(t, helped)).flat());
    const top = Math.max(most * size(), ...all);
    const bottom = Math.min(-most * size(), ...all);
    const pad = 8 * scale;
    const y = (w) => pad + ((top - w) / (top - bottom)) * (high - 2 * pad);
    const x = (k) => gutter + (k + 0.5) * slot;
    const parts = [];
    const text = (at, to, words, more = {}) => parts.push(drawing("text", { x: at, y: to, "text-anchor": "middle", ...more }, words));
    const upright = (k, middle, words, more = {}) => {
      const [at, to] = [x(k), middle + (narrow ? 0 : 4 * scale)];
      text(at + (narrow ? 4 * scale : 0), to, words, { ...more, ...(narrow && { transform: `rotate(-90 ${at + 4 * scale} ${to})` }) });
    };
    const stroke = (name, x1, y1, x2, y2, more = {}) => parts.push(drawing("line", { ...css(name), x1, y1, x2, y2, ...more }));

    const gap = (y(0) - y(size())) / scale;
    const every = gap < 14 ? 2 : 1;
    for (let level = -most; level <= most; level++) {
      stroke("level", gutter, y(level * size()), width, y(level * size()), { "data-level": level });
      if (level % every === 0) text(gutter - 6 * scale, y(level * size()) + 4 * scale, whole(level), { "text-anchor": "end" });
    }
    if (step()) parts.push(drawing("rect", { ...css("current"), x: gutter + last() * slot + 1, y: 1, width: slot - 2, height: high - 2 }));
    for (let k = 0; k < n(); k++) {
      const done = k < step();
      stroke("start", x(k) - 8 * scale, y(first[k]), x(k) + 8 * scale, y(first[k]));
      const [from, to] = [y(before[k]), y(now[k])];
      if (step() && Math.abs(to - from) > 1) arrow(k, from, to, k === last() ? "rounding" : "move");
      const more = { "data-column": k, "data-state": done ? "rounded" : "free", "data-weight": now[k] };
      const r = 5 * scale;
      parts.push(done ? drawing("rect", { ...css("rounded"), x: x(k) - r, y: to - r, width: 2 * r, height: 2 * r, ...more }) : drawing("circle", { ...css("free"), cx: x(k), cy: to, r, ...more }));
    }
    function arrow(k, from, to, kind) {
      const [beside, down, tip] = [x(k) + 11 * scale * Math.min(1, slot / (30 * scale)), Math.sign(to - from), 4 * scale];
      stroke(kind, beside, from, beside, to, { "data-arrow": k });
      if (Math.abs(to - from) < tip) return;
      const points = `${beside - tip},${to - down * tip} ${beside},${to} ${beside + tip},${to - down * tip}`;
      parts.push(drawing("polyline", { ...css(kind), points, fill: "none" }));
    }

    // Below: numbers of the inputs, how far each moved, how much it comes together with the one just rounded.
    let at = high;
    const title = (words) => {
      at += line;
      text(0, at - 5 * scale, words, { "text-anchor": "start", class: "llmlab-round-title" });
    };
    title("input");
    get("columns").forEach((input, k) => upright(k, at + cell / 2, input));
    at += cell;
    title("moved in this step, in steps of the grid");
    moves().forEach((moved, k) => upright(k, at + cell / 2, signed(moved), { "data-moved": k, class: k === last() && step() ? "llmlab-round-own" : "" }));
    at += cell;
    title(`comes together with input ${get("columns")[last()]}`);
    beside().forEach((value, k) => {
      parts.push(drawing("rect", { ...css("cell"), style: `fill: ${tone(value)}`, x: gutter + k * slot + 1, y: at, width: slot - 2, height: cell }));
      upright(k, at + cell / 2, fixed(value), { "data-beside": k });
    });
    at += cell + 2;
    const named = `${n()} weights over the levels of ${get("bits")} bits; ${step()} of them are rounded`;
    picture.replaceChildren(drawing("svg", { width: "100%", height: at, viewBox: `0 0 ${width} ${at}`, role: "img", "aria-label": named }, ...parts));
    drawDetail();
  }

  function drawDetail() {
    const place = hovered >= 0 ? hovered : get("chosen") >= 0 ? get("chosen") : last();
    const [input, first, now] = [get("columns")[place], path(0)[place], path(step())[place]];
    const state = place < step() ? `code ${whole(code(now))}` : "still free";
    const other = get("columns")[last()];
    detail.replaceChildren(
      h("b", {}, `Input ${input}`),
      `: weight ${number(first)} at first, ${number(now)} now (${state}); moved ${signed(moves()[place])} steps of the grid in this step, ` +
        `${signed((now - first) / size())} in all` +
        (place === last() ? "." : `; comes together with input ${other}: ${fixed(beside()[place])}.`),
    );
    for (const one of picture.querySelectorAll("[data-column]")) one.classList.toggle("llmlab-round-looked", Number(one.dataset.column) === place);
  }

  function told() {
    const free = n() - step();
    if (!step()) return `${n()} weights of row ${get("row")} between the levels of ${get("bits")} bits. None is rounded yet.`;
    const [input, from, to, moved] = [get("columns")[last()], path(step() - 1)[last()], path(step())[last()], moves()];
    const line = `Input ${input}: its weight ${number(from)} is rounded to ${number(to)}, code ${whole(code(to))}: ${signed(moved[last()])} steps of the grid. `;
    if (!free) return `${line}No weight is free any more. ${ended()}`;
    if (!get("compensate")) return `${line}The ${free === 1 ? "other stays" : `${free} others stay`} as they are.`.replace("stays as they are", "stays as it is");
    if (get("diagonal")) return `${line}No other input comes together with it, so nothing else moves.`;
    const most = moved.reduce((far, value, k) => (k > last() && (far < 0 || Math.abs(value) > Math.abs(moved[far])) ? k : far), -1);
    if (fixed(moved[most]) === "0.00") return `${line}There is next to nothing to make up for.`;
    const who = free === 1 ? "The last free one makes" : `The ${free} free ones make`;
    const which = `input ${get("columns")[most]}${free === 1 ? "" : " the farthest"}, by ${signed(moved[most])} (together: ${fixed(beside()[most])})`;
    return `${line}${who} up for it, ${which}.`;
  }
  function ended() {
    const [mine, least] = [error(get("compensate")), best()];
    const same = Math.abs(mine - least) <= 1e-5 * Math.abs(least);
    if (same) return `This is the best of all ${ways()} ways to round each weight up or down.`;
    return mine < least ? `Below the best of ${ways()} ways up or down, since a weight went farther than one code.` : `The best of ${ways()} ways up or down has ${figure(least)}.`;
  }

  function drawFigures() {
    const most = Math.max(...[false, true].flatMap((helped) => Array.from({ length: n() + 1 }, (_, t) => error(helped, t))), best()) || 1; // of all steps
    const line = (name, words, value, shown) =>
      [h("span", { class: shown ? "llmlab-round-shown" : "" }, words), h("span", { class: "llmlab-track" }, h("span", { class: "llmlab-bar", style: { display: "block", width: `${((100 * value) / most).toFixed(2)}%` } })), h("b", { "data-error": name }, figure(value))];
    const rows = [...line("helped", "the others make up for it", error(true), get("compensate")), ...line("nearest", "the others stay", error(false), !get("compensate"))];
    if (step() === n()) rows.push(...line("best", `best of ${ways()} ways up or down`, best(), false));
    else rows.push(h("span", { class: "llmlab-note" }, `best of ${ways()} ways up or down`), h("span"), h("span", { class: "llmlab-note" }, "at the end"));
    figures.replaceChildren(h("span", css("what")), ...rows);
    figures.firstChild.textContent = `Error of the outputs so far, ${ERROR}${get("diagonal") ? ", with only the diagonal of H" : ""}:`;
  }

  function tables() {
    const [first, now, moved, others] = [path(0), path(step()), moves(), beside()];
    const inputs = get("diagonal") ? ", only the diagonal of H" : "";
    return [
      {
        caption: `${get("matrix")}, row ${get("row")}, ${get("bits")} bits: ${step()} of ${n()} columns rounded, the others ${get("compensate") ? "make up for it" : "stay"}${inputs}`,
        columns: ["input", "at first", "now", "code", "moved, steps", "in all, steps", `together with ${get("columns")[last()]}`],
        rows: get("columns").map((input, k) => [String(input), number(first[k]), number(now[k]), k < step() ? whole(code(now[k])) : "free", signed(moved[k]), signed((now[k] - first[k]) / size()), fixed(others[k])]),
      },
      {
        caption: `Error of the outputs, ${ERROR}`,
        columns: ["way", "so far", "at the end"],
        rows: [
          ...[true, false].map((helped) => [helped ? "the others make up for it" : "the others stay (nearest)", figure(error(helped)), figure(error(helped, n()))]),
          [`best of ${ways()} ways, each up or down`, "", figure(best())],
        ],
      },
    ];
  }

  function update() {
    back.disabled = start.disabled = step() === 0;
    next.disabled = end.disabled = step() === n();
    bits.value = get("bits");
    row.value = get("row");
    helps.setAttribute("aria-pressed", String(get("compensate")));
    apart.setAttribute("aria-pressed", String(get("diagonal")));
    headline.textContent = told();
    about.textContent =
      `${get("matrix")}, ${n()} of its inputs, rounded in this order; all other weights stay as they are. Squares: rounded; circles: free; ` +
      `dashes: where the weights were at first. Blue arrows: what moved in this step; orange: what was rounded. A click rounds up to that column; ↑ ↓ look at one; ` +
      `b bits, r row. Two inputs come together by H_ij / √(H_ii·H_jj).`;
    draw();
    drawFigures();
    refresh();
  }
  load();
  on(["weights", "errors"], () => (load(), update()));
  on(["step", "row", "bits", "compensate", "diagonal", "scale"], update);
  on("chosen", drawDetail);
  update();
  const unwatch = onWidth(picture, draw);
  return () => {
    unwatch();
    release();
  };
}
