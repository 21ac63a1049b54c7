// Where the console is: the page and its state live in the address's hash, so that every view can be linked.

/** The current page, the path behind it, and its state. */
export function here() {
	const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
	const [page, ...rest] = path.split("/").map(plain);
	return { page: page || "recommend", rest, params: new URLSearchParams(query) };
}

// An address that was written by hand may hold a percent sign that stands for itself.
function plain(part) {
	try {
		return decodeURIComponent(part);
	} catch {
		return part;
	}
}

/** The address of a page: `link("catalogue", ["42"], {q: "x"})`. Empty values are left out; arrays repeat. */
export function link(page, rest = [], params = {}) {
	const pairs = new URLSearchParams();
	for (const [name, value] of Object.entries(params)) {
		for (const one of Array.isArray(value) ? value : [value]) {
			if (one !== undefined && one !== null && one !== "") pairs.append(name, one);
		}
	}
	const query = pairs.toString();
	return `#/${[page, ...rest].map(encodeURIComponent).join("/")}${query ? `?${query}` : ""}`;
}

/** Goes to a page; the frame hears of it. */
export function go(page, rest = [], params = {}) {
	location.hash = link(page, rest, params);
}

/** Writes changed state of the current page into the address without leaving the page. */
export function remember(patch, { step = false } = {}) {
	const { page, rest, params } = here();
	const all = {};
	for (const name of params.keys()) all[name] = params.getAll(name);
	const next = link(page, rest, { ...all, ...patch });
	if (next === location.hash) return;
	if (step) history.pushState(null, "", next);
	else history.replaceState(null, "", next);
}
