// The console's own sentences in the chosen language, and numbers and times as that language writes them.

import { get } from "./api.js";

const CHOSEN = "langrec.language";
const LANGUAGES = ["en", "zh"];
let table = {};
export let language = "en";

/** Loads the chosen language: what was stored, else what the browser prefers. */
export async function loadWords() {
	const wanted = stored() || (navigator.language || "").slice(0, 2).toLowerCase();
	await take(LANGUAGES.includes(wanted) ? wanted : "en");
}

// Nothing changes before the words are there.
async function take(name) {
	table = await get(`/console/words/${name}.json`);
	language = name;
	document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
}

/** Chooses a language for this and later visits. */
export async function speak(name) {
	await take(name);
	localStorage.setItem(CHOSEN, name);
}

/** The sentence behind a key, its `{places}` filled; `key.one` is taken where `n` is 1 and it exists. */
export function t(key, places = {}) {
	const text = (places.n === 1 && table[`${key}.one`]) || table[key] || key;
	return text.replace(/\{(\w+)\}/g, (whole, name) => {
		const value = places[name];
		if (value === undefined) return whole;
		return typeof value === "number" ? number(value) : String(value);
	});
}

/** Whether the language has a key: for codes that may be new to this console. */
export const known = (key) => key in table;

export function number(value, digits = undefined, more = {}) {
	if (value === null || value === undefined || Number.isNaN(value)) return "–";
	const options = digits === undefined ? { maximumFractionDigits: 1 } : { minimumFractionDigits: digits, maximumFractionDigits: digits };
	return new Intl.NumberFormat(language, { ...options, ...more }).format(value);
}

export function bytes(value) {
	if (value === null || value === undefined) return "–";
	const step = value > 0 ? Math.min(4, Math.floor(Math.log10(value) / 3)) : 0;
	return `${number(value / 1000 ** step, step && value / 1000 ** step < 100 ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB"][step]}`;
}

/** How long ago, in the largest fitting unit. */
export function ago(seconds) {
	if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
	const steps = [
		["year", 31557600],
		["month", 2629800],
		["day", 86400],
		["hour", 3600],
		["minute", 60],
		["second", 1],
	];
	const [unit, size] = steps.find(([, length]) => seconds >= length) || ["second", 1];
	return new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" }).format(-Math.floor(Math.max(0, seconds) / size), unit);
}

/** Epoch milliseconds from a number of milliseconds or an ISO date; NaN where there is none. */
export function time(value) {
	if (value === null || value === undefined || value === "" || value === -1) return NaN;
	return typeof value === "number" ? value : Date.parse(value);
}

/** How long ago a moment was. */
export function since(value) {
	return ago((Date.now() - time(value)) / 1000);
}

export function date(value) {
	const at = time(value);
	if (Number.isNaN(at)) return "–";
	return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(at);
}

function stored() {
	return localStorage.getItem(CHOSEN);
}
