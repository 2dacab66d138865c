// The list of VMs, and the page of one VM: its states, its entries, their executions, and what those wrote.

const PAGE = 25;

class VmList {
  constructor(record, open) {
    Object.assign(this, { record, open, rows: [], first: 0 });
    this.body = byId("list").tBodies[0];
    byId("earlier").addEventListener("click", () => this.turn(-PAGE));
    byId("later").addEventListener("click", () => this.turn(PAGE));
  }

  show(rows) {
    this.rows = rows;
    this.first = 0;
    this.turn(0);
  }

  turn(by) {
    this.first = Math.max(0, Math.min(this.first + by, this.rows.length - 1));
    const seen = this.rows.slice(this.first, this.first + PAGE);
    this.body.replaceChildren(...seen.map((vm) => this.#row(vm)));
    for (const id of ["earlier", "later"]) byId(id).hidden = this.rows.length <= PAGE;
    byId("earlier").disabled = this.first === 0;
    byId("later").disabled = this.first + PAGE >= this.rows.length;
    byId("page").textContent = this.rows.length
      ? `${number(this.first + 1)} to ${number(this.first + seen.length)} of ${number(this.rows.length)}`
      : "no VM";
  }

  #row(vm) {
    const name = element("button", "plain", vm.name);
    name.type = "button";
    name.addEventListener("click", () => this.open(vm));
    const cells = [name, stateOf(vm), seconds(vm.readyAt), number(vm.entries.length), number(vm.attempts.length), number(vm.problems)];
    const row = element("tr", "");
    cells.forEach((cell, place) => row.append(element("td", place > 2 ? "number" : place === 2 ? "time" : "", cell)));
    return row;
  }
}

function stateOf(vm) {
  const notes = [vm.waived ? "waived" : "", vm.present === false ? "removed" : "", vm.present === null ? "never added" : ""];
  return [vm.state, ...notes].filter(Boolean).join(", ");
}

function mark(outcome) {
  const sign = element("span", `mark ${outcome.key}`);
  sign.setAttribute("aria-hidden", "true");
  return sign;
}

/** What an execution's end was, in words that stand by themselves. */
function outcomeOf(attempt) {
  if (attempt.outcome.key !== "exit_code") return attempt.outcome.words;
  return `exit code ${attempt.exit}${attempt.signal === null ? "" : ` (signal ${attempt.signal})`}`;
}

function timesOf(attempt) {
  const { started, ended, due, duration, lateness } = attempt;
  const exit = attempt.exit === null || attempt.outcome.key === "exit_code" ? "" : `exit code ${attempt.exit}`;
  return [
    exit,
    started === null ? (ended === null ? "" : `at ${seconds(ended)}`) : `${seconds(started)} to ${ended === null ? "…" : seconds(ended)}`,
    duration === null || started === null ? "" : `took ${number(duration, 3)} s`,
    due === null || lateness === null ? "" : `due ${seconds(due)}, ${number(Math.max(lateness, 0), 3)} s late`,
  ].filter(Boolean);
}

class VmPage {
  constructor(record, open) {
    Object.assign(this, { record, open, place: byId("vm"), vm: null });
  }

