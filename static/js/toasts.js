// A toast says that something is done. It goes by itself, but not while somebody reads it.
const SHOWN_MS = 8000;

export function startToasts(page) {
  for (const toast of page.querySelectorAll(".toast")) {
    const leave = () => toast.remove();
    const close = toast.querySelector("[data-dismiss]");
    if (close) {
      close.hidden = false;
      close.addEventListener("click", leave);
    }
    let timer = setTimeout(leave, SHOWN_MS);
    toast.addEventListener("pointerenter", () => clearTimeout(timer));
    toast.addEventListener("focusin", () => clearTimeout(timer));
    toast.addEventListener("pointerleave", () => { timer = setTimeout(leave, SHOWN_MS); });
  }
}
