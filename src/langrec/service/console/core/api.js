// Calls the server's public routes; turns every failure into one ApiError and tells the frame when nobody answers.

const KEY = "langrec.key";
export const weather = new EventTarget(); // "down" and "up": whether the server answers; "key": another key is used from now on; "other": by choice

let askForKey = async () => null;
let asking = null;
let refusals = 0; // how often whoever was asked gave no key
let down = false;

/** A failed call: the API's code, message, field and request id, or code `no_answer`, `broken_answer` or `http_<status>` where there are none. */
export class ApiError extends Error {
	constructor(status, body, requestId) {
		super(body.message || `HTTP ${status}`);
		this.status = status;
		this.code = body.code || `http_${status}`;
		this.field = body.field || null;
		this.requestId = body.request_id || requestId || "";
	}
}

/** Sets who is asked for an API key when the server wants one. */
export function onKeyNeeded(ask) {
	askForKey = ask;
}

export const get = (path, query = {}, signal = undefined) => call("GET", path, { query, signal });
/** `get` for what is only nice to have: nobody is asked for a key because of it. */
export const peek = (path) => call("GET", path, { ask: false });
export const post = (path, body, signal = undefined) => call("POST", path, { body, signal });
export const patch = (path, body) => call("PATCH", path, { body });
export const remove = (path) => call("DELETE", path);

/** An address from parts that may hold any character. */
export const address = (...parts) => `/api/${parts.map(encodeURIComponent).join("/")}`;

async function call(method, path, options = {}) {
	const used = storedKey();
	const before = refusals;
	let answer = await send(method, path, options);
	// Another call may have got a key meanwhile, or none: only a key that was refused is asked for again, and nobody twice.
	const mayAsk = options.ask !== false && refusals === before;
	if (answer.status === 401 && (storedKey() !== used || (mayAsk && (await newKey())))) answer = await send(method, path, options);
	return read(answer);
}

async function send(method, path, { query = {}, body, signal }) {
	const headers = {};
	const key = storedKey();
	if (key) headers["X-API-Key"] = key;
	if (body !== undefined) headers["Content-Type"] = "application/json";
	try {
		const answer = await fetch(path + tail(query), { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
		tell(false);
		return answer;
	} catch (error) {
		if (error.name === "AbortError") throw error;
		tell(true);
		throw new ApiError(0, { code: "no_answer", message: "" });
	}
}

async function read(answer) {
	const id = answer.headers.get("X-Request-Id");
	const body = await answer.json().catch(() => undefined);
	if (!answer.ok) throw new ApiError(answer.status, body ?? {}, id);
	if (body === undefined) throw new ApiError(answer.status, { code: "broken_answer" }, id); // it broke off, or is a page of somebody else
	return body;
}

function tail(query) {
	const pairs = new URLSearchParams();
	for (const [name, value] of Object.entries(query)) {
		for (const one of Array.isArray(value) ? value : [value]) {
			if (one !== undefined && one !== null && one !== "") pairs.append(name, one);
		}
	}
	const text = pairs.toString();
	return text ? `?${text}` : "";
}

/** Asks for a key in the place of the one in use; "other" tells when there is one. */
export async function otherKey() {
	if (await newKey(false)) weather.dispatchEvent(new Event("other"));
}

function newKey(refused = Boolean(storedKey())) {
	asking ??= askForKey(refused)
		.then((key) => {
			if (!key) refusals += 1;
			return key;
		})
		.finally(() => (asking = null));
	return asking.then((key) => {
		if (key) sessionStorage.setItem(KEY, key);
		if (key) weather.dispatchEvent(new Event("key"));
		return key;
	});
}

function storedKey() {
	return sessionStorage.getItem(KEY);
}

function tell(isDown) {
	if (down === isDown) return;
	down = isDown;
	weather.dispatchEvent(new Event(isDown ? "down" : "up"));
	if (isDown) setTimeout(knock, 2000);
}

async function knock() {
	await send("GET", "/api/health/live", {}).catch(() => null);
	if (down) setTimeout(knock, 2000);
}
