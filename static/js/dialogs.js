// Questions. Without scripts a <dialog popover> opens by its button's popovertarget; with scripts it is modal,
// keeps the focus inside and gives it back. A form is sent once, however often its button is pressed.
const AGAIN_MS = 15_000;
const TYPED = "textarea, select, input:not([type=hidden], [type=checkbox], [type=radio])";

// A question that all rows of a list share: filled in from what stands around the link that asks it.
function fill(dialog, about) {
  for (const place of dialog.querySelectorAll("[data-said]")) place.textContent = about[place.dataset.said];
  for (const field of dialog.querySelectorAll("[data-given]")) {
    field.value = (about[field.dataset.given] ?? "") + (field.dataset.end ?? "");
  }
  for (const list of dialog.querySelectorAll("[data-options]")) {
    list.replaceChildren(...JSON.parse(about[list.dataset.options]).map((one) => new Option(one.name ?? one, one.id ?? one)));
  }
}

function askAbout(page, event) {
  const link = event.target.closest?.("a[data-ask]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const dialog = page.getElementById(link.dataset.ask);
  const place = link.closest("[data-about]");
  const menu = link.closest("details.menu");
  event.preventDefault();
  fill(dialog, place.dataset);
  menu.open = false;
  dialog.addEventListener("close", () => menu.querySelector("summary").focus(), { once: true });
  dialog.showModal();
  dialog.querySelector("[autofocus]")?.select();
}

export function startDialogs(page) {
  page.addEventListener("click", (event) => askAbout(page, event));
  page.addEventListener("click", (event) => {
    const button = event.target.closest?.("[popovertarget]");
    if (!button) return;
    const dialog = page.getElementById(button.getAttribute("popovertarget"));
    if (!(dialog instanceof HTMLDialogElement)) return;
    event.preventDefault();
    if (button.getAttribute("popovertargetaction") === "hide") {
      dialog.close();
    } else if (!dialog.open) {
      const menu = button.closest("details.menu");
      dialog.addEventListener("close", () => (menu?.querySelector("summary") ?? button).focus(), { once: true });
      dialog.showModal();
      // A dialog inside a closed menu would not be shown.
      if (menu && !menu.contains(dialog)) menu.open = false;
    }
  });
  page.addEventListener("click", (event) => {
    // A press on the backdrop hits the dialog itself, outside its content. It ends a question, but not one in which
    // something can be typed: a hand that slips, or text that is marked to beyond the edge, must not lose it.
    if (event.target instanceof HTMLDialogElement && event.target.open && event.detail < 2 && !event.target.querySelector(TYPED)) {
      const edge = event.target.getBoundingClientRect();
      const inside = event.clientX >= edge.left && event.clientX <= edge.right
        && event.clientY >= edge.top && event.clientY <= edge.bottom;
      if (!inside) event.target.close();
    }
  });
  page.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    // An answer that never comes, or that somebody would not wait for, must not leave a button that does nothing.
    setTimeout(() => { delete form.dataset.sent; }, AGAIN_MS);
  });
  // A page that comes back out of the browser's history may send again.
  addEventListener("pageshow", () => {
    for (const form of page.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });
}
