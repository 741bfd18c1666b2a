/* HelpfulAnswer: what a check found, and buttons that show a hint or the solution below it.
 *
 * Draws the answer, two buttons, and the help that came. Reads: answer, asked, shown (and error, offline, scale).
 * Writes: asked.
 */

/** Text in which `code` between backticks is code, as nodes. */
const rich = (text) => text.split(/`([^`\n]+)`/).map((part, index) => (index % 2 ? h("code", {}, part) : part));

/** An answer as a box: its first line, then paragraphs and code. @param {{status: string, mark: string}} answer */
function box({ status, mark, label, text, parts }) {
  const first = h("p", {}, h("b", {}, mark ? `${mark} ` : "", ...rich(label), label && text ? ":" : ""), " ", ...rich(text));
  const draw = {
    text: (part) => h("p", {}, ...rich(part.text)),
    aside: (part) => h("p", { class: "llmlab-aside" }, ...rich(part.text)),
    code: (part) => h("pre", {}, h("code", {}, ...part.marked.map(([kind, code]) => (kind ? h("span", { class: `llmlab-${kind}` }, code) : code)))),
  };
  return h("div", { class: `llmlab-answer llmlab-${status.replace(" ", "-")}` }, first, ...parts.map((part) => draw[part.kind](part)));
}

function render({ model, el }) {
  const ask = (what) => live(model) && set("asked", [...model.get("asked"), what]);
  const { body, set, on, refresh, release } = frame(model, el, {
    label: "Answer",
    hint: "Stuck? Key h shows a hint, key s the solution; so do the buttons.",
    touch: "Stuck? The buttons show a hint and the solution.",
    keys: { h: () => ask("hint"), s: () => ask("solution") },
    idle: () => (live(model) ? "" : "Hints need the notebook's kernel."),
  });

  const disabled = !live(model);
  const hint = h("button", { onclick: () => ask("hint"), disabled }, "Hint");
  const solution = h("button", { onclick: () => ask("solution"), disabled }, "Solution");
  const shown = h("div", { role: "status", "aria-live": "polite" });
  body.append(box(model.get("answer")), h("div", { class: "llmlab-row" }, hint, solution), shown);

  function update() {
    const texts = model.get("shown");
    while (shown.children.length > texts.length) shown.lastChild.remove();
    shown.append(...texts.slice(shown.children.length).map(box));
    refresh();
  }
  on("shown", update);
  update();
  return release;
}
