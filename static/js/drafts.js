// What was typed into a form is kept in this window until it is saved: a connection or a login that ends while it is
// sent loses nothing. The form offers it when it is shown again without it. Passwords, files and tokens are not
// kept; the version that a text began from is, so that what others saved meanwhile is not overwritten.
const KEPT_MS = 86_400_000;
const PREFIX = "poms-draft ";

const keyOf = (form) => `${PREFIX}${location.pathname} ${new URL(form.action).pathname} ${form.dataset.draft}`;
const fieldsOf = (form) => [...form.elements].filter((one) => one.name && one.matches("input, select, textarea")
  && (one.name === "base_version" || !one.matches("[type=hidden], [type=password], [type=file], [type=submit], [type=button]")));
const valueOf = (field) => (field.matches("[type=checkbox], [type=radio]") ? field.checked : field.value);

function valuesOf(form) {
  return JSON.stringify(fieldsOf(form).map((field) => [field.name, valueOf(field)]));
}

function putBack(form, values) {
  const fields = fieldsOf(form);
  JSON.parse(values).forEach(([name, value], place) => {
    const field = fields[place];
    if (field?.name !== name) return;
    if (typeof value === "boolean") field.checked = value;
    else field.value = value;
    field.dispatchEvent(new Event("restored"));
  });
}

function read(key) {
  try {
    const draft = JSON.parse(sessionStorage.getItem(key));
    return draft && Date.now() - draft.at < KEPT_MS ? draft : null;
  } catch { return null; }
}

function keep(key, draft) {
  // A window without room for it, or without storage, works as before.
  try { sessionStorage.setItem(key, JSON.stringify({ ...draft, at: Date.now() })); } catch { /* Nothing is kept then. */ }
}

// What was sent arrived when the next page says that it is done.
export function forgetSent() {
  for (const key of Object.keys(sessionStorage)) {
    if (key.startsWith(PREFIX) && read(key)?.sent) sessionStorage.removeItem(key);
  }
}

function offer(page, form, key, draft) {
  const template = page.querySelector("[data-draft-offer]");
  const notice = template.content.firstElementChild.cloneNode(true);
  const done = () => {
    sessionStorage.removeItem(key);
    notice.remove();
  };
  notice.querySelector("[data-draft-back]").addEventListener("click", () => {
    putBack(form, draft.values);
    done();
    fieldsOf(form).find((field) => field.checkVisibility?.() ?? true)?.focus();
  });
  notice.querySelector("[data-draft-forget]").addEventListener("click", done);
  form.before(notice);
}

function start(page) {
  if (page.querySelector(".toast")) forgetSent();
  for (const form of page.querySelectorAll("form[data-draft]")) {
    const key = keyOf(form);
    const first = valuesOf(form);
    const draft = read(key);
    if (draft && draft.values !== first) offer(page, form, key, draft);
    else sessionStorage.removeItem(key);
    const note = (sent) => {
      const values = valuesOf(form);
      if (values !== first || sent) keep(key, { values, sent });
    };
    form.addEventListener("change", () => note(false));
    form.addEventListener("submit", () => note(true));
  }
}

start(document);
