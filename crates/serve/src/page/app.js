// The page: what happens when.

import * as api from './api.js';
import { compare } from './compare.js';
import { $, element, show } from './dom.js';
import { downloadAll, remember, reserve, showPreview, showResult } from './gallery.js';
import { input } from './input.js';
import { Latest } from './latest.js';
import { asGenerated, offerRestyle, restoreRestyle, restyleRequest } from './restyle.js';
import * as controls from './settings.js';
import { command, curl } from './share.js';

const latest = new Latest();
let list = null;
let mode = 'images';

const status = (text) => { $('status').textContent = text; };

function fail(error) {
  $('error').textContent = error.message;
  $('error').hidden = false;
  status('');
}

function warn(warnings) {
  $('warnings').hidden = warnings.length === 0;
  $('warnings').replaceChildren(...warnings.map((text) => element('li', {}, text)));
}

/** Shows w in both conventions, and the other values next to their sliders. */
function showValues() {
  const w = Number($('w').value);
  $('w-value').replaceChildren(element('b', {}, w.toFixed(2)), ` = scale ${(1 + w).toFixed(2)}`);
  $('strength-value').textContent = Number($('strength').value).toFixed(2);
  $('brush-value').textContent = $('brush').value;
  $('steps-value').textContent = $('steps-range').value;
}

/** Generates for the settings as they are now; what runs for older ones is cancelled. */
function generate({ keep = true } = {}) {
  if (!controls.currentFacts()) return;
  showValues();
  const body = request();
  if (!body) {
    status('Give an image, and what it shows and becomes');
    return;
  }
  latest.start(async (signal) => {
    $('cancel').disabled = false;
    $('error').hidden = true;
    try {
      await { images: imagesFor, compare: compareWith, restyle: restyleFor }[mode](body, signal, keep);
    } catch (error) {
      if (signal.aborted) status('cancelled');
      else fail(error);
    } finally {
      $('cancel').disabled = true;
      $('progress').hidden = true;
    }
  });
}

/** What the controls stand for. */
const request = () => (mode === 'restyle' ? restyleRequest() : controls.request());

function showProgress(name, data) {
  if (name !== 'progress') return;
  $('progress').hidden = false;
  $('progress').value = data.progress;
  if (data.status === 'waiting') status('waiting for its turn …');
}

async function imagesFor(body, signal, keep) {
  const place = $('images');
  const started = performance.now();
  reserve(place, body.count, controls.width(), controls.height());
  status('generating …');
  const watch = $('previews').checked ? (name, data) => {
    if (name === 'preview') showPreview(place, data.image, data.data);
    showProgress(name, data);
  } : null;
  const reply = await api.generate(body, signal, watch);
  reserve(place, reply.images.length, reply.width, reply.height);
  showResult(place, reply);
  const ms = Math.round(performance.now() - started);
  const steps = `${reply.steps} step${reply.steps === 1 ? '' : 's'}`;
  status(`${reply.images.length} image${reply.images.length === 1 ? '' : 's'}, ${steps}, ${ms} ms`);
  warn(reply.warnings);
  if (keep) remember(body.model, body, reply, goBack);
}

async function restyleFor(body, signal, keep) {
  const started = performance.now();
  status('restyling …');
  const reply = asGenerated(body, await api.restyle(body, signal, showProgress));
  reserve($('images'), reply.images.length, controls.currentFacts().width, controls.currentFacts().height);
  showResult($('images'), reply);
  const steps = `${reply.encoder_steps} + ${reply.decoder_steps} steps`;
  status(`${body.from} → ${body.to}, ${steps}, ${Math.round(performance.now() - started)} ms`);
  warn(reply.warnings);
  if (keep) remember(controls.currentModel().name, body, reply, goBack);
}

