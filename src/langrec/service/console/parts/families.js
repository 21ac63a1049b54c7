// Signals gathered into the sources that people tell apart.

/** The source of a signal: ease@0.03 is EASE with another decay, and all windows of popularity are one source. */
export function family(signal) {
	const base = signal.split("@")[0];
	return base.startsWith("popular") ? "popularity" : base;
}

/** Contributions by source: sums over each source's signals. */
export function bySource(signals) {
	const sums = {};
	for (const [name, value] of Object.entries(signals || {})) sums[family(name)] = (sums[family(name)] || 0) + (value || 0);
	return sums;
}

/** An explanation's contributions by source, largest first; each with its signals and with its history items summed. */
export function gathered(contributions) {
	const groups = new Map();
	for (const part of contributions) {
		const name = family(part.scorer);
		if (!groups.has(name)) groups.set(name, { name, contribution: 0, signals: [], history: new Map() });
		const group = groups.get(name);
		group.contribution += part.contribution || 0;
		group.signals.push(part);
		for (const item of part.history || []) {
			const known = group.history.get(item.id) || { ...item, contribution: 0 };
			known.contribution += item.contribution;
			group.history.set(item.id, known);
		}
	}
	const size = (one) => Math.abs(one.contribution);
	const sorted = (list) => list.filter(size).sort((a, b) => size(b) - size(a));
	return sorted([...groups.values()]).map((group) => ({ ...group, signals: sorted(group.signals), history: sorted([...group.history.values()]) }));
}
