/* BPEStepper: byte-pair encoding, merge by merge, and a text as two tokenizers cut it.
 *
 * Draws, in the mode "learn", the pieces of a corpus in tokens at a step, the most frequent pairs, the merges so far and
 * how a piece grew; in the mode "encode" a text in the tokens of two tokenizers, where their cuts first differ, and how
 * a token came about. All of it follows from recorded numbers: when the places after each byte were joined.
 * Reads: piece_bytes, piece_sizes, piece_counts, joined, merge_ids, ranked, totals, names, vocab_sizes, tokens,
 * other_tokens, text_bytes, text_joined, text_ranks, token_ids, revision.
 * Reads and writes: mode, step, piece, rank, which, position, undone, without the kernel.
 * Writes: corpus, text, which alone ask the kernel, and error.
 */

const DELAY = { corpus: 350, text: 120 }; // ms after the last key before the kernel is asked
const MOST_ROWS = 40; // pieces drawn; rarer ones are counted all the same
const MOST_CHIPS = 120; // tokens drawn of one piece
const MOST_LEAVES = 48; // bytes drawn of one tree
const HINTS = {
  learn: ["→ next merge, ← undo; ↑ ↓ piece, [ ] pair, m: a text in tokens. Type a corpus of your own (key /).", "Tap “Next merge”, a piece, a pair or a merge."],
  encode: ["← → token, ↑ ↓ tokenizer. Enter (or a click) takes a token apart, Backspace joins it again. / type a text, m: merges.", "Type a text. Tap a token to take it apart."],
};

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const hex = (bytes, between = "") => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(between);
/** A token as it is drawn: its text, or its bytes in hexadecimal where they are no text that can be seen. */
function label(bytes) {
  try {
    const text = UTF8.decode(Uint8Array.from(bytes));
    if (!/[\p{C}\p{Z}]/u.test(text.replace(/[ \n]/g, ""))) return visible(text);
  } catch {} // no UTF-8
  return `0x${hex(bytes)}`;
}
const quoted = (bytes) => `“${label(bytes)}”`;
const several = (count, name) => `${Number.isInteger(count) ? grouped(count) : count} ${name}${Number(count) === 1 ? "" : "s"}`;
const equal = (a, b) => String(a) === String(b);

/** The parts of a sequence of bytes, as [start, stop]; `isJoined(at)` tells whether byte `at` is joined with the next. */
function partsOf(count, isJoined) {
  const parts = [];
  for (let start = 0, at = 0; at < count; at++) {
    if (isJoined(at) && at < count - 1) continue;
    parts.push([start, at + 1]);
    start = at + 1;
  }
  return parts;
}
/** The place inside of a part that was joined last; −1 in a single byte. `when(at)` tells the order. */
function lastJoin([start, stop], when) {
  let last = -1;
  for (let at = start; at < stop - 1; at++) if (last < 0 || when(at) > when(last)) last = at;
  return last;
}
/** How a part came about: {part, at, halves, height}. */
function grown(part, when) {
  const at = lastJoin(part, when);
  if (at < 0) return { part, at, halves: [], height: 0 };
  const halves = [[part[0], at + 1], [at + 1, part[1]]].map((half) => grown(half, when));
  return { part, at, halves, height: 1 + Math.max(...halves.map((half) => half.height)) };
}

