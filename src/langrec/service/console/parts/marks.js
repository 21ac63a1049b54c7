// A text with the matched words marked, and shortened to where the first match is.

import { el, literal } from "../core/dom.js";

/** Text nodes and <mark> elements; a word also marks its longer forms (toy marks toys). */
export function marked(text, words) {
	const known = words.filter((word) => word.length > 0).map(literal);
	if (!known.length) return [text];
	const pattern = new RegExp(`(${known.sort((a, b) => b.length - a.length).join("|")})`, "giu");
	return text
		.split(pattern)
		.map((piece, i) => (i % 2 ? el("mark", {}, piece) : piece))
		.filter((piece) => piece !== "");
}

/** The part of a long text around its first match. */
export function around(text, words, size = 220) {
	if (text.length <= size) return text;
	const low = text.toLowerCase();
	const first = Math.min(...words.map((word) => low.indexOf(word.toLowerCase())).filter((at) => at >= 0), Infinity);
	if (first === Infinity || first < size / 2) return `${text.slice(0, size)}…`;
	const from = text.indexOf(" ", first - size / 3) + 1;
	return `…${text.slice(from, from + size)}${from + size < text.length ? "…" : ""}`;
}
