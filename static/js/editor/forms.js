// The forms in dialogs: campaign and defaults, stages, dependencies, job types, login setups, adding, differences.
// Each ends with null, or with what is to be changed; changing is the editor's business.
import { button, glyph, html, iconButton, newId, plural } from "./dom.js";
import { choiceField, datasetField, pairsField, recoveriesField, splitField, textField, wordsField } from "./fields.js";
import { effective, nameProblem, parseAdding } from "./model.js";

const STAGE_TYPES = ["regular", "generator", "approval", "test", "datatransfer"];
const FIELDS = [
  ["stage_type", "Kind"], ["job_type", "Job type"], ["login_setup", "Login/setup"], ["software_version", "Version"],
  ["dataset_or_split_data", "Dataset"], ["cs_split_type", "Split"], ["completion_type", "Done when output is"],
  ["completion_pct", "Done at % of files"], ["vo_role", "VO role"], ["param_overrides", "Parameter overrides"],
];
const MORE = [
  ["test_split_type", "Split of test launches"], ["test_param_overrides", "Overrides of test launches"],
  ["merge_overrides", "Merge the campaign's overrides"], ["output_ancestor_depth", "Generations from input to output"],
  ["default_clear_cronjob", "Stop the schedule when nothing is left"], ["recovery_policy", "Recovery rules"],
  ["start_when", "Begin early, such as 500 files or 10% or 2h"], ["scout", "Scout, such as 10 files, 90%, memory x1.2"],
];
const CHOICES = { stage_type: STAGE_TYPES, completion_type: ["complete", "located"], merge_overrides: ["True", "False"],
  default_clear_cronjob: ["True", "False"] };

// Shows a modal dialog; resolves with what read() gives when it is accepted, with null otherwise.
// answer: what one of the buttons "answers" comes to; null if the dialog has to stay.
export function ask({ title, body, yes = "Apply", no = "Cancel", read = () => true, extra = [], answers = extra, answer = (said) => said, wide = false, danger = false }) {
  return new Promise((resolve) => {
    const heading = newId();
    const before = document.activeElement;
    let result = null;
    const accept = html("button", { class: `button button--primary ${danger ? "button--danger" : ""}` }, yes);
    const form = html("form", { method: "dialog", novalidate: true },
      html("div", { class: "ask__head" }, html("h2", { id: heading }, title), iconButton("Close", "close", () => dialog.close())),
      html("div", { class: "ask__body" }, body),
      html("div", { class: "ask__foot" }, extra, no ? button(no, { kind: "button--bare", onclick: () => dialog.close() }) : null, yes ? accept : null));
    const dialog = html("dialog", { class: `ask editask ${wide ? "editask--wide" : ""}`, "aria-labelledby": heading }, form);
    const finish = (value) => { result = value; dialog.close(); };
    const end = (value) => { if (value !== undefined && value !== null) finish(value); };
    answers.forEach((one) => one.addEventListener("click", () => end(answer(one.dataset.answer))));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      end(read(finish));
    });
    // Escape does not drop what was typed before it was pressed twice.
    let typed = false;
    for (const name of ["input", "change"]) form.addEventListener(name, () => { typed = true; });
    dialog.addEventListener("cancel", (event) => {
      if (!typed || !yes) return;
      typed = false;
      event.preventDefault();
      form.lastChild.prepend(html("p", { class: "small", role: "status" }, "Not applied yet. Escape again drops it."));
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before?.isConnected) before.focus();
      resolve(result);
    });
    document.body.append(dialog);
    dialog.showModal();
    (dialog.querySelector("[data-first]") ?? dialog.querySelector(".ask__body :is(input, select, textarea, button):not([hidden])") ?? accept).focus();
  });
}

const trouble = (list) => (list.length ? html("ul", { class: "problems editask__problems s-failed" }, list.map((one) => html("li", {}, glyph("failed"), one.message))) : null);
const changed = (fields, before) => Object.fromEntries([...fields].map(([key, field]) => [key, field.read()])
  .filter(([key, text]) => text !== (before[key] ?? "").trim()));

