// Short notes: spoken to assistive technology, and shown in a corner where there is something to undo.

import { el, fill } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./words.js";

/** Says a note to those who cannot see the change. */
export function say(text) {
	const live = document.getElementById("live");
	live.textContent = "";
	setTimeout(() => (live.textContent = text), 50); // a changed text is read; the same text twice would not be
}

/** Shows a note for a few seconds, with an action where one is given. */
export function toast(text, action = null) {
	const box = document.getElementById("toasts");
	const note = el("div", { class: "toast" }, el("span", {}, text));
	const leave = () => note.remove();
	if (action)
		note.append(
			el(
				"button",
				{
					class: "link",
					onclick: () => {
						leave();
						action.run();
					},
				},
				action.label,
			),
		);
	note.append(el("button", { class: "icon-button", "aria-label": t("close"), onclick: leave }, icon("close")));
	fill(box, note);
	// Whoever points at it, or is about to press its button, has the time they want.
	const fade = () => (note.matches(":hover, :focus-within") ? setTimeout(fade, 1000) : leave());
	setTimeout(fade, 8000);
}

/** Copies a text and says so. */
export async function copy(text) {
	try {
		await navigator.clipboard.writeText(text);
		toast(t("copied"));
		say(t("copied"));
	} catch {
		toast(text); // no clipboard outside a secure context: show it, to be copied by hand
	}
}
