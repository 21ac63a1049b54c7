// Moves a list to its new order: what went up, down, came and left, shown by motion, by marks and in words.

import { still } from "../core/looks.js";
import { t } from "../core/words.js";

/** Compares two orders of ids: per id of `after` its steps up (positive), down (negative), 0, or "new"; and who left. */
export function compare(before, after) {
	const was = new Map(before.map((id, i) => [id, i]));
	const steps = new Map(after.map((id, i) => [id, was.has(id) ? was.get(id) - i : "new"]));
	const left = before.filter((id) => !steps.has(id));
	return { steps, left };
}

/** One sentence about a comparison. */
export function tell({ steps, left }) {
	const values = [...steps.values()];
	const up = values.filter((step) => step > 0).length;
	const down = values.filter((step) => step < 0).length;
	const fresh = values.filter((step) => step === "new").length;
	if (!up && !down && !fresh && !left.length) return t("move.same");
	return t("move.note", { up, down, fresh, left: left.length });
}

/** Where each row of a list stands now, by its id. */
export function stands(list) {
	return new Map([...list.children].map((row) => [row.dataset.id, row.getBoundingClientRect().top]));
}

/** Lets the rows glide from where they stood; new ones fade in. */
export function glide(list, before) {
	if (still()) return;
	for (const row of list.children) {
		const from = before.get(row.dataset.id);
		const by = from === undefined ? 0 : from - row.getBoundingClientRect().top;
		if (from === undefined)
			row.animate(
				[
					{ opacity: 0, transform: "translateX(16px)" },
					{ opacity: 1, transform: "none" },
				],
				{ duration: 320, easing: "ease-out" },
			);
		else if (by) row.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: 420, easing: "cubic-bezier(.2,.7,.2,1)" });
	}
}
