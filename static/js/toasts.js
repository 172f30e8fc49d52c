// A toast says that something is done. It goes by itself, but not while somebody reads it.
const SHOWN_MS = 8000;
// What can be taken back stays longer, so that one can read it, think, and get there by keyboard.
const UNDO_MS = 30_000;

export function startToasts(page) {
  // Something was done, so what was sent has arrived.
  if (page.querySelector(".toast")) import("./drafts.js").then(({ forgetSent }) => forgetSent());
  for (const toast of page.querySelectorAll(".toast")) {
    const form = toast.querySelector("form[data-undo]");
    const shown = form ? UNDO_MS : SHOWN_MS;
    const leave = () => toast.remove();
    const close = toast.querySelector("[data-dismiss]");
    if (close) {
      close.hidden = false;
      close.addEventListener("click", leave);
    }
    let timer = setTimeout(leave, shown);
    toast.addEventListener("pointerenter", () => clearTimeout(timer));
    toast.addEventListener("focusin", () => clearTimeout(timer));
    toast.addEventListener("pointerleave", () => { timer = setTimeout(leave, shown); });
    if (form) undoByKey(page, form);
  }
}

// Control and Z, where no text is typed; the campaign editor has an undo of its own.
function undoByKey(page, form) {
  page.addEventListener("keydown", (event) => {
    const busy = event.target.closest?.("input:not([type=checkbox], [type=radio]), select, textarea, dialog, [contenteditable]") || page.querySelector("[data-editor]");
    if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey || busy) return;
    if (!form.isConnected) return;
    event.preventDefault();
    form.requestSubmit();
  });
}