function render({ model, el }) {
  const asks = live(model);
  const get = (name) => model.get(name);
  const timers = {};
  let t = {}; // the training, as it was recorded
  let e = {}; // the text
  let looked = -1; // the ranked pair under the pointer

  const { root, body, set, on, refresh, release } = frame(model, el, {
    label: "Byte-pair encoding, merge by merge",
    hint: HINTS[get("mode")][0],
    touch: HINTS[get("mode")][1],
    first: ".llmlab-bpe-learn, .llmlab-bpe-encode",
    tables,
    idle: () => (asks ? "· is a space, ⏎ a line end, 0x… bytes that are no character." : "A recording: another corpus or text needs a kernel."),
    keys: {
      m: () => set("mode", learning() ? "encode" : "learn"),
      "/": () => fields[learning() ? "corpus" : "text"].focus(),
      ArrowRight: () => (learning() ? go(get("step") + 1) : along(1)),
      ArrowLeft: () => (learning() ? go(get("step") - 1) : along(-1)),
      ArrowUp: () => (learning() ? pick(get("piece") - 1) : set("which", 0)),
      ArrowDown: () => (learning() ? pick(get("piece") + 1) : set("which", 1)),
      Home: () => (learning() ? go(0) : set("position", 0)),
      End: () => (learning() ? go(t.last) : set("position", e.bytes.length - 1)),
      " ": () => learning() && go(get("step") + 1),
      Backspace: () => (learning() ? go(get("step") - 1) : join()),
      Enter: () => learning() || takeApart(chosen().part),
      "[": () => learning() && rank(get("rank") - 1),
      "]": () => learning() && rank(get("rank") + 1),
    },
  });

  // What the reader does ---

  const learning = () => get("mode") === "learn";
  function write(traits) {
    for (const [name, value] of Object.entries(traits)) model.set(name, value);
    model.save_changes();
  }
  function go(step) {
    looked = -1;
    write({ rank: 0, step: within(step, t.last + 1) });
  }
  const pick = (piece) => set("piece", within(piece, Math.min(MOST_ROWS, t.pieces.length)));
  const rank = (number) => set("rank", within(number, Math.max(1, ranking().length)));
  /** The chosen tokenizer, the part at the chosen byte, and its number among the parts. */
  function chosen(which = get("which")) {
    const parts = partsNow(which);
    const number = parts.findIndex(([, stop]) => get("position") < stop);
    return { which, parts, number, part: parts[number] };
  }
  function along(by) {
    const { parts, number } = chosen();
    set("position", parts[within(number + by, parts.length)][0]);
  }
  /** Undoes the last merge of a part: its two halves stand in its place. */
  function takeApart(part) {
    const which = get("which");
    const at = lastJoin(part, (place) => e.when[which][place]);
    if (at >= 0) set("undone", [...get("undone"), [which, at]].sort(byNumbers));
  }
  const whole = (which) => e.parts[which].find(([, stop]) => get("position") < stop);
  function join() {
    const which = get("which");
    const [start, stop] = whole(which);
    set("undone", get("undone").filter(([lane, at]) => lane !== which || at < start || at >= stop));
  }
  function ask(name, value) {
    clearTimeout(timers[name]);
    const half = [...value].findIndex((letter) => /\p{Cs}/u.test(letter)); // no message to the kernel can carry it
    model.set("error", half < 0 ? "" : `expected text without lone surrogates, got one at position ${half}`);
    if (half < 0) timers[name] = setTimeout(() => set(name, value), DELAY[name]);
  }

  // The parts that stay ---

  /** A button that gives the focus back to the widget when the pointer pressed it. */
  const button = (attributes, action, ...content) =>
    h("button", { ...attributes, onclick: (event) => (action(), event.detail && root.focus()) }, ...content);
  const field = (name) =>
    h("textarea", {
      rows: 1,
      "aria-label": `the ${name}`,
      class: "llmlab-mono llmlab-bpe-field",
      spellcheck: "false",
      disabled: !asks,
      oninput: (event) => ask(name, event.target.value),
    });
  const fields = { corpus: field("corpus"), text: field("text") };
  const modes = Object.entries({ learn: "Learn merges", encode: "Encode a text" }).map(([mode, text]) =>
    button({ "data-mode": mode, title: "key m" }, () => set("mode", mode), text),
  );
  const back = button({ "data-back": "" }, () => go(get("step") - 1), "← Undo");
  const next = button({ "data-next": "" }, () => go(get("step") + 1), "Next merge →");
  const slider = h("input", { type: "range", min: 0, step: 1, "aria-label": "merges applied", oninput: () => go(Number(slider.value)) });
  const count = h("span", { "data-count": "" });
  const sentence = h("p", { class: "llmlab-bpe-sentence", "aria-live": "polite" });
  const counters = h("div", { class: "llmlab-note", "data-counters": "" });
  const rows = h("div", { class: "llmlab-bpe-rows", role: "group", tabindex: -1, "aria-label": "the pieces of the corpus" });
  const more = h("div", { class: "llmlab-note" });
  const pairs = h("div", { class: "llmlab-bpe-pairs", role: "group", "aria-label": "the most frequent pairs", onpointerleave: () => look(-1) });
  const rule = h("div", { class: "llmlab-note", "data-rule": "" });
  const merges = h("div", { class: "llmlab-row", role: "group", "aria-label": "the merges so far" });
  const tree = h("div", { class: "llmlab-bpe-tree", tabindex: -1 });
  const treeTitle = h("h4");
  const head = (text) => h("h4", {}, text);
  const legend = h(
    "div",
    { class: "llmlab-note llmlab-bpe-legend" },
    ...[["llmlab-bpe-next", "the pair"], ["llmlab-bpe-over", "counted, but it overlaps: not joined"]].map(([kind, text]) =>
      h("span", {}, h("i", { class: `llmlab-bpe-joint ${kind}` }), ` ${text}`),
    ),
    h("span", {}, h("i", { class: "llmlab-bpe-chip llmlab-bpe-new" }), " just joined"),
  );
  const learn = h(
    "div",
    { class: "llmlab-bpe-learn" },
    h("div", { class: "llmlab-row llmlab-bpe-steps" }, back, next, slider, count),
    sentence,
    counters,
    h(
      "div",
      { class: "llmlab-bpe-halves" },
      h("div", {}, head("The pieces, in tokens"), rows, more, legend, treeTitle, tree),
      h("div", {}, head("The most frequent pairs"), pairs, rule, head("Merges so far"), merges),
    ),
  );
  const lanes = [0, 1].map((which) => {
    const title = h("div", { class: "llmlab-bpe-title" });
    const chips = h("div", { class: "llmlab-bpe-chips", "data-lane": which, role: "group" });
    return { title, chips, node: h("section", { class: "llmlab-stage" }, title, chips) };
  });
  const difference = h("p", { class: "llmlab-bpe-sentence", "data-difference": "" });
  const about = h("p", { class: "llmlab-bpe-about", "aria-live": "polite", "data-about": "" });
  const again = button({ title: "key Backspace", "data-join": "" }, join, "Join it again");
  const treeOfToken = tree.cloneNode();
  const encode = h(
    "div",
    { class: "llmlab-bpe-encode" },
    difference,
    ...lanes.map((lane) => lane.node),
    h("section", { class: "llmlab-stage" }, h("div", { class: "llmlab-row" }, about, again), treeOfToken),
  );
  body.append(
    h("div", { class: "llmlab-row llmlab-bpe-top" }, h("div", { class: "llmlab-row", role: "group", "aria-label": "what to see" }, ...modes), fields.corpus, fields.text),
    learn,
    encode,
  );

  // What was recorded ---

  function read() {
    const data = (name) => array(model, name).data;
    const bytes = data("piece_bytes");
    const joined = data("joined");
    let end = 0;
    const counts = data("piece_counts");
    const pieces = [...data("piece_sizes")].map((size, index) => {
      const start = end;
      end += size;
      return { bytes: [...bytes.subarray(start, end)], joined: joined.subarray(start, end), count: counts[index] };
    });
    const tokens = Array.from({ length: 256 }, (_, byte) => [byte]);
    const ids = data("merge_ids");
    for (let at = 0; at < ids.length; at += 2) tokens.push([...tokens[ids[at]], ...tokens[ids[at + 1]]]);
    const last = ids.length / 2;
    const [ranked, totals] = [data("ranked"), data("totals")];
    const top = get("ranked").shape[1];
    const rankings = Array.from({ length: last + 1 }, (_, step) =>
      Array.from({ length: top }, (_, place) => {
        const [left, right, times] = ranked.subarray((step * top + place) * 3);
        return { pair: [tokens[left], tokens[right]], times };
      }).filter(({ times }) => times > 0),
    );
    const made = Array.from({ length: last }, (_, step) => [tokens[ids[2 * step]], tokens[ids[2 * step + 1]]]);
    t = { pieces, last, rankings, made, totals: Array.from({ length: last + 1 }, (_, step) => [...totals.subarray(4 * step, 4 * step + 4)]) };

    const text = [...data("text_bytes")];
    const lane = (name, which) => data(name).subarray(which * text.length, (which + 1) * text.length);
    const when = [0, 1].map((which) => lane("text_joined", which));
    const parts = when.map((order) => partsOf(text.length, (at) => order[at] > 0));
    e = { bytes: text, when, ranks: [0, 1].map((which) => lane("text_ranks", which)), parts };
  }
  const ranking = () => t.rankings[get("step")] ?? [];
  const partsAt = ({ bytes, joined }, step) => partsOf(bytes.length, (at) => joined[at] > 0 && joined[at] <= step);
  const undoneIn = (which) => new Set(get("undone").filter(([lane]) => lane === which).map(([, at]) => at));
  function partsNow(which) {
    const undone = undoneIn(which);
    return partsOf(e.bytes.length, (at) => e.when[which][at] > 0 && !undone.has(at));
  }
  /** Where the cuts of the two tokenizers first differ: the byte, and the number of the part; null where nowhere. */
  function parting() {
    const [one, two] = e.parts;
    const number = one.findIndex(([, stop], at) => stop !== two[at]?.[1]);
    return number < 0 ? null : { number, start: one[number][0] };
  }

  // Learn ---

  function look(place) {
    if (looked === place) return;
    looked = place;
    drawRows();
  }
  function drawRows() {
    const step = get("step");
    const shown = ranking()[looked >= 0 ? looked : within(get("rank"), Math.max(1, ranking().length))];
    const lines = t.pieces.slice(0, MOST_ROWS).map((piece, index) => {
      const parts = partsAt(piece, step);
      const chips = [];
      let taken = -1; // the last token that an occurrence before this one has taken
      parts.slice(0, MOST_CHIPS).forEach(([start, stop], number) => {
        const bytes = piece.bytes.slice(start, stop);
        const at = lastJoin([start, stop], (place) => piece.joined[place]);
        const fresh = step > 0 && at >= 0 && piece.joined[at] === step;
        chips.push(h("span", { class: `llmlab-bpe-chip ${fresh ? "llmlab-bpe-new" : ""}`, title: hex(bytes, " ") }, label(bytes)));
        if (number === parts.length - 1) return;
        const after = parts[number + 1];
        const here = shown && equal(bytes, shown.pair[0]) && equal(piece.bytes.slice(...after), shown.pair[1]);
        const kind = !here ? "" : number === taken ? "llmlab-bpe-over" : "llmlab-bpe-next";
        if (here && number !== taken) taken = number + 1;
        chips.push(h("i", { class: `llmlab-bpe-joint ${kind}`, "data-joint": kind.slice(11) }));
      });
      if (parts.length > MOST_CHIPS) chips.push(h("span", { class: "llmlab-note" }, `… and ${grouped(parts.length - MOST_CHIPS)} more`));
      const now = index === get("piece");
      return h(
        "div",
        { class: `llmlab-bpe-row ${now ? "llmlab-bpe-now" : ""}`, "data-piece": index, onclick: () => (pick(index), root.focus()) },
        h("button", { tabindex: -1, "aria-pressed": String(now), "aria-label": `${label(piece.bytes)}, ${several(piece.count, "time")}` }, `${grouped(piece.count)} ×`),
        h("span", { class: "llmlab-bpe-word" }, ...chips),
      );
    });
    const top = rows.scrollTop;
    replace(rows, ...lines);
    rows.scrollTop = top;
    const [around, row] = [rows, rows.querySelector(".llmlab-bpe-now")].map((node) => node?.getBoundingClientRect());
    if (row && looked < 0) rows.scrollTop += Math.min(0, row.top - around.top) + Math.max(0, row.bottom - around.bottom);
    const rare = t.pieces.length - lines.length;
    more.textContent = rare > 0 ? `and ${several(rare, "rarer piece")}, not drawn but counted` : "";
    more.hidden = rare <= 0;
  }
  function drawPairs() {
    const most = ranking()[0]?.times ?? 1;
    const ties = t.totals[get("step")][2];
    const lines = ranking().map(({ pair, times }, place) =>
      button(
        {
          class: `llmlab-ranked llmlab-bpe-pair ${place ? "" : "llmlab-bpe-best"}`,
          "data-rank": place,
          tabindex: -1,
          "aria-pressed": String(place === get("rank")),
          onpointerenter: () => look(place),
        },
        () => rank(place),
        h("span", {}, place ? String(place + 1) : "▸ 1"),
        h("span", { class: "llmlab-bpe-both" }, h("span", { class: "llmlab-bpe-chip" }, label(pair[0])), h("i", { class: "llmlab-bpe-joint" }), h("span", { class: "llmlab-bpe-chip" }, label(pair[1]))),
        h("span", { class: "llmlab-track" }, h("span", { class: "llmlab-bar", style: { width: `${(100 * times) / most}%` } })),
        h("span", { class: "llmlab-bpe-times" }, grouped(times)),
        h("span", { class: "llmlab-note" }, ties > 1 && times === most ? "= tie" : ""),
      ),
    );
    replace(pairs, ...lines);
    rule.textContent = ruleInWords(ties);
  }
  function ruleInWords(ties) {
    const [first, second] = ranking();
    const all = t.totals[get("step")][1];
    if (!first) return "No two tokens stand side by side any more.";
    const others = `${several(all, "different pair")} in all. `;
    if (ties < 2) return `${others}Among equals the greater bytes win.`;
    const side = equal(first.pair[0], second.pair[0]) ? 1 : 0;
    const [a, b] = [first, second].map(({ pair }) => `${label(pair[side])} = ${hex(pair[side], " ")}`);
    return `${others}Among equals the greater bytes win: ${a} is above ${b}.`;
  }
  /** What the last merge did, and what comes next. */
  function inWords() {
    const step = get("step");
    const [bytes, left, ties, joined] = t.totals[step];
    let done = `${several(bytes, "byte")} in ${several(t.pieces.length, "different piece")}; no merge yet.`;
    if (step) {
      const [a, b] = t.made[step - 1];
      const times = several(t.rankings[step - 1][0].times, "time");
      const often = t.rankings[step - 1][0].times === joined ? times : `counted ${times} but joined ${joined}, since occurrences overlap`;
      done = `Merge ${step}: ${quoted(a)} and ${quoted(b)} became ${quoted([...a, ...b])}, ${often}.`;
    }
    if (!left) return [done, "Every piece is one token: nothing is left to join."];
    if (step === t.last) return [done, "That was the last merge that was learned."];
    const [first, second] = ranking();
    const both = ({ pair }) => `${quoted(pair[0])} and ${quoted(pair[1])}`;
    const side = `Next: ${both(first)}, side by side ${several(first.times, "time")}`;
    if (ties < 2) return [done, `${side}, more often than any other pair.`];
    return [done, `${side}; so are ${ties === 2 ? both(second) : `${ties - 1} other pairs`}, and among equals the greater bytes win.`];
  }
  function drawLearn() {
    const step = get("step");
    const [tokens] = t.totals[step];
    const [bytes] = t.totals[0];
    back.disabled = step === 0;
    next.disabled = step === t.last;
    Object.assign(slider, { max: t.last, value: step });
    count.textContent = `merge ${step} of ${t.last}`;
    sentence.replaceChildren(...inWords().map((line) => h("span", {}, line)));
    counters.textContent =
      `${several(bytes, "byte")} at the start, ${several(tokens, "token")} now: ${several(digits(bytes / tokens), "byte")} a token. ` +
      `Vocabulary: 256 bytes + ${several(step, "merge")} = ${256 + step} tokens.`;
    drawRows();
    drawPairs();
    replace(
      merges,
      ...t.made.slice(0, step).map(([a, b], at) =>
        button({ class: at === step - 1 ? "llmlab-chosen" : "", "data-merge": at + 1, tabindex: -1, title: `${label(a)} + ${label(b)}: back to this step` }, () => go(at + 1), h("small", {}, `${at + 1} `), label([...a, ...b])),
      ),
      ...(step ? [] : [h("span", { class: "llmlab-note" }, "none")]),
    );
    const piece = t.pieces[within(get("piece"), t.pieces.length)];
    const full = Math.max(0, ...partsAt(piece, t.last).map((part) => grown(part, (at) => piece.joined[at]).height));
    treeTitle.textContent = `How ${quoted(piece.bytes)} grows (#: its merge)`;
    replace(tree, treeOf(piece.bytes, partsAt(piece, step), { when: (at) => piece.joined[at], height: full, fresh: step }));
  }

  // Trees ---

  /** The parts of some bytes as trees: the bytes at the top, below them a box for each join, with the merge's number. */
  function treeOf(bytes, parts, { when, number = when, height = 0, fresh, undone = () => false }) {
    const scale = get("scale");
    const end = parts[0][0] + MOST_LEAVES;
    const shown = parts.filter(([start]) => start < end).map(([start, stop]) => [start, Math.min(stop, end)]);
    const trees = shown.map((part) => grown(part, when));
    const levels = Math.max(height, ...trees.map((one) => one.height));
    const [line, box, em] = [32 * scale, 22 * scale, 7.3 * scale];
    const name = (node) => label(bytes.slice(...node.part));
    const columns = (text) => [...text].reduce((sum, letter) => sum + (letter > "\u2e80" ? 1.7 : 1), 0);
    const edges = [];
    const boxes = [];
    /** The room that a tree takes, from the room of its halves. */
    function measure(node) {
      const rank = node.at < 0 ? 0 : 1 + `#${grouped(number(node.at))}`.length;
      node.size = Math.max(26 * scale, (columns(name(node)) + rank) * em + 8 * scale);
      node.room = Math.max(node.size, node.halves.map(measure).reduce((sum, room) => sum + room + 4 * scale, -4 * scale));
      return node.room;
    }
    function place(node, from) {
      const inner = node.halves.reduce((sum, half) => sum + half.room + 4 * scale, -4 * scale);
      let left = from + (node.room - inner) / 2;
      for (const half of node.halves) {
        place(half, left);
        left += half.room + 4 * scale;
      }
      const middle = node.halves.length ? (node.halves[0].x + node.halves[1].x) / 2 : from + node.room / 2;
      node.x = Math.max(from + node.size / 2, Math.min(from + node.room - node.size / 2, middle));
      const y = node.height * line + 1;
      const off = node.at >= 0 && undone(node.at);
      for (const half of node.halves) edges.push(drawing("path", { d: `M${half.x} ${half.height * line + 1 + box}V${y - (line - box) / 2}H${node.x}V${y}`, class: off ? "llmlab-bpe-off" : "" }));
      const text = drawing("text", { x: node.x, y: y + box / 2, "text-anchor": "middle", "dominant-baseline": "central" }, name(node));
      if (node.at >= 0) text.append(drawing("tspan", { class: "llmlab-bpe-number", dx: 5 * scale }, `#${grouped(number(node.at))}`));
      const kind = off ? "llmlab-bpe-off" : fresh && node.at >= 0 && number(node.at) === fresh ? "llmlab-bpe-new" : "";
      boxes.push(drawing("g", { class: kind, "data-node": name(node) }, drawing("rect", { x: node.x - node.size / 2, y, width: node.size, height: box, rx: 4 }), text));
    }
    let right = 1;
    for (const one of trees) {
      measure(one);
      place(one, right);
      right += one.room + 4 * scale;
    }
    const said = (node) => (node.at < 0 ? name(node) : `${name(node)}, merge ${number(node.at)} of ${node.halves.map(name).join(" and ")}`);
    return drawing("svg", { width: right, height: levels * line + box + 2, role: "img", "aria-label": `tree: ${trees.map(said).join("; ")}` }, ...edges, ...boxes);
  }

  // Encode ---

  function drawLane(which) {
    const { title, chips } = lanes[which];
    const ids = get("token_ids")[which];
    const name = get("names")[which];
    const [own, others] = [which, 1 - which].map((lane) => e.parts[lane].length);
    const { parts, number: at } = chosen(which);
    const apart = parts.length - own;
    const numbers = `${several(own, "token")}, ${several(digits(e.bytes.length / own), "byte")} a token, ${digits(own / others)} × as many as the other`;
    title.replaceChildren(h("b", {}, name), ` (${grouped(get("vocab_sizes")[which])} tokens): ${numbers}${apart ? ` · taken apart: ${parts.length}` : ""}`);
    const first = parting();
    const held = chips.matches(":focus-within");
    const nodes = parts.map((part, number) => {
      const bytes = e.bytes.slice(...part);
      const now = which === get("which") && number === at;
      const inside = part[1] < e.bytes.length && e.when[which][part[1] - 1] > 0;
      const differs = first && part[0] === first.start;
      const kind = [now ? "llmlab-chosen" : "", inside ? "llmlab-bpe-half" : "", e.when[which][part[1] - 1] < 0 ? "llmlab-bpe-last" : "", differs ? "llmlab-bpe-differs" : ""].join(" ");
      const id = ids[hex(bytes)];
      return h(
        "button",
        {
          class: `llmlab-chip llmlab-bpe-token ${kind}`,
          "data-token": number,
          tabindex: now ? 0 : -1,
          "aria-label": `${differs ? "first difference: " : ""}${label(bytes)}, token ${id}`,
          title: `bytes ${hex(bytes, " ")}`,
          onclick(event) {
            write({ which, position: part[0] });
            takeApart(part);
            if (event.detail) root.focus();
          },
        },
        h("span", { class: "llmlab-mono" }, ...(differs ? [h("b", {}, "≠ ")] : []), label(bytes)),
        h("small", {}, grouped(id)),
      );
    });
    chips.replaceChildren(...nodes);
    chips.setAttribute("aria-label", `${name}: tokens`);
    if (held) (which === get("which") ? nodes[at] : root).focus();
  }
  function differenceInWords() {
    const first = parting();
    const [one, two] = get("names");
    const [a, b] = e.parts.map((parts) => parts.length);
    const price = a === b ? `Both need ${several(a, "token")}.` : `${a < b ? two : one} tokenizer needs ${several(Math.max(a, b), "token")} where ${a < b ? one : two} needs ${Math.min(a, b)}.`;
    if (!first) return `${price} Both cut the text at the same places.`;
    const [mine, others] = e.parts.map((parts) => quoted(e.bytes.slice(...parts[first.number])));
    const where = first.start ? `after ${quoted(e.bytes.slice(...e.parts[0][first.number - 1]))}` : "at the start";
    return `${price} ≠ The cuts first differ ${where}: ${one} takes ${mine}, ${two} takes ${others}.`;
  }
  function drawEncode() {
    difference.textContent = differenceInWords();
    const which = get("which");
    [1 - which, which].forEach(drawLane);
    const { part } = chosen();
    const all = whole(which);
    const when = (at) => e.when[which][at];
    const bytes = e.bytes.slice(...part);
    const at = lastJoin(part, when);
    const made = at < 0 ? "a byte: nothing to undo" : `made by merge ${grouped(e.ranks[which][at] + 1)} of ${quoted(e.bytes.slice(part[0], at + 1))} and ${quoted(e.bytes.slice(at + 1, part[1]))}`;
    const id = grouped(get("token_ids")[which][hex(bytes)]);
    about.textContent = `${quoted(bytes)} is token ${id} of ${get("names")[which]}: ${several(bytes.length, "byte")}, ${hex(bytes, " ")}; ${made}.`;
    const undone = undoneIn(which);
    again.disabled = ![...undone].some((place) => place >= all[0] && place < all[1]);
    replace(treeOfToken, treeOf(e.bytes, [all], { when, number: (place) => e.ranks[which][place] + 1, undone: (place) => undone.has(place) }));
  }

  // As text ---

  /** The same tables as in Python. */
  function tables() {
    if (!learning()) {
      const counts = e.parts.map((parts) => parts.length);
      return [0, 1].map((which) => {
        const [own, others] = [counts[which], counts[1 - which]];
        const [name, other] = [get("names")[which], get("names")[1 - which]];
        return {
          caption: `${name}: ${e.bytes.length} bytes as ${own} tokens, ${digits(e.bytes.length / own)} bytes a token, ${digits(own / others)} × as many as ${other}`,
          columns: ["token", "id", "bytes"],
          rows: partsNow(which).map((part) => {
            const bytes = e.bytes.slice(...part);
            return [label(bytes), String(get("token_ids")[which][hex(bytes)]), hex(bytes, " ")];
          }),
        };
      });
    }
    const step = get("step");
    return [
      {
        caption: `After ${step} of ${t.last} merges: ${t.totals[step][0]} tokens of ${t.totals[0][0]} bytes`,
        columns: ["piece", "count", "tokens"],
        rows: t.pieces.map((piece) => [label(piece.bytes), String(piece.count), partsAt(piece, step).map((part) => label(piece.bytes.slice(...part))).join(" | ")]),
      },
      {
        caption: "The most frequent pairs; among equals the greater bytes come first",
        columns: ["place", "left", "right", "count"],
        rows: ranking().map(({ pair: [a, b], times }, place) => [String(place + 1), label(a), label(b), String(times)]),
      },
      {
        caption: "The merges so far",
        columns: ["merge", "left", "right", "new token"],
        rows: t.made.slice(0, step).map(([a, b], at) => [String(at + 1), label(a), label(b), label([...a, ...b])]),
      },
    ];
  }

  /** Puts new nodes in; where an old one had the focus, the widget takes it. */
  function replace(node, ...children) {
    const held = node.matches(":focus-within");
    node.replaceChildren(...children);
    if (held) root.focus();
  }
  function update() {
    const mode = get("mode");
    for (const one of modes) one.setAttribute("aria-pressed", String(one.dataset.mode === mode));
    learn.hidden = fields.corpus.hidden = mode !== "learn";
    encode.hidden = fields.text.hidden = mode === "learn";
    root.querySelector(".llmlab-hint").textContent = HINTS[mode][Number(TOUCH.matches)];
    for (const [name, one] of Object.entries(fields)) if (!one.matches(":focus")) one.value = get(name);
    if (mode === "learn") drawLearn();
    else drawEncode();
    // What scrolls can be scrolled by keyboard.
    for (const part of [rows, tree, treeOfToken]) part.tabIndex = part.scrollWidth > part.clientWidth || part.scrollHeight > part.clientHeight ? 0 : -1;
    refresh();
  }
  on("revision", () => {
    looked = -1;
    read();
    update();
  });
  on(["mode", "step", "piece", "rank", "which", "position", "undone", "names", "corpus", "text", "scale"], update);
  read();
  update();
  return () => {
    Object.values(timers).forEach(clearTimeout);
    release();
  };
}
