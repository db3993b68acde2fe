// The same seeds through the teacher and through the model in each number of steps.

import * as api from './api.js';
import { $, element } from './dom.js';
import { reserve, showPreview, showResult } from './gallery.js';

/** Images in a row. */
const MOST = 8;
const teachers = new Map();

/** Loads the models that could be the teacher, once. */
async function teacherOf(model, facts, models) {
  if (!teachers.has(model.name)) {
    let found = null;
    for (const other of models.filter((one) => one.name !== model.name && one.steps.length === 0)) {
      const its = other.facts ?? await api.load(other.name).catch(() => null);
      const alike = its && its.role === 'teacher' && its.width === facts.width && its.prompts === facts.prompts
        && its.classes.join() === facts.classes.join();
      if (alike) {
        found = { model: other, facts: its };
        break;
      }
    }
    teachers.set(model.name, found);
  }
  return teachers.get(model.name);
}

/** The rows for a model: number of steps, name, request. */
async function rowsFor(body, model, facts, models) {
  const base = { ...body, count: Math.min(body.count, MOST) };
  const steps = model.steps.length ? model.steps : [facts.default_steps, 8, 4, 2, 1];
  const unique = [...new Set(steps)].sort((a, b) => b - a);
  const rows = unique.map((n) => ({ name: `${n} step${n === 1 ? '' : 's'}`, body: { ...base, steps: n } }));
  const teacher = facts.role === 'student' ? await teacherOf(model, facts, models) : null;
  if (teacher) {
    const { sampler, ...plain } = base;
    const n = teacher.facts.default_steps;
    rows.unshift({ name: 'Teacher', note: `${n} steps`, body: { ...plain, model: teacher.model.name, steps: n } });
  }
  return rows;
}

/** Fills the view. Rows of few steps come first; each is shown when it is there. */
export async function compare(body, model, facts, models, signal, status) {
  const rows = await rowsFor(body, model, facts, models);
  const place = $('compare');
  const names = rows.map((row) => row.name).join();
  if (place.dataset.rows !== names) {
    place.dataset.rows = names;
    place.replaceChildren(...rows.map((row) => element('div', { class: 'row' },
      element('h3', {}, row.name, element('small', {}, row.note ?? '')), element('div', { class: 'strip' }))));
  }
  const strips = [...place.querySelectorAll('.strip')];
  const warnings = new Set();
  for (let at = rows.length - 1; at >= 0; at -= 1) {
    const strip = strips[at];
    const { body: asked } = rows[at];
    reserve(strip, asked.count, asked.width ?? facts.width, asked.height ?? facts.height);
    status(`${rows[at].name} …`);
    const started = performance.now();
    const watch = asked.steps > 8 ? (name, data) => { if (name === 'preview') showPreview(strip, data.image, data.data); } : null;
    const reply = await api.generate(asked, signal, watch);
    showResult(strip, reply);
    const seconds = (performance.now() - started) / 1000;
    const note = place.querySelectorAll('.row small')[at];
    note.textContent = `${rows[at].note ? `${rows[at].note}\n` : ''}${seconds.toFixed(2)} s`;
    for (const warning of reply.warnings) warnings.add(warning);
  }
  return [...warnings];
}
