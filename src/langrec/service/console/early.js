// Sets the chosen look before the first paint, so a dark page never flashes white.
"use strict";
(() => {
	try {
		const look = localStorage.getItem("langrec.look");
		if (look === "light" || look === "dark") document.documentElement.dataset.look = look;
	} catch {
		// Storage may be forbidden; the system's look is used then.
	}
})();
