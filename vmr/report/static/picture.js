// The picture of the timeline: a row per VM, a bar per execution, drawn on a canvas as large as what is seen of it.

const AXIS = 26;
const READABLE = 20;
const LABELS_FROM = 10;
const SYMBOLS = { exit_code: "✕", timed_out: "T", not_launched: "!", lost: "?", rebooted: "↻", unknown: "–" };
const STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400];

class Picture {
  /** `parts` has the elements canvas, scroller and tall; `painted` is called after each painting. */
  constructor(record, parts, painted) {
    Object.assign(this, { record, painted, ...parts });
    this.context = this.canvas.getContext("2d");
    this.zoomed = 0;
    this.asked = false;
    this.#whole();
    this.#choose(record.vms);
    this.recolour();
  }

  // What is seen

  #whole() {
    const span = Math.max(this.record.last - this.record.first, SECOND);
    this.limits = [this.record.first - span * 0.02, this.record.last + span * 0.02];
    [this.from, this.to] = this.limits;
  }

  all() {
    this.#whole();
    this.draw();
  }

  #choose(rows) {
    this.rows = rows;
    this.places = new Map(rows.map((vm, row) => [vm, row]));
    this.row = -1;
    this.chosen = null;
  }

  show(rows) {
    this.#choose(rows);
    this.resize();
  }

  /** `zoomed` goes from 0, all rows at once, to 1, rows to read. */
  heighten(zoomed) {
    // What is in the middle stays there; the first row stays the first.
    const middle = this.scroller.scrollTop ? (this.scroller.scrollTop + this.field / 2) / this.height : 0;
    this.zoomed = zoomed;
    this.resize();
    this.scroller.scrollTop = middle * this.height - this.field / 2;
  }

  resize() {
    // As high as its rows need, and at most as its style allows.
    this.scroller.style.height = `${this.rows.length * READABLE + AXIS + 4}px`;
    const width = this.scroller.clientWidth;
    const height = this.scroller.clientHeight;
    const sharp = window.devicePixelRatio || 1;
    this.width = width;
    this.canvas.width = Math.round(width * sharp);
    this.canvas.height = Math.round(height * sharp);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.context.setTransform(sharp, 0, 0, sharp, 0, 0);
    this.field = height - AXIS - 2;
    const fit = Math.min(this.field / Math.max(this.rows.length, 1), READABLE);
    this.height = fit * (READABLE / fit) ** this.zoomed;
    this.tall.style.height = `${Math.max(height, Math.floor(this.rows.length * this.height) + AXIS)}px`;
    const longest = this.rows.reduce((most, vm) => Math.max(most, vm.name.length + (vm.problems ? 2 : 0)), 0);
    this.gutter = this.height >= LABELS_FROM ? Math.min(7.2 * longest + 14, 180, width * 0.28) : 8;
    this.draw();
  }

  recolour() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.colours = { outcome: this.record.outcomes.map((each) => colour(each.key)) };
    for (const name of ["paper", "ink", "soft", "line", "raised", "focus", "hold", "start", "band-configuring", "band-ready", "band-failed"])
      this.colours[name] = colour(name);
    this.font = getComputedStyle(document.body).fontFamily;
    this.draw();
  }

  x(at) {
    return this.gutter + ((at - this.from) / (this.to - this.from)) * (this.width - this.gutter);
  }

  at(x) {
    return this.from + ((x - this.gutter) / (this.width - this.gutter)) * (this.to - this.from);
  }

  y(row) {
    return AXIS + row * this.height - this.scroller.scrollTop;
  }

  // Drawing

  draw() {
    if (this.asked || !this.width) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.#paint();
    });
  }

  #paint() {
    const { context, colours } = this;
    context.fillStyle = colours.paper;
    context.fillRect(0, 0, this.width, this.field + AXIS + 2);
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / this.height));
    const after = Math.min(this.rows.length, Math.ceil((this.scroller.scrollTop + this.field) / this.height) + 1);
    this.seen = [first, after];
    context.textBaseline = "middle";
    context.save();
    context.beginPath();
    context.rect(this.gutter, AXIS, this.width - this.gutter, this.field + 2);
    context.clip();
    this.#bands(first, after);
    this.#grid();
    this.#holds();
    this.#bars(first, after);
    this.#line(0, colours.start, this.record.started);
    context.restore();
    this.#labels(first, after);
    this.#axis();
    this.#mark();
    this.painted(this.from, this.to);
  }

  #bands(first, after) {
    const high = Math.max(this.height - (this.height >= 6 ? 1 : 0), 0.5);
    for (let row = first; row < after; row += 1) {
      for (const { since, until, state } of this.rows[row].states) {
        const band = this.#band(state.toLowerCase(), since);
        if (!band || until < this.from || since > this.to) continue;
        const to = band === "band-ready" && this.record.started ? Math.min(until, 0) : until;
        this.context.fillStyle = this.colours[band];
        this.context.fillRect(this.x(since), this.y(row), Math.max(this.x(to) - this.x(since), 0), high);
      }
    }
  }

  #band(state, since) {
    if (state === "failed") return "band-failed";
    if (BEFORE_READY.has(state)) return this.record.started && since >= 0 ? null : "band-ready";
    return "band-configuring";
  }

  #bars(first, after) {
    const { context, colours } = this;
    const inset = this.height >= 8 ? 2 : this.height >= 4 ? 1 : 0;
    const plain = [];
    const wrong = [];
    for (let row = first; row < after; row += 1)
      for (const attempt of this.rows[row].attempts) {
        if (attempt.from === null || attempt.to < this.from || attempt.from > this.to) continue;
        (attempt.outcome.problem ? wrong : plain).push([row, attempt]);
      }
    // What went wrong is drawn last, and never too small to be seen.
    for (const [list, least, tallest] of [[plain, 1, 0.5], [wrong, 4, 4]])
      for (const [row, attempt] of list) {
        const x = this.x(attempt.from);
        const high = Math.max(this.height - 2 * inset, tallest);
        const y = this.y(row) + inset - Math.max(0, (high - this.height) / 2);
        context.fillStyle = colours.outcome[this.record.outcomes.indexOf(attempt.outcome)];
        const wide = Math.max(this.x(attempt.to) - x, least);
        context.fillRect(x, y, wide, high);
        if (wide > 3 && this.height >= 4) {
          // Its beginning shows also where it lies on another, which ran at the same time.
          context.fillStyle = colours.paper;
          context.fillRect(x - 1, y, 1, high);
        }
        if (this.height >= LABELS_FROM) this.#inscribe(attempt, x, y, high);
      }
  }

  #inscribe(attempt, x, y, high) {
    const { context, colours } = this;
    const wide = this.x(attempt.to) - x;
    const symbol = SYMBOLS[attempt.outcome.key] ?? "";
    if (wide < 12) {
      if (!symbol) return;
      context.fillStyle = colours.ink;
      context.font = `bold ${Math.min(high, 11)}px ${this.font}`;
      context.textAlign = "left";
      context.fillText(symbol, x + Math.max(wide, 4) + 2, y + high / 2);
      return;
    }
    const text = `${symbol} ${attempt.entry.id}`.trim();
    context.fillStyle = attempt.outcome.key === "running" ? "#1b1f24" : colours.paper;
    context.font = `${Math.min(high - 2, 11)}px ${this.font}`;
    context.textAlign = "left";
    const most = Math.floor((Math.min(this.x(attempt.to), this.width) - Math.max(x, this.gutter) - 6) / 5.5);
    const said = most >= text.length ? text : most >= 4 ? `${text.slice(0, most - 1)}…` : symbol;
    if (said) context.fillText(said, Math.max(x, this.gutter) + 3, y + high / 2);
  }

  #holds() {
    for (const { vm, since, until } of this.record.holds) {
      this.context.fillStyle = this.colours.hold;
      if (vm === null) {
        this.context.fillRect(this.x(since), AXIS, this.x(until) - this.x(since), this.field);
        continue;
      }
      const row = this.places.get(this.record.vms[vm]) ?? -1;
      if (row >= this.seen[0] && row < this.seen[1]) this.context.fillRect(this.x(since), this.y(row), this.x(until) - this.x(since), this.height);
    }
  }

  #labels(first, after) {
    const { context, colours } = this;
    if (this.height < LABELS_FROM) return;
    context.fillStyle = colours.paper;
    context.fillRect(0, AXIS, this.gutter, this.field + 2);
    context.save();
    context.beginPath();
    context.rect(0, AXIS, this.gutter - 6, this.field + 2);
    context.clip();
    context.textAlign = "left";
    context.font = `${Math.min(12, this.height - 1)}px ${this.font}`;
    for (let row = first; row < after; row += 1) {
      const vm = this.rows[row];
      context.fillStyle = vm.problems ? colours.outcome[1] : colours.ink;
      context.fillText(vm.problems ? `${vm.name} ✕` : vm.name, 4, this.y(row) + this.height / 2);
    }
    context.restore();
  }

  #ticks() {
    const span = (this.to - this.from) / SECOND;
    const raw = span / Math.max((this.width - this.gutter) / 90, 2);
    const small = 10 ** Math.floor(Math.log10(raw));
    const step = raw < 1 ? [1, 2, 5, 10].map((each) => each * small).find((each) => each >= raw) : (STEPS.find((each) => each >= raw) ?? 86400 * Math.ceil(raw / 86400));
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const ticks = [];
    for (let tick = Math.ceil(this.from / SECOND / step); tick * step * SECOND <= this.to; tick += 1) ticks.push(tick * step);
    return [ticks, digits];
  }

  #grid() {
    this.context.fillStyle = this.colours.line;
    for (const tick of this.#ticks()[0]) this.context.fillRect(Math.round(this.x(tick * SECOND)), AXIS, 1, this.field);
  }

  #axis() {
    const { context, colours } = this;
    const [ticks, digits] = this.#ticks();
    context.fillStyle = colours.raised;
    context.fillRect(0, 0, this.width, AXIS);
    context.fillStyle = colours.line;
    context.fillRect(0, AXIS - 1, this.width, 1);
    context.font = `12px ${this.font}`;
    context.fillStyle = colours.ink;
    for (const tick of ticks) {
      const text = `${tick < 0 ? "−" : ""}${number(Math.abs(tick), digits)} s`;
      const half = context.measureText(text).width / 2 + 2;
      const x = this.x(tick * SECOND);
      if (x < this.gutter - 1) continue;
      context.textAlign = "center";
      context.fillText(text, Math.min(Math.max(x, half), this.width - half), AXIS / 2);
    }
  }

  #line(at, colour, wanted) {
    if (!wanted) return;
    this.context.fillStyle = colour;
    this.context.fillRect(Math.round(this.x(at)) - 0.5, AXIS, 1.5, this.field);
  }

  #mark() {
    const { context, colours } = this;
    if (this.row < 0) return;
    context.strokeStyle = colours.focus;
    context.lineWidth = 1;
    const y = Math.max(this.y(this.row), AXIS);
    context.strokeRect(0.5, y - 0.5, this.width - 1, Math.max(this.height, 3));
    if (!this.chosen || this.chosen.from === null) return;
    context.lineWidth = 2;
    const x = this.x(this.chosen.from);
    context.strokeRect(x - 2, y - 1.5, Math.max(this.x(this.chosen.to) - x, 4) + 4, Math.max(this.height, 4) + 2);
  }
}
