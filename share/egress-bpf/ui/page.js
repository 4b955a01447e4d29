// SPDX-License-Identifier: BSD-2-Clause
// Every text here was chosen by hosts and programs that nobody should have to trust: it only ever
// becomes text nodes, and what would hide or turn it around is written out.
"use strict";

const KEPT = 1000, SHOWN = 250, QUEUE_MAX = 5000, HOSTS_MAX = 500, PERIOD = 2000;
const $ = id => document.getElementById(id);
const state = {
	key: null, events: [], queue: [], fresh: 0, lost: 0, first: true, paused: false, hover: false,
	chosen: null, hosts: new Set(), hash: null, since: null, refusedUnsaid: 0, opened: Date.now(), ended: false,
};

// ---- text and elements ----------------------------------------------------------------------------

// Controls, bidirectional and zero-width characters, separators, tags, lone surrogates.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]|[\u{e0000}-\u{e0fff}]|[\ud800-\udfff]/gu;

function el(tag, attributes, ...children) {
	const node = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes || {}))
		if (value !== null && value !== undefined && value !== false)
			node.setAttribute(name, value === true ? "" : value);
	node.append(...children.flat().filter(c => c !== null && c !== undefined));
	return node;
}

function safe(value, limit = 2048) {
	let text = String(value ?? ""), at = 0;
	const out = document.createDocumentFragment();
	if (text.length > limit)
		text = text.slice(0, limit) + "…";
	for (const hit of text.matchAll(HIDDEN)) {
		out.append(text.slice(at, hit.index),
			el("span", {class: "esc"}, "\\u{" + hit[0].codePointAt(0).toString(16) + "}"));
		at = hit.index + hit[0].length;
	}
	out.append(text.slice(at));
	return out;
}

// For attributes, which have no elements in them.
const shown = value => safe(value, 400).textContent;

// A name is never cut: what matters of it, who owns it, is its end. It has at most 253 characters (RFC 1035).
const whole = (method, where, path) => [safe([method, where].filter(Boolean).join(" "), 400), safe(path, 240)];

// Leaves what is the same alone, so that nothing flickers and no selection is lost.
function put(node, ...children) {
	const next = el("div", null, ...children);
	if (next.innerHTML !== node.innerHTML)
		node.replaceChildren(...next.childNodes);
}

function say(text) {
	$("say").replaceChildren(safe(text, 300));
}

const plural = (n, one, more) => `${n.toLocaleString("en")} ${n === 1 ? one : more || one + "s"}`;

function size(bytes) {
	const units = ["B", "kB", "MB", "GB", "TB"];
	let n = bytes || 0, i = 0;
	for (; n >= 1000 && i < 4; i++)
		n /= 1000;
	return (i && n < 100 ? n.toFixed(1) : Math.round(n)) + " " + units[i];
}

function span(seconds) {
	const s = Math.max(0, Math.round(seconds));
	if (s < 120)
		return s + " s";
	return s < 7200 ? Math.floor(s / 60) + " min" : s < 172800 ? Math.floor(s / 3600) + " h"
		: Math.floor(s / 86400) + " days";
}

// ---- asking ------------------------------------------------------------------------------------------

function close(text) {
	state.ended = true;
	document.body.classList.add("closed");
	$("gate").hidden = false;
	$("gate").replaceChildren(safe(text));
	link("closed", "bad");
}

async function api(path, body) {
	const answer = await fetch("/api/" + path, {
		method: body === undefined ? "GET" : "POST", cache: "no-store", redirect: "error",
		headers: state.key ? {"X-Egress-Key": state.key} : {},
		body: typeof body === "object" ? JSON.stringify(body) : body,
	});
	if (answer.status === 401)
		close("This link was used already, or is out of date. Each is good for one tab, once: end 'egress-bpf ui' with Ctrl-C and start it again for another.");
	return answer;
}

async function ask(path, body) {
	try {
		const answer = await (await api(path, body)).json();
		return answer.error === undefined ? answer : {error: String(answer.error)};
	} catch {
		return {error: "egress-bpf ui does not answer"};
	}
}

