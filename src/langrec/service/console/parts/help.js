// The window that shows the keys, and lets one switch them off.

import { el } from "../core/dom.js";
import { keysOn, setKeys } from "../core/keys.js";
import { t } from "../core/words.js";
import { dialog } from "./dialog.js";

const KEYS = [
	["/", "field"],
	["j", "next"],
	["k", "previous"],
	["Enter", "open"],
	["c l x", "acts"],
	["Esc", "close"],
	["?", "help"],
];

export function showKeys() {
	if (document.querySelector("dialog[open]")) return;
	dialog(t("keys.title"), () => [
		el(
			"div",
			{ class: "key-list" },
			KEYS.map(([key, name]) => [el("kbd", {}, key), el("span", {}, t(`keys.${name}`))]),
		),
		el(
			"label",
			{ class: "row" },
			el("input", { type: "checkbox", checked: keysOn(), onchange: (event) => setKeys(event.target.checked) }),
			t("keys.on"),
		),
	]);
}
