// Before the first paint: that scripts will come, so that what they show has its room already, and the theme that this
// person chose here. All else about themes is in theme.js.
document.documentElement.dataset.scripts = "";
try {
  const chosen = localStorage.getItem("poms-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that keeps nothing for sites follows the system's theme.
}
