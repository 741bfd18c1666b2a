/* A page with recorded widgets and no kernel: shows widget N wherever an element has data-llmlab-widget="N".
 *
 * The element #llmlab-recorded holds {modules: [text], widgets: [{module, state, arrays}]}, the arrays in base64. Each
 * place gets a state of its own, in an object with the part of Jupyter's model that our widgets use.
 */

/** @param {string} text base64 @returns {DataView} as Jupyter hands a binary buffer to a widget */
function bytes(text) {
  const raw = atob(text);
  const data = new Uint8Array(raw.length);
  for (let index = 0; index < raw.length; index++) data[index] = raw.charCodeAt(index);
  return new DataView(data.buffer);
}

/** What a widget writes is told to its listeners at once; there is nobody to save it for. */
function recorded({ state, arrays }) {
  const values = structuredClone(state);
  for (const [name, { dtype, shape, data }] of Object.entries(arrays)) values[name] = { dtype, shape, data: bytes(data) };
  const listeners = new Map();
  const tell = (event, ...rest) => [...(listeners.get(event) ?? [])].forEach((listener) => listener(...rest));
  const each = (events, action) => events.split(/\s+/).forEach(action);
  const model = {
    get: (name) => values[name],
    set(name, value) {
      const entries = typeof name === "string" ? [[name, value]] : Object.entries(name);
      const changed = entries.filter(([key, next]) => values[key] !== next);
      changed.forEach(([key, next]) => (values[key] = next));
      changed.forEach(([key, next]) => tell(`change:${key}`, model, next));
      if (changed.length) tell("change", model);
    },
    on: (events, listener) => each(events, (event) => listeners.set(event, [...(listeners.get(event) ?? []), listener])),
    off(events, listener) {
      const kept = (event) => (listener ? (listeners.get(event) ?? []).filter((other) => other !== listener) : []);
      each(events ?? [...listeners.keys()].join(" "), (event) => listeners.set(event, kept(event)));
    },
    save_changes() {},
    send() {},
  };
  return model;
}

async function show() {
  const { modules, widgets } = JSON.parse(document.getElementById("llmlab-recorded").textContent);
  const load = (text) => import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const loaded = modules.map(load);
  for (const el of document.querySelectorAll("[data-llmlab-widget]")) {
    const widget = widgets[Number(el.dataset.llmlabWidget)];
    try {
      (await loaded[widget.module]).default.render({ model: recorded(widget), el });
    } catch (error) {
      el.append(`This widget could not be drawn: ${error}`);
      console.error(error);
    }
  }
}
show();
