// Single keys: / goes to the page's field, j and k move over rows, Enter opens, ? shows all; they can be switched off.

const OFF = "langrec.keys";
let showHelp = () => {};

export const keysOn = () => localStorage.getItem(OFF) !== "off";
export const setKeys = (on) => localStorage.setItem(OFF, on ? "on" : "off");

/** Starts listening; `help` is called for `?`. */
export function listen(help) {
	showHelp = help;
	document.addEventListener("keydown", onKey);
}

function onKey(event) {
	if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !keysOn()) return;
	if (typing(event.target)) {
		if (event.key === "Escape") event.target.blur();
		return;
	}
	const run = { "/": focusField, j: () => move(1), k: () => move(-1), "?": showHelp }[event.key] || rowKey(event.key);
	if (!run) return;
	event.preventDefault();
	run();
}

function typing(node) {
	if (node.closest("dialog[open]") && node.closest("dialog[open]").dataset.modal !== undefined) return true;
	return (
		node.isContentEditable ||
		node.tagName === "TEXTAREA" ||
		node.tagName === "SELECT" ||
		(node.tagName === "INPUT" && !["checkbox", "radio", "range"].includes(node.type))
	);
}

function focusField() {
	const field = document.querySelector("main [data-search]");
	if (!field) {
		location.hash = "#/search";
		return;
	}
	field.focus();
	field.select?.();
}

function move(step) {
	const rows = [...document.querySelectorAll("main [data-row]")];
	if (!rows.length) return;
	const now = rows.findIndex((row) => row === document.activeElement || row.closest("[data-row-box]")?.contains(document.activeElement));
	const next = now === -1 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, now + step));
	rows[next].focus();
	rows[next].scrollIntoView({ block: "nearest" });
}

// A row may offer its own keys: a button with data-key inside the focused row's box.
function rowKey(key) {
	const box = document.activeElement?.closest?.("[data-row-box]");
	const button = /^[a-z]$/.test(key) && box?.querySelector(`[data-key="${key}"]`);
	return button ? () => button.click() : null;
}
