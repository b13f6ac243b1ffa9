// The page of swarm-graph ui. Everything can be read without this file; it keeps the page up to date.
//
// [data-stream]                 a page that follows events: its stream, and the last event that it shows
// [data-part][data-refresh]     a part: its address, and the kinds of events after which it is fetched anew
// [data-later]                  a part that is fetched when the reader comes near it
// [data-keep]                   an element with an id that stays as it is when its part is fetched anew
// [data-call]                   a call that is open; [data-writes] and [data-thinks] in it get its text
// [data-node]                   a node of the drawing; it gets [data-state]
// [data-rows]                   a long table: only the rows in view are there
// form[data-key=Enter]          a form that Ctrl+Enter in a long text sends
"use strict";

(() => {
  const REFETCH_MS = 1000; // a part is fetched at most once in this time
  const SETTLE_MS = 150; // what follows an event within this time is fetched together with it
  const TITLE_MS = 30000; // a hidden page asks for its title
  const AT_END_PX = 40; // a reader so close to the end follows it
  const MAX_SHOWN = 40000; // characters of an answer that is being written; the page of its call has all
  const MAX_WAIT_MS = 5000;

  const NODE_STATES = {
    task_started: "running", tests_started: "running", task_ended: "done", tests_ended: "done", verdict: "done",
    node_ended: "done", committed: "done", task_failed: "failed", task_stopped: "waiting", task_skipped: "skipped",
    tool_waiting: "paused", tool_started: "running", tool_ended: "running",
  };

  /** Resolve after some milliseconds. */
  const delay = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  /** The elements of a part's HTML. Scripts in it never run, and the security policy forbids them, too. */
  const parsed = (html) => [...new DOMParser().parseFromString(html, "text/html").body.childNodes];

  // --- what the page says: a banner, and a line for screen readers ---------------------------------

  const banner = document.createElement("p");
  banner.className = "note bad banner";
  banner.setAttribute("role", "alert");
  banner.hidden = true;
  const spoken = document.createElement("p");
  spoken.className = "hidden";
  spoken.setAttribute("role", "status");
  document.body.append(spoken);
  document.querySelector("main")?.prepend(banner);

  /** Show a line on top of the page, with a link if there is something to do; "" hides it. */
  function warn(text, link = null) {
    banner.hidden = !text;
    if (banner.dataset.text === text) return;
    banner.dataset.text = text;
    banner.replaceChildren(text);
    if (link) {
      const anchor = document.createElement("a");
      anchor.href = link.address;
      anchor.textContent = link.text;
      banner.append(" ", anchor);
    }
  }

  const speak = (text) => { spoken.textContent = text; };

  const loginAddress = () => `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
  const tellLogin = () => warn("The server was started again, or your login has ended.", { address: loginAddress(), text: "Log in" });
  const tellGone = () => warn("The session is gone: it was deleted.", { address: "/", text: "All sessions" });

  /** Fetch a piece of the page; null if the server does not answer with one. */
  async function fetchText(address) {
    try {
      const response = await fetch(address, { headers: { "x-part": "1" }, cache: "no-store" });
      if (response.status === 401) tellLogin();
      if (response.status === 404) tellGone();
      return response.ok && !response.redirected ? await response.text() : null;
    } catch { // there is no server, or it ended in the middle of the answer
      return null;
    }
  }

  // --- parts ---------------------------------------------------------------------------------------

  /** A part of the page that is fetched anew after some events. */
  class Part {
    constructor(section) {
      this.section = section;
      this.kinds = new Set(section.dataset.refresh?.split(" "));
      this.html = null; // unknown: an empty part, too, takes the place of what came with the page
      this.isWanted = this.isAtWork = false;
      this.nextAt = 0;
      this.held = null; // the tokens that come while it is fetched: its new boxes may lack them
    }

    /** Fetch it soon. What comes while it is fetched may not be in it, so it is fetched again. */
    refresh() {
      const isFarDown = "later" in this.section.dataset && !this.section.closest("[hidden]");
      if (isFarDown || document.hidden) return;
      this.isWanted = true;
      if (!this.isAtWork) this.work();
    }

    async work() {
      this.isAtWork = true;
      while (this.isWanted && !document.hidden) {
        await delay(Math.max(SETTLE_MS, this.nextAt - Date.now()));
        this.nextAt = Date.now() + REFETCH_MS;
        this.isWanted = this.isInUse();
        if (!this.isWanted) await this.fetch();
      }
      this.isAtWork = false;
    }

    async fetch() {
      this.held = [];
      const html = await fetchText(this.section.dataset.part);
      live?.writeAll();
      if (html !== null && html !== this.html) this.show(html);
      const held = this.held;
      this.held = null;
      held.forEach((event) => live.write(event));
      live?.writeAll();
    }

    /** Whether the reader selects text in it, or fills a form: then it stays as it is for now. */
    isInUse() {
      const selection = document.getSelection();
      const field = document.activeElement?.closest("input, textarea, select");
      const isSelected = selection && !selection.isCollapsed && this.section.contains(selection.anchorNode);
      return Boolean(isSelected || (field && this.section.contains(field)));
    }

    show(html) {
      this.html = html;
      delete this.section.dataset.later;
      const whole = this.section.closest("section");
      whole.hidden = !html.trim();
      const link = document.querySelector(`.contents a[href="#${CSS.escape(whole.id)}"]`);
      if (link) link.hidden = whole.hidden;
      const focused = this.section.contains(document.activeElement) ? document.activeElement.id : "";
      const open = new Map([...this.section.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
      const scrolled = [...this.section.querySelectorAll("[id]")].filter((one) => one.scrollTop || one.scrollLeft)
        .map((one) => [one.id, one.scrollTop, one.scrollLeft]);
      const kept = [...this.section.querySelectorAll("[data-keep][id]")].map((old) => [old, scrollOf(old)]);
      this.section.replaceChildren(...parsed(html));
      for (const [old, scroll] of kept) {
        const place = this.section.querySelector(`#${CSS.escape(old.id)}`);
        if (place) keep(old, place, scroll);
      }
      for (const one of this.section.querySelectorAll("details[id]")) {
        if (open.has(one.id)) one.open = open.get(one.id);
      }
      for (const [id, top, left] of scrolled) {
        const one = document.getElementById(id);
        if (one) [one.scrollTop, one.scrollLeft] = [top, left];
      }
      if (focused && !this.section.contains(document.activeElement)) {
        document.getElementById(focused)?.focus({ preventScroll: true });
      }
      enhance(this.section);
    }
  }

  /** How far an element and the boxes in it are scrolled: a browser forgets it when the element is moved. */
  const scrollOf = (element) => [element, ...element.querySelectorAll("pre")].map((one) => [one, one.scrollTop]);

  /** Put an element back in the place of its new copy, scrolled as it was. */
  function keep(old, place, scroll) {
    place.replaceWith(old);
    for (const [one, top] of scroll) one.scrollTop = top;
    rowsOf.get(old)?.refresh(Number(place.dataset.total));
  }

  // --- the stream ----------------------------------------------------------------------------------

  /** Follows the events of a session, or of all, and keeps the page as they say. */
  class Live {
    constructor(root) {
      this.root = root;
      this.after = Number(root.dataset.after) || 0;
      this.phase = root.dataset.phase ?? "";
      this.checkpoint = root.dataset.checkpoint ?? "";
      this.wait = 0;
      this.source = null;
      this.unwritten = []; // tokens that the next frame shows: to lay out a long text takes a while
    }

    open() {
      if (this.source || document.hidden) return;
      const source = new EventSource(`${this.root.dataset.stream}?after=${this.after}`);
      this.source = source;
      source.onopen = () => { this.wait = 0; warn(""); if (this.wasLost) { this.wasLost = false; refreshAll(); } };
      source.onmessage = (message) => this.take(message);
      source.onerror = () => { if (this.source === source) this.lose(); };
    }

    close() {
      this.source?.close();
      this.source = null;
    }

    /** The connection is lost: say so, and try again, each time a little later. */
    async lose() {
      this.close();
      this.wasLost = true;
      this.wait = Math.min(this.wait ? 2 * this.wait : 500, MAX_WAIT_MS);
      if (this.wait > 500) warn("The page has lost the server; it tries again.");
      await delay(this.wait);
      const answer = document.hidden ? null : await fetch(this.root.dataset.title ?? "/", { cache: "no-store" }).catch(() => null);
      if (answer?.status === 401 || answer?.url.endsWith("/login")) tellLogin();
      else if (answer?.status === 404) tellGone();
      else if (answer?.ok) this.open();
      else if (!document.hidden) this.lose();
    }

    take(message) {
      const event = JSON.parse(message.data);
      if (message.lastEventId) this.after = Number(message.lastEventId);
      if (event.kind === "reload") return location.reload();
      if (event.kind === "trouble") {
        warn(event.data.trouble);
        return event.data.trouble ? undefined : refreshAll();
      }
      if (event.cut && event.kind === "tokens") return location.reload(); // more text than a message may have
      if (event.kind === "tokens") return this.write({ ...event, id: this.after });
      if (event.kind === "phase" && !this.hasNewPhase(event)) return undefined;
      if (event.kind === "state" && !this.hasNewState(event)) return undefined;
      this.draw(event);
      this.tell(event);
      for (const part of parts) if (part.kinds.has(event.kind)) part.refresh();
      return undefined;
    }

    hasNewPhase(event) {
      const isNew = event.data.phase !== this.phase;
      this.phase = event.data.phase;
      if (isNew) refreshAll();
      return isNew;
    }

    hasNewState(event) {
      const isNew = event.data.state !== this.checkpoint;
      this.checkpoint = event.data.state;
      return isNew;
    }

    /** Append tokens to the box of their call, with the next frame. */
    write(event) {
      parts.forEach((part) => part.held?.push(event));
      if (!this.unwritten.length) requestAnimationFrame(() => this.writeAll());
      this.unwritten.push(event);
    }

    /** Append the tokens that came since the last frame, unless their boxes have them. */
    writeAll() {
      const texts = new Map();
      for (const event of this.unwritten) {
        const box = document.querySelector(`[data-call="${Number(event.call)}"]`);
        if (!box || event.id <= Number(box.dataset.after)) continue;
        box.dataset.after = event.id;
        for (const [place, text] of [["[data-writes]", event.data.text], ["[data-thinks]", event.data.thoughts]]) {
          const element = box.querySelector(place);
          if (text) texts.set(element, (texts.get(element) ?? "") + text);
        }
        const seconds = event.time - Number(box.dataset.began);
        box.querySelector("[data-tokens]").textContent = event.data.output_tokens;
        if (seconds > 0.5) box.querySelector("[data-rate]").textContent = `, ${(event.data.output_tokens / seconds).toFixed(1)} a second`;
      }
      this.unwritten = [];
      texts.forEach((text, element) => append(element, text));
    }

    /** Show the state of a node in the drawing at once; the part follows. */
    draw(event) {
      const state = NODE_STATES[event.kind];
      if (state) document.querySelectorAll(`[data-node="${CSS.escape(event.node)}"]`).forEach((node) => { node.dataset.state = state; });
    }

    /** Tell a screen reader what matters, and change the title. */
    tell(event) {
      if (event.kind === "verdict") speak(`Round ${event.iteration}: ${event.data.approved ? "approved" : "changes wanted"}`);
      else if (event.kind === "tool_waiting") speak(`${event.node} waits for a decision about a tool`);
      else if (event.kind === "session_ended") {
        const pauses = event.data.pauses?.length ? `, waits for a person ${event.data.pauses.join(", ")}` : "";
        speak(`Session ${event.session}: ${event.data.phase}${pauses}`);
      } else if (event.kind === "phase") speak(`Session ${event.session}: ${event.data.phase}`);
      if (["session_started", "session_ended", "phase"].includes(event.kind)) retitle();
    }
  }

  /** Append text; a reader at the end stays at the end, and of a long text only the end stays. */
  function append(element, text) {
    const box = element.closest("[hidden]");
    if (box) box.hidden = false;
    const isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < AT_END_PX;
    if (element.lastChild) element.lastChild.appendData(text);
    else element.append(text);
    const written = element.lastChild;
    if (written.length > 2 * MAX_SHOWN) {
      written.deleteData(0, written.length - MAX_SHOWN);
      element.closest("[data-call]").querySelector("[data-cut]").hidden = false;
    }
    if (isAtEnd) element.scrollTop = element.scrollHeight;
  }

  async function retitle() {
    const title = live?.root.dataset.title && await fetchText(live.root.dataset.title);
    if (title) document.title = title;
  }

  // --- what comes when the reader gets near it -------------------------------------------------------

  const nearby = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      nearby.unobserve(target);
      delete target.dataset.later;
      partOf(target)?.refresh();
    }
  }, { rootMargin: "600px" });

  const rowsOf = new WeakMap();

  /** A long table of which only the rows in view are there: [data-rows] is the address of its rows. */
  class Rows {
    constructor(box) {
      this.box = box;
      this.body = box.querySelector("tbody");
      this.total = Number(box.dataset.total);
      this.size = Number(box.dataset.count);
      this.height = this.body.rows[0]?.offsetHeight || 32;
      this.first = 0;
      [this.above, this.below] = [0, 1].map(() => document.createElement("div"));
      const table = this.body.closest("table");
      table.before(this.above);
      table.after(this.below);
      box.classList.add("rows");
      box.addEventListener("scroll", () => this.look(), { passive: true });
      this.room();
    }

    /** Fetch the rows in view anew. */
    refresh(total) {
      this.total = total;
      this.first = -this.size;
      this.look();
    }

    /** Give the rows that are not there their room. */
    room() {
      this.above.style.height = `${this.first * this.height}px`;
      this.below.style.height = `${Math.max(this.total - this.first - this.body.rows.length, 0) * this.height}px`;
    }

    async look() {
      const top = Math.floor(this.box.scrollTop / this.height);
      const first = Math.max(Math.min(top - Math.floor(this.size / 3), this.total - this.size), 0);
      if (this.isAtWork || Math.abs(first - this.first) < this.size / 6) return;
      this.isAtWork = true;
      const address = new URL(this.box.dataset.rows, location.href);
      address.searchParams.set("from", first);
      const html = await fetchText(address);
      if (html !== null) {
        this.body.replaceChildren(...parsed(`<table><tbody>${html}</tbody></table>`)[0].tBodies[0].rows);
        this.first = first;
        this.room();
      }
      this.isAtWork = false;
      this.look();
    }
  }

  // --- forms ---------------------------------------------------------------------------------------

  // Ctrl+Enter in a long text sends the form, if it says so.
  document.addEventListener("keydown", (event) => {
    const isKey = event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("textarea");
    if (isKey && event.target.form?.dataset.key === "Enter") event.target.form.requestSubmit();
  });

  // --- login ---------------------------------------------------------------------------------------

  // The printed address has the token in its fragment, which browsers send to no server.
  const login = document.getElementById("login");
  function logIn() {
    if (!login || location.hash.length < 2) return;
    const token = decodeURIComponent(location.hash.slice(1));
    history.replaceState(null, "", location.pathname + location.search);
    login.elements.token.value = token;
    login.submit();
  }
  logIn();
  addEventListener("hashchange", logIn); // the printed address was pasted where the form is open already

  // --- the note of what was done -------------------------------------------------------------------

  // It is said once: the address without it can be kept, and loaded again.
  const shown = new URL(location);
  if (shown.searchParams.has("note")) {
    shown.searchParams.delete("note");
    history.replaceState(history.state, "", shown);
  }

  // --- start ---------------------------------------------------------------------------------------

  const parts = [...document.querySelectorAll("[data-part]")].map((section) => new Part(section));
  const partOf = (section) => parts.find((part) => part.section === section);
  const refreshAll = () => parts.forEach((part) => part.refresh());
  const root = document.querySelector("[data-stream]");
  const live = root && new Live(root);

  const seen = new WeakSet(); // the boxes that were scrolled to their end: from then on the reader scrolls them

  /** Give life to what a part holds. */
  function enhance(element) {
    element.querySelectorAll("[data-rows]").forEach((box) => rowsOf.has(box) || rowsOf.set(box, new Rows(box)));
    for (const box of element.querySelectorAll("[data-writes], [data-thinks]")) {
      if (!seen.has(box)) box.scrollTop = box.scrollHeight;
      seen.add(box);
    }
  }

  enhance(document);
  document.querySelectorAll("[data-later]").forEach((section) => nearby.observe(section));
  live?.open();
  setInterval(() => { if (document.hidden) retitle(); }, TITLE_MS);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { live?.close(); return; }
    live?.open();
    refreshAll();
    retitle();
  });
})();
