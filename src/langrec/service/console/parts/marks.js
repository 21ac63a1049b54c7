// A text with the matched words marked, and shortened to where the first match is.

import { el, literal } from "../core/dom.js";

/** Text nodes and <mark> elements; a word also marks its longer forms (toy marks toys), and pairs join (红楼 and 楼梦 mark 红楼梦). */
export function marked(text, words) {
	const pieces = [];
	let end = 0;
	for (const [from, to] of places(text, words)) {
		pieces.push(text.slice(end, from), el("mark", {}, text.slice(from, to)));
		end = to;
	}
	return [...pieces, text.slice(end)].filter((piece) => piece !== "");
}

/** The part of a long text around its first match. */
export function around(text, words, size = 220) {
	if (text.length <= size) return text;
	const first = places(text, words)[0]?.[0] ?? 0;
	if (first < size / 2) return `${text.slice(0, size)}…`;
	const near = Math.round(first - size / 3);
	const space = text.indexOf(" ", near);
	// Chinese and Japanese have no space to begin after.
	const from = space >= 0 && space < first ? space + 1 : near;
	return `…${text.slice(from, from + size)}${from + size < text.length ? "…" : ""}`;
}

/** Where the words stand, from left to right; those that overlap or touch are one place. */
function places(text, words) {
	const known = words.filter((word) => word.length > 0).map(literal);
	if (!known.length) return [];
	// Looked for ahead, as one may begin within another.
	const pattern = new RegExp(`(?=(${known.sort((a, b) => b.length - a.length).join("|")}))`, "giu");
	const found = [];
	for (const { index, 1: word } of narrow(text).matchAll(pattern)) {
		const last = found.at(-1);
		if (last && index <= last[1]) last[1] = Math.max(last[1], index + word.length);
		else found.push([index, index + word.length]);
	}
	return found;
}

/** The text of the same length with letters of full width as usual ones: matched words are written so. */
const narrow = (text) => text.replace(/[\uff01-\uff5e]/g, (letter) => letter.normalize("NFKC"));
