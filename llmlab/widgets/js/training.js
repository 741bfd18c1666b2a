/* TrainingDashboard: a training run as it goes, or as it went.
 *
 * Draws the loss by step with the mean of neighboring rows, validation losses and the ghost of an earlier run; below it
 * the learning rate, the gradient's norm and the speed; beside it the numbers of the step that is read, a bar for each
 * skill, and what the model wrote. What comes after that step is pale.
 * Reads: rows, tail, validation, exams, samples, odd, ghost, ghost_title, title, n_steps, n_lines, state, trains.
 * Reads and writes: step, smooth, log, wanted.
 */

const [STEP, LOSS, RATE, NORM, SPEED, SECONDS, WIDE] = [0, 1, 2, 3, 4, 5, 6]; // columns of a row, and their number
const TICK = 100; // ms between two pictures of a replay, which has about 60
const SHOWN = 12; // rows of the table along the run
const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const HINT = "Try ← → along the run (Shift: faster; [ ]: examinations); Space replays it, a: mean, l: log axis.";
const LIVE_HINT = "Space or Start trains, Space again pauses, s stops; ← → read an earlier step, End the newest.";
const TOUCH_HINT = "Drag along the curve to read any step.";
const SAYS = {
  ready: "Nothing trained yet.",
  running: "Training; the kernel stays free.",
  paused: "Paused: the model can be used meanwhile.",
  stopped: "Stopped: the model can be used, and the training can go on.",
  done: "Done.",
};

const label = (name) => name.replaceAll("_", " ");
const isNumber = Number.isFinite;
/** A recorded value in words, of its seven digits as float32; NaN and null: none was recorded. */
const said = (value) => (value === null || Number.isNaN(value) ? "–" : isNumber(value) ? num(Number(value.toPrecision(7)), 3) : "not finite");
const share = (value) => (isNumber(value) ? (Math.floor(100 * value + 0.5) / 100).toFixed(2) : "–");
function change(value) {
  if (!isNumber(value)) return "";
  const size = share(Math.abs(value));
  return size === "0.00" ? size : `${value > 0 ? "+" : "−"}${size}`;
}
/** A value at an axis, or a speed: with commas from 10,000 on. */
const plain = (value) => num(value, 3).replace(/^\d{5,}$/, grouped);
function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}
/** The last item [step, …] up to a step and the one before it; null where there is none. */
function latest(items, step) {
  const known = items.filter(([at]) => at <= step);
  return [known.at(-1) ?? null, known.at(-2) ?? null];
}

