// An item's fields as people read them.

import { el } from "../core/dom.js";
import { number, t } from "../core/words.js";

/** The longest text among the fields, empty where there is none: several words, or ten characters of a script without spaces. */
export function longText(fields) {
	const prose = /\s|^(?=.*[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]).{10}/u;
	const texts = Object.values(fields || {}).filter((value) => typeof value === "string" && prose.test(value));
	return texts.sort((a, b) => b.length - a.length)[0] || "";
}

/** A definition list of all fields that hold something. */
export function fieldList(fields) {
	const rows = Object.entries(fields || {}).filter(
		([, value]) => value !== null && value !== undefined && value !== "" && !(Array.isArray(value) && !value.length),
	);
	if (!rows.length) return el("p", { class: "muted" }, t("item.no_fields"));
	return el(
		"dl",
		{ class: "fields" },
		rows.map(([name, value]) => [el("dt", {}, name), el("dd", { dir: "auto" }, said(value))]),
	);
}

function said(value) {
	if (typeof value === "boolean") return t(value ? "yes" : "no");
	if (typeof value === "number") return number(value, undefined, { maximumFractionDigits: 20, useGrouping: false }); // data: not rounded
	if (Array.isArray(value)) return value.map(said).join(", ");
	return typeof value === "object" ? JSON.stringify(value) : String(value);
}