export class Forms {
  // choices: of the server. editor: { model, problemsOf(id), openBlock(kind, name) }
  constructor(choices, editor) {
    this.choices = choices;
    this.editor = editor;
    this.keys = new Map(choices.keys.map((key) => [key.name, key]));
  }

  get model() { return this.editor.model; }

  names(kind) {
    const own = this.model[kind === "job_type" ? "jobs" : "setups"].map((block) => block.name);
    return [...new Set([...own, ...this.choices[kind].names])];
  }

  // Fields of the keys of stages. base(key): the text that counts if a field is empty.
  keyFields(values, base, problems) {
    const fields = new Map();
    const problem = (key) => problems.find((one) => one.field.endsWith(`/${key}`))?.message ?? "";
    const make = (key, label) => {
      const options = { base: base(key), problem: problem(key) };
      const text = values[key] ?? "";
      if (CHOICES[key]) return choiceField(label, text, CHOICES[key], options);
      if (this.keys.get(key).kind === "pairs") return pairsField(label, text, options);
      if (key.endsWith("split_type")) return splitField(label, text, this.choices.split_types, options);
      if (key === "job_type" || key === "login_setup") return this.blockField(label, text, key, options);
      if (key === "dataset_or_split_data") return datasetField(label, text, () => this.splitEditor(fields, base), options);
      if (key === "recovery_policy") return textField(label, text, { ...options, lines: 4, hint: "One rule a line, such as: when hold 34: memory x1.5" });
      return textField(label, text, { ...options, options: key === "vo_role" ? ["Production", "Analysis"] : null });
    };
    const build = (list) => list.map(([key, label]) => {
      fields.set(key, make(key, label));
      return fields.get(key).element;
    });
    const isDispatcher = this.model.campaign.data_handling_service === "data_dispatcher";
    const special = [...this.keys.keys()].filter((key) => key.startsWith("data_dispatcher_"))
      .filter((key) => isDispatcher || values[key] || this.model.defaults[key])
      .map((key) => [key, key.replace("data_dispatcher_", "Data dispatcher: ").replaceAll("_", " ")]);
    const main = build(FIELDS);
    const rest = build([...MORE, ...special]);
    const open = [...MORE, ...special].some(([key]) => values[key] !== undefined || problem(key));
    const body = [html("div", { class: "editform" }, main), html("details", { class: "editform__more", open },
      html("summary", {}, "Test launches, merging, depth, recovery rules", special.length ? ", data dispatcher" : ""), html("div", { class: "editform" }, rest))];
    const split = fields.get("cs_split_type");
    for (const name of ["input", "change"]) split.element.addEventListener(name, fields.get("dataset_or_split_data").follow);
    fields.get("dataset_or_split_data").follow();
    return { fields, body };
  }

  splitEditor(fields, base) {
    const text = (fields.get("cs_split_type")?.read() || base("cs_split_type") || "").toLowerCase();
    const type = this.choices.split_types.find((one) => one.name === /^\s*([a-z0-9]*)/.exec(text)[1]);
    return type?.editor ?? "";
  }

  blockField(label, text, kind, options) {
    const edit = async (name) => {
      const result = await this.editor.openBlock(kind, name);
      if (result) field.write(result);
    };
    const what = kind === "job_type" ? "job type" : "login setup";
    const field = textField(label, text, { ...options, options: this.names(kind), buttons: this.editor.mayEdit ? [
      button("Open", { kind: "button--small", "aria-label": `Open this ${what}`, onclick: () => edit(field.read() || options.base || "") }),
      button("New…", { kind: "button--small", "aria-label": `New ${what}`, onclick: () => edit("") })] : [] });
    return field;
  }

  // ------------------------------------------------------------------------------------------------------- the forms

