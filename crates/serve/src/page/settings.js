// The controls: what they offer for a model, and the request that they stand for.

import { $, choice, show } from './dom.js';
import { input } from './input.js';

export const settings = { class: null, steps: null };
let entry = null;
let facts = null;

/** Sets the controls up for a model. */
export function offer(model, its, limits, changed) {
  const before = facts;
  [entry, facts] = [model, its];
  show('prompt-row', facts.prompts);
  show('negative-row', facts.negative_prompt);
  show('class-row', facts.classes.length > 0);
  if (settings.class !== null && !facts.classes.includes(settings.class)) settings.class = null;
  choice('classes', [['each', null], ...facts.classes.map((name) => [name, name])], settings, 'class', changed);
  offerSteps(limits, changed);
  offerGuidance(before);
  const samplers = facts.samplers;
  show('sampler-row', samplers.length > 1);
  fill('sampler', samplers.map((name, at) => [name, at ? name : '']));
  offerSizes();
  show('lora-row', limits.loras.length > 0);
  fill('lora', [['none', ''], ...limits.loras.map((name) => [name, name])]);
  showLora();
  input.offer(facts);
  $('count').max = limits.max_images;
  if (!$('count').value) $('count').value = facts.classes.length ? Math.min(2 * facts.classes.length, 20) : 4;
  $('previews').checked = facts.default_steps > 8;
  document.body.classList.toggle('pixels', facts.width <= 128);
}

function offerSteps(limits, changed) {
  const own = entry.steps;
  show('steps-row', own.length > 1);
  show('steps-range-row', own.length <= 1 && facts.any_steps);
  if (own.length > 1) {
    if (!own.includes(settings.steps)) settings.steps = own.includes(4) ? 4 : own.at(-1);
    choice('steps', own.map((steps) => [String(steps), steps]), settings, 'steps', changed);
  } else {
    settings.steps = facts.any_steps ? facts.default_steps : null;
    $('steps-range').max = Math.min(limits.max_steps, 64);
    $('steps-range').value = settings.steps ?? facts.default_steps;
  }
}

function offerGuidance(before) {
  const { min, max, kind } = facts.guidance;
  show('w-row', max > min);
  const w = $('w');
  const kept = before && before.guidance.max > before.guidance.min ? Number(w.value) : null;
  [w.min, w.max] = [min, max];
  const first = kind === 'classifier-free' && !facts.guidance.default ? (facts.prompts ? 6.5 : 1) : facts.guidance.default;
  w.value = kept ?? first;
}

function offerSizes() {
  const { width, height, size_multiple: multiple, max_pixels: most } = facts;
  const sides = [[width, height], [height * 1.5, height], [width, width * 1.5], [width * 2, height * 2]];
  const fit = ([w, h]) => w % multiple === 0 && h % multiple === 0 && w * h <= most;
  const sizes = facts.prompts && !facts.control ? sides.filter(fit) : [[width, height]];
  show('size-row', sizes.length > 1);
  fill('size', sizes.map(([w, h], at) => [`${w} × ${h}`, at ? `${w}x${h}` : '']));
}

/** The weight is there only with a LoRA. */
export function showLora() {
  show('lora-weight-row', $('lora').value !== '');
  $('lora-value').textContent = Number($('lora-weight').value).toFixed(2);
}

function fill(id, options) {
  const kept = $(id).value;
  $(id).replaceChildren(...options.map(([name, value]) => new Option(name, value)));
  if (options.some(([, value]) => value === kept)) $(id).value = kept;
}

export const width = () => Number($('size').value.split('x')[0]) || facts.width;
export const height = () => Number($('size').value.split('x')[1]) || facts.height;
export const currentFacts = () => facts;
export const currentModel = () => entry;

/** The body of the request; what is the default is left out. */
export function request() {
  const body = { model: entry.name };
  if (settings.steps) body.steps = settings.steps;
  if (facts.prompts) body.prompt = $('prompt').value.trim();
  if (facts.negative_prompt && $('negative').value.trim()) body.negative_prompt = $('negative').value.trim();
  if (settings.class !== null && facts.classes.length) body.class = settings.class;
  if (facts.guidance.max > facts.guidance.min) body.w = Number($('w').value);
  body.seed = Math.max(0, Math.floor(Number($('seed').value) || 0));
  body.count = Math.min(Math.max(1, Math.floor(Number($('count').value) || 1)), Number($('count').max));
  if ($('sampler').value) body.sampler = $('sampler').value;
  if ($('size').value) [body.width, body.height] = [width(), height()];
  if ($('lora').value) body.loras = [{ name: $('lora').value, weight: Number($('lora-weight').value) }];
  return { ...body, ...input.fields() };
}

/** Sets the controls to an earlier request. */
export function restore(body) {
  settings.class = body.class ?? null;
  settings.steps = body.steps ?? null;
  if (body.prompt !== undefined) $('prompt').value = body.prompt;
  $('negative').value = body.negative_prompt ?? '';
  if (body.w !== undefined) $('w').value = body.w;
  $('seed').value = body.seed;
  $('count').value = body.count;
  $('sampler').value = body.sampler ?? '';
  $('size').value = body.width ? `${body.width}x${body.height}` : '';
  if (body.steps) $('steps-range').value = body.steps;
  const [lora] = body.loras ?? [];
  $('lora').value = lora?.name ?? '';
  if (lora) $('lora-weight').value = lora.weight;
  showLora();
}
