// The button that changes between light and dark, and remembers it in this browser.
const root = document.documentElement;

function isDark() {
  if (root.dataset.theme) return root.dataset.theme === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

export function startTheme(page) {
  for (const button of page.querySelectorAll("[data-theme-switch]")) {
    button.hidden = false;
    button.setAttribute("aria-pressed", isDark());
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      button.setAttribute("aria-pressed", isDark());
      try {
        localStorage.setItem("poms-theme", root.dataset.theme);
      } catch {
        // Not kept, but changed for this page.
      }
    });
  }
}
