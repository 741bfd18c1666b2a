/* A widget alone in the window, for a classroom: `inTheWindow`, which frame.js calls. Reads the trait scale. */

/**
 * Shows a widget alone over the whole window and brings it back. There it is as large as lets the parts that `data-first`
 * names be seen together with all above them, whatever its trait `scale` says; `rescaled` draws what depends on the scale.
 * Returns the button that does it, `turn()` there or back, `leave()` and `is()`, whether the widget is there.
 */
function inTheWindow(model, root, rescaled) {
  const [LEAST, MOST] = [0.75, 2.5];
  const dialog = h("dialog", { class: "llmlab-window", "aria-label": root.getAttribute("aria-label") });
  const button = h("button", {
    "data-focus": "",
    "aria-label": "Focus",
    "aria-pressed": "false",
    title: "the widget alone, as large as the window allows (key f)",
    onclick: () => turn(),
  });
  button.append(corners());
  const place = h("div"); // keeps the room on the page, so that nothing there moves
  const get = model.get;
  let scale;
  model.get = (name) => (name === "scale" && scale ? scale : get(name));
  const is = () => dialog.isConnected;
  function fits(tried) {
    scale = tried;
    rescaled();
    const shown = [...root.querySelectorAll(root.dataset.first)].filter((part) => part.getClientRects().length);
    const [right, bottom] = [dialog.clientWidth, dialog.clientHeight].map((size) => size + 1);
    dialog.scrollTop = 0;
    const boxes = shown.map((part) => part.getBoundingClientRect());
    return root.scrollWidth <= right && boxes.every((box) => box.right <= right && box.bottom <= bottom);
  }
  function fit() {
    let [small, large] = [LEAST, MOST];
    while (large - small > 0.04) {
      const middle = (small + large) / 2;
      if (fits(middle)) small = middle;
      else large = middle;
    }
    fits(small);
  }
  function leave() {
    if (!is()) return;
    window.removeEventListener("resize", fit);
    dialog.close();
    place.replaceWith(root);
    button.setAttribute("aria-pressed", "false");
    scale = undefined;
    rescaled();
  }
  function turn() {
    const held = root.contains(document.activeElement) ? document.activeElement : root;
    if (is()) leave();
    else {
      place.style.height = `${root.offsetHeight}px`;
      root.replaceWith(place);
      place.append(dialog);
      dialog.append(root);
      dialog.showModal();
      button.setAttribute("aria-pressed", "true");
      fit();
      window.addEventListener("resize", fit);
    }
    held.focus({ preventScroll: true });
  }
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault(); // the root goes back to its place first
    turn();
  });
  return { button, is, turn, leave };
}

/** The four corners of a window, as a picture. */
function corners() {
  const lines = { d: "M2 6V2H6M10 2H14V6M14 10V14H10M6 14H2V10", fill: "none", stroke: "currentColor", "stroke-width": 2 };
  return drawing("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, drawing("path", lines));
}
