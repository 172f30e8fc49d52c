// Fields of the editor's forms. Each is { element, read }: read gives the text of the key, "" for "inherited".
import { button, html, icon, iconButton, newId, set } from "./dom.js";
import { jsonText, pairsText, readPairs, readRecoveries, readSplit, recoveriesText, splitText, splitValues } from "./model.js";

// base: the text that counts if the field is left empty, or null where nothing is inherited.
function frame(label, control, { hint = "", problem = "", base = null, isEmpty, clear, more = [] } = {}) {
  const id = newId();
  const input = control.matches("input, select, textarea") ? control : null;
  const badge = base === null ? null : html("span", { class: "inherit" }, "inherited");
  const reset = base === null ? null : html("button", { type: "button", class: "inherit inherit--reset",
    "aria-label": `${label}: back to inherited`, onclick: () => { clear(); update(); input?.focus(); } }, "back to inherited");
  const note = problem || hint ? html("p", { id: `${id}-hint`, class: problem ? "field__problem" : "field__hint" }, problem || hint) : null;
  if (input) {
    set(input, "id", id);
    if (note) set(input, "aria-describedby", `${id}-hint`);
    if (problem) set(input, "aria-invalid", "true");
  }
  const title = input ? html("label", { for: id }, label) : html("span", { class: "field__name", id }, label);
  if (!input) {
    set(control, "role", "group");
    set(control, "aria-labelledby", id);
  }
  const element = html("div", { class: "field editfield" }, html("div", { class: "editfield__head" }, title, badge, reset), control, more, note);
  function update() {
    if (base === null) return;
    const inherited = isEmpty();
    element.classList.toggle("editfield--inherited", inherited);
    badge.hidden = !inherited;
    reset.hidden = inherited;
  }
  element.addEventListener("input", update);
  element.addEventListener("change", update);
  update();
  return { element, update };
}

const isPlain = (text) => text === null || text === undefined;

export function textField(label, text, { base = null, options = null, lines = 0, buttons = [], ...more } = {}) {
  const list = options ? newId() : null;
  const input = lines ? html("textarea", { rows: lines, spellcheck: "false", value: text })
    : html("input", { type: "text", value: text, list, autocomplete: "off", spellcheck: "false" });
  if (!isPlain(base)) input.placeholder = base || "none";
  const control = frame(label, input, { base, isEmpty: () => !input.value.trim(), clear: () => { input.value = ""; },
    more: [options ? html("datalist", { id: list }, options.map((name) => html("option", { value: name }))) : [],
      buttons.length ? html("div", { class: "buttons" }, buttons) : []], ...more });
  return { ...control, input, read: () => input.value.trim(), write: (value) => { input.value = value; control.update(); } };
}

export function choiceField(label, text, choices, { base = null, ...more } = {}) {
  const names = [...new Set([...choices, text].filter(Boolean))];
  const select = html("select", {}, base === null && choices.includes(text) ? [] : html("option", { value: "" }, base ? `${base} (inherited)` : "none"),
    names.map((name) => html("option", { value: name }, name)));
  select.value = text;
  const control = frame(label, select, { base, isEmpty: () => !select.value, clear: () => { select.value = ""; }, ...more });
  return { ...control, input: select, read: () => select.value };
}

// ------------------------------------------------------------------------------------------------------------ lists

// A list whose rows can be added, removed and moved, also by Alt and the arrow keys. makeRow(value) gives { element, read }.
export function rowList(values, makeRow, blank, addLabel) {
  const list = html("ol", { class: "rows" });
  const said = html("span", { class: "unseen", role: "status" });
  const readers = new Map();
  const changed = () => list.dispatchEvent(new Event("change", { bubbles: true }));
  const shift = (item, by, here) => {
    const other = by < 0 ? item.previousElementSibling : item.nextElementSibling;
    if (!other) return;
    if (by < 0) other.before(item); else other.after(item);
    // At either end the button that was pressed is not there any more.
    const button = item.querySelector(by < 0 ? "[data-up]" : "[data-down]");
    (here ?? ((by < 0 ? item.previousElementSibling : item.nextElementSibling) ? button : item.querySelector(by < 0 ? "[data-down]" : "[data-up]"))).focus();
    said.textContent = `Moved to place ${[...list.children].indexOf(item) + 1} of ${list.children.length}`;
    changed();
  };
  function add(value) {
    const row = makeRow(value);
    const item = html("li", {}, row.element, html("span", { class: "rows__tools" },
      iconButton("Move up", "up", () => shift(item, -1), { "data-up": "" }),
      iconButton("Move down", "down", () => shift(item, 1), { "data-down": "" }),
      iconButton("Remove", "close", () => {
        const next = item.nextElementSibling ?? item.previousElementSibling;
        item.remove();
        (next?.querySelector("input, select, textarea") ?? more).focus();
        said.textContent = `Removed, ${list.children.length} left`;
        changed();
      })));
    item.addEventListener("keydown", (event) => {
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!by || !event.altKey || event.defaultPrevented) return;
      event.preventDefault();
      shift(item, by, event.target);
    });
    readers.set(item, row.read);
    list.append(item);
    return item;
  }
  values.forEach(add);
  const more = button(addLabel, { icon: "plus", kind: "button--small", onclick: () => {
    add(blank()).querySelector("input, select, textarea").focus();
    changed();
  } });
  return { element: html("div", { class: "rowlist" }, list, more, said), more, read: () => [...list.children].map((item) => readers.get(item)()) };
}

