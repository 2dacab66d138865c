"use strict";
// Numbers, moments and elements. Whatever comes from the record becomes text of an element (textContent), never HTML.

const SECOND = 1e6;

/** Seconds of the experiment, with their sign; `at` is in microseconds. */
function seconds(at, digits = 3) {
  if (at === null || at === undefined) return "";
  const sign = at < 0 ? "−" : "+";
  return `${sign}${number(Math.abs(at) / SECOND, digits)} s`;
}

function number(value, digits = 0) {
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Date and time of day in UTC, to the millisecond; `at` is in microseconds after `zero`, and that in microseconds since 1970. */
function utc(at, zero) {
  const date = new Date((zero + at) / 1000);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().replace("T", " ").replace("Z", " UTC");
}

function clock(at, zero) {
  return utc(at, zero).slice(11);
}

function bytes(count) {
  return `${number(count)} byte${count === 1 ? "" : "s"}`;
}

/** An element with a class and content: texts, elements, or null for nothing. */
function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content.filter((each) => each !== null && each !== undefined && each !== ""));
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

/** The shell command that asks for all that an execution wrote on a stream. */
function commandFor(vm, entry, attempt, stream) {
  const literal = (text) => `'${text.replaceAll("'", "''")}'`;
  const sql =
    `SELECT text FROM output_lines WHERE server_uuid = ${literal(vm.uuid)} AND entry = ${literal(entry.id)} ` +
    `AND attempt = ${attempt.attempt} AND stream = ${literal(stream)} ORDER BY line`;
  return `vmr sql '${sql.replaceAll("'", "'\\''")}' --csv`;
}
