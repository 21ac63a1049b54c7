// Pickers over the server's users and items.

import { get } from "../core/api.js";
import { t } from "../core/words.js";
import { picker } from "./picker.js";

/** A picker over users; `choose` gets the user's id. */
export function userPicker({ choose, value = "", label = t("user.pick"), search = false }) {
	return picker({
		label,
		value,
		search,
		choose,
		suggest: async (q) =>
			(await get("/api/users/suggest", { q, n: 8 })).map((user) => ({ value: user.id, text: user.id, note: t("events", { n: user.n_events }) })),
	});
}

/** A picker over items by title; `choose` gets the item's id and title. */
export function itemPicker({ choose, label }) {
	return picker({
		label,
		choose,
		keepText: false,
		suggest: async (q) =>
			q ? (await get("/api/items/suggest", { q, n: 8 })).map((item) => ({ value: item.id, text: item.title || item.id, note: item.id })) : [],
	});
}