function pairRow([key, value]) {
  const inputs = [["Key", key], ["Value", value]].map(([label, text]) => html("input", {
    type: "text", value: text, "aria-label": label, placeholder: label.toLowerCase(), spellcheck: "false", autocomplete: "off" }));
  return { element: html("span", { class: "rows__pair" }, inputs), read: () => inputs.map((input) => input.value) };
}

// A key whose text is a list; while it is inherited, the inherited rows are shown and cannot be changed.
function listField(label, text, { base = null, parse, write, makeRow, blank, addLabel, ...more }) {
  const body = html("div");
  let rows = null;
  function show(now) {
    const list = parse(now);
    if (list === null) {
      const raw = html("textarea", { rows: 3, value: now, spellcheck: "false", "aria-label": `${label}, as text` });
      rows = { read: () => null, raw };
      body.replaceChildren(raw);
    } else {
      rows = rowList(list, makeRow, blank, addLabel);
      body.replaceChildren(rows.element);
    }
  }
  function inherit() {
    rows = null;
    const list = parse(base) ?? [];
    const flat = (one) => (Array.isArray(one) ? one.map(flat).join(" ") : one);
    body.replaceChildren(
      html("ul", { class: "rows rows--inherited" }, list.length ? list.map((one) => html("li", {}, flat(one))) : html("li", {}, base && parse(base) === null ? base : "none")),
      button("Change here", { icon: "pencil", kind: "button--small", onclick: () => {
        show(base || "");
        control.update();
        body.querySelector("input, select, textarea, button").focus();
      } }));
  }
  if (base !== null && !text) inherit(); else show(text);
  const control = frame(label, body, { base, isEmpty: () => rows === null, clear: inherit, ...more });
  return { ...control, read: () => (rows === null ? "" : rows.raw ? rows.raw.value.trim() : write(rows.read())) };
}

// What the lists of texts are: how each is read and written, and what a row of it is.
export const pairsList = { parse: readPairs, write: pairsText, makeRow: pairRow, blank: () => ["", ""], addLabel: "Pair" };

export const recoveriesList = (kinds) => ({
  parse: readRecoveries, write: recoveriesText, blank: () => [Object.keys(kinds)[0] ?? "", []], addLabel: "Recovery",
  makeRow: ([kind, pairs]) => {
    const select = html("select", { "aria-label": "Kind of recovery" }, [...new Set([...Object.keys(kinds), kind].filter(Boolean))].map((name) => (
      html("option", { value: name, title: kinds[name] ?? "" }, name))));
    select.value = kind;
    const about = html("p", { class: "field__hint" });
    const explain = () => { about.textContent = kinds[select.value] ?? ""; };
    select.addEventListener("change", explain);
    explain();
    const overrides = rowList(pairs, pairRow, () => ["", ""], "Override");
    return { element: html("div", { class: "rows__recovery" }, select, about, overrides.element), read: () => [select.value, overrides.read()] };
  },
});

export const pairsField = (label, text, options = {}) => listField(label, text, { ...pairsList, ...options });
export const recoveriesField = (label, text, kinds, options = {}) => listField(label, text, { ...recoveriesList(kinds), ...options });

const readWords = (text) => {
  try {
    const object = JSON.parse(text || "{}");
    return object && typeof object === "object" && Object.values(object).every((one) => typeof one === "string") ? Object.entries(object) : null;
  } catch { return null; }
};

