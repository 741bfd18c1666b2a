/* Helpers shared by all widgets of the course; stands before each widget's own file in one module text.
 *
 * h(tag, attributes, ...children)  an element; children that are strings become text, never HTML
 * drawing(tag, attributes, ...)    the same of SVG
 * chooser(label, options, write)   a <select>
 * array(model, name)               a trait's array as {dtype, shape, data: typed array}
 * digits(value, n)                 a number with n significant digits
 * num(value, n)                    the same where sizes differ widely: 1.5 × 10⁻⁵
 * grouped(count)                   a whole number with commas: 31,500
 * visible(token)                   a token as a label
 * chance(p)                        a probability, to three digits after the point
 * within(value, size)              an index kept from 0 to size − 1
 * live(model)                      whether a kernel answers; false in an exported page, and when the kernel is gone
 * heat(canvas, bytes, side)        a square of attention weights as pixels; folded(bytes, side, most) makes it smaller
 * sheet(canvas, width, height)     an empty canvas to draw on, sharp on every screen
 * onWidth(node, draw)              draws anew when a node has another width; returns what ends that
 *
 * What stands around every widget's picture, and the module's export, are in frame.js, which stands after that file.
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

/** The same for a picture: an element of SVG. An attribute that is false is left out. */
function drawing(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== false) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A list to choose from: options are [value, text]; `write` is given the chosen value. */
function chooser(label, options, write) {
  const node = h("select", { "aria-label": label, onchange: () => write(node.value) });
  node.append(...options.map(([value, text]) => h("option", { value }, text)));
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
  if (size > 0 && size < 0.001) return value < 0 ? ">−0.001" : "<0.001";
  return (value < 0 ? "−" : "") + Number(size.toPrecision(n)).toString();
}

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
/** n significant digits; a power of ten below 0.001 and from 10⁶ on. */
function num(value, n = 4) {
  if (!Number.isFinite(value)) return String(value).replace("-", "−").replace("Infinity", "∞").replace("NaN", "not a number");
  if (value === 0) return "0";
  const [mantissa, power] = Math.abs(value).toExponential(n - 1).split("e").map(Number);
  const sign = value < 0 ? "−" : "";
  if (power >= -3 && power < 6) return sign + String(Number(`${mantissa}e${power}`));
  return `${sign}${mantissa} × 10${power < 0 ? "⁻" : ""}${[...String(Math.abs(power))].map((digit) => RAISED[digit]).join("")}`;
}

/** A whole number, or its digits as a text, with a comma before every three of them: 31,500. */
const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, ",");

/** withUnit(46300000, 1000, "FLOP") is 46.3 MFLOP; 1024 gives KiB, MiB, … */
function withUnit(value, base, unit) {
  let power = 0;
  for (; Math.abs(value) >= base && power < 4; power++) value /= base;
  if (!power) return `${Math.round(value)} ${unit}`;
  const prefix = base === 1000 ? "kMGT"[power - 1] : `${"KMGT"[power - 1]}i`;
  return `${value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(value))))} ${prefix}${unit}`;
}

/** A token as a label: spaces and line ends made visible. */
function visible(token) {
  return token.replaceAll(" ", "·").replaceAll("\n", "⏎") || "∅";
}

const chance = (p) => (p < 0.0005 ? "<0.001" : p.toFixed(3));
const within = (value, size) => Math.max(0, Math.min(size - 1, value));

// Lists of lists of numbers as sets: an order, a list without one of its members, whether it has it, and with it or not.
const byNumbers = (a, b) => a.map((n, at) => n - b[at]).find((n) => n) ?? 0;
const without = (list, one) => list.filter((other) => byNumbers(other, one));
const isIn = (list, one) => without(list, one).length < list.length;
const flip = (list, one) => (isIn(list, one) ? without(list, one) : [...list, one]);

/** Whether a kernel answers. Where none does, a control that needs it is disabled, with a few words that say so. */
function live(model) {
  return !model.get("offline");
}

const HUE_OF_WEIGHTS = [204, 121, 167]; // --llmlab-attention, for canvases: these are painted before any CSS applies
const GRAY = [153, 153, 153, 28]; // --llmlab-masked, faint
/** How strong a weight of 0 … 1 is drawn: its square root, so that small weights can be seen. */
const strength = (weight) => Math.sqrt(weight);
const tint = (alpha) => `rgba(${HUE_OF_WEIGHTS}, ${alpha})`;
const pixel = (...rgba) => new Uint32Array(new Uint8ClampedArray(rgba).buffer)[0];
const HEATS = Uint32Array.from({ length: 256 }, (_, byte) => pixel(...HUE_OF_WEIGHTS, 255 * strength(byte / 255)));

/** Bytes of weights as a square of pixels: one hue, and gray above the diagonal. */
function heat(canvas, bytes, side) {
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  const pixels = new Uint32Array(image.data.buffer);
  const masked = pixel(...GRAY);
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++) pixels[y * side + x] = x > y ? masked : HEATS[bytes[y * side + x]];
  context.putImageData(image, 0, 0);
}
/** The same square with at most so many bytes a side, each the largest of those that fall on it: [bytes, side]. */
function folded(bytes, count, most) {
  const fold = Math.ceil(count / most);
  const side = Math.ceil(count / fold);
  const small = new Uint8Array(side * side);
  for (let y = 0; y < count; y++)
    for (let x = 0; x <= y; x++) {
      const at = Math.floor(y / fold) * side + Math.floor(x / fold);
      small[at] = Math.max(small[at], bytes[y * count + x]);
    }
  return [small, side];
}
/** A canvas of so many CSS pixels, empty; returns its context. */
function sheet(canvas, width, height) {
  const dots = window.devicePixelRatio || 1;
  const [wide, high] = [width, height].map((size) => Math.max(1, Math.round(size * dots)));
  if (canvas.width !== wide) canvas.width = wide;
  if (canvas.height !== high) canvas.height = high;
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  const context = canvas.getContext("2d");
  context.setTransform(dots, 0, 0, dots, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** Draws anew whenever a node has become wider or narrower; returns a function that ends it. */
function onWidth(node, draw) {
  let width = node.clientWidth;
  const watch = new ResizeObserver(() => {
    if (node.clientWidth === width) return;
    width = node.clientWidth;
    draw();
  });
  watch.observe(node);
  return () => watch.disconnect();
}
