// The timeline as something to move in. Its rows scroll as any element does, so that wheel, touch and assistive tools work as everywhere;
// time moves by dragging, and zooms by Ctrl + wheel, pinching, buttons and keys.

class TimelineView extends Picture {
  /** `tell` is called with what is pointed at, chosen, opened, and seen. */
  constructor(record, parts, tell) {
    super(record, parts, tell.seen);
    this.tell = tell;
    this.pointers = new Map();
    this.#listen();
  }

  // Moving

  move(by) {
    const span = this.to - this.from;
    const from = Math.min(Math.max(this.from + by, this.limits[0]), this.limits[1] - span);
    [this.from, this.to] = [from, from + span];
    this.draw();
  }

  zoom(factor, around = (this.from + this.to) / 2) {
    const whole = this.limits[1] - this.limits[0];
    const span = Math.min(Math.max((this.to - this.from) * factor, 1000), whole);
    const share = (around - this.from) / (this.to - this.from);
    this.from = around - share * span;
    this.to = this.from + span;
    this.move(0);
  }

  #listen() {
    const { canvas, scroller } = this;
    scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.resize()).observe(scroller);
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#moved(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => this.tell.pointed(null));
    canvas.addEventListener("dblclick", (event) => this.#closer(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #wheel(event) {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.zoom(Math.exp(event.deltaY * 0.002), this.at(event.offsetX));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      this.move((((event.deltaX || event.deltaY) / this.width) * (this.to - this.from)) | 0);
    }
  }

  #down(event) {
    if (event.button !== 0) return;
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.far = this.pointers.size > 1 ? Infinity : 0;
    this.canvas.setPointerCapture(event.pointerId);
  }

  #moved(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) {
      this.tell.pointed(this.#hit(event.offsetX, event.offsetY), event.offsetX, event.offsetY);
      return;
    }
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    if (others.length) {
      const before = Math.abs(last.x - others[0].x);
      const now = Math.abs(event.offsetX - others[0].x);
      if (before > 5 && now > 5) this.zoom(before / now, this.at((event.offsetX + others[0].x) / 2));
    } else {
      this.far += Math.abs(event.offsetX - last.x) + Math.abs(event.offsetY - last.y);
      if (this.far > 4) {
        this.tell.pointed(null);
        this.move((-(event.offsetX - last.x) / (this.width - this.gutter)) * (this.to - this.from));
        if (event.pointerType === "mouse") this.scroller.scrollTop -= event.offsetY - last.y;
      }
    }
    last.x = event.offsetX;
    last.y = event.offsetY;
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId) || this.far > 4 || this.pointers.size) return;
    const hit = this.#hit(event.offsetX, event.offsetY);
    this.row = hit ? (this.places.get(hit.vm) ?? -1) : -1;
    this.chosen = hit ? hit.attempt : null;
    this.tell.chosen(hit, event.offsetX, event.offsetY);
    this.draw();
  }

  #closer(event) {
    const row = (event.offsetY - AXIS + this.scroller.scrollTop) / this.height;
    this.tell.chosen(null);
    this.chosen = null;
    this.zoom(0.4, this.at(event.offsetX));
    this.tell.heightened(1);
    this.row = row < this.rows.length ? Math.floor(row) : -1;
    this.scroller.scrollTop = row * this.height - (event.offsetY - AXIS);
  }

  /** What is at a point: the VM, and the execution where there is one; of several on one pixel, one that went wrong. */
  #hit(x, y) {
    if (y < AXIS) return null;
    const near = this.height < 4 ? 2 : 0;
    const row = (y - AXIS + this.scroller.scrollTop) / this.height;
    const [low, high] = [row - near / this.height, row + near / this.height].map(Math.floor);
    const slack = (3 / this.width) * (this.to - this.from);
    const at = this.at(x);
    let found = null;
    for (let each = Math.max(low, 0); each <= Math.min(high, this.rows.length - 1); each += 1) {
      const vm = this.rows[each];
      const exact = each === Math.floor(row);
      if (exact) found ??= { vm, attempt: null };
      if (x < this.gutter && this.height >= LABELS_FROM) continue;
      for (const attempt of vm.attempts)
        if (attempt.from !== null && attempt.from - slack <= at && attempt.to + slack >= at)
          if (!found?.attempt || (attempt.outcome.problem && !found.attempt.outcome.problem) || (exact && found.attempt.outcome.problem === attempt.outcome.problem))
            found = { vm, attempt };
    }
    return found;
  }

  // Keys

  #key(event) {
    const step = (this.to - this.from) / 8;
    const keys = {
      "+": () => this.zoom(0.6),
      "=": () => this.zoom(0.6),
      "-": () => this.zoom(1 / 0.6),
      0: () => this.all(),
      ArrowUp: () => this.#choose(this.row - 1, null),
      ArrowDown: () => this.#choose(this.row + 1, null),
      PageUp: () => this.#choose(this.row - Math.max(1, Math.floor(this.field / this.height)), null),
      PageDown: () => this.#choose(this.row + Math.max(1, Math.floor(this.field / this.height)), null),
      Home: () => this.#choose(0, null),
      End: () => this.#choose(this.rows.length - 1, null),
      ArrowLeft: () => (event.shiftKey ? this.move(-step) : this.#next(-1)),
      ArrowRight: () => (event.shiftKey ? this.move(step) : this.#next(1)),
      Enter: () => this.row >= 0 && this.tell.opened(this.rows[this.row]),
      Escape: () => this.tell.chosen(null),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  }

  #next(by) {
    if (this.row < 0) {
      this.#choose(0, null);
      return;
    }
    const attempts = this.rows[this.row].attempts;
    const place = attempts.indexOf(this.chosen);
    const next = place < 0 ? (by > 0 ? 0 : attempts.length - 1) : Math.min(Math.max(place + by, 0), attempts.length - 1);
    this.#choose(this.row, attempts[next] ?? null);
  }

  #choose(row, attempt) {
    if (!this.rows.length) return;
    this.row = Math.min(Math.max(row, 0), this.rows.length - 1);
    this.chosen = attempt;
    const top = this.row * this.height;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    if (top + this.height > this.scroller.scrollTop + this.field) this.scroller.scrollTop = top + this.height - this.field;
    if (attempt && attempt.from !== null && (attempt.from < this.from || attempt.from > this.to)) this.move(attempt.from - (this.from + this.to) / 2);
    const vm = this.rows[this.row];
    const x = attempt && attempt.from !== null ? Math.min(Math.max(this.x(attempt.from), this.gutter), this.width) : this.gutter + 20;
    this.tell.chosen({ vm, attempt }, x, this.y(this.row) + this.height);
    this.draw();
  }
}
