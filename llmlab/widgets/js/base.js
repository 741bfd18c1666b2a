/* Shared by all widgets of the course; stands before each widget's own file in one module text.
 *
 * h(tag, attributes, ...children)  an element; children that are strings become text, never HTML
 * array(model, name)               a trait's array as {dtype, shape, data: typed array}
 * frame(model, el, label, keys)    the focusable root of a widget, with its keyboard
 */

const TYPES = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };

/** @param {string} tag @param {Record<string, any>} attributes @param {...(Node|string)} children */
function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** The bytes arrive as a DataView into a larger buffer; a typed array needs them aligned, hence the copy. */
function array(model, name) {
  const { dtype, shape, data } = model.get(name);
  const bytes = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
  return { dtype, shape, data: new TYPES[dtype](bytes) };
}

/** Three significant digits, with a true minus sign; small ones do not turn into exponents. */
function digits(value, n = 3) {
  const size = Math.abs(value);
  const text = size > 0 && size < 0.001 ? "<0.001" : Number(size.toPrecision(n)).toString();
  return (value < 0 ? "−" : "") + text;
}

/** A token as a label: spaces and line ends made visible. */
function visible(token) {
  return token.replaceAll(" ", "·").replaceAll("\n", "⏎") || "∅";
}

/**
 * The root of a widget. `keys` maps a key's name to a function; those keys are kept from JupyterLab. Keys typed into a
 * field of the widget stay with the field.
 */
function frame(model, el, label, keys) {
  const root = h("div", {
    class: "llmlab-root",
    tabindex: "0",
    role: "group",
    "aria-label": label,
    "data-lm-suppress-shortcuts": "true",
  });
  root.addEventListener("keydown", (event) => {
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = keys[event.key];
    if (!action) return;
    if (event.target.tagName === "BUTTON" && (event.key === "Enter" || event.key === " ")) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  });
  const resize = () => root.style.setProperty("--llmlab-scale", model.get("scale"));
  model.on("change:scale", resize);
  resize();
  el.append(root);
  return { root, release: () => model.off("change:scale", resize) };
}