  async stage(stage, problems) {
    const base = (key) => effective(this.model, { values: {} }, key, this.keys).text;
    const name = textField("Name", stage.name);
    const { fields, body } = this.keyFields(stage.values, base, problems);
    const note = html("p", { class: "field__problem", role: "alert" });
    const names = new Map(this.model.stages.map((one) => [one.id, one.name]));
    const links = this.model.links.filter((link) => link.consumer === stage.id || link.needs === stage.id);
    const dependencies = links.length ? html("section", { class: "editform__links" }, html("h3", {}, "Dependencies"), html("ul", {}, links.map((link) => html("li", {},
      html("button", { type: "button", class: "linklike", "data-answer": link.id }, `${names.get(link.consumer)} takes ${link.pattern} from ${names.get(link.needs)}`))))) : null;
    const read = () => {
      note.textContent = nameProblem(this.model, name.read(), stage.id);
      if (note.textContent) { name.input.focus(); return null; }
      return { name: name.read(), values: changed(fields, stage.values) };
    };
    return ask({ title: `Stage ${stage.name}`, wide: true, ...this.rights(),
      body: [trouble(problems), html("div", { class: "editform" }, name.element), note, body, dependencies],
      read, answer: (next) => { const now = read(); return now && { ...now, next }; }, answers: [...(dependencies?.querySelectorAll("[data-answer]") ?? [])] });
  }

  rights() { return this.editor.mayEdit ? {} : { yes: "", no: "Close" }; }

  // One form for several stages: what is left alone stays as it is in each of them.
  async stages(stages) {
    const same = (key) => stages.every((stage) => (stage.values[key] ?? "") === (stages[0].values[key] ?? ""));
    const values = Object.fromEntries([...this.keys.keys()].filter((key) => same(key) && stages[0].values[key] !== undefined)
      .map((key) => [key, stages[0].values[key]]));
    const base = (key) => (same(key) ? effective(this.model, { values: {} }, key, this.keys).text : "several values");
    const { fields, body } = this.keyFields(values, base, []);
    return ask({ title: `${stages.length} stages`, wide: true, yes: `Change ${stages.length} stages`,
      body: [html("p", { class: "small soft" }, `${stages.map((stage) => stage.name).join(", ")}. Fields that you leave alone stay as they are in each stage.`), body],
      read: () => ({ values: changed(fields, values) }) });
  }

  async campaign(problems) {
    const { campaign, defaults } = this.model;
    const own = new Map([
      ["name", textField("Name of the campaign", campaign.name ?? "", { problem: problems.find((one) => one.field === "campaign/name")?.message,
        hint: this.editor.savedName ? `Another name saves a new campaign and leaves ${this.editor.savedName} as it is.` : "" })],
      ["campaign_type", choiceField("Type", campaign.campaign_type ?? "", ["regular", "test"])],
      ["data_handling_service", choiceField("Data handling", campaign.data_handling_service ?? "sam", ["sam", "data_dispatcher"])],
      ["campaign_keywords", wordsField("Keywords", campaign.campaign_keywords ?? "")],
    ]);
    const service = campaign.data_handling_service;
    const { fields, body } = this.keyFields(defaults, () => null, problems);
    return ask({ title: "Campaign and defaults", wide: true, ...this.rights(),
      body: [trouble(problems), html("div", { class: "editform" }, [...own.values()].map((field) => field.element)),
        html("h3", { class: "editform__title" }, "Defaults for all stages"), html("p", { class: "small soft" }, "Stages that state no value of their own follow."), body],
      read: () => {
        const texts = changed(own, campaign);
        if (!service && texts.data_handling_service === "sam") delete texts.data_handling_service;
        return { campaign: texts, defaults: changed(fields, defaults) };
      } });
  }

  async link(link, problems) {
    const name = (id) => this.model.stages.find((stage) => stage.id === id).name;
    const pattern = textField("Files that match", link.pattern, { problem: problems[0]?.message,
      hint: "A pattern with % for any text, several with commas; or, with a blank in it, a query about metadata." });
    return ask({ title: `${name(link.consumer)} needs ${name(link.needs)}`, body: [html("p", {}, `${name(link.consumer)} takes these files of ${name(link.needs)}:`), pattern.element],
      ...this.rights(), extra: this.editor.mayEdit ? [button("Remove dependency", { icon: "trash", kind: "button--danger", "data-answer": "remove" })] : [],
      read: () => ({ pattern: pattern.read() }) });
  }

