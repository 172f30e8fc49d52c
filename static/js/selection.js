// Lists with check boxes: choose all that are shown, and how many are chosen. The bar itself is shown by CSS.
export function startSelection(page) {
  const boxes = (table) => [...table.querySelectorAll("tbody input[type=checkbox][name]:enabled")];
  const show = (list) => {
    const all = boxes(list);
    const chosen = all.filter((box) => box.checked).length;
    const head = list.querySelector("[data-choose-all]");
    if (head) {
      head.checked = chosen > 0 && chosen === all.length;
      head.indeterminate = chosen > 0 && chosen < all.length;
    }
    for (const count of list.querySelectorAll("[data-chosen]")) count.textContent = chosen;
  };
  for (const head of page.querySelectorAll("[data-choose-all]")) head.hidden = false;
  page.addEventListener("change", (event) => {
    const list = event.target.closest?.("[data-selection]");
    if (!list) return;
    if (event.target.matches("[data-choose-all]")) {
      for (const box of boxes(list)) box.checked = event.target.checked;
    }
    show(list);
  });
  for (const list of page.querySelectorAll("[data-selection]")) show(list);
}
