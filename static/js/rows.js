// Lists in forms: a text area that holds one gets rows to edit it by. The text area stays what is sent, and its text
// stays as it is until a row is changed. A text that is no list of rows is edited as text.
import { button, html, set, useIcons } from "./editor/dom.js";
import { pairsList, recoveriesList, rowList } from "./editor/fields.js";
import { jsonText } from "./editor/model.js";

const NO_ROWS = "This text is not a plain list, so it can only be changed as text.";

// The kinds of recoveries and what they mean, as the page tells them to everybody.
function kindsOf(page, id) {
  const names = [...(page.getElementById(id)?.querySelectorAll("dt") ?? [])];
  return Object.fromEntries(names.map((name) => [name.textContent.trim(), name.nextElementSibling.textContent.trim()]));
}

// As the page writes lists: an entry a line.
function inLines(text) {
  const list = JSON.parse(text);
  return list.length ? `[${list.map(jsonText).join(",\n ")}]` : "";
}

function startField(page, area) {
  const list = area.dataset.rows === "recoveries" ? recoveriesList(kindsOf(page, area.dataset.kinds)) : pairsList;
  const label = page.querySelector(`label[for="${area.id}"]`);
  label.id = `${area.id}-label`;
  const box = html("div", { class: "rowfield" });
  const note = html("p", { class: "field__hint", role: "status" });
  area.before(box, note);

  function asText() {
    box.replaceChildren(button("Edit in rows", { kind: "button--small button--bare rowfield__how", onclick: () => {
      if (asRows()) box.querySelector("input, select, .rowlist > button").focus();
    } }));
    for (const name of ["role", "aria-labelledby", "aria-describedby"]) set(box, name, null);
    label.htmlFor = area.id;
    area.hidden = false;
  }

  function asRows() {
    const values = list.parse(area.value.trim());
    note.textContent = values === null ? NO_ROWS : "";
    if (values === null) {
      asText();
      return false;
    }
    const rows = rowList(values, list.makeRow, list.blank, list.addLabel);
    const keep = () => { area.value = inLines(list.write(rows.read())); };
    rows.element.addEventListener("input", keep);
    rows.element.addEventListener("change", keep);
    rows.element.addEventListener("keydown", (event) => onward(event));
    box.replaceChildren(rows.element, button("Edit as text", { kind: "button--small button--bare rowfield__how", onclick: () => {
      asText();
      area.focus();
    } }));
    set(box, "role", "group");
    set(box, "aria-labelledby", label.id);
    set(box, "aria-describedby", area.getAttribute("aria-describedby"));
    label.removeAttribute("for");
    area.hidden = true;
    return true;
  }

  asRows();
  area.addEventListener("restored", asRows);
}

// Enter goes to the next field, and at the end of a list adds a row: it does not send the form.
function onward(event) {
  if (event.key !== "Enter" || !event.target.matches("input, select")) return;
  event.preventDefault();
  const fields = [...event.target.closest(".rows").querySelectorAll("input, select")];
  const next = fields[fields.indexOf(event.target) + 1];
  if (next) next.focus();
  else event.target.closest(".rowlist").querySelector(":scope > .button").click();
}

const fields = [...document.querySelectorAll("textarea[data-rows]")];
if (fields.length) useIcons(fields[0].dataset.icons);
for (const area of fields) startField(document, area);