function link(text, kind) {
	if ($("link").textContent !== text) {
		$("link").textContent = text;
		$("link").className = "chip " + (kind || "");
	}
}

async function open() {
	const token = location.hash.slice(1);
	if (/^[0-9a-f]{32}$/.test(token)) {
		history.replaceState(null, "", "/");
		const answer = await ask("session", token);
		if (answer.key)
			sessionStorage.setItem("key", answer.key);
		else
			return false;
	}
	state.key = sessionStorage.getItem("key");
	if (!state.key)
		close("Open the link that 'egress-bpf ui' printed: it is good for one tab, once.");
	return Boolean(state.key);
}

// ---- verdicts ----------------------------------------------------------------------------------------

const isRefused = e => e.verdict === "refused";
const reasonOf = e => e.audit || e.reason;
const target = e => (e.host || e.address || "") + (e.port ? ":" + e.port : "");

function wanted(e) {
	if ($("refused").checked && !isRefused(e) && !e.audit)
		return false;
	if ($("host").value && (e.host || e.address) !== $("host").value)
		return false;
	const text = $("q").value.trim().toLowerCase();
	return !text || [reasonOf(e), e.method, target(e), e.path, e.command, e.protocol, e.id, e.detail]
		.some(x => x && String(x).toLowerCase().includes(text));
}

function row(e) {
	const by = e.command ? [safe(e.command, 40), ` [${Number(e.pid) || 0}]`] : [];
	const chosen = state.chosen && state.chosen.id === e.id;
	const cell = (...children) => el("td", {role: "cell"}, ...children);
	const button = el("button", {type: "button", tabindex: -1, "aria-pressed": String(Boolean(chosen))},
		safe(String(e.time || "").slice(11, 23), 12));
	const verdict = el("td", {role: "cell", class: "v"},
		el("span", {class: "hidden"}, e.audit ? "let through by audit: " : isRefused(e) ? "refused: " : ""),
		safe(reasonOf(e), 40));
	const node = el("tr", {role: "row", class: (isRefused(e) ? "refused" : e.audit ? "audit" : "") + (chosen ? " chosen" : "")},
		cell(button), verdict, cell(safe(e.method || e.protocol, 12)),
		el("td", {role: "cell", class: "to", "data-method": shown(e.method || e.protocol)}, el("b", null, safe(target(e), 120)), safe(e.path, 240)),
		el("td", {role: "cell", class: "by"}, ...by),
		el("td", {role: "cell", class: "n by"}, e.ms > 0 ? Number(e.ms).toFixed(1) : ""));
	node.event = e;
	return node;
}

function foot() {
	const kept = state.events.length, shown = $("rows").childElementCount;
	$("list-state").textContent = kept === 0 ? "No verdict yet."
		: `${shown} shown of the last ${plural(kept, "verdict")}; ` +
		(state.lost ? plural(state.lost, "was", "were") + " lost: they came faster than they were read" : "none lost");
	const text = held() && state.fresh ? `${state.paused ? "Resume" : "Pause"} · ${state.fresh > 999 ? "999+" : state.fresh} new`
		: state.paused ? "Resume" : "Pause";
	if ($("pause").textContent !== text)
		$("pause").textContent = text;
}

// One row at a time is in the tab order.
function rove(focus) {
	const buttons = [...$("rows").querySelectorAll("button")];
	const current = focus || buttons.find(b => b.tabIndex === 0) ||
		$("rows").querySelector(".chosen button") || buttons[0];
	for (const b of buttons)
		b.tabIndex = b === current ? 0 : -1;
}

function redraw() {
	const had = $("rows").contains(document.activeElement);
	const found = [];
	for (let i = state.events.length - 1; i >= 0 && found.length < SHOWN; i--)
		if (wanted(state.events[i]))
			found.push(row(state.events[i]));
	$("rows").replaceChildren(...found);
	state.fresh = 0;
	rove();
	if (had)
		$("rows").querySelector("button[tabindex='0']")?.focus();
	foot();
}

