"use strict";
(() => {
  const STORED = "open-persona-service-key";
  const dialog = document.getElementById("key");
  const field = document.getElementById("key-field");
  const notes = new Map();

  const main = () => document.getElementById("main");
  const paint = () => {
    for (const button of main().querySelectorAll(".check")) button.hidden = false;
    for (const place of main().querySelectorAll("[data-note]")) {
      const text = notes.get(place.dataset.note) || "";
      if (place.textContent !== text) place.textContent = text;
    }
  };

  // The server renders the page; a refresh swaps <main> and keeps what the reader had open or focused.
  let refreshing = null;
  const refresh = () => {
    refreshing ??= fetch("/", { headers: { Accept: "text/html" } })
      .then((answer) => (answer.ok ? answer.text() : Promise.reject(new Error(String(answer.status)))))
      .then((html) => {
        // <main> alone: the style of the fresh page has a nonce that this one's policy does not know.
        const part = html.slice(html.indexOf("<main"), html.indexOf("</main>") + 7);
        const fresh = new DOMParser().parseFromString(part, "text/html");
        const open = [...main().querySelectorAll("details[open]")].map((details) => details.id);
        const focused = main().contains(document.activeElement) ? document.activeElement.id : "";
        main().replaceWith(document.adoptNode(fresh.getElementById("main")));
        document.title = `${main().querySelector("h1").textContent.trim()} · Open Persona hub`;
        for (const id of open) document.getElementById(id)?.setAttribute("open", "");
        paint();
        if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
      })
      .catch(() => {})
      .finally(() => { refreshing = null; });
    return refreshing;
  };

  const askKey = () => new Promise((resolve) => {
    field.value = "";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "cancel" ? "" : field.value.trim()), { once: true });
    dialog.showModal();
    field.focus();
  });
  dialog.querySelector("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target === field) {
      event.preventDefault();
      dialog.close("ok");
    }
  });

  const describe = (result) => {
    if (result.ok && !result.reason) return `Checked just now: it answers, in ${Math.round(result.latency_ms)} ms.`;
    return `Checked just now: ${result.reason}: ${result.detail}. ${result.action}`.replaceAll("`", "");
  };

  const check = async (name) => {
    const key = sessionStorage.getItem(STORED) || (await askKey());
    if (!key) return;
    const button = document.getElementById(`${name}-check`);
    button.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(`/api/v1/integrations/${encodeURIComponent(name)}/probe`, {
        method: "POST",
        headers: { Authorization: `Bearer ${key}` },
      });
      const body = await answer.json();
      if (answer.status === 401) sessionStorage.removeItem(STORED);
      else sessionStorage.setItem(STORED, key);
      notes.set(name, answer.ok ? describe(body) : `${body.error.message} ${body.error.action}`);
    } catch {
      notes.set(name, "The hub did not answer. See whether it still runs, then try again.");
    }
    // A note says "just now", so it does not stay.
    const note = notes.get(name);
    setTimeout(() => { if (notes.get(name) === note) { notes.delete(name); paint(); } }, 20000);
    button.removeAttribute("aria-busy");
    await refresh();
    paint();
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".check");
    if (button && button.getAttribute("aria-busy") !== "true") check(button.dataset.name);
  });
  // The page is whole without the stream, so it opens only after the first look.
  setTimeout(() => {
    const stream = new EventSource("/api/v1/events");
    stream.addEventListener("revision", (event) => {
      if (JSON.parse(event.data).revision === main().dataset.revision) return;
      notes.clear();
      refresh();
    });
  }, 5000);
  setInterval(() => { if (!document.hidden) refresh(); }, 15000);
  paint();
})();
