// Puts the page together: filters, the card of what is pointed at, and the address of the VM that is shown (#vm=NAME).

const ORDERS = {
  name: (a, b) => a.index - b.index,
  ready: (a, b) => (b.readyAt ?? Infinity) - (a.readyAt ?? Infinity) || a.index - b.index,
  problems: (a, b) => b.problems - a.problems || a.index - b.index,
};

class Page {
  constructor(record) {
    this.record = record;
    this.card = byId("card");
    for (const each of document.querySelectorAll(".live")) each.hidden = false;
    for (const each of document.querySelectorAll(".needs")) each.remove();
    this.list = new VmList(record, (vm) => this.open(vm));
    this.page = new VmPage(record, (vm) => this.open(vm));
    this.timeline = new TimelineView(
      record,
      { canvas: byId("canvas"), scroller: byId("rows"), tall: byId("tall") },
      {
        pointed: (hit, x, y) => this.#pointed(hit, x, y),
        chosen: (hit, x, y) => this.#chosen(hit, x, y),
        opened: (vm) => this.open(vm),
        seen: (from, to) => this.#seen(from, to),
        heightened: (zoomed) => this.#heighten(zoomed),
      },
    );
    this.#choices();
    this.#legend();
    this.#listen();
    this.filter();
    this.#address();
  }

  // Filters