// Rows do not move under a pointer or the focus.
const held = () => state.paused || state.hover || $("rows").contains(document.activeElement);

function addHosts(events) {
	for (const e of events) {
		const name = e.host || e.address;
		if (!name || state.hosts.has(name) || state.hosts.size >= HOSTS_MAX)
			continue;
		state.hosts.add(name);
		const option = el("option", {value: name}, safe(name, 80));
		const after = [...$("host").options].slice(1).find(o => o.value > name);
		$("host").insertBefore(option, after || null);
	}
}

function drain() {
	const events = state.queue.splice(0);
	if (events.length === 0)
		return;
	addHosts(events);
	state.events.push(...events);
	state.events.splice(0, state.events.length - KEPT);
	const fitting = events.filter(wanted);
	if (!state.first)
		state.refusedUnsaid += events.filter(e => isRefused(e) && Date.parse(e.time) > state.opened).length;
	if (state.first || fitting.length > SHOWN / 2) {
		if (held()) {
			state.fresh += fitting.length;
			foot();
		} else {
			redraw();
		}
		state.first = false;
		return;
	}
	if (held()) {
		state.fresh += fitting.length;
	} else if (state.fresh) {
		redraw();
	} else {
		$("rows").prepend(...fitting.reverse().map(row));
		while ($("rows").childElementCount > SHOWN)
			$("rows").lastElementChild.remove();
		rove();
	}
	foot();
}

function release() {
	if (!held() && state.fresh)
		redraw();
	foot();
}

function take(line) {
	let e;
	try {
		e = JSON.parse(line);
	} catch {
		return;
	}
	if (e === null || typeof e !== "object")
		return;
	if (Number.isInteger(e.lost))
		state.lost += e.lost;
	if (e.reason === undefined)
		return;
	if (state.queue.length >= QUEUE_MAX) { // a tab that is not drawn: memory has an end
		state.queue.shift();
		state.lost++;
	}
	state.queue.push(e);
}

async function read(body) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";
	for (;;) {
		const {done, value} = await reader.read();
		if (done)
			return;
		const parts = (rest + value).split("\n\n");
		rest = parts.pop();
		for (const part of parts)
			if (part.startsWith("data: "))
				take(part.slice(6));
	}
}

async function follow() {
	for (let wait = 500; !state.ended; wait = Math.min(wait * 2, 8000)) {
		try {
			const answer = await api("events");
			if (answer.ok) {
				Object.assign(state, {events: [], queue: [], first: true, lost: 0});
				link("live", "good");
				wait = 500;
				await read(answer.body);
			}
		} catch { /* the same as an end */ }
		if (!state.ended)
			link("not connected, trying again", "bad");
		await new Promise(done => setTimeout(done, wait));
	}
}

// ---- why, and the policy ------------------------------------------------------------------------------

// As `why ID` asks it (cmd_why_event.c); null where it was no request.
function question(e) {
	const host = e.host || e.address;
	if (!host || e.protocol === "udp" || e.protocol === "unix")
		return null;
	const port = e.port && e.protocol !== "dns" ? e.port : 443;
	const plain = e.protocol === "http" || e.protocol === "tcp" || port === 80;
	return {method: e.method || "GET", url: (plain ? "http" : "https") + "://" +
		(host.includes(":") ? `[${host}]` : host) + ":" + port + (String(e.path || "").startsWith("/") ? e.path : "/")};
}

const place = route => /\((.*):(\d+)\)$/.exec(route || "");

function highlight(route) {
	const found = place(route);
	for (const line of $("source").querySelectorAll(".here, .block"))
		line.classList.remove("here", "block");
	for (const line of $("source").querySelectorAll("[aria-current]"))
		line.removeAttribute("aria-current");
	if (!found)
		return false;
	const file = [...$("source").querySelectorAll(".text")].find(x => x.source === found[1]);
	const here = file && file.children[Number(found[2]) - 1];
	if (!here)
		return false;
	const indent = /^ */.exec(here.lastChild.textContent)[0].length;
	for (let line = here.nextElementSibling; line; line = line.nextElementSibling) {
		const text = line.lastChild.textContent;
		if (text.trim() && /^ */.exec(text)[0].length <= indent)
			break;
		line.classList.add("block");
	}
	here.classList.add("here");
	here.setAttribute("aria-current", "true");
	$("source").scrollTop = here.offsetTop - $("source").clientHeight / 3;
	return true;
}