/** Round values between two ends, about so many of them. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const stride = power * [1, 2, 5, 10].find((n) => n * power >= rough);
  const found = [];
  for (let n = Math.ceil(low / stride - 1e-9); n * stride <= high + stride * 1e-9; n++) found.push(Number((n * stride).toPrecision(12)));
  return found;
}
function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const n of [1, 2, 5]) if (n * 10 ** power >= low * 0.999 && n * 10 ** power <= high * 1.001) found.push(Number(`${n}e${power}`));
  if (found.length > 6) return found.filter((value) => Number.isInteger(Math.log10(value)));
  return found.length > 1 ? found : ticks(low, high, 5);
}
/** The means of the rows around each, the values that are numbers; `reach` of them to each side. */
function means(values, reach) {
  const [sums, counts] = [[0], [0]];
  for (const value of values) {
    sums.push(sums.at(-1) + (isNumber(value) ? value : 0));
    counts.push(counts.at(-1) + (isNumber(value) ? 1 : 0));
  }
  return values.map((value, at) => {
    const [from, to] = [Math.max(0, at - reach), Math.min(values.length, at + reach + 1)];
    return isNumber(value) ? (sums[to] - sums[from]) / (counts[to] - counts[from]) : NaN;
  });
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const asks = get("trains") && live(model);
  let R, at, now, state, scale, last, whole, reach, exams, samples; // rows, the index that is read, its step
  let [data, columns, mean] = [new Float32Array(), [], []];
  let [validation, ghost] = [[], []];
  let playing = 0;

  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: `Training dashboard: ${get("title")}`,
    hint: asks ? LIVE_HINT : HINT,
    touch: TOUCH_HINT,
    first: ".llmlab-dash-first",
    tables,
    idle: () => (asks && get("wanted") ? "After the step in hand …" : asks ? SAYS[state] : ""),
    keys: {
      ArrowRight: (event) => go(at + (event.shiftKey ? stride() : 1)),
      ArrowLeft: (event) => go(at - (event.shiftKey ? stride() : 1)),
      Home: () => go(0),
      End: () => go(R),
      "]": () => toEvent(1),
      "[": () => toEvent(-1),
      " ": () => (isAtWork() || state === "ready" ? train() : play()),
      s: () => isAtWork() && set("wanted", "stop"),
      a: () => set("smooth", !get("smooth")),
      l: () => set("log", !get("log")),
    },
  });

  // What follows from the traits ---

  const cell = (row, column) => data[row * WIDE + column];
  const stride = () => Math.max(1, Math.round(R / 20));
  const isAtWork = () => asks && (state === "running" || state === "paused");
  const pairs = (name) => {
    const flat = array(model, name).data;
    return Array.from({ length: flat.length / 2 }, (_, n) => [flat[2 * n], flat[2 * n + 1]]);
  };
  const valueOf = (list, step) => latest(list, step)[0]?.[1] ?? null;
  function readRows() {
    const parts = ["rows", "tail"].map((name) => array(model, name).data);
    data = new Float32Array(parts[0].length + parts[1].length);
    data.set(parts[0]);
    data.set(parts[1], parts[0].length);
    R = data.length / WIDE;
    columns = Array.from({ length: WIDE }, (_, column) => Array.from({ length: R }, (_, row) => cell(row, column)));
    reach = Math.max(1, Math.round(R / 100));
    mean = means(columns[LOSS], reach);
    [validation, ghost, exams, samples] = [pairs("validation"), pairs("ghost"), get("exams"), get("samples")];
    last = R ? cell(R - 1, STEP) : 0;
    whole = Math.max(get("n_steps"), last);
  }
  function read() {
    [state, scale] = [get("state"), get("scale")];
    const step = get("step");
    at = R - 1;
    if (step >= 0) while (at > 0 && cell(at, STEP) > step) at--;
    now = R ? cell(at, STEP) : 0;
  }
  /** What the claim says of the skills at the step that is read. */
  function ofSkills() {
    const [exam, before] = latest(exams, now);
    const known = Object.entries(exam?.[1] ?? {}).filter(([, value]) => isNumber(value));
    if (!known.length) return "";
    const name = ([skill]) => label(skill);
    const lowest = known.reduce((a, b) => (b[1] < a[1] ? b : a));
    const low = known.length > 1 ? `; lowest: ${name(lowest)} ${share(lowest[1])}` : "";
    const rises = known.map(([skill, value]) => [skill, value - (before?.[1][skill] ?? NaN)]).filter(([, rise]) => isNumber(rise));
    const most = rises.length && rises.reduce((a, b) => (b[1] > a[1] ? b : a));
    if (most && most[1] > 0) return ` From step ${grouped(before[0])} to ${grouped(exam[0])}, ${name(most)} rose${rises.length > 1 ? " most" : ""}: ${share(before[1][most[0]])} → ${share(exam[1][most[0]])}${low}.`;
    const highest = known.reduce((a, b) => (b[1] > a[1] ? b : a));
    return ` ${most ? `No skill rose from step ${grouped(before[0])} to ${grouped(exam[0])}; highest` : `Right at step ${grouped(exam[0])}`}: ${name(highest)} ${share(highest[1])}${low}.`;
  }
  function claimed() {
    if (!R) return asks ? "Nothing trained yet: press Start." : "This run has no steps.";
    const valid = valueOf(validation, now);
    const loss = cell(at, LOSS);
    const here = Number.isNaN(loss) ? "no loss recorded" : isNumber(loss) ? `loss ${said(loss)} nats a token` : "the loss is not finite";
    return `Step ${grouped(now)} of ${grouped(whole)}: ${here}${valid === null ? "" : `, ${said(valid)} on validation texts`}.${ofSkills()}`;
  }

  // What the reader does ---

  function go(row) {
    if (!R) return;
    set("step", row >= R - 1 ? -1 : cell(within(row, R), STEP));
  }
  function toEvent(way) {
    const steps = [...new Set([...exams, ...samples, ...validation].map(([step]) => step))].sort((a, b) => a - b);
    const next = way > 0 ? steps.find((step) => step > now) : steps.findLast((step) => step < now);
    if (next !== undefined) set("step", next);
  }
  const train = () => set("wanted", state === "running" ? "pause" : "start");
  function play(stop = Boolean(playing)) {
    clearInterval(playing);
    playing = 0;
    if (!stop && STILL.matches) go(R);
    else if (!stop && R) {
      if (at === R - 1) go(0);
      const by = Math.max(1, Math.ceil(R / 60));
      playing = setInterval(() => {
        go(at + by);
        if (at === R - 1) play(true);
      }, TICK);
    }
    drawControls();
  }

  // The parts that stay ---

  const button = (sign, action, text, title) => h("button", { [`data-${sign}`]: "", title, onclick: (event) => (action(), event.detail && root.focus({ preventScroll: true })) }, text);
  const trainButton = button("train", train, "Start", "key Space");
  const stopButton = button("stop", () => set("wanted", "stop"), "Stop", "after the step in hand (key s)");
  const playButton = button("play", () => play(), "Replay", "key Space");
  const smooth = button("smooth", () => set("smooth", !get("smooth")), "Mean", "the mean of neighboring rows (key a)");
  const log = button("log", () => set("log", !get("log")), "Log axis", "of the loss (key l)");
  const slider = h("input", { type: "range", min: 0, "aria-label": "step", oninput: () => go(Number(slider.value)) });
  const claim = h("p", { class: "llmlab-dash-claim", "data-claim": "", "aria-live": "polite" });
  const charts = h("div", { class: "llmlab-dash-charts" });
  const note = h("p", { class: "llmlab-note", "data-note": "" });
  const numbers = h("div", { class: "llmlab-dash-numbers" });
  const skillHead = h("h4");
  const skills = h("div", { class: "llmlab-dash-skills" });
  const textHead = h("h4");
  const texts = h("div", { class: "llmlab-dash-texts" });
  const forTraining = asks ? [trainButton, stopButton] : [];
  body.append(
    h(
      "div",
      { class: "llmlab-dash-first" },
      claim,
      h("div", { class: "llmlab-row" }, ...forTraining, playButton, smooth, log),
      h("div", { class: "llmlab-dash-halves" },
        h("div", { class: "llmlab-dash-left" }, charts, slider, note),
        h("div", { class: "llmlab-dash-right" }, numbers, skillHead, skills, textHead, texts),
      ),
    ),
  );

  // Pictures ---

  const LEFT = 56;
  const RIGHT = 74;
  const limit = (px) => Math.round(10 * Math.max(-1e4, Math.min(1e4, px))) / 10;
  /** A path through the points that are numbers; it breaks where one is not. */
  function through(spots) {
    let [path, pen] = ["", "M"];
    for (const [x, y] of spots) {
      if (isNumber(x) && isNumber(y)) path += `${pen}${limit(x)} ${limit(y)}`;
      pen = isNumber(x) && isNumber(y) ? "L" : "M";
    }
    return path;
  }
  const xOf = (step, width) => LEFT + (step / Math.max(1, whole)) * (width - LEFT - RIGHT);
  const words = (x, y, side, text, more) => drawing("text", { x, y, "text-anchor": side, "dominant-baseline": "central", ...more }, text);

  /** One chart: `lines` are {kind, name, spots: [step, value]}; `foot`: whether the steps stand under it. */
  function chart(title, lines, { height, logarithmic = false, foot = false, count = 3, zero = false }) {
    const width = (charts.clientWidth || 500 * scale) / scale;
    const [up, low] = [8, foot ? 18 : 5];
    const fits = (value) => isNumber(value) && (!logarithmic || value > 0);
    let [bottom, top] = zero ? [0, 0] : [Infinity, -Infinity];
    for (const { spots } of lines)
      for (const [, value] of spots)
        if (fits(value)) [bottom, top] = [Math.min(bottom, value), Math.max(top, value)];
    const nothing = bottom > top;
    if (nothing) [bottom, top] = [logarithmic ? 0.1 : 0, 1];
    if (bottom === top) [bottom, top] = logarithmic ? [bottom / 1.5, top * 1.5] : [bottom - (Math.abs(bottom) / 2 || 0.5), top + (Math.abs(top) / 2 || 0.5)];
    const rank = logarithmic ? Math.log10 : (value) => value;
    const y = (value) => (fits(value) ? up + ((rank(top) - rank(value)) / (rank(top) - rank(bottom))) * (height - up - low) : NaN);
    const x = (step) => xOf(step, width);
    const marks = (nothing ? [] : logarithmic ? logTicks(bottom, top) : ticks(bottom, top, count)).flatMap((value) => [
      drawing("path", { class: "llmlab-dash-grid", d: `M${LEFT} ${limit(y(value))}H${width - RIGHT}` }),
      words(LEFT - 5, y(value), "end", plain(value)),
    ]);
    const feet = foot ? ticks(0, Math.max(1, whole), width < 420 ? 3 : 5).filter(Number.isInteger).map((value) => words(x(value), height - 7, "middle", grouped(value))) : [];
    const taken = [];
    const names = [];
    const paths = lines.flatMap(({ kind, name, spots }) => {
      const end = name && spots.findLast(([, value]) => fits(value));
      if (end) {
        let beside = Math.max(up + 2, Math.min(height - low - 2, y(end[1])));
        while (taken.some((other) => Math.abs(other - beside) < 13)) beside -= 13;
        taken.push(beside);
        names.push(words(Math.min(x(end[0]) + 5, width - RIGHT + 5), beside, "start", name, { class: "llmlab-dash-name" }));
      }
      const points = spots.map(([step, value]) => [x(step), y(value)]);
      const dots = spots.length < 60 && (kind === "loss" || kind === "validation") ? points.map((point) => `${through([point])}h0`).filter((one) => one !== "h0") : [];
      return [
        drawing("path", { class: `llmlab-dash-line llmlab-dash-${kind}`, "data-line": kind, d: through(points) }),
        drawing("path", { class: `llmlab-dash-line llmlab-dash-${kind} llmlab-dash-dots`, d: dots.join("") }),
      ];
    });
    const cover = x(now);
    const pale = R && at < R - 1 ? [drawing("rect", { class: "llmlab-dash-pale", x: cover, y: 0, width: Math.max(0, width - RIGHT + 3 - cover), height: height - low })] : [];
    const cursor = R ? [drawing("path", { class: "llmlab-dash-cursor", "data-cursor": "", d: `M${limit(cover)} ${up - 4}V${height - low}` })] : [];
    const about = `${title} by step; at step ${grouped(now)} marked`;
    const svg = drawing("svg", { viewBox: `0 0 ${width} ${height}`, width: width * scale, height: height * scale, role: "img", "aria-label": about }, ...marks, ...feet, ...paths, ...pale, ...cursor, ...names);
    return [h("h4", {}, title), svg];
  }
  function drawCharts() {
    const spots = (column) => columns[column].map((value, row) => [columns[STEP][row], value]);
    const has = (column) => columns[column]?.some((value) => !Number.isNaN(value));
    const smoothed = get("smooth") && R > 20;
    const lines = [
      ...(ghost.length ? [{ kind: "ghost", name: get("ghost_title").slice(0, 12), spots: ghost.filter(([step]) => step <= whole || !R) }] : []),
      { kind: smoothed ? "raw" : "loss", name: smoothed ? "" : "loss", spots: spots(LOSS) },
      ...(smoothed ? [{ kind: "loss", name: "loss", spots: mean.map((value, row) => [columns[STEP][row], value]) }] : []),
      ...(validation.length ? [{ kind: "validation", name: "validation", spots: validation }] : []),
    ];
    const title = `Loss of ${get("title")}, nats a token${smoothed ? `; strong: mean of ${2 * reach + 1} rows` : ""}`;
    const small = [[RATE, "Learning rate"], [NORM, "Gradient norm"], [SPEED, "Tokens a second"]].filter(([column]) => get("trains") || has(column));
    const low = { height: small.length > 2 ? 50 : 64, count: 2, zero: true };
    charts.replaceChildren(
      ...chart(title, lines, { height: small.length ? 208 : 300, logarithmic: get("log"), count: 5, foot: !small.length }),
      ...small.flatMap(([column, name], n) => chart(name, [{ kind: "other", name: "", spots: spots(column) }], { ...low, height: low.height + (n === small.length - 1 ? 13 : 0), foot: n === small.length - 1 })),
    );
    const [odd, first] = get("odd");
    const notes = [];
    if (odd) notes.push(`The loss is not finite at ${grouped(odd)} step${odd === 1 ? "" : "s"}, first at step ${grouped(first)}: a gap.`);
    if (get("n_lines") > R) notes.push(`Drawn: ${grouped(R)} of ${grouped(get("n_lines"))} rows, the least and greatest loss of each stretch.`);
    note.textContent = notes.join(" ");
    note.hidden = !notes.length;
  }
  function drawNumbers() {
    const seconds = R ? cell(at, SECONDS) : NaN;
    const ended = last >= whole && isNumber(R ? cell(R - 1, SECONDS) : NaN);
    const left = ended ? cell(R - 1, SECONDS) - seconds : get("n_steps") && R ? (seconds / (now - cell(0, STEP) + 1)) * (whole - now) : NaN;
    const of = (column) => (R ? said(cell(at, column)) : "–");
    const list = [
      ["loss", of(LOSS)],
      ...(get("smooth") && R > 20 ? [["mean loss", said(mean[at])]] : []),
      ["validation loss", said(valueOf(validation, now))],
      ...(ghost.length ? [[`loss of ${get("ghost_title")}`, said(valueOf(ghost, now))]] : []),
      ["learning rate", of(RATE)],
      ["gradient norm", of(NORM)],
      ...(get("trains") || columns[SPEED]?.some(isNumber) ? [["tokens a second", R && isNumber(cell(at, SPEED)) ? plain(cell(at, SPEED)) : "–"]] : []),
      ["time", duration(seconds)],
      ["time left", duration(left)],
    ];
    numbers.replaceChildren(...list.map(([name, value]) => h("div", {}, h("span", { class: "llmlab-note" }, name), h("b", { "data-number": name }, value))));
  }
  function drawSkills() {
    const [exam, before] = latest(exams, now);
    skillHead.hidden = skills.hidden = !exam;
    if (!exam) return skills.replaceChildren();
    skillHead.textContent = `Right at step ${grouped(exam[0])}${before ? `, change since ${grouped(before[0])}` : ""}`;
    skills.replaceChildren(
      ...Object.entries(exam[1]).flatMap(([name, value]) => [
        h("span", { class: "llmlab-dash-skill" }, label(name)),
        h("span", { class: "llmlab-track" }, h("i", { class: "llmlab-bar", style: { display: "block", width: `${100 * (value ?? 0)}%` } })),
        h("span", { class: "llmlab-number", "data-skill": name }, share(value)),
        h("span", { class: "llmlab-number llmlab-note", "data-change": name }, change(value - (before?.[1][name] ?? NaN))),
      ]),
    );
  }
  function drawTexts() {
    const [sample] = latest(samples, now);
    textHead.hidden = texts.hidden = !sample;
    if (!sample) return texts.replaceChildren();
    textHead.textContent = `Written after step ${grouped(sample[0])}`;
    texts.replaceChildren(...Object.entries(sample[1]).map(([prompt, text]) => h("p", {}, h("b", {}, prompt), " ", h("span", { "data-sample": prompt }, text))));
  }
  function drawControls() {
    trainButton.textContent = { running: "Pause", paused: "Resume", stopped: "Go on", failed: "Go on" }[state] ?? "Start";
    const waits = Boolean(get("wanted"));
    trainButton.disabled = waits || state === "done";
    stopButton.disabled = waits || !isAtWork();
    playButton.hidden = isAtWork() || !R;
    playButton.textContent = playing ? "Pause" : "Replay";
    smooth.setAttribute("aria-pressed", String(get("smooth")));
    log.setAttribute("aria-pressed", String(get("log")));
    slider.hidden = R < 2;
    slider.max = Math.max(0, R - 1);
    slider.value = at;
    slider.style.setProperty("--llmlab-dash-share", last / Math.max(1, whole));
    slider.setAttribute("aria-valuetext", `step ${grouped(now)}`);
    claim.setAttribute("aria-live", playing || state === "running" ? "off" : "polite"); // a voice cannot follow
    claim.textContent = claimed();
  }

  // A pointer along the charts ---

  let dragging = false;
  function dragTo(event) {
    const box = charts.getBoundingClientRect();
    const width = charts.clientWidth / scale;
    const step = (((event.clientX - box.left) / scale - LEFT) / (width - LEFT - RIGHT)) * whole;
    let [low, high] = [0, R - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cell(middle, STEP) < step) low = middle + 1;
      else high = middle;
    }
    if (low > 0 && step - cell(low - 1, STEP) < cell(low, STEP) - step) low--;
    go(low);
  }
  charts.addEventListener("pointerdown", (event) => {
    dragging = !event.button && R > 0;
    if (!dragging) return;
    charts.setPointerCapture(event.pointerId);
    root.focus({ preventScroll: true });
    dragTo(event);
  });
  charts.addEventListener("pointermove", (event) => dragging && dragTo(event));
  charts.addEventListener("lostpointercapture", () => (dragging = false));

  // As text ---

  function tables() {
    const name = get("title");
    if (!R) return [{ caption: `${name}: no step yet`, columns: ["what", "value"], rows: [] }];
    const of = (column) => said(cell(at, column));
    const list = [
      {
        caption: `${name}: step ${grouped(now)} of ${grouped(whole)}`,
        columns: ["what", "value"],
        rows: [
          ["loss, nats a token", of(LOSS)],
          ["validation loss, nats a token", said(valueOf(validation, now))],
          ["learning rate", of(RATE)],
          ["gradient norm", of(NORM)],
          ...(get("ghost_title") ? [[`loss of ${get("ghost_title")}`, said(valueOf(ghost, now))]] : []),
          ...(get("trains") ? [] : [["tokens a second", of(SPEED)], ["seconds since the start", of(SECONDS)]]),
        ],
      },
    ];
    const n = Math.min(SHOWN, R);
    const along = Array.from({ length: n }, (_, row) => Math.floor((row * (R - 1)) / Math.max(1, n - 1)));
    list.push({
      caption: "Along the run",
      columns: ["step", "loss", "validation loss", "learning rate", "gradient norm"],
      rows: along.map((row) => [grouped(cell(row, STEP)), said(cell(row, LOSS)), said(valueOf(validation, cell(row, STEP))), said(cell(row, RATE)), said(cell(row, NORM))]),
    });
    const [exam, before] = latest(exams, now);
    if (exam && Object.keys(exam[1]).length)
      list.push({
        caption: `Examined after step ${grouped(exam[0])}`,
        columns: ["skill", "share of right answers", "change"],
        rows: Object.entries(exam[1]).map(([skill, value]) => [label(skill), share(value), change(value - (before?.[1][skill] ?? NaN))]),
      });
    const [sample] = latest(samples, now);
    if (sample) list.push({ caption: `Written after step ${grouped(sample[0])}`, columns: ["prompt", "text"], rows: Object.entries(sample[1]) });
    return list;
  }

  // All of it ---

  function draw() {
    read();
    for (const part of [drawControls, drawNumbers, drawSkills, drawTexts, drawCharts, refresh]) part();
  }
  let waiting = 0; // an update changes several traits, which are drawn together
  function drawNew() {
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      readRows();
      draw();
    });
  }
  on(["step", "smooth", "log", "scale", "wanted"], draw);
  on(["rows", "tail", "validation", "exams", "samples", "odd", "ghost", "n_steps", "n_lines", "state", "title"], drawNew);
  readRows();
  draw();
  const unwatch = onWidth(charts, draw);
  return () => {
    clearInterval(playing);
    cancelAnimationFrame(waiting);
    unwatch();
    release();
  };
}
