// A slider between two words.

import { calm, el, freshId } from "../core/dom.js";

/** Values 0 to 1; `change` is called when the hand rests. */
export function slider({ name, from, to, value, change }) {
	const id = freshId("slider");
	const tell = calm(() => change(Number(field.value)), 150);
	const field = el("input", {
		type: "range",
		id,
		min: 0,
		max: 1,
		step: 0.1,
		value,
		"aria-label": name,
		"aria-valuetext": said(value),
		oninput: () => {
			field.setAttribute("aria-valuetext", said(Number(field.value)));
			tell();
		},
	});
	function said(now) {
		return now <= 0 ? from : now >= 1 ? to : `${from} ${Math.round((1 - now) * 100)} %, ${to} ${Math.round(now * 100)} %`;
	}
	return el("div", { class: "slider" }, el("div", { class: "ends" }, el("span", {}, from), el("span", {}, to)), field);
}