export const wordsField = (label, text, options = {}) => listField(label, text, {
  parse: readWords, write: (rows) => (rows.some(([key]) => key) ? jsonText(Object.fromEntries(rows.filter(([key]) => key))) : ""),
  makeRow: pairRow, blank: () => ["", ""], addLabel: "Keyword", ...options });

// ----------------------------------------------------------------------------------------------------------- splits

// The text of a split, with a chooser made from what the split types say of themselves.
export function splitField(label, text, types, options = {}) {
  const chooser = html("fieldset", { class: "chooser", hidden: true });
  const open = button("Choose…", { kind: "button--small", "aria-expanded": "false", onclick: () => {
    chooser.hidden = !chooser.hidden;
    set(open, "aria-expanded", String(!chooser.hidden));
    if (!chooser.hidden) { build(); chooser.querySelector("select").focus(); }
  } });
  const field = textField(label, text, { ...options, buttons: [open] });
  field.element.append(chooser);
  function build() {
    const now = readSplit(field.read() || options.base || "") ?? { name: "", args: [] };
    const select = html("select", { "aria-label": "Split type" }, html("option", { value: "" }, "no split"),
      types.map((type) => html("option", { value: type.name }, type.name)));
    select.value = types.some((type) => type.name === now.name) ? now.name : "";
    const details = html("div", { class: "chooser__details" });
    chooser.replaceChildren(html("legend", {}, "Split types"), select, details);
    const fill = (values) => {
      const type = types.find((one) => one.name === select.value);
      const inputs = (type?.parameters ?? []).map((parameter) => [parameter, textField(parameter.name, values[parameter.name] ?? "",
        { hint: parameter.help + (parameter.default ? ` (${parameter.default} if empty)` : "") })]);
      details.replaceChildren(html("p", { class: "field__hint" }, type?.description ?? "The whole dataset in one submission."),
        ...inputs.map(([, input]) => input.element));
      const put = () => {
        field.write(type ? splitText(type.name, type.parameters, Object.fromEntries(inputs.map(([parameter, input]) => [parameter.name, input.read()]))) : "None");
        field.input.dispatchEvent(new Event("change", { bubbles: true }));
      };
      details.oninput = put;
      return put;
    };
    fill(splitValues(types.find((one) => one.name === now.name)?.parameters ?? [], now.args));
    select.addEventListener("change", () => fill({})());
  }
  return field;
}

// The dataset; some split types keep their data in it, which has an editor of its own.
export function datasetField(label, text, editorNow, options = {}) {
  const place = html("div", { class: "chooser", hidden: true });
  const open = button("Edit list…", { kind: "button--small", onclick: () => {
    place.hidden = !place.hidden;
    if (!place.hidden) { build(); place.querySelector("textarea, button").focus(); }
  } });
  const field = textField(label, text, { ...options, buttons: [open] });
  field.element.append(place);
  const follow = () => {
    open.hidden = !editorNow();
    if (open.hidden) place.hidden = true;
  };
  function build() {
    const now = field.read() || options.base || "";
    if (editorNow() === "list") {
      const area = html("textarea", { rows: 6, "aria-label": "Datasets, one a line", spellcheck: "false",
        value: now === "None" ? "" : now.split(/[,\n]/).map((one) => one.trim()).filter(Boolean).join("\n") });
      area.addEventListener("input", () => field.write(area.value.split("\n").map((one) => one.trim()).filter(Boolean).join(",")));
      place.replaceChildren(area, html("p", { class: "field__hint" }, "One dataset a line; they are launched one after the other."));
      return;
    }
    let lists = [];
    try { lists = JSON.parse(now).map((list) => list.map(String)); } catch { lists = [[]]; }
    const rows = rowList(lists, (list) => {
      const area = html("textarea", { rows: 3, value: list.join("\n"), "aria-label": "Values, one a line", spellcheck: "false" });
      return { element: area, read: () => area.value.split("\n").map((one) => one.trim()).filter(Boolean) };
    }, () => [], "List");
    const put = () => {
      const read = rows.read();
      field.write(jsonText(read));
      count.textContent = `${read.reduce((product, list) => product * list.length, read.length ? 1 : 0)} combinations, one submission each`;
    };
    const count = html("p", { class: "field__hint", role: "status" });
    place.replaceChildren(rows.element, count);
    place.oninput = place.onchange = put;
  }
  return { ...field, follow };
}
