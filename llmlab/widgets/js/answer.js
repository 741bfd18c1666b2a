/* HelpfulAnswer: what a check found, and buttons that show a hint or the solution below it.
 *
 * Draws the answer, two buttons, and the help that came. The HTML of answer and help is made in Python, where every text
 * in it is escaped.
 * Reads: html, asked, shown (and error, offline, scale).
 * Writes: asked.
 */

function render({ model, el }) {
  const ask = (what) => live(model) && set("asked", [...model.get("asked"), what]);
  const { body, set, on, refresh, release } = frame(model, el, {
    label: "Answer",
    hint: "Stuck? The buttons help, or the keys h for a hint and s for the solution.",
    keys: { h: () => ask("hint"), s: () => ask("solution") },
    idle: () => (live(model) ? "" : "Hints need the notebook's kernel."),
  });

  const disabled = !live(model);
  const answer = h("div", {});
  const hint = h("button", { onclick: () => ask("hint"), disabled }, "Hint");
  const solution = h("button", { onclick: () => ask("solution"), disabled }, "Solution");
  const shown = h("div", { role: "status", "aria-live": "polite" });
  body.append(answer, h("div", { class: "llmlab-row" }, hint, solution), shown);

  function update() {
    answer.innerHTML = model.get("html");
    const texts = model.get("shown");
    while (shown.children.length > texts.length) shown.lastChild.remove();
    texts.slice(shown.children.length).forEach((html) => {
      const one = h("div", {});
      one.innerHTML = html;
      shown.append(one);
    });
    refresh();
  }
  on(["html", "shown"], update);
  update();
  return release;
}

export default { render };
