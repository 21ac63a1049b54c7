// Why an item is in the list, in one sentence.

import { known, t } from "../core/words.js";

export function reason(why) {
	if (!why?.kind) return "";
	const titles = (why.items || []).map((item) => short(item.title || item.id));
	const stem = `reason.${why.kind}`;
	if (titles.length >= 2 && known(`${stem}.two`)) return t(`${stem}.two`, { a: titles[0], b: titles[1] });
	if (titles.length >= 1 && known(`${stem}.item`)) return t(`${stem}.item`, { a: titles[0] });
	return known(stem) ? t(stem) : why.kind;
}

// One sentence stays one, whatever a title holds; the history beside it has the whole.
function short(title, most = 60) {
	const signs = [...title];
	return signs.length > most ? `${signs.slice(0, most - 1).join("").trimEnd()}…` : title;
}
