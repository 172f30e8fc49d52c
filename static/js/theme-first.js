// Before the first paint: the theme that this person chose here. All else about themes is in theme.js.
try {
  const chosen = localStorage.getItem("poms-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that keeps nothing for sites follows the system's theme.
}
