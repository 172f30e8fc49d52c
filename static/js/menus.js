// Menus are <details class="menu">. Here: closed by Escape and by a click elsewhere, walked by arrow keys.
const items = (menu) => [...menu.querySelectorAll(".menu__list a[href], .menu__list button:not([disabled])")];

function close(menu, { focus = false } = {}) {
  menu.open = false;
  if (focus) menu.querySelector("summary").focus();
}

function step(menu, key) {
  const list = items(menu);
  if (!list.length) return;
  const here = list.indexOf(document.activeElement);
  const next = { ArrowDown: here + 1, ArrowUp: here < 0 ? list.length - 1 : here - 1, Home: 0, End: list.length - 1 }[key];
  list[(next + list.length) % list.length].focus();
}

export function startMenus(page) {
  page.addEventListener("click", (event) => {
    for (const menu of page.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) close(menu);
    }
  });
  page.addEventListener("keydown", (event) => {
    const menu = event.target.closest?.("details.menu");
    if (!menu || event.target.closest("dialog[open]")) return;
    if (event.key === "Escape" && menu.open) {
      close(menu, { focus: true });
      event.preventDefault();
    } else if (["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) {
      if (!menu.open && event.key !== "ArrowDown") return;
      menu.open = true;
      step(menu, event.key);
      event.preventDefault();
    }
  });
}
