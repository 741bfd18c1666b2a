/* What stands around every widget of the course; comes after each widget's own file in one module text.
 *
 * frame(model, el, options)  hint, status, toolbar, tables, keyboard, and the whole window (window.js)
 * default.render             draws a widget by the function `render` of its own file, and draws it anew as a recording
 *                            when its kernel is gone
 *
 * Reads the traits scale, busy, error, offline, view; writes view, and, in the browser alone, offline and busy.
 */

// The kernel ---

const GONE = ["restarting", "autorestarting", "terminating", "dead"];
/** What JupyterLab knows of the kernel behind a widget; undefined in an exported page. */
const sessionOf = (model) => model.widget_manager?.context?.sessionContext;

/** What keeps the kernel from answering, in words; "" where nothing does, and where there never was one. */
function trouble(model) {
  if (!sessionOf(model)) return "";
  if (!live(model)) return "The kernel was restarted or has ended. Run this cell again to bring the widget back.";
  const connection = sessionOf(model).session?.kernel?.connectionStatus;
  return connection === "connected" ? "" : "No connection to the kernel; JupyterLab is trying again.";
}

/**
 * Draws a widget. A kernel that restarts or ends takes the widget's other half with it, and nothing can bring that back
 * but its cell. From then on the widget is what it is in an exported page: its picture, drawn from the traits as they
 * are, and the controls that need no kernel.
 */
function draw({ model: original, el }) {
  const whileLive = (name) => (...what) => live(original) && original[name](...what);
  const model = { ...original, save_changes: whileLive("save_changes"), send: whileLive("send") };
  let release = render({ model, el });
  const session = live(model) ? sessionOf(model) : undefined;
  function gone() {
    ignore();
    const held = el.contains(document.activeElement);
    original.set({ offline: true, busy: false });
    const [before, again] = [release, render({ model, el })]; // the new one first, so that the page does not jump
    before();
    release = again;
    if (held) el.querySelector(".llmlab-root").focus();
  }
  const onStatus = (_, status) => GONE.includes(status) && gone();
  session?.statusChanged.connect(onStatus);
  session?.kernelChanged.connect(gone);
  function ignore() {
    session?.statusChanged.disconnect(onStatus);
    session?.kernelChanged.disconnect(gone);
  }
  return () => {
    ignore();
    release();
  };
}
export default { render: draw };

// The frame ---

const TOUCH = matchMedia("(hover: none) and (pointer: coarse)"); // a phone or a tablet
const SUPPRESS = "data-lm-suppress-shortcuts"; // keeps the keys of JupyterLab's command mode out

/** Whether a key belongs to the field or button that has the focus, rather than to the widget as a whole. */
function belongsTo(field, key) {
  if (field.isContentEditable || /^(TEXTAREA|SELECT)$/.test(field.tagName)) return key !== "Escape";
  if (/^(BUTTON|SUMMARY|A)$/.test(field.tagName)) return key === "Enter" || key === " ";
  if (field.matches(".llmlab-scroll")) return /^(Arrow|Home|End|Page)/.test(key);
  if (field.tagName !== "INPUT") return false;
  if (field.type === "checkbox" || field.type === "button") return key === "Enter" || key === " ";
  if (field.type === "range" || field.type === "radio") return /^(Arrow|Home|End|Page| )/.test(key);
  return key !== "Escape";
}

/** What is wider than its place, and holds nothing that takes the focus, takes it itself: arrow keys move it then. */
function reachable(part) {
  const wide = part.scrollWidth > part.clientWidth && !part.querySelector("button, input, select, a, [tabindex]");
  if (!wide) return ["tabindex", "role", "aria-label"].forEach((name) => part.removeAttribute(name));
  const name = part.querySelector("[aria-label]")?.getAttribute("aria-label") ?? "wide part";
  Object.entries({ tabindex: "0", role: "region", "aria-label": name }).forEach((pair) => part.setAttribute(...pair));
}

/**
 * What stands around a widget's picture.
 *
 * @param {{label: string, hint: string, keys?: Record<string, (event: KeyboardEvent) => void>,
 *   tables?: () => {caption: string, columns: string[], rows: (string|number)[][]}[], idle?: () => string,
 *   first?: string, touch?: string}} options
 *   `label` names the widget for a screen reader; `hint` is the one line that says what to try, `touch` what it is
 *   where there are no keys and nothing hovers; `keys` maps the name of a key to a function, and those keys are kept from JupyterLab; `tables` says as text what the picture shows now; `idle`
 *   is what the status line says when nothing is at work or wrong; `first` is a selector of what has to be seen together
 *   with the controls, all of the picture if absent. The keys t (tables), f (the widget alone in the window) and Escape
 *   (back from a field to the widget, and from there to the page) are every widget's.
 * @returns {{root: HTMLElement, body: HTMLElement, status: HTMLElement, set: Function, on: Function, refresh: Function,
 *   release: Function}} The widget draws in `body`. `set(name, value)` writes a trait if it differs; `on(names, action)`
 *   listens to changes of traits; `refresh()` renews status and tables after a redraw; `release()` undoes all of it.
 */
