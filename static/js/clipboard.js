// Buttons with data-copy="<id>" put the text of that element on the clipboard, and say so.
export function startClipboard(page) {
  if (!navigator.clipboard) return;
  for (const button of page.querySelectorAll("[data-copy]")) button.hidden = false;
  page.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    const source = button && page.getElementById(button.dataset.copy);
    if (!source) return;
    const label = button.querySelector("[data-label]") ?? button;
    const before = label.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent);
      label.textContent = "Copied";
    } catch {
      label.textContent = "Not allowed here";
    }
    setTimeout(() => { label.textContent = before; }, 2000);
  });
}