async function explain(e) {
	state.chosen = e;
	for (const tr of $("rows").children) {
		const chosen = tr.event.id === e.id;
		tr.classList.toggle("chosen", chosen);
		tr.querySelector("button").setAttribute("aria-pressed", String(chosen));
	}
	const head = el("p", null, el("strong", null, isRefused(e) ? "Refused" : e.audit ? "Let through by audit" : "Allowed"), ": ",
		safe(`${e.method || e.protocol || ""} ${target(e)}${e.path || ""}`));
	const asked = question(e), now = asked ? await ask("why", asked) : {};
	if (state.chosen !== e)
		return;
	const decided = e.route || now.route, lines = [head], policys = /_not_allowed$/.test(reasonOf(e));
	if (reasonOf(e) !== "allowed")
		lines.push(el("p", null, "Reason: ", safe(reasonOf(e)), e.detail ? ", " : "", safe(e.detail)));
	if (highlight(decided))
		lines.push(el("p", null, (policys ? "Decided by line " : "Route: line ") + place(decided)[2] + " below, ", safe(decided.replace(/ \(.*/, ""))));
	else
		lines.push(el("p", null, decided ? safe(decided) : "No line of the policy speaks of it."));
	if (now.hint && !now.allowed)
		lines.push(el("p", null, "Would allow it: ", safe(now.hint)));
	else if (now.allowed && isRefused(e))
		lines.push(el("p", null, policys ? "The policy allows it by now." : "The policy allows it: what went wrong is outside of it."));
	lines.push(el("p", {class: "soft"}, safe([e.id, e.source, e.status && "status " + e.status, e.command && `${e.command} [${e.pid}]`]
		.filter(Boolean).join(" · "))));
	$("why").replaceChildren(...lines);
}

function drawPolicy(policy) {
	const parts = [];
	for (const source of policy.sources || []) {
		const text = el("div", {class: "text"});
		text.source = source.name;
		String(source.text).replace(/\n$/, "").split("\n").forEach((line, i) =>
			text.append(el("div", {class: "line"}, el("i", {"aria-hidden": "true"}, String(i + 1)), el("code", null, safe(line)))));
		parts.push(el("div", {class: "file"}, safe(source.name), source.cut ? " (its beginning)" : ""), text);
	}
	$("source").replaceChildren(...parts);
	if (state.chosen)
		highlight(state.chosen.route);
}

// ---- state -------------------------------------------------------------------------------------------

const bad = text => el("span", {class: "bad-text"}, text);
const warn = text => el("span", {class: "warn-text"}, text);

function network(walls) {
	if (!walls)
		return warn("no wall: --no-kernel");
	switch (walls.wall0) {
	case "no_wire": return "its own, no wire";
	case "walled": return "its own, wires walled";
	case "shared": return warn("the host's, shared");
	default: return bad("a wire is not walled");
	}
}

function wall(walls) {
	if (!walls)
		return warn("none");
	const all = walls.attached.length + walls.missing.length;
	return walls.whole ? `whole, ${all} programs` : el("span", {class: "bad-text"}, "missing ", safe(walls.missing.join(", ") || "all"));
}

function drawFacts(s) {
	const side = s.sidecar, now = Date.now() / 1000, latency = side?.latency?.["0"];
	put($("name"), safe(s.name));
	put($("f-sidecar"), !s.alive ? bad("dead: all is refused") : side?.worker_ready
		? "serves" + (side.restarts ? `, worker restarted ${plural(side.restarts, "time")}` : "") : warn("not serving"));
	put($("f-network"), network(s.walls));
	put($("f-wall"), wall(s.walls));
	put($("f-unix"), s.walls?.unix_sockets === "walled" ? "walled" : s.walls?.unix_sockets === "kernel_cannot"
		? warn("kernel cannot") : "not walled");
	put($("f-policy"), side ? el("code", null, side.policy_hash.slice(0, 12)) : "unknown", side ? " for " + span(now - side.policy_since) : "");
	put($("f-reload"), !side?.reload ? "none yet" : side.reload.error
		? el("span", {class: "bad-text"}, "failed " + span(now - side.reload.at) + " ago: ", safe(side.reload.error))
		: span(now - side.reload.at) + " ago, went well");
	put($("f-latency"), latency ? `${(latency.p50_us / 1000).toFixed(2)} ms, p99 ${(latency.p99_us / 1000).toFixed(1)} ms` : "no request yet");
	$("policy-name").textContent = side ? "as it was loaded " + span(now - side.policy_since) + " ago" : "";
	document.title = (s.name || "") + " · egress-bpf";
}

function drawHosts(s) {
	const hosts = (s.hosts || []).slice().sort((a, b) => a.host < b.host ? -1 : 1);
	const cell = (label, text) => el("td", {role: "cell", class: "n", "data-label": label}, text);
	const rows = hosts.slice(0, HOSTS_MAX).map(h => el("tr", {role: "row"},
		el("td", {role: "cell"}, safe(h.host), h.removed ? el("span", {class: "soft"}, " (no longer in the policy)") : null),
		cell("allowed", h.allowed.toLocaleString("en")),
		cell("refused", (h.refused + h.kernel_refused).toLocaleString("en")),
		cell("sent", size(h.bytes_up)), cell("received", size(h.bytes_down))));
	put($("host-rows"), ...rows);
	$("hosts-state").textContent = hosts.length === 0 ? "No name was asked for yet." : hosts.length > HOSTS_MAX
		? `${HOSTS_MAX} of ${hosts.length}` : "";
}

async function refresh() {
	const s = await ask("status");
	if (s.error !== undefined)
		return;
	drawFacts(s);
	drawHosts(s);
	const mark = s.sidecar ? s.sidecar.policy_hash + s.sidecar.policy_since : null;
	if (mark && mark !== state.hash) {
		const policy = await ask("policy");
		if (policy.error === undefined) {
			state.hash = mark;
			drawPolicy(policy);
		}
	}
}

async function poll() {
	while (!state.ended) {
		if (!document.hidden) {
			await refresh();
			await refreshPending();
		}
		await new Promise(done => setTimeout(done, PERIOD));
	}
}

// Not each one aloud: who listens hears a number now and then.
function announce() {
	if (state.refusedUnsaid)
		say(plural(state.refusedUnsaid, "request was", "requests were") + " refused");
	state.refusedUnsaid = 0;
}

// ---- what waits for a decision ------------------------------------------------------------------------

const TERMS = [["3600", "for 1 hour"], ["run", "for this run"], ["file", "in the file"]];

// A group keeps its row while it stays: `first` does not change, the id is its newest refusal's.
const rowKey = g => JSON.stringify([g.asked ? g.id : "", g.first, g.host, g.address, g.port, g.method, g.reason]);

// What the bottle asks for, as a group of one.
const asGroup = a => ({...a, asked: true, protocol: a.tls ? "https" : "http", one_path: true, first: a.time,
	last: a.time, allowable: true, samples: [a]});

function choices(select, options) {
	const mark = JSON.stringify(options), value = select.value;
	if (select.mark === mark)
		return;
	select.mark = mark;
	select.replaceChildren(...options.map(([name, text]) => el("option", {value: name}, safe(text, 120))));
	if (options.some(([name]) => name === value))
		select.value = value;
}

// What may be allowed: each path that was seen, and all below what they share. Never wider by itself.
function scopes(g) {
	const found = (g.samples || []).filter(s => !s.allowed)
		.map(s => [JSON.stringify({id: s.id}), s.path ? "only " + s.path : "this host and port"]);
	const below = g.path && g.path.slice(0, g.path.lastIndexOf("/") + 1);
	if (below)
		found.push([JSON.stringify({id: g.id, path: below}), (below === "/" ? "every path" : "all below " + below)]);
	return found;
}

function newRow(key) {
	const what = el("div", {class: "what"}), scope = el("select", {"aria-label": "What to allow"});
	const term = el("select", {"aria-label": "For how long"});
	const credential = el("input", {type: "checkbox", checked: true});
	const tick = el("label", {class: "tick"}, credential, el("span", null, "credential"));
	const allow = el("button", {class: "go"}, "Allow"), deny = el("button", {type: "button"}, "Set aside");
	const form = el("form", null, scope, term, tick, allow, deny);
	const error = el("p", {class: "error bad-text", role: "alert"});
	const li = el("li", null, what, form, error);
	choices(term, TERMS);
	Object.assign(li, {key, parts: {what, scope, term, tick, allow, deny, error}});
	form.addEventListener("submit", event => {
		event.preventDefault();
		const body = {...JSON.parse(scope.value || "{}"), credential: !tick.hidden && credential.checked};
		decide(li, "allow", term.value === "file" ? {...body, persist: true}
			: term.value === "run" ? body : {...body, for: Number(term.value)});
	});
	deny.addEventListener("click", () => decide(li, "deny", {id: li.group.id}));
	return li;
}

// What is chosen, and where the buttons are, is not changed under a hand: a bottle decides what is refused
// next, and would decide what is allowed.
function inHand() {
	return $("pending-list").matches(":hover") || $("pending-list").contains(document.activeElement);
}

function drawRow(li, g, hold) {
	const {what, scope, term, tick, allow, deny} = li.parts;
	const verb = g.method || (g.protocol === "dns" ? "look-up of" : g.protocol || "");
	const path = (g.path || "") + (g.one_path || !g.path ? "" : "…");
	const name = [verb, target(g) + path].filter(Boolean).join(" ");
	li.group = g;
	put(what, el("span", {class: "to"}, ...whole(verb, target(g), path)),
		g.asked ? el("blockquote", null, "It says: ", safe(g.reason, 500)) : null,
		el("span", {class: "more"}, g.asked ? "asked for " : [safe(g.reason), ", ", plural(g.count, "time"), ", last "],
			span(Date.now() / 1000 - g.last / 1000) + " ago",
			g.allowable === false ? [": ", safe(g.cure)] : null));
	for (const node of [scope, term, allow])
		node.hidden = g.allowable === false;
	tick.hidden = g.allowable === false || g.protocol === "http" || g.port === 80;
	if (!hold)
		choices(scope, scopes(g));
	allow.setAttribute("aria-label", "Allow " + shown(name));
	deny.setAttribute("aria-label", "Set aside " + shown(name));
}

// The focus goes on to what is next, not to the beginning of the page.
function leave(li) {
	if (li.contains(document.activeElement)) {
		const next = li.nextElementSibling || li.previousElementSibling;
		(next?.querySelector("button.go:not([hidden]), button:not([hidden])") || $("h-pending")).focus();
	}
	li.remove();
}

async function decide(li, verb, body) {
	const {allow, error} = li.parts, name = (allow.getAttribute("aria-label") || "").replace(/^\w+ /, "");
	if (li.busy)
		return;
	li.busy = true;
	li.setAttribute("aria-busy", "true");
	error.replaceChildren();
	const answer = await ask(verb, body);
	li.busy = false;
	li.removeAttribute("aria-busy");
	if (answer.error !== undefined) {
		error.replaceChildren(safe(answer.error, 600));
		return;
	}
	put($("told"), safe((li.granted ? "Ended: " : verb === "allow" ? "Allowed: " : "Set aside: ") + name +
		(answer.file ? `, in ${answer.file}:${answer.line}` : "") + (answer.note ? ". " + answer.note : ""), 600));
	// With a path of its own left it comes back with the next look.
	leave(li);
	await refreshPending();
}

function drawGrants(grants) {
	const seen = new Map([...$("granted-list").children].map(li => [li.key, li]));
	for (const g of grants) {
		const li = seen.get(g.id) || el("li", null, el("div", {class: "what"}), el("form", null, el("button", null, "End")),
			el("p", {class: "error bad-text", role: "alert"}));
		const path = !g.path ? "" : g.path_type === "prefix" ? g.path + "…" : g.path;
		const name = `${g.method || "any method"} ${target(g)}${path}`;
		put(li.firstChild, el("span", {class: "to"}, ...whole(g.method || "any method", target(g), path)), el("span", {class: "more"},
			g.persist ? "in the policy's file" : g.until ? span((g.until - Date.now()) / 1000) + " left" : "until the sidecar ends",
			g.in_force ? "" : ", not in force yet", g.credential ? ", with the credential of " : "", safe(g.credential)));
		const end = li.querySelector("button");
		end.setAttribute("aria-label", "End " + shown(name));
		if (!seen.delete(g.id)) {
			Object.assign(li, {key: g.id, granted: true, parts: {allow: end, error: li.lastChild}});
			li.querySelector("form").addEventListener("submit", event => {
				event.preventDefault();
				decide(li, "deny", {id: g.id});
			});
			$("granted-list").append(li);
		}
	}
	for (const li of seen.values())
		leave(li);
	$("granted").hidden = grants.length === 0;
}

async function refreshPending() {
	const answer = await ask("pending");
	if (answer.error !== undefined)
		return;
	const all = [...(answer.asks || []).map(asGroup), ...(answer.groups || [])].filter(g => g.state === "pending");
	const groups = all.slice(0, 50);
	const seen = new Map([...$("pending-list").children].map(li => [li.key, li])), hold = inHand();
	for (const g of groups) {
		const key = rowKey(g), old = seen.get(key), li = old || newRow(key);
		if (!li.busy)
			drawRow(li, g, old && hold);
		if (!seen.delete(key))
			$("pending-list").append(li); // at the end: what is under a hand does not move
	}
	for (const li of seen.values())
		if (!li.busy && !hold)
			leave(li);
	$("pending-none").hidden = $("pending-list").childElementCount > 0;
	$("pending-count").textContent = groups.length ? groups.length + (all.length > groups.length ? ` of ${all.length}` : "") : "";
	drawGrants(answer.grants || []);
}

// ---- keys and clicks ----------------------------------------------------------------------------------

function onKey(event) {
	const tr = event.target.closest("tr");
	const to = {ArrowDown: tr.nextElementSibling, ArrowUp: tr.previousElementSibling,
		Home: $("rows").firstElementChild, End: $("rows").lastElementChild}[event.key];
	if (event.key === "Escape")
		$("pause").focus();
	if (!to)
		return;
	event.preventDefault();
	const button = to.querySelector("button");
	rove(button);
	button.focus();
	to.scrollIntoView({block: "nearest"});
}

function listen() {
	$("filter").addEventListener("submit", event => event.preventDefault());
	for (const id of ["q", "host", "refused"])
		$(id).addEventListener("input", redraw);
	$("pause").addEventListener("click", () => {
		state.paused = !state.paused;
		$("pause").setAttribute("aria-pressed", String(state.paused));
		release();
	});
	$("rows").addEventListener("keydown", onKey);
	$("rows").addEventListener("click", event => {
		const tr = event.target.closest("tr");
		if (tr) {
			rove(tr.querySelector("button"));
			explain(tr.event);
		}
	});
	$("list").addEventListener("pointerenter", event => { state.hover = event.pointerType === "mouse"; });
	$("list").addEventListener("pointerleave", () => { state.hover = false; release(); });
	$("rows").addEventListener("focusout", () => setTimeout(release, 0));
}

async function main() {
	listen();
	if (!await open())
		return;
	setInterval(drain, 200);
	setInterval(announce, 15000);
	follow();
	poll();
}

main();
