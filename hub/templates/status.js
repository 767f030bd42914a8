"use strict";
(() => {
  const STORED = "open-persona-service-key";
  const EVERY_MS = 15000;
  const SPACING_MS = 400;
  const by = (id) => document.getElementById(id);
  const dialog = by("key");
  const field = by("key-field");
  const notes = new Map();
  const cards = () => document.querySelectorAll(".card");

  // The server renders the page. A refresh makes this one like the fresh one, node by node, so that nothing that a
  // reader has open, focused, scrolled or selected is lost. What the attributes below say is this script's own.
  const OURS = new Set(["open", "hidden", "aria-busy"]);
  const morph = (old, fresh) => {
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE || old.matches("input, .note, output")) return;
    for (const { name, value } of fresh.attributes) {
      if (!OURS.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!OURS.has(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    let at = old.firstChild;
    for (const wanted of [...fresh.childNodes]) {
      const same = wanted.id ? known.get(wanted.id) : at && !at.id && at.nodeName === wanted.nodeName ? at : null;
      if (!same) {
        old.insertBefore(wanted, at);
        continue;
      }
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      morph(same, wanted);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  };

  const findable = (card) => [...card.querySelectorAll("h3, .badge, .name, .about, .detail, th code")]
    .map((part) => part.textContent.toLowerCase()).join(" ");
  const find = () => {
    const words = by("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const card of cards()) {
      const text = words.length ? findable(card) : "";
      card.hidden = !words.every((word) => text.includes(word));
      shown += !card.hidden;
    }
    const said = words.length ? `${shown} of ${cards().length} shown` : "";
    if (by("shown").textContent !== said) by("shown").textContent = said;
  };

  const paint = () => {
    for (const button of document.querySelectorAll(".check, .approve")) button.hidden = false;
    by("find").hidden = cards().length < 6;
    for (const place of document.querySelectorAll("[data-note]")) {
      const text = notes.get(place.dataset.note) || "";
      if (place.textContent !== text) place.textContent = text;
    }
    find();
  };

  // One quiet voice: it tells of states that changed and of what the reader asked for, nothing else.
  const say = (text) => { by("said").textContent = text; };
  const states = () => new Map([...cards()].map((card) => [card.querySelector("h3").textContent, card.dataset.state]));
  const tellChanges = (before, now) => {
    const changed = [...now].filter(([title, state]) => before.get(title) !== state).map(([title, state]) => `${title}: ${state}`);
    const gone = [...before.keys()].filter((title) => !now.has(title)).map((title) => `${title}: removed`);
    const all = [...changed, ...gone];
    if (all.length) say(`${all.slice(0, 3).join(". ")}${all.length > 3 ? ` and ${all.length - 3} more` : ""}. ${by("overall").textContent}.`);
  };

  const lose = () => {
    if (!by("lost").hidden) return;
    by("lost").textContent = `The hub does not answer. What you see is of ${by("now").textContent}.`;
    by("lost").hidden = false;
    say(by("lost").textContent);
  };

  const load = async () => {
    const answer = await fetch("/", { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const html = await answer.text();
    // Without the head: the style of the fresh page has a nonce that this one's policy does not know.
    const part = html.slice(html.indexOf("<header"), html.indexOf("</main>") + 7);
    const fresh = new DOMParser().parseFromString(part, "text/html");
    const before = states();
    const focused = document.activeElement?.id;
    for (const id of ["top", "main"]) morph(by(id), fresh.getElementById(id));
    document.title = `${by("overall").textContent} · Open Persona hub`;
    by("lost").hidden = true;
    paint();
    if (focused && document.activeElement?.id !== focused) by(focused)?.focus({ preventScroll: true });
    tellChanges(before, states());
  };

  let running = null;
  let wanted = false;
  const refresh = () => {
    wanted = true;
    running ??= (async () => {
      while (wanted) {
        wanted = false;
        try {
          await load();
        } catch {
          lose();
        }
        await new Promise((resolve) => { setTimeout(resolve, SPACING_MS); });
      }
    })().finally(() => { running = null; });
    return running;
  };

  const askKey = () => new Promise((resolve) => {
    field.value = "";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? field.value.trim() : ""), { once: true });
    dialog.showModal();
    field.focus();
  });
  dialog.querySelector("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target === field) {
      event.preventDefault();
      dialog.close("ok");
    }
  });

  // A note says "just now", so it does not stay.
  const note = (name, text) => {
    notes.set(name, text);
    say(text);
    setTimeout(() => { if (notes.get(name) === text) { notes.delete(name); paint(); } }, 20000);
  };

  const change = async (button, verb, body, told) => {
    const { name } = button.dataset;
    const key = sessionStorage.getItem(STORED) || (await askKey());
    if (!key) return;
    button.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(`/api/v1/integrations/${encodeURIComponent(name)}/${verb}`, {
        method: "POST",
        headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      const result = await answer.json();
      if (answer.status === 401) sessionStorage.removeItem(STORED);
      else sessionStorage.setItem(STORED, key);
      note(name, answer.ok ? told(result) : `${result.error.message} ${result.error.action}`);
    } catch {
      note(name, "The hub did not answer. See whether it still runs, then try again.");
    }
    button.removeAttribute("aria-busy");
    const next = by(`i-${name}-check`);
    await refresh();
    if (!button.isConnected) next?.focus({ preventScroll: true });
  };

  const checked = (result) => {
    if (result.ok && !result.reason) return `Checked just now: it answers, in ${Math.round(result.latency_ms)} ms.`;
    return `Checked just now: ${result.reason}: ${result.detail}. ${result.action}`.replaceAll("`", "");
  };
  const approved = (result) => `Approved: ${result.tools.map((one) => one.tool).join(", ") || "nothing had changed"}.`;

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".check, .approve");
    if (!button || button.getAttribute("aria-busy") === "true") return;
    if (button.classList.contains("check")) change(button, "probe", {}, checked);
    else change(button, "approve", { tool_fingerprint: button.dataset.fingerprint }, approved);
  });
  document.addEventListener("input", (event) => { if (event.target.id === "filter") find(); });

  const stream = new EventSource("/api/v1/events?calls=true");
  stream.addEventListener("revision", (event) => {
    if (JSON.parse(event.data).revision !== by("main").dataset.revision || !by("lost").hidden) refresh();
  });
  stream.addEventListener("calls", () => { if (!document.hidden) refresh(); });
  stream.addEventListener("error", lose);
  setInterval(() => { if (!document.hidden) refresh(); }, EVERY_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  paint();
})();
