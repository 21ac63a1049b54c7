// Who did what: the newest rows of the audit, for those who may see them.

import { get } from "../core/api.js";
import { el } from "../core/dom.js";
import { date, known, since, t } from "../core/words.js";
import { panel } from "./panel.js";

const SHOWN = 20;

/** The panel of the newest acts; null where this key may not see them. */
export async function acts(role) {
	if (role !== "admin") return null;
	const { rows } = await get("/api/audit", { n: SHOWN });
	const body = rows.length ? table(rows) : el("p", { class: "muted small" }, t("audit.empty"));
	const told = el("p", { class: "muted small" }, t("audit.text"));
	return panel(t("audit.title"), null, el("div", { class: "panel-body" }, told, body));
}

function table(rows) {
	const heads = ["audit.at", "audit.who", "audit.did", "audit.to"];
	return el(
		"div",
		{ class: "table-box", tabindex: "0", role: "group", "aria-label": t("audit.title") },
		el(
			"table",
			{ class: "small" },
			el("thead", {}, el("tr", {}, heads.map((name) => el("th", { scope: "col" }, t(name))))),
			el("tbody", {}, rows.map(line)),
		),
	);
}

// What an older or a newer server calls an act is shown as it is written.
const did = (action) => {
	const key = `audit.act.${action.replaceAll(" ", "_")}`;
	return known(key) ? t(key) : action;
};

const line = (one) =>
	el(
		"tr",
		{ data: { act: one.action } },
		el("td", { title: date(one.at) }, since(one.at)),
		el("td", { class: "mono" }, one.actor),
		el("td", {}, did(one.action)),
		el("td", { class: "mono" }, one.target.slice(0, 80)),
	);
