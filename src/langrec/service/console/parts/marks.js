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
	const known = words.map((word) => literal(plain(word))).filter((word) => word.length > 0);
	if (!known.length) return [];
	const { signs, from, to } = read(text);
	// Looked for ahead, as one may begin within another.
	const pattern = new RegExp(`(?=(${known.sort((a, b) => b.length - a.length).join("|")}))`, "gu");
	const found = [];
	for (const { index, 1: word } of signs.matchAll(pattern)) {
		const [start, end] = [from[index], to[index + word.length - 1]];
		const last = found.at(-1);
		if (last && start <= last[1]) last[1] = Math.max(last[1], end);
		else found.push([start, end]);
	}
	return found;
}

// A letter with the marks that follow it; Korean that is written in parts, syllable by syllable.
const LETTER = /[\u1100-\u115f]+[\u1160-\u11ff]*|[^][\p{M}\uff9e\uff9f]*/gu;

/** A text as matched words are written, and where in it the letter of each sign begins and ends. */
function read(text) {
	const found = { signs: "", from: [], to: [] };
	const known = new Map(); // a long text has few letters
	for (const { 0: letter, index } of text.matchAll(LETTER)) {
		if (!known.has(letter)) known.set(letter, plain(letter));
		const signs = known.get(letter);
		found.signs += signs;
		for (let i = 0; i < signs.length; i += 1) {
			found.from.push(index);
			found.to.push(index + letter.length);
		}
	}
	return found;
}

// As in retrieval/words.py: what is written in several ways, and the first of ten digits.
const ALIKE = new Map([..."ıiøołlđdħhςσىيیيکكةهٱا".matchAll(/(.)(.)/gu)].map(([, one, other]) => [one, other]));
for (const [one, others] of [["œ", "oe"], ["æ", "ae"], ["ß", "ss"], ["\u0901", "\u0902"]]) ALIKE.set(one, others);
const ZEROS = [..."٠۰०০੦૦୦௦౦೦൦๐໐༠၀០"];
const OTHERS = new RegExp(`[${[...ALIKE.keys()].join("")}]`, "gu");
const GONE = /[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u093c\u00ad\u200c\u200d]/g;

/** Letters without accents, of usual width, in lower case. */
const plain = (text) => {
	if (/^[ -~]*$/.test(text)) return text.toLowerCase();
	const bare = text.normalize("NFKD").replace(GONE, "").normalize("NFC").toLowerCase();
	return bare.replace(/\p{Nd}/gu, digit).replace(OTHERS, (letter) => ALIKE.get(letter)).replaceAll("’", "'");
};

function digit(sign) {
	const zero = ZEROS.find((first) => sign >= first && sign <= String.fromCharCode(first.charCodeAt(0) + 9));
	return zero ? String(sign.charCodeAt(0) - zero.charCodeAt(0)) : sign;
}
