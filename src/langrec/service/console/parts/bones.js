// Skeletons: the shape of what is coming.

import { el } from "../core/dom.js";
import { t } from "../core/words.js";

/** `n` grey lines of a kind: "", "tall" or "chart". */
export function skeleton(n = 5, kind = "tall") {
	return el(
		"div",
		{ class: "bones" },
		el("span", { class: "unseen" }, t("loading")),
		Array.from({ length: n }, () => el("div", { class: `bone ${kind}`, "aria-hidden": "true" })),
	);
}
