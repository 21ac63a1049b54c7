// Fixed colours: one per source of a score, and one per item id for tiles.

const SOURCES = ["ease", "itemknn", "transitions", "vectors", "tokens", "bm25", "tfidf", "popularity"];

/** The CSS colour of a score's source; unknown sources share a few spare ones by their name. */
export function sourceColour(name) {
	return SOURCES.includes(name) ? `var(--source-${name})` : `var(--source-spare-${hash(name) % 4})`;
}

/** A dark enough colour made from an id: white text on it has a contrast above 4.5. */
export function idColour(id) {
	const hue = ((hash(id) % 24) * 15 * Math.PI) / 180;
	return rgb(0.46, 0.09 * Math.cos(hue), 0.09 * Math.sin(hue));
}

/** The FNV-1a hash of a text, 32 bits. */
export function hash(text) {
	let value = 0x811c9dc5;
	for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
	return value >>> 0;
}

// Oklab to sRGB (Ottosson 2020): equal lightness for every hue, which HSL does not give.
function rgb(light, a, b) {
	const l = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3;
	const m = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3;
	const s = (light - 0.0894841775 * a - 1.291485548 * b) ** 3;
	const linear = [
		4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
		-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
		-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
	];
	const channel = (x) => Math.round(255 * Math.min(1, Math.max(0, x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055)));
	return `rgb(${linear.map(channel).join(", ")})`;
}
