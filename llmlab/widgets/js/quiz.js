/* Quiz and Guess: questions to answer, and a prediction to make.
 *
 * Draws, for a quiz, each question with its options as buttons, a mark on those that were tried, and the explanation of
 * the last one (or that it was answered right before); for a guess, options as buttons or a field for a number.
 * Reads: kind; questions, tried, before (quiz); text, options, unit, choice, number (guess); error, offline, scale.
 * Writes: tried; choice, number. Everything is drawn here, without the kernel, which only records.
 */

const LETTERS = "abcdefghijklmnopqrstuvwxyz";

function render({ model, el }) {
  return model.get("kind") === "quiz" ? quiz(model, el) : guess(model, el);
}

/** Text in which `code` between backticks is code, as nodes. */
function rich(text) {
  return text.split(/`([^`\n]+)`/).map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

/** A button for option `index`; `mark` is where its mark is written. */
function optionButton(index, text, onclick) {
  const mark = h("span", { class: "llmlab-mark" });
  const letter = h("span", { class: "llmlab-letter" }, `${LETTERS[index]})`);
  const button = h("button", { class: "llmlab-option", onclick }, letter, h("span", {}, ...rich(text)), mark);
  return { button, mark };
}

/** The buttons of options, as a group that a screen reader names by the question. */
function group(title, options) {
  return h("div", { class: "llmlab-options", role: "group", "aria-label": title.textContent }, ...options.map((option) => option.button));
}

/** Keys that name an option: its letter, and its number from 1. */
function optionKeys(count, choose) {
  const keys = {};
  for (let index = 0; index < count; index++) {
    keys[LETTERS[index]] = () => choose(index);
    if (index < 9) keys[String(index + 1)] = () => choose(index);
  }
  return keys;
}

/** Moves the focus to the next or previous of `buttons`; from outside them, to number `start`. */
function step(buttons, by, start) {
  const at = buttons.indexOf(document.activeElement);
  buttons[at < 0 ? start : Math.max(0, Math.min(buttons.length - 1, at + by))].focus();
}

function quiz(model, el) {
  const questions = model.get("questions");
  const many = questions.length > 1;
  const most = Math.max(...questions.map((question) => question.options.length));
  let current = 0;

  const isSolved = (question, place) => model.get("before")[place] || model.get("tried")[place].includes(question.answer);
  const solved = () => questions.filter(isSolved).length;
  const { body, set, on, refresh, release } = frame(model, el, {
    label: many ? `Quiz of ${questions.length} questions` : "Quiz",
    hint:
      "Click an answer, or press its letter; ↑ ↓ and Enter do it too. You may try as often as you like." +
      (many ? " ← → go to another question." : ""),
    touch: "Tap an answer. You may try as often as you like.",
    keys: {
      ...optionKeys(most, (index) => index < questions[current].options.length && attempt(current, index, true)),
      ArrowDown: () => step(drawn.flatMap(buttonsOf), 1, firstOf(current)),
      ArrowUp: () => step(drawn.flatMap(buttonsOf), -1, firstOf(current)),
      ...(many && { ArrowRight: () => go(1), ArrowLeft: () => go(-1) }),
    },
    idle: () => (many ? `${solved()} of ${questions.length} answered right` : ""),
  });

  const drawn = questions.map(draw);
  body.append(...drawn.map((question) => question.section));

  function draw(question, place) {
    const options = question.options.map((text, index) => optionButton(index, text, () => attempt(place, index)));
    const why = h("div", { class: "llmlab-why", role: "status", "aria-live": "polite" });
    const title = h("h4", {}, ...(many ? [`${place + 1}. `] : []), ...rich(question.text));
    const section = h("section", { class: "llmlab-stage", "data-question": question.id }, title, group(title, options), why);
    section.addEventListener("focusin", () => (current = place));
    return { section, options, why };
  }
  const buttonsOf = (question) => question.options.map((option) => option.button);
  const firstOf = (place) => drawn.slice(0, place).flatMap(buttonsOf).length;

  function go(by) {
    current = Math.max(0, Math.min(questions.length - 1, current + by));
    buttonsOf(drawn[current])[0].focus();
  }
  function attempt(place, index, focus = false) {
    if (focus) buttonsOf(drawn[place])[index].focus();
    const tried = model.get("tried");
    if (tried[place].at(-1) === index) return;
    set("tried", tried.map((row, other) => (other === place ? [...row, index] : row)));
  }
  function update() {
    questions.forEach((question, place) => {
      const tried = model.get("tried")[place];
      const last = tried.at(-1);
      drawn[place].options.forEach(({ button, mark }, index) => {
        const right = index === question.answer;
        button.setAttribute("aria-pressed", String(index === last));
        button.dataset.tried = tried.includes(index) ? (right ? "right" : "wrong") : "";
        mark.textContent = tried.includes(index) ? (right ? "✓ right" : "✗ not this one") : "";
      });
      const said = last === undefined ? [] : [h("b", {}, last === question.answer ? "✓ Right. " : "✗ Not this one. ")];
      const known = model.get("before")[place] ? ["✓ You answered this right before. Can you do it again?"] : [];
      drawn[place].why.replaceChildren(...said, ...(last === undefined ? known : rich(question.why[last])));
    });
    refresh();
  }
  on("tried", update);
  update();
  return release;
}

function guess(model, el) {
  const options = model.get("options");
  const number = (text) => (/^[-+]?(\d+|\d{1,3}(,\d{3})+)?(\.\d+)?(e[-+]?\d+)?$/i.test(text) ? parseFloat(text.replaceAll(",", "")) : NaN);
  let problem = "";

  const { body, set, on, refresh, release } = frame(model, el, {
    label: "Prediction",
    hint: options.length
      ? "Make a guess before you read on: click it, or press its letter."
      : "Make a guess before you read on: type a number and press Enter.",
    touch: "Make a guess before you read on.",
    keys: {
      ...optionKeys(options.length, (index) => (drawn[index].button.focus(), set("choice", index))),
      ...(options.length && { ArrowDown: () => step(buttons, 1, 0), ArrowUp: () => step(buttons, -1, 0) }),
    },
    idle: () => problem,
  });

  const drawn = options.map((text, index) => optionButton(index, text, () => set("choice", index)));
  const buttons = drawn.map((option) => option.button);
  const input = h("input", { type: "text", inputmode: "decimal", size: "12", maxlength: "40", "aria-label": "your guess" });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") submit(event.preventDefault());
    if (event.key === "Escape") input.value = model.get("number") ?? "";
  });
  const record = h("button", { onclick: submit }, "Record");
  const field = h("div", { class: "llmlab-row" }, input, model.get("unit"), record);
  const note = h("div", { class: "llmlab-why", role: "status", "aria-live": "polite" });
  const title = h("h4", {}, ...rich(model.get("text")));
  const asked = options.length ? group(title, drawn) : field;
  if (!options.length) input.setAttribute("aria-label", `your guess: ${title.textContent}`);
  body.append(h("section", { class: "llmlab-stage" }, title, asked, note));

  function submit() {
    const value = number(input.value.trim());
    problem = Number.isFinite(value) ? "" : `Expected a number such as 1500 or 0.5, got “${input.value}”`;
    if (!problem) set("number", value);
    refresh();
  }
  function update() {
    const choice = model.get("choice");
    const value = model.get("number");
    drawn.forEach(({ button, mark }, index) => {
      button.setAttribute("aria-pressed", String(index === choice));
      mark.textContent = index === choice ? "your guess" : "";
    });
    if (value !== null && document.activeElement !== input) input.value = String(value);
    const made = options.length ? choice >= 0 && options[choice] : value !== null && `${value.toLocaleString("en")} ${model.get("unit")}`;
    const kept = live(model) ? "It is recorded." : "It is kept on this page only.";
    note.replaceChildren(...(made === false ? [] : ["Your guess: ", h("b", {}, ...rich(made.trim())), `. ${kept} You may change it.`]));
    refresh();
  }
  on(["choice", "number"], update);
  update();
  return release;
}