  async show(vm, neighbours) {
    this.vm = vm;
    const title = element("h3", "", vm.name);
    title.tabIndex = -1;
    const top = element("div", "top", title, this.#buttons(neighbours));
    this.place.replaceChildren(top, this.#facts(vm), this.#states(vm), ...this.#reboots(vm), element("p", "note", "Reading what its programs wrote…"));
    this.place.hidden = false;
    this.place.scrollIntoView({ block: "start" });
    title.focus({ preventScroll: true });
    const outputs = await this.record.outputsOf(vm);
    if (this.vm !== vm) return;
    this.place.lastChild.replaceWith(...vm.entries.map((entry) => this.#entry(entry, outputs)));
    if (!vm.entries.length) this.place.append(element("p", "", "It has no entries."));
    this.place.dataset.shown = vm.index;
  }

  #buttons([before, after]) {
    const button = (text, vm) => {
      const made = element("button", "", text);
      made.type = "button";
      made.disabled = !vm;
      if (vm) made.addEventListener("click", () => this.open(vm));
      return made;
    };
    return element("span", "buttons", button("Previous VM", before), button("Next VM", after));
  }

  #facts(vm) {
    const facts = { State: stateOf(vm), Why: vm.reason, "Time of its schedule": vm.time, Ready: this.#both(vm.readyAt), "Control address": vm.ip, Host: vm.host, UUID: vm.uuid };
    const list = element("dl", "facts");
    for (const [name, value] of Object.entries(facts)) if (value) list.append(element("div", "", element("dt", "", name), element("dd", "", value)));
    return list;
  }

  #both(at) {
    return at === null ? "" : element("span", "", seconds(at), element("small", "", utc(at, this.record.zero)));
  }

  #states(vm) {
    const list = element("ol", "states");
    list.setAttribute("aria-label", "States, in order");
    for (const { since, state, reason } of vm.states) {
      const item = element("li", "", `${state} ${seconds(since, 1)}${reason ? ` (${reason})` : ""}`);
      item.title = utc(since, this.record.zero);
      list.append(item);
    }
    return list;
  }

  #reboots(vm) {
    return vm.reboots.length ? [element("p", "note", `Rebooted; back at ${vm.reboots.map((at) => seconds(at)).join(", ")}`)] : [];
  }

  #entry(entry, outputs) {
    const about = [entry.time === null ? "" : `time ${entry.time}`, entry.kind ?? "not in its schedule"].filter(Boolean).join(", ");
    const made = element("section", "entry", element("h4", "", `${entry.id} `, element("span", "", about)));
    if (entry.command) made.append(element("code", "", entry.command));
    if (!entry.attempts.length) made.append(element("p", "attempt", "It never ran."));
    for (const attempt of entry.attempts) made.append(...this.#attempt(attempt, outputs[attempt.index] ?? {}));
    for (const each of entry.vm.transfers.filter((transfer) => transfer.entry === entry.id))
      made.append(element("p", "note", `Copied out at ${seconds(each.at)}: ${each.path}, ${each.size === null ? "" : `${bytes(each.size)}, `}SHA-256 `, element("code", "", each.sha256)));
    return made;
  }

  #attempt(attempt, streams) {
    const line = element("p", "attempt", element("span", "outcome", mark(attempt.outcome), outcomeOf(attempt)), `attempt ${attempt.attempt}`, ...timesOf(attempt).map((text) => element("span", "", text)));
    const at = attempt.started ?? attempt.ended;
    if (at !== null) line.append(element("small", "", utc(at, this.record.zero)));
    const parts = [line];
    if (attempt.reason) parts.push(element("p", "note", attempt.reason));
    for (const stream of ["stdout", "stderr"]) {
      const told = attempt[stream];
      if (streams[stream]) parts.push(...this.#stream(attempt, stream, streams[stream], told));
      else if (told) parts.push(element("p", "stream", `${stream}: ${bytes(told)}, none of them recorded`));
    }
    return parts;
  }

  #stream(attempt, stream, excerpt, told) {
    const missing = (excerpt.missing ?? 0) + Math.max((told ?? 0) - excerpt.size, 0);
    const label = `${stream}, ${bytes(Math.max(excerpt.size, told ?? 0))}${missing ? `, of which ${number(missing)} are not in the record` : ""}`;
    const shown = element("pre", "", excerpt.head ?? "");
    shown.tabIndex = 0;
    if (excerpt.between) {
      const command = element("code", "", commandFor(attempt.entry.vm, attempt.entry, attempt, stream));
      shown.append(element("span", "cut", `… ${bytes(excerpt.between)} more are not in this report. All of it: `, command), excerpt.tail ?? "");
    }
    return [element("p", "stream", label), shown];
  }
}
