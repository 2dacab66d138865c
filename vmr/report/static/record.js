// The record as it is in this page: compressed JSON in elements of their own, unpacked when it is needed.
// The lists' columns are in the order of vmr/report/timeline.py. Moments are microseconds after `zero`.

const BEFORE_READY = new Set(["configured", "n/a"]);

async function unpack(id) {
  const packed = Uint8Array.from(atob(byId(id).textContent.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

class RunRecord {
  constructor(content) {
    this.zero = content.zero;
    this.started = content.started;
    this.last = content.last;
    this.outcomes = content.outcomes.map(([key, words, problem]) => ({ key, words, problem }));
    this.vms = content.vms.map(RunRecord.vm);
    this.holds = content.holds.map(([vm, since, until]) => ({ vm, since, until: until ?? content.last }));
    this.first = 0;
    this.#states(content.states);
    this.#entries(content.entries);
    this.#attempts(content.attempts);
    for (const [vm, entry, path, size, sha256, at] of content.transfers) this.vms[vm].transfers.push({ entry, path, size, sha256, at });
    for (const [vm, at] of content.reboots) this.vms[vm].reboots.push(at);
    this.parts = new Map();
  }

  static vm(row, index) {
    const [name, uuid, state, reason, time, ip, host, ready, waived, present, part] = row;
    const lists = { states: [], entries: [], attempts: [], transfers: [], reboots: [] };
    return { index, name, uuid, state, reason, time, ip, host, ready, waived, present, part, readyAt: null, problems: 0, ...lists };
  }

  #states(rows) {
    for (const [vm, since, state, reason] of rows) {
      const states = this.vms[vm].states;
      if (states.length) states[states.length - 1].until = since;
      states.push({ since, until: this.last, state: state ?? "", reason });
      this.first = Math.min(this.first, since);
    }
    for (const vm of this.vms) {
      // The state in which the start found it, or is to find it.
      const before = vm.states.filter((each) => !this.started || each.since <= 0);
      const last = before[before.length - 1];
      if (last && BEFORE_READY.has(last.state.toLowerCase())) vm.readyAt = last.since;
    }
  }

  #entries(rows) {
    this.entries = rows.map(([vm, id, time, kind, command]) => {
      const entry = { vm: this.vms[vm], id, time, kind, command, attempts: [] };
      entry.vm.entries.push(entry);
      return entry;
    });
  }

  #attempts(rows) {
    rows.forEach((row, index) => {
      const [number, attempt, kind, exit, signal, due, started, ended, duration, lateness, reason, stdout, stderr] = row;
      const entry = this.entries[number];
      const outcome = this.outcomes[kind];
      // What has no start stands where it ended, what has no end goes on to the last event.
      const from = started ?? ended ?? due;
      const to = ended ?? (outcome.key === "running" ? this.last : from);
      const made = { index, entry, attempt, outcome, exit, signal, due, started, ended, duration, lateness, reason, stdout, stderr, from, to };
      entry.attempts.push(made);
      entry.vm.attempts.push(made);
      entry.vm.problems += outcome.problem ? 1 : 0;
      if (from !== null) this.first = Math.min(this.first, from);
    });
    for (const vm of this.vms) vm.attempts.sort((a, b) => (a.from ?? 0) - (b.from ?? 0) || a.index - b.index);
  }

  /** What the VM's executions wrote, by their numbers: unpacked when it is asked for the first time. */
  async outputsOf(vm) {
    if (vm.part === null) return {};
    if (!this.parts.has(vm.part)) this.parts.set(vm.part, unpack(`part-${vm.part}`));
    return this.parts.get(vm.part);
  }
}
