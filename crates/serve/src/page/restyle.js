// Restyling: an image of one class or prompt becomes one of another.

import { $, show } from './dom.js';
import { input } from './input.js';
import { settings } from './settings.js';

let entry = null;
let facts = null;

/** What the other model must be able to do; `null` for a model that does both. */
const other = () => ({ encoder: 'decoder', decoder: 'encoder' })[facts.restyle] ?? null;

/** The models that could be the other one; what is not loaded yet may be. */
function partners(models) {
  const fits = ({ facts: its }) => !its || (['both', other()].includes(its.restyle) && its.width === facts.width
    && its.prompts === facts.prompts && its.classes.join() === facts.classes.join());
  return models.filter((model) => model.name !== entry.name && fits(model));
}

function fill(id, options, first) {
  const kept = $(id).value;
  $(id).replaceChildren(...options.map((name) => new Option(name, name)));
  $(id).value = options.includes(kept) ? kept : options[first] ?? '';
}

/** Sets the controls up for a model. Returns whether it can restyle. */
export function offerRestyle(model, its, models) {
  [entry, facts] = [model, its];
  const names = other() ? partners(models).map((one) => one.name) : [];
  show('partner-row', names.length > 0);
  $('partner-name').textContent = other() === 'encoder' ? 'Encoder' : 'Decoder';
  fill('partner', names, 0);
  show('from-to-classes', !facts.prompts);
  fill('from-class', facts.classes, 0);
  fill('to-class', facts.classes, 1);
  for (const row of document.querySelectorAll('.of-prompts')) row.classList.toggle('hidden', !facts.prompts);
  return facts.restyle === 'both' || names.length > 0;
}

/** The body of the request; `null` as long as something is missing. */
export function restyleRequest() {
  const { image } = input.fields();
  const kind = facts.prompts ? 'prompt' : 'class';
  const [from, to] = ['from', 'to'].map((side) => $(`${side}-${kind}`).value.trim());
  if (!image || !from || !to) return null;
  const mine = { [facts.restyle]: entry.name, [other()]: $('partner').value };
  const body = { ...(other() ? mine : { model: entry.name }), image, from, to };
  if (settings.steps) body.steps = settings.steps;
  if (facts.guidance.max > facts.guidance.min) body.w = Number($('w').value);
  return body;
}

/** Sets the controls to an earlier request. */
export function restoreRestyle(body) {
  const kind = facts.prompts ? 'prompt' : 'class';
  [$(`from-${kind}`).value, $(`to-${kind}`).value] = [body.from, body.to];
  if (other()) $('partner').value = body[other()];
  if (body.w !== undefined) $('w').value = body.w;
}

/** An answer as one of generated images. */
export function asGenerated(body, reply) {
  const images = reply.images.map((image, index) => ({ ...image, class: body.to, seed: 'restyled', index, parameters: '' }));
  return { ...reply, images, steps: reply.decoder_steps };
}
