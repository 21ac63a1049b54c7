// What went wrong or what is missing, and the way on.

import { otherKey } from "../core/api.js";
import { el } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { copy } from "../core/say.js";
import { known, t } from "../core/words.js";

/** A card with what kind of problem it is, the API's message, code, field and request id, a copy button, and a way to try again. */
export function problem(error, retry = null) {
	const message = said(error);
	const kind = known(`problem.of.${error.code}`) ? t(`problem.of.${error.code}`) : "";
	const rows = [
		["problem.code", error.code || error.name],
		["problem.field", error.field],
		["problem.request", error.requestId],
	].filter(([, value]) => value);
	const text = [kind, message, ...rows.map(([key, value]) => `${t(key)}: ${value}`)]
		.filter(Boolean)
		.join("\n");
	return el(
		"div",
		{ class: "problem", role: "alert" },
		el("strong", {}, kind || message),
		kind && el("p", {}, message),
		el(
			"dl",
			{},
			rows.map(([key, value]) => [el("dt", {}, t(key)), el("dd", { class: "mono" }, value)]),
		),
		el(
			"div",
			{ class: "row" },
			retry && el("button", { class: "button", onclick: retry }, t("problem.retry")),
			error.status === 403 && el("button", { class: "button", data: { otherKey: "" }, onclick: otherKey }, t("key.other")),
			el("button", { class: "button", onclick: () => copy(text) }, icon("copy"), t("copy")),
		),
	);
}

/** What happened: the API's own message, or the console's where the API said nothing. */
function said(error) {
	if (error.code === "no_answer") return t("problem.no_answer");
	if (error.code === "broken_answer") return t("problem.broken_answer");
	if (error.code === `http_${error.status}`) return t("problem.foreign", { status: String(error.status) });
	return error.message || String(error);
}

/** Shows at the top of a box why something there was not done: once, and in view. */
export function report(box, error) {
	box.querySelector(":scope > .problem")?.remove();
	const card = problem(error);
	box.prepend(card);
	card.scrollIntoView({ block: "nearest" });
}

/** Nothing is here: what it means, and what to do next. */
export function empty(title, hint, ...actions) {
	return el("div", { class: "empty" }, el("strong", {}, title), hint && el("p", {}, hint), el("div", { class: "row" }, actions));
}