async function compareWith(body, signal) {
  const started = performance.now();
  const warnings = await compare(body, controls.currentModel(), controls.currentFacts(), list.models, signal, status);
  status(`all rows in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  warn(warnings);
}

async function goBack({ model, body, reply }) {
  latest.cancel();
  if (controls.currentModel().name !== model) {
    $('model').value = model;
    await choose(false);
  }
  view(body.from ? 'restyle' : 'images', false);
  if (body.from) restoreRestyle(body);
  else {
    controls.restore(body);
    offer();
    controls.restore(body);
  }
  showValues();
  const { width, height } = { ...controls.currentFacts(), ...reply };
  reserve($('images'), reply.images.length, width, height);
  showResult($('images'), reply);
  warn(reply.warnings);
}

function offer() {
  controls.offer(controls.currentModel(), controls.currentFacts(), list, generate);
  input.offer(controls.currentFacts(), mode === 'restyle');
}

/** Takes the chosen model. */
async function choose(go = true) {
  const model = list.models.find((one) => one.name === $('model').value);
  latest.cancel();
  status(model.facts ? '' : `loading ${model.name} …`);
  try {
    model.facts ??= await api.load(model.name);
  } catch (error) {
    return fail(error);
  }
  $('compare').replaceChildren();
  delete $('compare').dataset.rows;
  controls.offer(model, model.facts, list, generate);
  const restyles = offerRestyle(model, model.facts, list.models);
  show('tab-restyle', restyles);
  // An encoder does nothing else.
  const only = model.facts.restyle === 'encoder';
  for (const id of ['tab-images', 'tab-compare']) show(id, !only);
  view(only ? 'restyle' : mode === 'restyle' && !restyles ? 'images' : mode, false);
  input.offer(model.facts, mode === 'restyle');
  showValues();
  warn([]);
  status('');
  // A model that reads prompts waits for one, and one for images waits for an image.
  const ready = mode !== 'restyle' && !model.facts.prompts && !model.facts.mask && !model.facts.control;
  if (go && ready) generate();
  else $('images').replaceChildren();
}

function view(next, go = true) {
  const before = mode;
  mode = next;
  for (const name of ['images', 'compare', 'restyle']) $(`tab-${name}`).setAttribute('aria-selected', String(name === mode));
  show('images', mode !== 'compare');
  show('compare', mode === 'compare');
  show('restyle-row', mode === 'restyle');
  document.body.classList.toggle('restyling', mode === 'restyle');
  if (before === mode) return;
  latest.cancel();
  if ([before, mode].includes('restyle')) {
    $('images').replaceChildren();
    input.offer(controls.currentFacts(), mode === 'restyle');
  }
  if (go && (mode !== 'images' || !$('images').children.length)) generate();
}

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  localStorage.setItem('theme', root.dataset.theme);
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    status('copied');
  } catch {
    // Without a secure context there is no clipboard: the text can be copied by hand.
    prompt(button.textContent, text);
  }
}

function newSeed() {
  $('seed').value = Math.floor(Math.random() * 2 ** 32);
  generate();
}

function key(event) {
  if ((event.ctrlKey || event.metaKey) && event.key === 'Enter') return generate();
  if (event.key === 'Escape') return latest.cancel();
  const typing = event.target.matches('textarea, select, input:not([type="range"], [type="checkbox"])');
  if (typing || event.ctrlKey || event.metaKey || event.altKey || $('help').open) return;
  const turn = { ArrowLeft: -0.25, ArrowRight: 0.25 }[event.key];
  if (turn && !event.target.matches('input[type="range"]')) {
    $('w').value = Number($('w').value) + turn;
    return generate();
  }
  const keys = { g: () => generate(), r: newSeed, d: theme, c: () => view(mode === 'compare' ? 'images' : 'compare'), '?': () => $('help').showModal() };
  keys[event.key]?.();
}

function listen() {
  $('generate').addEventListener('click', () => generate());
  $('cancel').addEventListener('click', () => latest.cancel());
  $('model').addEventListener('change', () => choose());
  $('dice').addEventListener('click', newSeed);
  $('theme').addEventListener('click', theme);
  $('help-open').addEventListener('click', () => $('help').showModal());
  for (const name of ['images', 'compare', 'restyle']) $(`tab-${name}`).addEventListener('click', () => view(name));
  // The images follow a slider while it moves; the history keeps where it stops.
  $('w').addEventListener('input', () => generate({ keep: false }));
  $('w').addEventListener('change', () => generate());
  $('strength').addEventListener('input', () => generate({ keep: false }));
  $('brush').addEventListener('input', showValues);
  // A model with another LoRA is loaded anew, which is too slow to follow a slider.
  $('lora-weight').addEventListener('input', controls.showLora);
  for (const id of ['lora', 'lora-weight']) {
    $(id).addEventListener('change', () => {
      controls.showLora();
      generate();
    });
  }
  $('steps-range').addEventListener('input', () => {
    controls.settings.steps = Number($('steps-range').value);
    generate({ keep: false });
  });
  for (const id of ['from-class', 'to-class', 'from-prompt', 'to-prompt', 'partner', 'steps-range', 'seed', 'count', 'sampler', 'size']) $(id).addEventListener('change', () => generate());
  $('download').addEventListener('click', () => downloadAll(mode === 'compare' ? $('compare') : $('images')));
  $('copy-curl').addEventListener('click', (event) => copy(event.target, curl(request() ?? controls.request())));
  $('copy-command').addEventListener('click', (event) =>
    copy(event.target, command(request() ?? controls.request(), controls.currentModel(), controls.currentFacts(), list.models)));
  input.listen(() => generate());
  document.addEventListener('keydown', key);
}

async function start() {
  const stored = localStorage.getItem('theme');
  if (stored) document.documentElement.dataset.theme = stored;
  listen();
  try {
    list = await api.models();
  } catch (error) {
    return fail(error);
  }
  $('model').replaceChildren(...list.models.map((model) => new Option(model.name, model.name)));
  await choose();
}

start();
