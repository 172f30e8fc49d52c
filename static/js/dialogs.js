// Questions. Without scripts a <dialog popover> opens by its button's popovertarget; with scripts it is modal,
// keeps the focus inside and gives it back. A form is sent once, however often its button is pressed.
const AGAIN_MS = 15_000;

export function startDialogs(page) {
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
    // A press on the backdrop hits the dialog itself, outside its content.
    if (event.target instanceof HTMLDialogElement && event.target.open) {
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
