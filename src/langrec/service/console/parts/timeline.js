// A user's history, newest first; each item can be switched off to see the list as if it had not happened.

import { el } from "../core/dom.js";
import { date, known, number, since, t } from "../core/words.js";

/** `off` is the set of item ids switched off; `turn(id, on)` is called by the switches. */
export function timeline(events, off, turn) {
	return el(
		"ol",
		{ class: "timeline" },
		events.map((event) => moment(event, off, turn)),
	);
}

function moment(event, off, turn) {
	const on = !off.has(event.id);
	const title = event.title || event.id;
	const row = el(
		"li",
		{ class: on ? "" : "off", data: { id: event.id } },
		el("span", { class: `dot ${event.type}`, "aria-hidden": "true" }),
		el("div", {}, el("div", { class: "title", title, dir: "auto" }, title), el("div", { class: "when", title: date(event.at) }, `${what(event)} · ${since(event.at)}`)),
		el("button", {
			class: "switch",
			role: "switch",
			"aria-checked": String(on),
			"aria-label": t("history.counts", { title }),
			title: t("history.what_if"),
			onclick: (press) => {
				const now = press.currentTarget.getAttribute("aria-checked") !== "true";
				press.currentTarget.setAttribute("aria-checked", String(now));
				row.className = now ? "" : "off";
				turn(event.id, now);
			},
		}),
	);
	return row;
}

function what(event) {
	const name = known(`event.${event.type}`) ? t(`event.${event.type}`) : event.type;
	return event.type === "rating" && event.value ? `${name} ${number(event.value)}` : name;
}
