// Light, dark, or as the system has it.

const LOOK = "langrec.look";
export const looks = new EventTarget(); // "change": colours are others now

const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => looks.dispatchEvent(new Event("change")));

export function look() {
	return document.documentElement.dataset.look || "system";
}

/** Goes from system to light to dark and back. */
export function nextLook() {
	const next = { system: "light", light: "dark", dark: "system" }[look()];
	if (next === "system") delete document.documentElement.dataset.look;
	else document.documentElement.dataset.look = next;
	localStorage.setItem(LOOK, next);
	looks.dispatchEvent(new Event("change"));
	return next;
}

/** Whether the person asked for less motion. */
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** The present colour behind a CSS variable, for what is drawn outside CSS: the browser picks between light and dark. */
export function colour(name) {
	const probe = document.body.appendChild(document.createElement("i"));
	probe.style.color = `var(${name})`;
	const value = getComputedStyle(probe).color;
	probe.remove();
	return value;
}