function frame(model, el, { label, hint, keys = {}, tables, idle = () => "", first = ".llmlab-body", touch = "" }) {
  const listening = [];
  const on = (names, action) => {
    for (const name of [names].flat()) {
      model.on(`change:${name}`, action);
      listening.push([`change:${name}`, action]);
    }
  };
  const set = (name, value) => {
    if (model.get(name) === value) return;
    model.set(name, value);
    model.save_changes();
  };

  const turn = () => set("view", model.get("view") === "table" ? "picture" : "table");
  const toggle = h("button", { "data-view": "", title: "the numbers of the picture as text (key t)", onclick: turn }, "Table");
  const toolbar = h("div", { class: "llmlab-row llmlab-toolbar" }, ...(tables ? [toggle] : []));
  const status = h("div", { class: "llmlab-note", role: "status", "aria-live": "polite" });
  const body = h("div", { class: "llmlab-body" });
  const texts = h("div", { class: "llmlab-tables" });
  const lines = h("div", {}, h("div", { class: "llmlab-hint" }, TOUCH.matches ? touch : hint), status);
  const head = h("div", { class: "llmlab-head" }, lines, toolbar);
  const root = h(
    "div",
    { class: "llmlab-root", tabindex: "0", role: "group", "aria-label": label, "data-first": first, [SUPPRESS]: "true" },
    head,
    body,
    texts,
  );

  const alone = inTheWindow(model, root, () => listening.forEach(([event, action]) => event === "change:scale" && action()));
  toolbar.append(alone.button);
  const actions = { Escape: () => root.focus(), ...(tables && { t: turn }), f: alone.turn, ...keys };
  // JupyterLab looks at the element that has the focus first, and only then at those around it.
  root.addEventListener("focusin", ({ target }) => target.setAttribute(SUPPRESS, "true"), true);
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(actions, event.key)) return;
    if (belongsTo(event.target, event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Escape" && alone.is() && !event.target.matches("input, select, textarea")) alone.turn();
    else actions[event.key](event);
  });

  function say() {
    const problem = trouble(model) || model.get("error");
    const text = problem || (model.get("busy") ? "The model is at work …" : idle()) || "\u00a0";
    status.classList.toggle("llmlab-error", Boolean(problem));
    if (status.textContent !== text) status.textContent = text;
    root.setAttribute("aria-busy", String(Boolean(model.get("busy"))));
  }
  function refresh() {
    say();
    const asTable = Boolean(tables) && model.get("view") === "table";
    const left = body.hidden !== asTable && (asTable ? body : texts).matches(":focus-within");
    toggle.setAttribute("aria-pressed", String(asTable));
    body.hidden = asTable;
    texts.hidden = !asTable;
    const held = scrolling().indexOf(document.activeElement);
    texts.replaceChildren(...(asTable ? tables().map(textTable) : []));
    scrolling().forEach(reachable);
    if (held >= 0) scrolling()[held]?.focus();
    if (left || (held >= 0 && document.activeElement === document.body)) root.focus();
  }
  const scrolling = () => [...root.querySelectorAll(".llmlab-scroll")];
  const sizes = new ResizeObserver(() => scrolling().forEach(reachable));
  const resize = () => root.style.setProperty("--llmlab-scale", model.get("scale"));
  on("scale", resize);
  on(["busy", "error"], say);
  on("view", refresh);
  sessionOf(model)?.connectionStatusChanged.connect(say);
  resize();
  queueMicrotask(refresh); // when the widget has drawn for the first time
  el.append(root);
  sizes.observe(root);
  const release = () => {
    sizes.disconnect();
    alone.leave();
    listening.forEach(([event, action]) => model.off(event, action));
    sessionOf(model)?.connectionStatusChanged.disconnect(say);
    root.remove();
  };
  return { root, body, status, set, on, refresh, release };
}

/** One table of the table view. A column of numbers is aligned at the right; the first cell of a row is its head. */
function textTable({ caption, columns, rows }) {
  const minus = (text) => text.replace(/^-(?=\d)/, "−");
  const shown = (cell) => (typeof cell === "number" && !Number.isInteger(cell) ? digits(cell) : minus(String(cell)));
  const isNumber = (text) => /^([<>≈]?[−+]?\d[\d.,]*( ?[%×]| \p{L}[\p{L}/]*)?)?$/u.test(text);
  const cells = rows.map((row) => row.map(shown));
  const sides = columns.map((_, column) => (cells.every((row) => isNumber(row[column])) ? "llmlab-number" : "llmlab-text"));
  const cell = (tag, column, attributes, text) => h(tag, { class: sides[column], ...attributes }, text);
  const line = (row) =>
    h("tr", {}, ...row.map((text, column) => (column ? cell("td", column, {}, text) : cell("th", column, { scope: "row" }, text))));
  const top = columns.map((name, column) => cell("th", column, { scope: "col" }, name));
  return h(
    "section",
    { class: "llmlab-stage" },
    h("h4", {}, caption),
    h(
      "div",
      { class: "llmlab-scroll" },
      h("table", { "aria-label": caption }, h("thead", {}, h("tr", {}, ...top)), h("tbody", {}, ...cells.map(line))),
    ),
  );
}