  // stored: the experiment has it, so that a change needs another name. users: [[id, name]] that use it now.
  async block(kind, name, values, { stored, users, problems }) {
    const what = kind === "job_type" ? "job type" : "login setup";
    const problem = (key) => problems.find((one) => one.field.endsWith(`/${key}`))?.message ?? "";
    const title = textField("Name", name);
    const fields = new Map(kind === "job_type" ? [
      ["launch_script", textField("Launch script", values.launch_script ?? "", { lines: 2, problem: problem("launch_script") })],
      ["parameters", pairsField("Parameters", values.parameters ?? "", { problem: problem("parameters") })],
      ["output_file_patterns", textField("Output files", values.output_file_patterns ?? "%", { hint: "Patterns with % for any text, with commas between." })],
      ["recoveries", recoveriesField("Recoveries", values.recoveries ?? "", this.choices.recovery_types, { hint: "Tried in this order with files that were not processed.", problem: problem("recoveries") })],
    ] : [["host", textField("Host", values.host ?? "", { problem: problem("host") })], ["account", textField("Account", values.account ?? "", { problem: problem("account") })],
      ["setup", textField("Setup", values.setup ?? "", { lines: 4, hint: "Shell commands before the launch, with ; between." })]]);
    const note = html("p", { class: "field__problem", role: "alert" });
    const boxes = users.map(([id, label]) => [id, html("input", { type: "checkbox", id: newId() }), label]);
    boxes.forEach(([, box]) => { box.checked = true; });
    const also = boxes.length ? html("fieldset", { class: "editform__users" }, html("legend", {}, "Use the new one in"),
      boxes.map(([, box, label]) => html("div", { class: "field field--check" }, box, html("label", { for: box.id }, label)))) : null;
    return ask({ title: name ? `${what[0].toUpperCase()}${what.slice(1)} ${name}` : `New ${what}`, wide: true, ...this.rights(), body: [
      trouble(problems), stored ? html("p", { class: "small soft" }, `Other campaigns may use ${name} too, so it stays as it is: a change needs a new name.`) : null,
      html("div", { class: "editform" }, title.element, note, [...fields.values()].map((field) => field.element)), stored ? also : null],
    read: (finish) => {
      const texts = Object.fromEntries([...fields].map(([key, field]) => [key, field.read()]));
      const same = Object.entries(texts).every(([key, text]) => text.trim() === (values[key] ?? (key === "output_file_patterns" ? "%" : "")).trim()
        || (text === "[]" && !values[key]));
      const wanted = title.read();
      const taken = this.names(kind).includes(wanted) && (wanted !== name || (stored && !same));
      note.textContent = !wanted ? "Give it a name." : /[/[\]]/.test(wanted) ? "A name has no /, [ or ]." : taken ? `The ${what} ${wanted} does exist. Please use a new name.` : "";
      if (note.textContent) { title.input.focus(); return null; }
      if (same && wanted === name) return finish(null);
      return { name: wanted, values: texts, use: boxes.filter(([, box]) => box.checked).map(([id]) => id) };
    } });
  }

  async adding(parent) {
    const box = textField("Name", "", { hint: parent ? "name, name*3 for three of them, *3 for three clones" : "name, or name*3 for three of them" });
    return ask({ title: parent ? `Add a stage after ${parent.name}` : "Add a stage", yes: "Add stage", body: box.element, read: () => {
      const adding = parseAdding(box.read());
      const wrong = !adding || (adding.clones && !parent) || (!adding.clones && nameProblem({ stages: [] }, adding.name));
      box.element.classList.toggle("editfield--wrong", Boolean(wrong));
      if (wrong) { box.input.setAttribute("aria-invalid", "true"); box.input.focus(); return null; }
      return box.read();
    } });
  }
}

export const diffOf = (lines) => html("div", { class: "code diff editdiff", tabindex: 0, role: "group", "aria-label": "Difference" },
  lines.length ? lines.map((line) => html("span", { class: line.kind }, `${{ gone: "-", came: "+", place: "" }[line.kind] ?? " "} ${line.text}`)) : "No difference.");

export const listOf = (title, items) => html("section", {}, html("h3", {}, `${title} (${plural(items.length, "change")})`),
  html("ul", { class: "editlist" }, items.length ? items.map((one) => html("li", {}, one)) : html("li", {}, "none")));