  #choices() {
    const show = byId("show");
    const option = (value, text) => {
      const made = element("option", "", text);
      made.value = value;
      return made;
    };
    show.append(option("", "all VMs"), option("problems", "something went wrong"));
    const outcomes = element("optgroup", "");
    outcomes.label = "with an execution";
    for (const { key, words } of this.record.outcomes) outcomes.append(option(`outcome ${key}`, `${words}`));
    const states = element("optgroup", "");
    states.label = "in state";
    for (const state of [...new Set(this.record.vms.map((vm) => vm.state ?? ""))].sort()) if (state) states.append(option(`state ${state}`, state));
    const entries = element("optgroup", "");
    entries.label = "otherwise";
    entries.append(option("never", "an entry never ran"), option("late", "never ready"));
    show.append(outcomes, states, entries);
  }

  filter() {
    const name = byId("name").value.trim().toLowerCase();
    const [kind, ...rest] = byId("show").value.split(" ");
    const wanted = rest.join(" ");
    const tests = {
      "": () => true,
      problems: (vm) => vm.problems > 0 || (vm.state ?? "").toLowerCase() === "failed",
      outcome: (vm) => vm.attempts.some((attempt) => attempt.outcome.key === wanted),
      state: (vm) => vm.state === wanted,
      never: (vm) => vm.entries.some((entry) => !entry.attempts.length),
      late: (vm) => vm.readyAt === null && !vm.waived,
    };
    this.rows = this.record.vms.filter((vm) => tests[kind](vm) && (!name || vm.name.toLowerCase().includes(name)));
    this.rows.sort(ORDERS[byId("order").value]);
    this.#hide();
    this.timeline.show(this.rows);
    this.list.show(this.rows);
    byId("matches").textContent = `${number(this.rows.length)} of ${number(this.record.vms.length)} VMs`;
  }

  #heighten(zoomed) {
    byId("height").value = String(zoomed * 100);
    this.timeline.heighten(zoomed);
  }

  #listen() {
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    byId("name").addEventListener("input", () => this.filter());
    byId("show").addEventListener("change", () => this.filter());
    byId("order").addEventListener("change", () => this.filter());
    byId("height").addEventListener("input", (event) => this.timeline.heighten(event.target.value / 100));
    byId("in").addEventListener("click", () => this.timeline.zoom(0.6));
    byId("out").addEventListener("click", () => this.timeline.zoom(1 / 0.6));
    byId("all").addEventListener("click", () => {
      this.timeline.all();
      this.#heighten(0);
    });
    for (const link of document.querySelectorAll("[data-show]"))
      link.addEventListener("click", () => {
        byId("show").value = `outcome ${link.dataset.show}`;
        this.filter();
      });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.timeline.recolour());
    addEventListener("hashchange", () => this.#address());
    addEventListener("beforeprint", () => this.#print(true));
    addEventListener("afterprint", () => this.#print(false));
    document.addEventListener("pointerdown", (event) => {
      if (!byId("chart").contains(event.target)) this.#hide();
    });
  }

  /** Paper is white, and has no details to open. */
  #print(printing) {
    document.documentElement.classList.toggle("printing", printing);
    for (const details of document.querySelectorAll("#questions > details")) {
      if (printing) details.dataset.was = details.open ? "open" : "";
      details.open = printing || details.dataset.was === "open";
    }
    this.timeline.recolour();
  }

  // What is pointed at

  #pointed(hit, x, y) {
    if (this.pinned) return;
    if (hit) this.#place(hit, x, y, false);
    else this.#hide();
  }

  #chosen(hit, x, y) {
    this.#hide();
    if (!hit) return;
    this.pinned = true;
    this.#place(hit, x, y, true);
    byId("spoken").textContent = this.card.innerText.replaceAll("\n", ". ");
  }

  #hide() {
    this.pinned = false;
    this.card.hidden = true;
  }

  #place({ vm, attempt }, x, y, pinned) {
    const lines = attempt ? [`${attempt.entry.id}, attempt ${attempt.attempt}`, ...timesOf(attempt)] : [stateOf(vm)];
    const at = attempt?.started ?? attempt?.ended ?? null;
    this.card.replaceChildren(element("b", "", vm.name), attempt ? element("p", "outcome", mark(attempt.outcome), outcomeOf(attempt)) : "", ...lines.map((text) => element("p", "", text)));
    if (at !== null) this.card.append(element("p", "note", utc(at, this.record.zero)));
    if (attempt?.reason) this.card.append(element("p", "note", attempt.reason.slice(0, 200)));
    if (pinned) {
      const open = element("button", "", "Show this VM");
      open.type = "button";
      open.addEventListener("click", () => this.open(vm));
      this.card.append(open);
    } else this.card.append(element("p", "note", "Click to keep this"));
    this.card.classList.toggle("passing", !pinned);
    this.card.hidden = false;
    const chart = byId("chart");
    const right = x + 16 + this.card.offsetWidth <= chart.clientWidth;
    const below = chart.getBoundingClientRect().top + y + 16 + this.card.offsetHeight <= innerHeight;
    this.card.style.left = `${right ? x + 16 : Math.max(0, Math.min(x - 16 - this.card.offsetWidth, chart.clientWidth - this.card.offsetWidth))}px`;
    this.card.style.top = `${below ? y + 16 : Math.max(0, y - 16 - this.card.offsetHeight)}px`;
  }

  #seen(from, to) {
    const zero = this.record.zero;
    byId("range").textContent = `${seconds(Math.round(from), 1)} to ${seconds(Math.round(to), 1)} ${this.record.started ? "from the start" : "from the first event"}; ${utc(from, zero)} to ${clock(to, zero)}`;
    document.documentElement.dataset.drawn = "yes";
  }

  #legend() {
    const seen = new Set(this.record.vms.flatMap((vm) => vm.attempts.map((attempt) => attempt.outcome)));
    const items = this.record.outcomes.filter((outcome) => seen.has(outcome)).map((outcome) => [mark(outcome), outcome.words]);
    const bands = [["configuring", "not ready"], ["ready", "ready, waiting for the start"], ["failed", "failed"]];
    if (this.record.holds.length) bands.push(["hold", "held by an operator"]);
    for (const [key, words] of bands) items.push([mark({ key }), words]);
    byId("legend").replaceChildren(...items.map((parts) => element("li", "", ...parts)));
  }

  // The VM that is shown

  open(vm) {
    this.#hide();
    const place = this.rows.indexOf(vm);
    const neighbours = place < 0 ? [] : [this.rows[place - 1], this.rows[place + 1]];
    const address = `#vm=${encodeURIComponent(vm.name)}`;
    if (location.hash !== address) history.pushState(null, "", address);
    return this.page.show(vm, neighbours);
  }

  #address() {
    if (!location.hash.startsWith("#vm=")) return;
    const vm = this.record.vms.find((each) => `#vm=${encodeURIComponent(each.name)}` === location.hash);
    if (vm && vm !== this.page.vm) this.open(vm);
  }
}

try {
  new Page(new RunRecord(await unpack("record")));
  document.documentElement.dataset.ready = "yes";
} catch (error) {
  const told = document.querySelector(".needs");
  if (told) told.textContent = `The timeline cannot be drawn: ${error}. It needs a browser of 2023 or later.`;
  throw error;
}
