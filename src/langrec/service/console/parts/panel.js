// A titled surface: the frame of every part of a page.

import { el } from "../core/dom.js";

/** A section with a head line; `end` stands at the head's right. */
export function panel(title, end, ...content) {
	return el(
		"section",
		{ class: "panel", "aria-label": title },
		el("div", { class: "panel-head" }, el("h2", {}, title), end && el("span", { class: "end" }, end)),
		content,
	);
}
